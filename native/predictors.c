/* Undo the predictors of TIFF 6, section 14, of TIFF Technical Note 3 and of DNG 1.7.
 *
 * `virtual_tiff.codecs.predictor` says what they are, and does the same where these kernels are not compiled. */

#include "kernels.h"

/* Loops over a few vectors, which then stay in registers. */
#define UNROLL _Pragma("GCC unroll 8")

/* The first row stands at `row`, the next one `stride` bytes on, if the function is for two. */
typedef void sums_of_rows(uint8_t *row, size_t stride, size_t size, size_t distance);

#define FIRST_16 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
#define SECOND_16 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
#define EACH_OF_LANE(index, x, lane)                                                                                   \
    index(x, 0, lane), index(x, 1, lane), index(x, 2, lane), index(x, 3, lane), index(x, 4, lane), index(x, 5, lane),  \
        index(x, 6, lane), index(x, 7, lane), index(x, 8, lane), index(x, 9, lane), index(x, 10, lane),                \
        index(x, 11, lane), index(x, 12, lane), index(x, 13, lane), index(x, 14, lane), index(x, 15, lane)

#ifdef __x86_64__
#define NAME(name) name##_single
#define TARGET __attribute__((target("ssse3")))
#define LANES 1
#include "sums.h"
#define NAME(name) name##_double
#define TARGET __attribute__((target("avx2")))
#define LANES 2
#include "sums.h"
#define USABLE __builtin_cpu_supports("ssse3")
#define DOUBLE __builtin_cpu_supports("avx2")
#else
#define NAME(name) name##_single
#define TARGET
#define LANES 1
#include "sums.h"
#define choose_double choose_single
#define join_double join_single
#define USABLE 1
#define DOUBLE 0
#endif

/* The version of the parameters of all kernels, or 0 on a processor that cannot run them. */
EXPORT int virtual_tiff_kernels(void)
{
    return USABLE ? 5 : 0;
}

/* Replace each sample of `width` bytes by the sum of itself and those that lie a multiple of `distance` bytes before it
 * in its row; `big` says that samples are big-endian, those that are returned never are. Returns 0, and has changed
 * nothing, for a width or distance that it does not know. */
EXPORT int virtual_tiff_horizontal(uint8_t *rows, size_t count, size_t row_bytes, size_t width, size_t distance, int big)
{
    sums_of_rows *one = choose_single(width, distance, big);
    if (!one) return 0;
    if (DOUBLE) {
        sums_of_rows *two = choose_double(width, distance, big);
        for (; count >= 2; count -= 2, rows += 2 * row_bytes) two(rows, row_bytes, row_bytes, distance);
    }
    for (; count; count--, rows += row_bytes) one(rows, row_bytes, row_bytes, distance);
    return 1;
}

/* Sum up the bytes of each row likewise, in place, and put samples of `width` bytes together from its planes. */
EXPORT int virtual_tiff_floating_point(
    uint8_t *rows, uint8_t *out, size_t count, size_t row_bytes, size_t width, size_t distance)
{
    if (!width || row_bytes % width || !choose_single(1, distance, 0)) return 0;
    for (size_t done; count; count -= done, rows += done * row_bytes, out += done * row_bytes) {
        done = count < 2 ? 1 : 2; /* which stay in the nearest cache */
        virtual_tiff_horizontal(rows, done, row_bytes, 1, distance, 0);
        for (size_t i = 0; i < done; i++)
            (DOUBLE ? join_double : join_single)(rows + i * row_bytes, out + i * row_bytes, row_bytes / width, width);
    }
    return 1;
}
