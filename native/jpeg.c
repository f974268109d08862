/* Decode JPEG by the libjpeg that the process has loaded: whole, undamaged pictures of 8 bits only.
 *
 * Whatever libjpeg objects to, or only warns of, is left to more patient decoders. */

#include "kernels.h"
#include <setjmp.h>

enum { VERSION = 80, GRAY = 1, RGB = 2, YCBCR = 3, TABLES_ONLY = 2, HEADER = 1 };
enum { BASELINE = 0xC0, PROGRESSIVE = 0xC2, HUFFMAN_TABLES = 0xC4, START = 0xD8, SCAN = 0xDA, FILL = 0xFF };

/* The beginnings of libjpeg's structures, as its interface number 8 has them for processors of 64 bits; libjpeg itself
 * refuses to work with structures of another size or number. */
typedef struct decoder decoder;
typedef struct {
    void (*give_up)(decoder *);
    void (*say)(decoder *, int level);
    uint64_t others[64];
} reporter;

struct decoder {
    reporter *reports;
    void *memory, *progress, *client;
    int is_decoder, state;
    void *source;
    uint32_t width, height;
    int components, color, out_color;
    uint32_t scale[2];
    double gamma;
    int options[12];
    uint32_t out_width, out_height;
    int out_colors, out_components, advised_rows, map_colors;
    void *map;
    uint32_t next_row;
    uint8_t others[484];
};

#if UINTPTR_MAX == UINT64_MAX && !defined(_WIN32)
_Static_assert(sizeof(decoder) == 656, "the size that libjpeg expects");
_Static_assert(offsetof(decoder, color) == 60 && offsetof(decoder, out_width) == 136 && offsetof(decoder, next_row) == 168,
               "the places of libjpeg's fields");

typedef struct {
    reporter *(*defaults)(reporter *);
    void (*make)(decoder *, int version, size_t size);
    void (*read_from)(decoder *, const uint8_t *encoded, unsigned long size);
    int (*read_header)(decoder *, int is_picture);
    int (*start)(decoder *);
    uint32_t (*read_rows)(decoder *, uint8_t **rows, uint32_t most);
    int (*finish)(decoder *);
    void (*destroy)(decoder *);
} libjpeg;

static libjpeg library;

typedef struct {
    decoder decoder;
    reporter reports;
    jmp_buf failed;
    int has_all_rows;
} attempt;

static void give_up(decoder *of)
{
    longjmp(((attempt *)of->client)->failed, 1);
}

/* Warnings have negative levels: something is wrong with the stream, and libjpeg would make up what it lacks. What is
 * wrong behind the last row, such as an end that is missing, does not matter. */
static void say(decoder *of, int level)
{
    if (level < 0 && !((attempt *)of->client)->has_all_rows) give_up(of);
}

static uint32_t two_bytes(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

/* Return whether a stream begins with the headers of such a picture: baseline or progressive, of 8 bits, full size. */
static int is_plain(const recipe *how, const uint8_t *stream, size_t size)
{
    if (size < 2 || two_bytes(stream) != (0xFF00 | START)) return 0;
    for (size_t at = 2, length; at + 4 <= size && stream[at] == 0xFF; at += 2 + length) {
        const uint8_t marker = stream[at + 1], *body = stream + at + 4;
        length = two_bytes(stream + at + 2);
        if (length < 2 || at + 2 + length > size || marker == FILL) return 0;
        if (marker > SCAN || marker == HUFFMAN_TABLES) continue;
        if (marker < BASELINE || marker > PROGRESSIVE || length != 8 + 3 * how->samples) return 0;
        if (body[0] != 8 || body[5] != how->samples) return 0;
        if (two_bytes(body + 1) != how->rows || two_bytes(body + 3) * (size_t)how->samples != how->row_bytes) return 0;
        int is_subsampled = 0;
        for (size_t i = 0; i < how->samples; i++) is_subsampled |= body[7 + 3 * i] != 0x11;
        /* of other streams that are subsampled it is the stream that decides about colour */
        return how->samples == 1 || how->is_ycbcr || !is_subsampled;
    }
    return 0;
}

/* Read the next rows, to where they belong or, in planes, by way of `some_rows`. */
static uint32_t read_rows(const libjpeg *by, decoder *of, const recipe *how, uint8_t *out, uint8_t *some_rows)
{
    uint8_t *rows[PICTURE_ROWS];
    const size_t first = of->next_row, columns = of->out_width;
    uint32_t count = of->out_height - of->next_row;
    if (count > PICTURE_ROWS) count = PICTURE_ROWS;
    for (uint32_t i = 0; i < count; i++)
        rows[i] = how->in_planes ? some_rows + i * how->row_bytes : out + (first + i) * how->row_bytes;
    count = by->read_rows(of, rows, count);
    if (how->in_planes)
        virtual_tiff_planes(some_rows, count * columns, how->samples, 1, out + first * columns, how->rows * columns);
    return count;
}

static int decode(const libjpeg *by, attempt *this, const recipe *how, const uint8_t *encoded, size_t size, uint8_t *out,
                  uint8_t *some_rows)
{
    decoder *of = &this->decoder;
    if (how->tables_size) {
        by->read_from(of, how->tables, how->tables_size);
        if (by->read_header(of, 0) != TABLES_ONLY) return 0;
    }
    by->read_from(of, encoded, size);
    if (by->read_header(of, 1) != HEADER) return 0;
    of->color = how->samples == 1 ? GRAY : how->is_ycbcr ? YCBCR : RGB;
    of->out_color = how->samples == 1 ? GRAY : RGB;
    by->start(of);
    if (of->out_width * (size_t)of->out_components != how->row_bytes || of->out_height != how->rows) return 0;
    while (of->next_row < of->out_height)
        if (!read_rows(by, of, how, out, some_rows)) return 0;
    this->has_all_rows = 1;
    return by->finish(of);
}

/* Return whether the segment is decoded; without one, whether there is a libjpeg that knows these structures. */
static int attempt_to(
    const libjpeg *by, const recipe *how, const uint8_t *encoded, size_t size, uint8_t *out, uint8_t *some_rows)
{
    attempt this;
    memset(&this.decoder, 0, sizeof this.decoder);
    this.decoder.reports = by->defaults(&this.reports);
    this.decoder.client = &this;
    this.reports.give_up = give_up;
    this.reports.say = say;
    this.has_all_rows = 0;
    volatile int is_decoded = 0;
    if (!setjmp(this.failed)) {
        by->make(&this.decoder, VERSION, sizeof this.decoder);
        is_decoded = !how || decode(by, &this, how, encoded, size, out, some_rows);
    }
    by->destroy(&this.decoder);
    return is_decoded;
}

/* Of a picture in planes, `some_rows` is memory for PICTURE_ROWS of its rows. */
int jpeg(const recipe *how, const uint8_t *encoded, size_t size, uint8_t *out, uint8_t *some_rows)
{
    return library.make && is_plain(how, encoded, size) && attempt_to(&library, how, encoded, size, out, some_rows);
}

/* Use a library, or none; return whether that can be done. */
int use_jpeg(void *const functions[8])
{
    libjpeg found;
    memcpy(&found, functions, sizeof found);
    if (found.make && !attempt_to(&found, NULL, NULL, 0, NULL, NULL)) memset(&found, 0, sizeof found);
    library = found;
    return found.make != NULL;
}
#else
int jpeg(const recipe *how, const uint8_t *encoded, size_t size, uint8_t *out, uint8_t *some_rows)
{
    (void)how, (void)encoded, (void)size, (void)out, (void)some_rows;
    return 0;
}

int use_jpeg(void *const functions[8])
{
    (void)functions;
    return 0;
}
#endif
