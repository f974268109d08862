/* Decompress LZW (TIFF 6, section 13): well-formed streams only, all others are left to more patient decoders. */

#include "kernels.h"

enum { CLEAR = 256, END = 257, FIRST = 258, CODES = 4096, WIDTH_MIN = 9, WIDTH_MAX = 12, STEP = 16 };
enum { CODES_AT_ONCE = 4 }; /* as many as eight bytes hold, wherever the first one begins */

/* Strings of the table: single bytes, and what stands somewhere in what is decoded already. */
typedef struct {
    const uint8_t *start[CODES];
    uint16_t length[CODES];
    uint8_t bytes[CLEAR + STEP];
} strings;

/* Copy a string, in whole steps where there is room for what they write too much. */
static inline void repeat(uint8_t *to, const uint8_t *from, size_t length, size_t room)
{
    if (__builtin_expect(room < length + STEP, 0)) {
        memmove(to, from, length);
        return;
    }
    size_t at = 0;
    do memmove(to + at, from + at, STEP);
    while ((at += STEP) < length);
}

/* Return whether the stream holds the expected bytes, or begins with them; else what is in `out` means nothing. */
int lzw(const uint8_t *encoded, size_t size, uint8_t *out, size_t expected)
{
    if (size > SIZE_MAX / 8) return 0;
    strings table;
    for (size_t i = 0; i < CLEAR; i++) table.bytes[i] = (uint8_t)i, table.start[i] = table.bytes + i, table.length[i] = 1;
    const uint8_t *before = NULL; /* the string before, in `out` */
    size_t bit = 0, at = 0, length = 0;
    uint32_t width = WIDTH_MIN, next = CLEAR; /* CLEAR: the table must be cleared; END: it has been */
    uint64_t bits = 0;
    for (uint32_t count = 0; at < expected; count++) {
        if (count % CODES_AT_ONCE == 0) bits = eight_bytes(encoded + bit / 8, size - bit / 8) << bit % 8;
        uint32_t code = (uint32_t)(bits >> (64 - width));
        bits <<= width, bit += width;
        if (bit > 8 * size) return 0;
        if (code == CLEAR) {
            width = WIDTH_MIN, next = END;
            continue;
        }
        if (next > END) { /* the string before, and the first byte of this one behind it */
            if (code == END || code > next || next == CODES) return 0;
            table.start[next] = before, table.length[next] = (uint16_t)(length + 1);
            if (++next + 1 == 1u << width && width < WIDTH_MAX) width++;
        } else { /* the first string of a table is a byte */
            if (next == CLEAR || code > UINT8_MAX) return 0;
            next = FIRST;
        }
        const uint8_t *start = table.start[code];
        size_t ending = length;
        length = table.length[code];
        if (length > expected - at) return 0;
        repeat(out + at, start, length, expected - at);
        if (start == before && length == ending + 1) out[at + ending] = *start; /* it may end with its own first byte */
        before = out + at;
        at += length;
    }
    return 1;
}
