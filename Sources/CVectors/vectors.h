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

// What ends the plain run of a JSON string: a quote, a backslash, a control character or a byte that is not ASCII.
// Exchanging 0x20 and 0x22 makes the quote a neighbour of the control characters; as signed numbers, so is the rest.
static inline weir_mask16 weir_json_specials(weir_bytes16 bytes) { return ((bytes ^ 2) < 0x21) | (bytes == 0x5C); }

static inline uint32_t weir_json_specials16(const uint8_t *at) {
    return weir_bits(weir_json_specials(weir_load16(at)));
}

#ifdef __x86_64__
typedef int8_t weir_bytes32 __attribute__((ext_vector_type(32)));
typedef char weir_mask32 __attribute__((ext_vector_type(32)));

#define WEIR_AVX2 static inline __attribute__((always_inline, target("avx2")))

// The index of the first 64 of `count` bytes that hold one that `finds` looks for, or of the rest; needs AVX2.
WEIR_AVX2 size_t weir_run_wide(const uint8_t *at, size_t count, weir_mask32 (*finds)(weir_bytes32)) {
    size_t index = 0;
    for (; index + 64 <= count; index += 64) {
        weir_bytes32 first, second;
        __builtin_memcpy(&first, at + index, sizeof first);
        __builtin_memcpy(&second, at + index + 32, sizeof second);
        if (__builtin_reduce_or(finds(first) | finds(second))) break;
    }
    return index;
}

WEIR_AVX2 weir_mask32 weir_json_specials32(weir_bytes32 bytes) { return ((bytes ^ 2) < 0x21) | (bytes == 0x5C); }

__attribute__((target("avx2"))) static size_t weir_json_plain_run_wide(const uint8_t *at, size_t count) {
    return weir_run_wide(at, count, weir_json_specials32);
}
#endif

// The index of the first of those in `count` bytes, a multiple of sixteen; `count` when there is none.
static inline size_t weir_json_plain_run(const uint8_t *at, size_t count) {
    size_t index = 0;
#ifdef __x86_64__
    if (count >= 128 && __builtin_cpu_supports("avx2")) index = weir_json_plain_run_wide(at, count);
#endif
    for (; index < count; index += 16) {
        uint32_t found = weir_json_specials16(at + index);
        if (found) return index + (size_t)__builtin_ctz(found);
    }
    return count;
}

// A line feed or a carriage return.
static inline uint32_t weir_line_ends16(const uint8_t *at) {
    weir_bytes16 bytes = weir_load16(at);
    return weir_bits((bytes == '\n') | (bytes == '\r'));
}

#ifdef __x86_64__
WEIR_AVX2 weir_mask32 weir_line_ends32(weir_bytes32 bytes) { return (bytes == '\n') | (bytes == '\r'); }

__attribute__((target("avx2"))) static size_t weir_line_run_wide(const uint8_t *at, size_t count) {
    return weir_run_wide(at, count, weir_line_ends32);
}
#endif

// The index of the first of those in `count` bytes; `count` when there is none.
static inline size_t weir_line_run(const uint8_t *at, size_t count) {
    size_t index = 0;
#ifdef __x86_64__
    if (count >= 128 && __builtin_cpu_supports("avx2")) index = weir_line_run_wide(at, count);
#endif
    for (; index + 16 <= count; index += 16) {
        uint32_t found = weir_line_ends16(at + index);
        if (found) return index + (size_t)__builtin_ctz(found);
    }
    for (; index < count; index++) {
        if (at[index] == '\n' || at[index] == '\r') return index;
    }
    return count;
}

// One line of a head, without its CRLF; `colon` is `end` where there is none.
typedef struct { uint32_t start, colon, end; } weir_line;

// What lies in 64 bytes: one bit for each.
typedef struct { uint64_t controls, returns, colons; } weir_marks;

// The lines of a head up to the empty one, which is the last of them. Returns how many; 0 when there are more than `max`,
// when the head is not whole, and when a control character other than the tab is anywhere but in a CRLF.
static inline __attribute__((always_inline)) size_t weir_find_lines(
    const uint8_t *at, size_t count, weir_line *lines, size_t max, weir_marks (*look)(const uint8_t *)) {
    weir_line *line = lines, *last = lines + max;
    uint32_t start = 0, colon = 0;  // The colon's index plus one.
    uint64_t feed = 0;              // The byte behind a carriage return, where that ended the block before.
    for (size_t base = 0; base < count; base += 64) {
        weir_marks marks;
        if (base + 64 <= count) {
            marks = look(at + base);
        } else {
            uint8_t rest[64] = {0};  // A control character behind the end.
            __builtin_memcpy(rest, at + base, count - base);
            marks = look(rest);
        }
        uint64_t returns = marks.returns, strays = marks.controls & ~(returns | returns << 1 | feed);
        feed = returns >> 63;
        for (; returns; returns &= returns - 1) {
            uint32_t bit = (uint32_t)__builtin_ctzll(returns), end = (uint32_t)base + bit;
            if (end + 1 >= count || at[end + 1] != '\n' || line == last) return 0;
            if (start == end) {
                // What is behind the head is not its concern.
                if (strays & (((uint64_t)1 << bit) - 1)) return 0;
                *line++ = (weir_line){start, end, end};
                return (size_t)(line - lines);
            }
            if (!colon && marks.colons) colon = (uint32_t)base + (uint32_t)__builtin_ctzll(marks.colons) + 1;
            *line++ = (weir_line){start, colon && colon <= end ? colon - 1 : end, end};
            start = end + 2;
            colon = 0;
            marks.colons &= -((uint64_t)2 << bit);
        }
        if (strays) return 0;
        if (!colon && marks.colons) colon = (uint32_t)base + (uint32_t)__builtin_ctzll(marks.colons) + 1;
    }
    return 0;
}

static inline __attribute__((always_inline)) weir_mask16 weir_controls(weir_bytes16 bytes) {
    return ((bytes < 0x20) & (bytes >= 0) & (bytes != '\t')) | (bytes == 0x7F);
}

static inline __attribute__((always_inline)) weir_marks weir_marks16(const uint8_t *at) {
    weir_marks marks = {0, 0, 0};
#pragma clang loop unroll(full)
    for (int quarter = 0; quarter < 4; quarter++) {
        weir_bytes16 bytes = weir_load16(at + quarter * 16);
        marks.controls |= (uint64_t)weir_bits(weir_controls(bytes)) << quarter * 16;
        marks.returns |= (uint64_t)weir_bits(bytes == '\r') << quarter * 16;
        marks.colons |= (uint64_t)weir_bits(bytes == ':') << quarter * 16;
    }
    return marks;
}

#ifdef __x86_64__
typedef uint8_t weir_unsigned32 __attribute__((ext_vector_type(32)));
typedef _Bool weir_bits32 __attribute__((ext_vector_type(32)));

// The assembly is empty. Without it Clang joins two such words as vectors of bits, and then takes them apart one by one.
WEIR_AVX2 uint64_t weir_word(weir_mask32 mask) {
    weir_bits32 bits = __builtin_convertvector(mask, weir_bits32);
    uint32_t word;
    __builtin_memcpy(&word, &bits, sizeof word);
    __asm__("" : "+r"(word));
    return word;
}

WEIR_AVX2 weir_mask32 weir_controls32(weir_bytes32 bytes) {
    return ((weir_mask32)((weir_unsigned32)bytes < 0x20) & (bytes != '\t')) | (bytes == 0x7F);
}

WEIR_AVX2 weir_marks weir_marks32(const uint8_t *at) {
    weir_bytes32 low, high;
    __builtin_memcpy(&low, at, sizeof low);
    __builtin_memcpy(&high, at + 32, sizeof high);
    return (weir_marks){
        weir_word(weir_controls32(low)) | weir_word(weir_controls32(high)) << 32,
        weir_word(low == '\r') | weir_word(high == '\r') << 32,
        weir_word(low == ':') | weir_word(high == ':') << 32,
    };
}

__attribute__((target("avx2"))) static size_t weir_head_lines_wide(
    const uint8_t *at, size_t count, weir_line *lines, size_t max) {
    return weir_find_lines(at, count, lines, max, weir_marks32);
}
#endif

static inline size_t weir_head_lines(const uint8_t *at, size_t count, weir_line *lines, size_t max) {
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2")) return weir_head_lines_wide(at, count, lines, max);
#endif
    return weir_find_lines(at, count, lines, max, weir_marks16);
}

// A byte that no HTTP field value may hold: a control character but the tab.
static inline uint32_t weir_field_controls16(const uint8_t *at) {
    return weir_bits(weir_controls(weir_load16(at)));
}

// Anything but letters, digits and "-._": what DNS names and addresses are made of.
static inline uint32_t weir_host_specials16(const uint8_t *at) {
    weir_bytes16 bytes = weir_load16(at);
    weir_bytes16 folded = bytes | 0x20;
    weir_mask16 marks = (bytes < '-') | (bytes > '9') | (bytes == '/');
    return weir_bits(marks & ((folded < 'a') | (folded > 'z')) & (bytes != '_'));
}

// A byte that is equal to `byte`.
static inline uint32_t weir_equal16(const uint8_t *at, uint8_t byte) {
    return weir_bits(weir_load16(at) == (int8_t)byte);
}

// Anything but letters, digits and "-./", which are neighbours: what most paths are made of.
static inline uint32_t weir_path_specials16(const uint8_t *at) {
    weir_bytes16 bytes = weir_load16(at);
    weir_bytes16 folded = bytes | 0x20;
    return weir_bits(((bytes < '-') | (bytes > '9')) & ((folded < 'a') | (folded > 'z')));
}
