/* What all kernels need. They are called by `virtual_tiff.codecs.compiled`, which checks what it passes; nothing but the
 * memory that is passed is touched, and nothing is kept. */

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

EXPORT int virtual_tiff_kernels(void);
EXPORT int virtual_tiff_horizontal(uint8_t *rows, size_t count, size_t row_bytes, size_t width, size_t distance, int big);
EXPORT int virtual_tiff_floating_point(
    uint8_t *rows, uint8_t *out, size_t count, size_t row_bytes, size_t width, size_t distance);
EXPORT int virtual_tiff_bits(const uint8_t *packed, uint8_t *out, size_t rows, size_t row_bytes, size_t count,
                             size_t bits, size_t width, int is_signed);

#endif
