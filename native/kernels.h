/* What all kernels need. They are called by `virtual_tiff.codecs.compiled`, which checks what it passes. Kernels
 * touch nothing but the memory that is passed; `segments.c`, `jpeg.c`, `workers.c` and `processors.c` keep state. */

#ifndef VIRTUAL_TIFF_KERNELS_H
#define VIRTUAL_TIFF_KERNELS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "for processors that are little-endian, and compilers that know the vectors of GCC"
#endif
#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

typedef uint8_t vector __attribute__((vector_size(16)));

static inline __attribute__((always_inline)) vector load(const uint8_t *from)
{
    vector v;
    memcpy(&v, from, sizeof v);
    return v;
}

static inline __attribute__((always_inline)) void store(uint8_t *to, vector v)
{
    memcpy(to, &v, sizeof v);
}

/* The next bits of a stream, the first one in front; zeros behind its end. */
static inline uint64_t eight_bytes(const uint8_t *from, size_t left)
{
    uint64_t bytes = 0;
    if (__builtin_expect(left >= 8, 1))
        memcpy(&bytes, from, 8);
    else
        for (size_t i = 0; i < left; i++) bytes |= (uint64_t)from[i] << 8 * i;
    return __builtin_bswap64(bytes);
}

EXPORT int virtual_tiff_kernels(void);
EXPORT int virtual_tiff_horizontal(uint8_t *rows, size_t count, size_t row_bytes, size_t width, size_t distance, int big);
EXPORT int virtual_tiff_floating_point(
    uint8_t *rows, uint8_t *out, size_t count, size_t row_bytes, size_t width, size_t distance);
EXPORT void virtual_tiff_planes(
    const uint8_t *pixels, size_t count, size_t samples, size_t width, uint8_t *planes, size_t plane_bytes);
EXPORT int virtual_tiff_bits(const uint8_t *packed, uint8_t *out, size_t rows, size_t row_bytes, size_t count,
                             size_t bits, size_t width, int is_signed);

/* How the segments of an array are decoded; numbers are those of TIFF tags. */
typedef struct {
    size_t rows, row_bytes;
    size_t width, distance; /* of the predictor, in bytes */
    const uint8_t *tables; /* of JPEG, what its streams lack */
    size_t tables_size;
    uint32_t compression, predictor, big;
    uint32_t samples, in_planes; /* of a pixel, and whether they are taken apart */
    uint32_t is_ycbcr; /* of JPEG */
} recipe;

enum { PICTURE_ROWS = 16 }; /* those that are decoded before they are taken apart */

/* A line of jobs, whose results somebody waits for. */
typedef struct line line;

void tools_forked(void);
void remember_processors(void);
int present_processor(void);
void leave_processor(int processor);
int lzw(const uint8_t *encoded, size_t size, uint8_t *out, size_t expected);
int use_jpeg(void *const functions[8]);
int jpeg(const recipe *how, const uint8_t *encoded, size_t size, uint8_t *out, uint8_t *some_rows);
EXPORT int virtual_tiff_libraries(void *const functions[12]);
EXPORT int virtual_tiff_segment(const recipe *how, const uint8_t *encoded, size_t size, uint8_t *out);

EXPORT int virtual_tiff_start(size_t threads);
EXPORT void virtual_tiff_stop(void);
EXPORT void virtual_tiff_forked(void);
EXPORT line *virtual_tiff_open(void);
EXPORT int virtual_tiff_signal(const line *of);
EXPORT int virtual_tiff_submit(
    line *on, uint64_t number, const recipe *how, const uint8_t *encoded, size_t size, uint8_t *out);
EXPORT int virtual_tiff_help(line *of, size_t spared);
EXPORT int virtual_tiff_drop(line *of, uint64_t number);
EXPORT size_t virtual_tiff_collect(line *from, uint64_t *numbers, int *decoded, size_t most);
EXPORT void virtual_tiff_close(line *closed);

#endif
