/* Running sums within rows of bytes: one copy of these functions for each instruction set, for which the including
 * file defines
 *
 *     NAME(name)  the name of a type or function in this copy
 *     TARGET      the attribute that lets functions use the instructions
 *     LANES       how many rows, each in a lane of 16 bytes of a vector, are summed up at once
 *
 * Within a lane, sums grow by steps of D, 2 D, 4 D, ... bytes; the last D bytes of the result are the start of the next
 * one. Shuffles need their indices at compile time, hence a function for each distance. */

typedef uint8_t NAME(lanes8) __attribute__((vector_size(16 * LANES)));
typedef uint16_t NAME(lanes16) __attribute__((vector_size(16 * LANES)));
typedef uint32_t NAME(lanes32) __attribute__((vector_size(16 * LANES)));
typedef uint64_t NAME(lanes64) __attribute__((vector_size(16 * LANES)));

#if LANES == 2
#define EACH(index, x) EACH_OF_LANE(index, x, 0), EACH_OF_LANE(index, x, 16)
#define LOAD(row, stride) __builtin_shufflevector(load(row), load((row) + (stride)), FIRST_16, SECOND_16)
#define STORE(row, stride, v)                                                                                          \
    (store(row, __builtin_shufflevector(v, v, FIRST_16)), store((row) + (stride), __builtin_shufflevector(v, v, SECOND_16)))
#else
#define EACH(index, x) EACH_OF_LANE(index, x, 0)
#define LOAD(row, stride) load(row)
#define STORE(row, stride, v) store(row, v)
#endif
#define LANES_8(v) ((NAME(lanes8))(v))

/* The bytes of each lane moved up by n places, behind zeros. */
#define UP_INDEX(n, i, lane) (lane) + ((i) < (n) ? 16 : 16 * LANES) + (i) - (n)
#define UP(v, n) __builtin_shufflevector(LANES_8((NAME(lanes8)){0}), LANES_8(v), EACH(UP_INDEX, n))
/* The last n bytes of each lane again and again. */
#define LAST_INDEX(n, i, lane) (lane) + 16 - (n) + (i) % (n)
#define LAST(v, n) __builtin_shufflevector(LANES_8(v), LANES_8(v), EACH(LAST_INDEX, n))
/* The bytes of each sample the other way round. */
#define TURNED_INDEX(width, i, lane) (lane) + ((i) / (width) + 1) * (width) - 1 - (i) % (width)
#define BIG_LANES(v, width) __builtin_shufflevector(v, v, EACH(TURNED_INDEX, (int)(width)))
#define BIG_SAMPLE(s, width)                                                                                           \
    ((width) == 2 ? __builtin_bswap16((uint16_t)(s))                                                                   \
                  : (width) == 4 ? __builtin_bswap32((uint32_t)(s)) : __builtin_bswap64(s))
#define LITTLE_LANES(v, width) (v)
#define LITTLE_SAMPLE(s, width) (s)

#define STEP(V, v, n)                                                                                                  \
    if ((n) < 16) v += (V)UP(v, ((n) < 16 ? (n) : 16))

/* D: bytes between the samples of a sum, less than 16; ORDER: how the bytes of samples T are read. */
#define SUMS(name, V, T, D, ORDER)                                                                                     \
    TARGET static void NAME(name##_##D)(uint8_t *row, size_t stride, size_t size, size_t distance)                     \
    {                                                                                                                  \
        V carry = {0};                                                                                                 \
        size_t at = 0;                                                                                                 \
        for (; at + 16 <= size; at += 16) {                                                                            \
            V v = (V)ORDER##_LANES(LOAD(row + at, stride), sizeof(T));                                                 \
            STEP(V, v, D);                                                                                             \
            STEP(V, v, 2 * D);                                                                                         \
            STEP(V, v, 4 * D);                                                                                         \
            STEP(V, v, 8 * D);                                                                                         \
            v += carry;                                                                                                \
            STORE(row + at, stride, LANES_8(v));                                                                       \
            carry = (V)LAST(v, D);                                                                                     \
        }                                                                                                              \
        for (size_t lane = 0; lane < LANES; lane++) NAME(name##_rest)(row + lane * stride, at, size, distance);        \
    }

/* The samples from `at` on, one after the other. */
#define SUMS_REST(name, T, ORDER)                                                                                      \
    static void NAME(name##_rest)(uint8_t *row, size_t at, size_t size, size_t distance)                               \
    {                                                                                                                  \
        for (; at + sizeof(T) <= size; at += sizeof(T)) {                                                              \
            T sample, before = 0;                                                                                      \
            memcpy(&sample, row + at, sizeof(T));                                                                      \
            if (at >= distance) memcpy(&before, row + at - distance, sizeof(T));                                       \
            sample = (T)(ORDER##_SAMPLE(sample, sizeof(T)) + before);                                                  \
            memcpy(row + at, &sample, sizeof(T));                                                                      \
        }                                                                                                              \
    }

/* Distances of 16 bytes and more: vectors are added to vectors before them. */
#define SUMS_FAR(name, V, T, ORDER)                                                                                    \
    TARGET static void NAME(name##_far)(uint8_t *row, size_t stride, size_t size, size_t distance)                     \
    {                                                                                                                  \
        size_t first = distance < size ? distance : size, at = first;                                                  \
        for (size_t lane = 0; lane < LANES; lane++) NAME(name##_rest)(row + lane * stride, 0, first, distance);        \
        for (; at + 16 <= size; at += 16) {                                                                            \
            V v = (V)ORDER##_LANES(LOAD(row + at, stride), sizeof(T)) + (V)LOAD(row + at - distance, stride);          \
            STORE(row + at, stride, LANES_8(v));                                                                       \
        }                                                                                                              \
        for (size_t lane = 0; lane < LANES; lane++) NAME(name##_rest)(row + lane * stride, at, size, distance);        \
    }

/* All distances below 16, by the bits of a sample. */
#define OF_8(ONE)                                                                                                      \
    ONE(8, 1) ONE(8, 2) ONE(8, 3) ONE(8, 4) ONE(8, 5) ONE(8, 6) ONE(8, 7) ONE(8, 8) ONE(8, 9) ONE(8, 10) ONE(8, 11)    \
        ONE(8, 12) ONE(8, 13) ONE(8, 14) ONE(8, 15)
#define OF_16(ONE) ONE(16, 2) ONE(16, 4) ONE(16, 6) ONE(16, 8) ONE(16, 10) ONE(16, 12) ONE(16, 14)
#define OF_32(ONE) ONE(32, 4) ONE(32, 8) ONE(32, 12)
#define OF_64(ONE) ONE(64, 8)

#define LITTLE_SUMS(bits, D) SUMS(little##bits, NAME(lanes##bits), uint##bits##_t, D, LITTLE)
#define BIG_SUMS(bits, D) SUMS(big##bits, NAME(lanes##bits), uint##bits##_t, D, BIG)
#define ALL_SUMS(bits, name, ORDER, ONE)                                                                               \
    SUMS_REST(name##bits, uint##bits##_t, ORDER)                                                                       \
    OF_##bits(ONE) SUMS_FAR(name##bits, NAME(lanes##bits), uint##bits##_t, ORDER)
ALL_SUMS(8, little, LITTLE, LITTLE_SUMS)
ALL_SUMS(16, little, LITTLE, LITTLE_SUMS)
ALL_SUMS(32, little, LITTLE, LITTLE_SUMS)
ALL_SUMS(64, little, LITTLE, LITTLE_SUMS)
ALL_SUMS(16, big, BIG, BIG_SUMS)
ALL_SUMS(32, big, BIG, BIG_SUMS)
ALL_SUMS(64, big, BIG, BIG_SUMS)

/* Return what sums up samples of so many bytes, or NULL. */
static sums_of_rows *NAME(choose)(size_t width, size_t distance, int big)
{
#define LITTLE_CASE(bits, D)                                                                                           \
    if (!big && width == bits / 8 && distance == D) return NAME(little##bits##_##D);
#define BIG_CASE(bits, D)                                                                                              \
    if (big && width == bits / 8 && distance == D) return NAME(big##bits##_##D);
    OF_8(LITTLE_CASE)
    OF_16(LITTLE_CASE)
    OF_32(LITTLE_CASE)
    OF_64(LITTLE_CASE)
    OF_16(BIG_CASE)
    OF_32(BIG_CASE)
    OF_64(BIG_CASE)
    if (distance < 16 || distance % (width ? width : 1)) return NULL;
    switch (width) {
    case 1: return NAME(little8_far);
    case 2: return big ? NAME(big16_far) : NAME(little16_far);
    case 4: return big ? NAME(big32_far) : NAME(little32_far);
    case 8: return big ? NAME(big64_far) : NAME(little64_far);
    default: return NULL;
    }
}

/* The bytes of the first or last halves of a's lanes, each followed by that of b. */
#define LOW_INDEX(from, i, lane) (lane) + (from) + (i) / 2 + (i) % 2 * 16 * LANES
#define LOW(a, b) __builtin_shufflevector(a, b, EACH(LOW_INDEX, 0))
#define HIGH(a, b) __builtin_shufflevector(a, b, EACH(LOW_INDEX, 8))

/* Samples of W bytes, whose planes are `count` bytes long: the planes that are half of them apart are put together,
 * until there is one left. Returns how many samples that was. */
#define JOIN(W)                                                                                                        \
    TARGET static size_t NAME(join_##W)(const uint8_t *planes, uint8_t *out, size_t count)                             \
    {                                                                                                                  \
        size_t at = 0;                                                                                                 \
        for (; at + 16 * LANES <= count; at += 16 * LANES, out += 16 * LANES * W) {                                    \
            NAME(lanes8) v[W], joined[W];                                                                              \
            UNROLL for (size_t i = 0; i < W; i++) v[i] = LOAD(planes + (W - 1 - i) * count + at, 16);                  \
            UNROLL for (size_t left = W; left > 1; left /= 2) {                                                        \
                UNROLL for (size_t i = 0; i < W / 2; i++) {                                                            \
                    joined[2 * i] = LOW(v[i], v[i + W / 2]);                                                           \
                    joined[2 * i + 1] = HIGH(v[i], v[i + W / 2]);                                                      \
                }                                                                                                      \
                UNROLL for (size_t i = 0; i < W; i++) v[i] = joined[i];                                                \
            }                                                                                                          \
            UNROLL for (size_t i = 0; i < W; i++) STORE(out + 16 * i, 16 * W, v[i]);                                   \
        }                                                                                                              \
        return at;                                                                                                     \
    }
JOIN(2)
JOIN(4)
JOIN(8)

/* Put samples of `width` bytes together from planes of `count` bytes each, the most significant ones first. */
static void NAME(join)(const uint8_t *planes, uint8_t *out, size_t count, size_t width)
{
    size_t at = width == 2   ? NAME(join_2)(planes, out, count)
                : width == 4 ? NAME(join_4)(planes, out, count)
                : width == 8 ? NAME(join_8)(planes, out, count)
                             : 0;
    for (out += at * width; at < count; at++, out += width)
        for (size_t i = 0; i < width; i++) out[i] = planes[(width - 1 - i) * count + at];
}

#undef NAME
#undef TARGET
#undef LANES
#undef EACH
#undef LOAD
#undef STORE
#undef LANES_8
#undef UP_INDEX
#undef UP
#undef LAST_INDEX
#undef LAST
#undef TURNED_INDEX
#undef BIG_LANES
#undef BIG_SAMPLE
#undef LITTLE_LANES
#undef LITTLE_SAMPLE
#undef STEP
#undef SUMS
#undef SUMS_REST
#undef SUMS_FAR
#undef OF_8
#undef OF_16
#undef OF_32
#undef OF_64
#undef LITTLE_SUMS
#undef BIG_SUMS
#undef ALL_SUMS
#undef LITTLE_CASE
#undef BIG_CASE
#undef LOW_INDEX
#undef LOW
#undef HIGH
#undef JOIN
