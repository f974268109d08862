/* Unpack samples that are a stream of bits, the most significant first; `virtual_tiff.codecs.packing` says which. */

#include "kernels.h"

typedef void samples_of_row(const uint8_t *row, const uint8_t *end, uint8_t *out, size_t count, size_t bits);

/* Samples of 9 to 15 bits, eight at a time, which begin with a whole byte. Each takes two bytes, and what a third has of
 * it, if any; its first bit is moved to the front of its lane, and from there to its place. */

typedef uint16_t unsigned_lanes __attribute__((vector_size(16)));
typedef int16_t signed_lanes __attribute__((vector_size(16)));

#ifdef __x86_64__
#define TARGET __attribute__((target("ssse3")))
#else
#define TARGET
#endif

#define BYTE(i, bits) ((i) * (bits) / 8)
#define SKIP(i, bits) ((i) * (bits) % 8)
#define FIRST_TWO(i, bits) BYTE(i, bits) + 1, BYTE(i, bits)
#define THIRD(i, bits) BYTE(i, bits) + 2, 16
#define TO_FRONT(i, bits) 1 << SKIP(i, bits)
#define OF_THIRD(i, bits) (SKIP(i, bits) + (bits) > 16 ? 1 << (SKIP(i, bits) + (bits)-16) : 0)
#define EACH(lane, bits)                                                                                               \
    lane(0, bits), lane(1, bits), lane(2, bits), lane(3, bits), lane(4, bits), lane(5, bits), lane(6, bits), lane(7, bits)

#define UNPACK_EIGHT(name, lanes, bits)                                                                                \
    TARGET static size_t name##_##bits(const uint8_t *row, const uint8_t *end, uint8_t *out, size_t count)             \
    {                                                                                                                  \
        const unsigned_lanes to_front = {EACH(TO_FRONT, bits)}, of_third = {EACH(OF_THIRD, bits)};                     \
        size_t at = 0;                                                                                                 \
        for (; at + 8 <= count && end - row >= 16; at += 8, row += bits, out += 16) {                                  \
            vector v;                                                                                                  \
            memcpy(&v, row, 16);                                                                                       \
            unsigned_lanes two = (unsigned_lanes)__builtin_shufflevector(v, v, EACH(FIRST_TWO, bits));                 \
            unsigned_lanes three = (unsigned_lanes)__builtin_shufflevector(v, (vector){0}, EACH(THIRD, bits));         \
            lanes samples = (lanes)(two * to_front) >> (16 - bits) | (lanes)(three * of_third >> 8);                   \
            memcpy(out, &samples, 16);                                                                                 \
        }                                                                                                              \
        return at;                                                                                                     \
    }
#define UNPACK_BOTH(bits)                                                                                              \
    UNPACK_EIGHT(unsigned_eight, unsigned_lanes, bits)                                                                 \
    UNPACK_EIGHT(signed_eight, signed_lanes, bits)
UNPACK_BOTH(9)
UNPACK_BOTH(10)
UNPACK_BOTH(11)
UNPACK_BOTH(12)
UNPACK_BOTH(13)
UNPACK_BOTH(14)
UNPACK_BOTH(15)

#define CHOICE(name, bits)                                                                                             \
    case bits: return name##_##bits(row, end, out, count);
#define UNPACK_EIGHTS(name)                                                                                            \
    static size_t name##s(const uint8_t *row, const uint8_t *end, uint8_t *out, size_t count, size_t bits)             \
    {                                                                                                                  \
        switch (bits) {                                                                                                \
            CHOICE(name, 9)                                                                                            \
            CHOICE(name, 10)                                                                                           \
            CHOICE(name, 11)                                                                                           \
            CHOICE(name, 12)                                                                                           \
            CHOICE(name, 13)                                                                                           \
            CHOICE(name, 14)                                                                                           \
            CHOICE(name, 15)                                                                                           \
        default: return 0;                                                                                             \
        }                                                                                                              \
    }
UNPACK_EIGHTS(unsigned_eight)
UNPACK_EIGHTS(signed_eight)

/* All others, one after the other. */

#define NONE(row, end, out, count, bits) 0
#define UNPACK(name, T, SIGN, EIGHTS)                                                                                  \
    static void name(const uint8_t *row, const uint8_t *end, uint8_t *out, size_t count, size_t bits)                  \
    {                                                                                                                  \
        size_t at = EIGHTS(row, end, out, count, bits), bit = at * bits;                                               \
        for (; at < count && (size_t)(end - row) >= bit / 8 + 8; at++, bit += bits) {                                  \
            T sample = (T)((SIGN)(eight_bytes(row + bit / 8, 8) << bit % 8) >> (64 - bits));                           \
            memcpy(out + at * sizeof(T), &sample, sizeof(T));                                                          \
        }                                                                                                              \
        for (; at < count; at++, bit += bits) {                                                                        \
            T sample = (T)((SIGN)(eight_bytes(row + bit / 8, (size_t)(end - row) - bit / 8) << bit % 8) >> (64 - bits));\
            memcpy(out + at * sizeof(T), &sample, sizeof(T));                                                          \
        }                                                                                                              \
    }
UNPACK(unsigned_16, uint16_t, uint64_t, unsigned_eights)
UNPACK(unsigned_32, uint32_t, uint64_t, NONE)
UNPACK(signed_16, int16_t, int64_t, signed_eights)
UNPACK(signed_32, int32_t, int64_t, NONE)

/* Unpack `count` samples of each row to `width` bytes. Returns 0, and has written nothing, for widths that it does not
 * know, and when samples have more bits than fit, or rows hold fewer samples. */
EXPORT int virtual_tiff_bits(const uint8_t *packed, uint8_t *out, size_t rows, size_t row_bytes, size_t count,
                             size_t bits, size_t width, int is_signed)
{
    samples_of_row *unpack = width == 2   ? (is_signed ? signed_16 : unsigned_16)
                             : width == 4 ? (is_signed ? signed_32 : unsigned_32)
                                          : NULL;
    if (!unpack || !bits || bits > 8 * width || count > 8 * row_bytes / bits) return 0;
    const uint8_t *end = packed + rows * row_bytes;
    for (; rows; rows--, packed += row_bytes, out += count * width) unpack(packed, end, out, count, bits);
    return 1;
}
