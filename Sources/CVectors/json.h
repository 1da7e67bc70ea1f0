// Along the strings of a JSON document, sixteen bytes at a time, or sixty-four where the processor has AVX2; and along
// numbers.
#pragma once
#include "vectors.h"

// What ends the plain run of a JSON string: a quote, a backslash, a control character or a byte that is not ASCII.
// Exchanging 0x20 and 0x22 makes the quote a neighbour of the control characters; as signed numbers, so is the rest.
static inline uint32_t weir_json_specials16(const uint8_t *at) {
    weir_bytes16 bytes = weir_load16(at);
    return weir_bits(((bytes ^ 2) < 0x21) | (bytes == 0x5C));
}

// What is no decimal digit.
static inline uint32_t weir_json_others16(const uint8_t *at) {
    weir_bytes16 bytes = weir_load16(at);
    return weir_bits((bytes < '0') | (bytes > '9'));
}

static inline int weir_json_is_special(uint8_t byte) {
    return byte < 0x20 || byte == '"' || byte == '\\' || byte >= 0x80;
}

// The index of the first special byte from `index` on; `count` when there is none.
static inline __attribute__((always_inline)) size_t weir_json_plain_run_by16(
    const uint8_t *bytes, size_t index, size_t count) {
    for (; index + 16 <= count; index += 16) {
        uint32_t found = weir_json_specials16(bytes + index);
        if (found) return index + (size_t)__builtin_ctz(found);
    }
    while (index < count && !weir_json_is_special(bytes[index])) index++;
    return index;
}

#ifdef __x86_64__
WEIR_AVX2 weir_mask32 weir_json_specials32(const uint8_t *at) {
    weir_bytes32 bytes;
    __builtin_memcpy(&bytes, at, sizeof bytes);
    return ((bytes ^ 2) < 0x21) | (bytes == 0x5C);
}

// The same for a document of at least thirty-two bytes.
WEIR_AVX2 size_t weir_json_plain_run_by64(const uint8_t *bytes, size_t index, size_t count) {
    for (size_t left = (count - index) / 64; left; left--, index += 64) {
        weir_mask32 first = weir_json_specials32(bytes + index), second = weir_json_specials32(bytes + index + 32);
        uint32_t any = weir_bits_wide(first | second);
        if (!any) continue;
        uint32_t found = weir_bits_wide(first);
        return index + (found ? (size_t)__builtin_ctz(found) : 32 + (size_t)__builtin_ctz(any));
    }
    if (count - index >= 32) {
        uint32_t found = weir_bits_wide(weir_json_specials32(bytes + index));
        if (found) return index + (size_t)__builtin_ctz(found);
        index += 32;
    }
    if (index == count) return count;
    // What is left is the end of the document's last thirty-two bytes.
    size_t last = count - 32;
    uint32_t found = weir_bits_wide(weir_json_specials32(bytes + last)) >> (index - last);
    return found ? index + (size_t)__builtin_ctz(found) : count;
}
#endif

// Where the run of valid characters beyond ASCII ends that begins at `index`. Four bytes must be there to be looked at:
// the last characters of a document, which is none then, are left over, as is what is not UTF-8.
static inline __attribute__((always_inline)) size_t weir_json_other_run(
    const uint8_t *bytes, size_t index, size_t count) {
    while (index + 4 <= count && bytes[index] >= 0x80) {
        uint32_t word;
        __builtin_memcpy(&word, bytes + index, sizeof word);
        if ((word & 0x00C0C0F0) == 0x008080E0 && word & 0x200F && (word & 0x200F) != 0x200D) {
            index += 3;  // Neither overlong nor a surrogate.
        } else if ((word & 0xC0E0) == 0x80C0 && word & 0x1E) {
            index += 2;
        } else if ((word & 0xC0C0C0F8) == 0x808080F0 && ((word & 7) << 2 | (word >> 12 & 3)) - 1 < 16) {
            index += 4;  // Planes 1 to 16.
        } else {
            break;
        }
    }
    return index;
}

// How far a string was read: to its closing quote, or to what somebody else must judge (an escape of more than two bytes,
// a control character, what is not UTF-8, the end of the document).
typedef struct { size_t end, has_escapes; } weir_json_run;

// Goes on at `index`, where a plain run ended.
static inline __attribute__((always_inline)) weir_json_run weir_json_string_run_of(
    const uint8_t *bytes, size_t index, size_t count, size_t (*plain_run)(const uint8_t *, size_t, size_t)) {
    size_t has_escapes = 0;
    for (; index + 4 <= count; index = plain_run(bytes, index, count)) {
        if (bytes[index] >= 0x80) {
            size_t end = weir_json_other_run(bytes, index, count);
            if (end == index) break;
            index = end;
        } else if (bytes[index] == '\\') {
            uint8_t letter = bytes[index + 1];
            if (letter != 'n' && letter != '"' && letter != '\\' && letter != 't' && letter != '/' && letter != 'r' &&
                letter != 'b' && letter != 'f')
                break;
            has_escapes = 1;
            index += 2;
        } else {
            break;
        }
    }
    return (weir_json_run){index, has_escapes};
}

#ifdef __x86_64__
__attribute__((target("avx2"), noinline)) static weir_json_run weir_json_odd_run_wide(
    const uint8_t *bytes, size_t index, size_t count) {
    return weir_json_string_run_of(bytes, index, count, weir_json_plain_run_by64);
}

// Most strings have nothing but their quote to stop at.
__attribute__((target("avx2"), noinline)) static weir_json_run weir_json_string_run_wide(
    const uint8_t *bytes, size_t index, size_t count) {
    index = weir_json_plain_run_by64(bytes, index, count);
    if (index < count && bytes[index] == '"') return (weir_json_run){index, 0};
    return weir_json_odd_run_wide(bytes, index, count);
}
#endif

__attribute__((noinline)) static weir_json_run weir_json_string_run_narrow(
    const uint8_t *bytes, size_t index, size_t count) {
    return weir_json_string_run_of(
        bytes, weir_json_plain_run_by16(bytes, index, count), count, weir_json_plain_run_by16);
}

// Reads on in a string, from `index` on; `count` bytes are in the document.
static inline weir_json_run weir_json_string_run(const uint8_t *bytes, size_t index, size_t count) {
#ifdef __x86_64__
    if (count >= 32 && WEIR_HAS_AVX2) return weir_json_string_run_wide(bytes, index, count);
#endif
    return weir_json_string_run_narrow(bytes, index, count);
}

#ifdef __x86_64__
__attribute__((target("avx2"), noinline)) static size_t weir_json_plain_run_wide(
    const uint8_t *bytes, size_t index, size_t count) {
    return weir_json_plain_run_by64(bytes, index, count);
}
#endif

// The index of the first special byte from `index` on; `count` when there is none.
static inline size_t weir_json_plain_run(const uint8_t *bytes, size_t index, size_t count) {
#ifdef __x86_64__
    if (count - index >= 32 && WEIR_HAS_AVX2) return weir_json_plain_run_wide(bytes, index, count);
#endif
    return weir_json_plain_run_by16(bytes, index, count);
}
