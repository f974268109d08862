/* Take the samples of interleaved pixels apart, into planes. */

#include "kernels.h"

#ifdef __x86_64__
#define TARGET __attribute__((target("ssse3")))
#else
#define TARGET
#endif

enum { STRETCH = 256 }; /* pixels that stay in the nearest cache while they are read once for each plane */

/* Where byte i of a vector of plane k stands in vectors of pixels, which have S samples of W bytes. */
#define PLACE(i, k, S, W) (((i) / (W) * (S) + (k)) * (W) + (i) % (W))
/* It from the first two vectors, from the next two, and from what is taken from both pairs. */
#define OF_FIRST(i, k, S, W) (PLACE(i, k, S, W) < 32 ? PLACE(i, k, S, W) : 0)
#define OF_NEXT(i, k, S, W) (PLACE(i, k, S, W) < 32 ? 0 : PLACE(i, k, S, W) - 32)
#define OF_PAIRS(i, k, S, W) (PLACE(i, k, S, W) < 32 ? (i) : 16 + (i))
#define EACH(index, ...)                                                                                               \
    index(0, __VA_ARGS__), index(1, __VA_ARGS__), index(2, __VA_ARGS__), index(3, __VA_ARGS__), index(4, __VA_ARGS__), \
        index(5, __VA_ARGS__), index(6, __VA_ARGS__), index(7, __VA_ARGS__), index(8, __VA_ARGS__),                    \
        index(9, __VA_ARGS__), index(10, __VA_ARGS__), index(11, __VA_ARGS__), index(12, __VA_ARGS__),                 \
        index(13, __VA_ARGS__), index(14, __VA_ARGS__), index(15, __VA_ARGS__)
#define FIRST(k, S, W) __builtin_shufflevector(v[0], v[1], EACH(OF_FIRST, k, S, W))
#define NEXT(k, S, W) __builtin_shufflevector(v[2], v[S - 1], EACH(OF_NEXT, k, S, W))
#define PLANE(k, S, W)                                                                                                 \
    store(to + k * plane_bytes,                                                                                        \
          S == 2 ? FIRST(k, S, W) : __builtin_shufflevector(FIRST(k, S, W), NEXT(k, S, W), EACH(OF_PAIRS, k, S, W)))
#define PLANES_2(W) PLANE(0, 2, W), PLANE(1, 2, W)
#define PLANES_3(W) PLANE(0, 3, W), PLANE(1, 3, W), PLANE(2, 3, W)
#define PLANES_4(W) PLANE(0, 4, W), PLANE(1, 4, W), PLANE(2, 4, W), PLANE(3, 4, W)

/* Returns how many pixels are done: a few at the end are left. */
#define SPLIT(S, W)                                                                                                    \
    TARGET static size_t split_##S##_##W(const uint8_t *pixels, size_t count, uint8_t *planes, size_t plane_bytes)     \
    {                                                                                                                  \
        size_t at = 0;                                                                                                 \
        for (; at + 16 / W <= count; at += 16 / W) {                                                                   \
            uint8_t *to = planes + at * W;                                                                             \
            vector v[4] = {{0}};                                                                                       \
            memcpy(v, pixels + at * S * W, S * sizeof *v);                                                             \
            PLANES_##S(W);                                                                                             \
        }                                                                                                              \
        return at;                                                                                                     \
    }
#define SPLITS(W) SPLIT(2, W) SPLIT(3, W) SPLIT(4, W)
SPLITS(1)
SPLITS(2)
SPLITS(4)
SPLITS(8)

typedef size_t split_of_pixels(const uint8_t *pixels, size_t count, uint8_t *planes, size_t plane_bytes);

static split_of_pixels *choose(size_t samples, size_t width)
{
#define CHOICES(W) {split_2_##W, split_3_##W, split_4_##W}
    static split_of_pixels *const choices[][3] = {CHOICES(1), CHOICES(2), CHOICES(4), CHOICES(8)};
    if (samples < 2 || samples > 4) return NULL;
    return choices[width == 1 ? 0 : width == 2 ? 1 : width == 4 ? 2 : 3][samples - 2];
}

/* Bytes of two vectors by turns, W at a time: from the first halves of both, or from the second ones. */
#define BY_TURNS(i, half, W) ((i) / (W) % 2 * 16 + (half) * 8 + (i) / (W) / 2 * (W) + (i) % (W))
#define UNROLL _Pragma("GCC unroll 16")

/* Of as many pixels as a vector has samples, as many planes, or a few of them. When halves have taken turns until each
 * sample has met each other one, rows are columns. */
#define TURN(W)                                                                                                            TARGET static void turn_##W(                                                                                               const uint8_t *pixels, size_t pixel_bytes, uint8_t *planes, size_t plane_bytes, size_t wanted)                     {                                                                                                                          vector v[16 / W], turned[16 / W];                                                                                      UNROLL for (size_t i = 0; i < 16 / W; i++) v[i] = load(pixels + i * pixel_bytes);                                      UNROLL for (size_t step = 1; step < 16 / W; step *= 2)                                                                 {                                                                                                                          UNROLL for (size_t i = 0; i < 8 / W; i++)                                                                              {                                                                                                                          turned[2 * i] = __builtin_shufflevector(v[i], v[i + 8 / W], EACH(BY_TURNS, 0, W));                                     turned[2 * i + 1] = __builtin_shufflevector(v[i], v[i + 8 / W], EACH(BY_TURNS, 1, W));                             }                                                                                                                      memcpy(v, turned, sizeof v);                                                                                       }                                                                                                                      for (size_t k = 0; k < wanted; k++) store(planes + k * plane_bytes, v[k]);                                         }
TURN(1)
TURN(2)
TURN(4)
TURN(8)

typedef void turn_of_pixels(
    const uint8_t *pixels, size_t pixel_bytes, uint8_t *planes, size_t plane_bytes, size_t wanted);

/* Returns how many pixels are done: a few at the end are left, where a vector would go beyond the last one. */
static size_t turn_all(
    const uint8_t *pixels, size_t count, size_t samples, size_t width, uint8_t *planes, size_t plane_bytes)
{
    turn_of_pixels *turn = width == 1 ? turn_1 : width == 2 ? turn_2 : width == 4 ? turn_4 : turn_8;
    const size_t side = 16 / width, pixel_bytes = samples * width, wanted = samples < side ? samples : side;
    const size_t beyond = (16 + pixel_bytes - 1) / pixel_bytes - 1; /* pixels that the vector of the one before them has */
    const size_t all = count > beyond ? (count - beyond) / side * side : 0;
    for (size_t start = 0, end; start < all; start = end) {
        end = all - start < STRETCH ? all : start + STRETCH;
        for (size_t k = 0; k < samples; k += side) {
            const size_t from = k + wanted > samples ? samples - wanted : k; /* some may be written twice */
            for (size_t at = start; at < end; at += side)
                turn(pixels + at * pixel_bytes + from * width, pixel_bytes, planes + from * plane_bytes + at * width,
                     plane_bytes, wanted);
        }
    }
    return all;
}

#define GATHER(W)                                                                                                      \
    for (size_t i = 0; i < count; i++) memcpy(to + i * W, from + i * pixel_bytes, W);                                  \
    break

/* One plane of some pixels. */
static void gather(const uint8_t *from, size_t count, size_t pixel_bytes, size_t width, uint8_t *to)
{
    switch (width) {
    case 1: GATHER(1);
    case 2: GATHER(2);
    case 4: GATHER(4);
    case 8: GATHER(8);
    default: GATHER(width);
    }
}

/* Write pixels of some samples, which have `width` bytes each, sample by sample: planes begin `plane_bytes` apart. */
EXPORT void virtual_tiff_planes(
    const uint8_t *pixels, size_t count, size_t samples, size_t width, uint8_t *planes, size_t plane_bytes)
{
    size_t at = 0;
    if (width == 1 || width == 2 || width == 4 || width == 8) {
        split_of_pixels *split = choose(samples, width);
        at = split ? split(pixels, count, planes, plane_bytes)
                   : turn_all(pixels, count, samples, width, planes, plane_bytes);
    }
    for (size_t pixel_bytes = samples * width; at < count; at += STRETCH) {
        size_t most = count - at < STRETCH ? count - at : STRETCH;
        for (size_t k = 0; k < samples; k++)
            gather(pixels + at * pixel_bytes + k * width, most, pixel_bytes, width, planes + k * plane_bytes + at * width);
    }
}
