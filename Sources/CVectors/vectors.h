// Sixteen bytes compared at once, with one bit of the answer for each: what Swift's SIMD types can't say.
//
// Clang's vector extensions, so every processor has them; on x86-64 a function is seven to ten instructions, inlined.
// All read exactly the bytes named, at any alignment.
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef int8_t weir_bytes16 __attribute__((ext_vector_type(16)));
typedef char weir_mask16 __attribute__((ext_vector_type(16)));  // What comparisons give: all ones for yes.
typedef _Bool weir_bits16 __attribute__((ext_vector_type(16)));

static inline weir_bytes16 weir_load16(const uint8_t *at) {
    weir_bytes16 bytes;
    __builtin_memcpy(&bytes, at, sizeof bytes);
    return bytes;
}

// The lowest bit is the first byte's.
static inline uint32_t weir_bits(weir_mask16 mask) {
    weir_bits16 bits = __builtin_convertvector(mask, weir_bits16);
    uint16_t word;
    __builtin_memcpy(&word, &bits, sizeof word);
    return word;
}

#ifdef __x86_64__
typedef int8_t weir_bytes32 __attribute__((ext_vector_type(32)));
typedef char weir_mask32 __attribute__((ext_vector_type(32)));
typedef _Bool weir_bits32 __attribute__((ext_vector_type(32)));

#define WEIR_AVX2 static inline __attribute__((always_inline, target("avx2")))
#define WEIR_HAS_AVX2 __builtin_cpu_supports("avx2")

WEIR_AVX2 uint32_t weir_bits_wide(weir_mask32 mask) {
    weir_bits32 bits = __builtin_convertvector(mask, weir_bits32);
    uint32_t word;
    __builtin_memcpy(&word, &bits, sizeof word);
    return word;
}
#else
#define WEIR_HAS_AVX2 0
#endif

// A line feed or a carriage return.
static inline uint32_t weir_line_ends16(const uint8_t *at) {
    weir_bytes16 bytes = weir_load16(at);
    return weir_bits((bytes == '\n') | (bytes == '\r'));
}

#ifdef __x86_64__
WEIR_AVX2 uint32_t weir_line_ends32(const uint8_t *at) {
    weir_bytes32 bytes;
    __builtin_memcpy(&bytes, at, sizeof bytes);
    return weir_bits_wide((bytes == '\n') | (bytes == '\r'));
}

// For thirty-two bytes at least.
__attribute__((target("avx2"))) static size_t weir_line_run_wide(const uint8_t *at, size_t count) {
    uint32_t found;
    size_t index = 0;
    for (; index + 32 <= count; index += 32) {
        if ((found = weir_line_ends32(at + index))) return index + (size_t)__builtin_ctz(found);
    }
    // What is left is the end of the last thirty-two.
    if (index == count || !(found = weir_line_ends32(at + count - 32) >> (index + 32 - count))) return count;
    return index + (size_t)__builtin_ctz(found);
}
#endif

// The index of the first of those in `count` bytes; `count` when there is none.
static inline size_t weir_line_run(const uint8_t *at, size_t count) {
#ifdef __x86_64__
    if (count >= 32 && WEIR_HAS_AVX2) return weir_line_run_wide(at, count);
#endif
    size_t index = 0;
    for (; index + 16 <= count; index += 16) {
        uint32_t found = weir_line_ends16(at + index);
        if (found) return index + (size_t)__builtin_ctz(found);
    }
    while (index < count && at[index] != '\n' && at[index] != '\r') index++;
    return index;
}

// A byte that no HTTP field value may hold: a control character but the tab.
static inline uint32_t weir_field_controls16(const uint8_t *at) {
    weir_bytes16 bytes = weir_load16(at);
    return weir_bits(((bytes < 0x20) & (bytes >= 0) & (bytes != '\t')) | (bytes == 0x7F));
}

// A byte that is equal to `byte`.
static inline uint32_t weir_equal16(const uint8_t *at, uint8_t byte) {
    return weir_bits(weir_load16(at) == (int8_t)byte);
}

// One line of a head, without its CRLF; `colon` is `end` where there is none.
typedef struct { uint32_t start, colon, end; } weir_line;

// The first colon in `start..<end`, else `end`.
static inline __attribute__((always_inline)) size_t weir_colon(
    const uint8_t *at, size_t start, size_t end, size_t count) {
    for (; start < end && start + 16 <= count; start += 16) {
        uint32_t found = weir_equal16(at + start, ':');
        if (!found) continue;
        start += (size_t)__builtin_ctz(found);
        return start < end ? start : end;
    }
    while (start < end && at[start] != ':') start++;
    return start < end ? start : end;
}

// The lines of a head up to the empty one, which is the last of them. Returns how many; 0 when there are more than `max`,
// when the head is not whole, and when a control character other than the tab is anywhere but in a CRLF.
//
// `look` finds control characters in `width` bytes.
static inline __attribute__((always_inline)) size_t weir_find_lines(
    const uint8_t *at, size_t count, weir_line *lines, size_t max, size_t width, uint32_t (*look)(const uint8_t *)) {
    size_t start = 0;
    for (size_t index = 0; index < max; index++) {
        size_t end = start;
        uint32_t found = 0;
        while (end + width <= count && !(found = look(at + end))) end += width;
        if (found) {
            end += (size_t)__builtin_ctz(found);
        } else {
            while (end < count && (at[end] >= 0x20 || at[end] == '\t') && at[end] != 0x7F) end++;
        }
        if (end + 1 >= count || at[end] != '\r' || at[end + 1] != '\n') return 0;
        size_t colon = weir_colon(at, start, end, count);
        lines[index] = (weir_line){(uint32_t)start, (uint32_t)colon, (uint32_t)end};
        if (start == end) return index + 1;
        start = end + 2;
    }
    return 0;
}

#ifdef __x86_64__
typedef uint8_t weir_unsigned32 __attribute__((ext_vector_type(32)));

WEIR_AVX2 uint32_t weir_field_controls32(const uint8_t *at) {
    weir_bytes32 bytes;
    __builtin_memcpy(&bytes, at, sizeof bytes);
    weir_mask32 low = (weir_mask32)((weir_unsigned32)bytes < 0x20);
    return weir_bits_wide((low & (bytes != '\t')) | (bytes == 0x7F));
}

__attribute__((target("avx2"))) static size_t weir_head_lines_wide(
    const uint8_t *at, size_t count, weir_line *lines, size_t max) {
    return weir_find_lines(at, count, lines, max, 32, weir_field_controls32);
}
#endif

static inline size_t weir_head_lines(const uint8_t *at, size_t count, weir_line *lines, size_t max) {
#ifdef __x86_64__
    if (WEIR_HAS_AVX2) return weir_head_lines_wide(at, count, lines, max);
#endif
    return weir_find_lines(at, count, lines, max, 16, weir_field_controls16);
}

// One piece of a text ends at `text_end`. Behind each piece but the last one there is a hole, for the value of field number
// `field` (none behind the last one: a number that no field has); it ended at `learned_end` in the head that the text was learned from, and at `value_end` in the last
// head that matched.
typedef struct { uint32_t text_end, field, learned_end, value_end; } weir_piece;

// So many bytes behind the text are read, and have no effect.
enum { weir_piece_padding = 32 };

static inline uint32_t weir_differences16(const uint8_t *left, const uint8_t *right) {
    return weir_bits(weir_load16(left) != weir_load16(right));
}

// Anything but ASCII's visible characters and the space: adding one makes 0x7F a neighbour of the bytes above it, which
// are below zero.
static inline uint32_t weir_value_specials16(const uint8_t *at) { return weir_bits(weir_load16(at) + 1 < 0x21); }

// Whether `head` begins with the pieces and a value in each hole: visible ASCII characters, and spaces between them.
// Returns how long all of that is; 0 if it is not there.
//
// `differs` compares `width` bytes, at most 32; `look` finds what ends a value in as many.
static inline __attribute__((always_inline)) size_t weir_match(
    const uint8_t *head, size_t count, const uint8_t *text, weir_piece *pieces, size_t piece_count, size_t width,
    uint32_t (*differs)(const uint8_t *, const uint8_t *), uint32_t (*look)(const uint8_t *)) {
    size_t at = 0, read = 0;
    for (size_t piece = 0; piece < piece_count; piece++) {
        size_t left = pieces[piece].text_end - read;
        if (left > count - at) return 0;
        for (; left >= width; left -= width, at += width, read += width) {
            if (differs(head + at, text + read)) return 0;
        }
        if (count - at >= width) {
            if (differs(head + at, text + read) & ((UINT32_C(1) << left) - 1)) return 0;
            at += left;
            read += left;
        } else {
            for (; left > 0; left--) {
                if (head[at++] != text[read++]) return 0;
            }
        }
        if (piece + 1 == piece_count) return at;
        if (at == count || head[at] == ' ') return 0;
        size_t start = at;
        uint32_t found = 0;
        while (count - at >= width && !(found = look(head + at))) at += width;
        if (found) {
            at += (size_t)__builtin_ctz(found);
        } else {
            while (at < count && head[at] >= ' ' && head[at] < 0x7F) at++;
        }
        if (at == start || head[at - 1] == ' ') return 0;
        pieces[piece].value_end = (uint32_t)at;
    }
    return 0;
}

#ifdef __x86_64__
WEIR_AVX2 uint32_t weir_differences32(const uint8_t *left, const uint8_t *right) {
    weir_bytes32 one, other;
    __builtin_memcpy(&one, left, sizeof one);
    __builtin_memcpy(&other, right, sizeof other);
    return weir_bits_wide(one != other);
}

WEIR_AVX2 uint32_t weir_value_specials32(const uint8_t *at) {
    weir_bytes32 bytes;
    __builtin_memcpy(&bytes, at, sizeof bytes);
    return weir_bits_wide(bytes + 1 < 0x21);
}

__attribute__((target("avx2"))) static size_t weir_match_wide(
    const uint8_t *head, size_t count, const uint8_t *text, weir_piece *pieces, size_t piece_count) {
    return weir_match(head, count, text, pieces, piece_count, 32, weir_differences32, weir_value_specials32);
}
#endif

static __attribute__((noinline)) size_t weir_match_narrow(
    const uint8_t *head, size_t count, const uint8_t *text, weir_piece *pieces, size_t piece_count) {
    return weir_match(head, count, text, pieces, piece_count, 16, weir_differences16, weir_value_specials16);
}

static inline size_t weir_match_pieces(
    const uint8_t *head, size_t count, const uint8_t *text, weir_piece *pieces, size_t piece_count) {
#ifdef __x86_64__
    if (WEIR_HAS_AVX2) return weir_match_wide(head, count, text, pieces, piece_count);
#endif
    return weir_match_narrow(head, count, text, pieces, piece_count);
}

// Anything but letters, digits and "-._": what DNS names and addresses are made of.
static inline uint32_t weir_host_specials16(const uint8_t *at) {
    weir_bytes16 bytes = weir_load16(at);
    weir_bytes16 folded = bytes | 0x20;
    weir_mask16 marks = (bytes < '-') | (bytes > '9') | (bytes == '/');
    return weir_bits(marks & ((folded < 'a') | (folded > 'z')) & (bytes != '_'));
}

// Anything but letters, digits and "-./", which are neighbours: what most paths are made of.
static inline uint32_t weir_path_specials16(const uint8_t *at) {
    weir_bytes16 bytes = weir_load16(at);
    weir_bytes16 folded = bytes | 0x20;
    return weir_bits(((bytes < '-') | (bytes > '9')) & ((folded < 'a') | (folded > 'z')));
}

// Asks for the lines that hold `bytes` from `at` on, and reads nothing: an address that is not there does no harm.
static inline void weir_prefetch(uintptr_t at, size_t bytes) {
    for (uintptr_t line = at & ~(uintptr_t)63; line < at + bytes; line += 64) __builtin_prefetch((const void *)line);
}
