/* Decode a segment in one call: a picture of JPEG, or a stream, whose predictor is undone.
 *
 * `virtual_tiff.codecs.direct` says which segments these are. Whatever is unusual about one is left to the decoders of
 * Python, which know what to make of it. */

#include "kernels.h"
#include <pthread.h>
#include <stdlib.h>

enum { LZW = 5, JPEG = 7, DEFLATE = 8, ZSTD = 50000, HORIZONTAL = 2, FLOATING_POINT = 3 };
static const size_t MOST_SCRATCH = 1 << 24;

/* Of libdeflate and of libzstd, which the process has loaded; NULL when it has not. Of libjpeg `jpeg.c` knows. */
static struct {
    void *(*new_inflater)(void);
    int (*inflate)(void *inflater, const void *encoded, size_t size, void *out, size_t most, size_t *written);
    void *(*new_unzstd)(void);
    size_t (*unzstd)(void *unzstd, void *out, size_t most, const void *encoded, size_t size);
} library;

/* What decoding a segment needs, for one thread at a time. */
typedef struct tools {
    struct tools *next;
    void *inflater, *unzstd;
    uint8_t *scratch;
    size_t scratch_size;
} tools;

static pthread_mutex_t tools_lock = PTHREAD_MUTEX_INITIALIZER;
static tools *idle_tools;

static tools *take_tools(void)
{
    pthread_mutex_lock(&tools_lock);
    tools *taken = idle_tools;
    if (taken) idle_tools = taken->next;
    pthread_mutex_unlock(&tools_lock);
    return taken ? taken : calloc(1, sizeof *taken);
}

static void put_tools_back(tools *used)
{
    pthread_mutex_lock(&tools_lock);
    used->next = idle_tools;
    idle_tools = used;
    pthread_mutex_unlock(&tools_lock);
}

/* In a process that was forked while another thread held the lock; what that thread had taken is lost. */
void tools_forked(void)
{
    tools_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    idle_tools = NULL;
}

/* Decompress by these functions, NULL where there is no library; return whether JPEG is decoded by those of libjpeg. */
EXPORT int virtual_tiff_libraries(void *const functions[12])
{
    memcpy(&library, functions, sizeof library);
    return use_jpeg(functions + sizeof library / sizeof *functions);
}

static int decompress(tools *with, uint32_t compression, const uint8_t *encoded, size_t size, uint8_t *out, size_t expected)
{
    size_t written = 0;
    switch (compression) {
    case LZW: return lzw(encoded, size, out, expected);
    case DEFLATE:
        if (!library.inflate) return 0;
        if (!with->inflater) with->inflater = library.new_inflater();
        return with->inflater && library.inflate(with->inflater, encoded, size, out, expected, &written) == 0 &&
               written == expected;
    case ZSTD:
        if (!library.unzstd) return 0;
        if (!with->unzstd) with->unzstd = library.new_unzstd();
        /* errors are numbers that no size reaches */
        return with->unzstd && library.unzstd(with->unzstd, out, expected, encoded, size) == expected;
    default: return 0;
    }
}

/* Return memory to decompress into, which grows but for large segments, or NULL. */
static uint8_t *scratch_of(tools *with, size_t size)
{
    if (with->scratch_size < size) {
        free(with->scratch);
        with->scratch = malloc(size);
        with->scratch_size = with->scratch ? size : 0;
    }
    return with->scratch;
}

static int decode_stream(tools *with, const recipe *how, const uint8_t *encoded, size_t size, uint8_t *out)
{
    const size_t rows = how->rows, row_bytes = how->row_bytes, expected = rows * row_bytes, width = how->width;
    const int is_floating = how->predictor == FLOATING_POINT, in_planes = how->in_planes != 0;
    if (!is_floating && how->predictor != HORIZONTAL && how->predictor != 1) return 0;
    uint8_t *decoded = out, *samples = out;
    if (is_floating || in_planes) {
        if (expected > SIZE_MAX / 2) return 0;
        samples = decoded = scratch_of(with, is_floating && in_planes ? 2 * expected : expected);
        if (!decoded) return 0;
    }
    if (!decompress(with, how->compression, encoded, size, decoded, expected)) return 0;
    if (is_floating) {
        samples = in_planes ? decoded + expected : out;
        if (!virtual_tiff_floating_point(decoded, samples, rows, row_bytes, width, how->distance)) return 0;
    }
    const size_t planes = in_planes ? how->samples : 1;
    if (in_planes)
        virtual_tiff_planes(samples, expected / (planes * width), planes, width, out, expected / planes);
    /* sums of one sample after the other are the quickest: rows are those of planes by now */
    return how->predictor != HORIZONTAL || virtual_tiff_horizontal(out, rows * planes, row_bytes / planes, width,
                                                                   how->distance / planes, (int)how->big);
}

static int decode(tools *with, const recipe *how, const uint8_t *encoded, size_t size, uint8_t *out)
{
    if (how->compression != JPEG) return decode_stream(with, how, encoded, size, out);
    uint8_t *some_rows = NULL;
    if (how->in_planes) {
        some_rows = how->row_bytes > SIZE_MAX / PICTURE_ROWS ? NULL : scratch_of(with, PICTURE_ROWS * how->row_bytes);
        if (!some_rows) return 0;
    }
    return jpeg(how, encoded, size, out, some_rows);
}

/* Return whether the segment is decoded, to rows * row_bytes bytes; if not, what is in `out` means nothing. */
EXPORT int virtual_tiff_segment(const recipe *how, const uint8_t *encoded, size_t size, uint8_t *out)
{
    tools *with = take_tools();
    if (!with) return 0;
    int decoded = decode(with, how, encoded, size, out);
    if (with->scratch_size > MOST_SCRATCH) {
        free(with->scratch);
        with->scratch = NULL, with->scratch_size = 0;
    }
    put_tools_back(with);
    return decoded;
}
