/* One pass of a GPT decoder over new tokens, written for the one thing that limits it: reading every weight once.

   `read_tokens` takes the tokens of any rows of a cache, several of one row too (then in order), writes their keys and values
   into the cache and the logits of those asked for. The result for a token does not depend, to the last bit, on which other
   tokens are read with it or on the number of threads: every sum is made in one order, or of integers.

   Weights are float32, bfloat16, or int8 with a scale for each output. What they are multiplied with is rounded to the same
   format just before, because processors multiply two small numbers faster than a large one: to bfloat16, or, for int8, to 8
   bits with a scale for each 64 numbers of a token. Everything else is float32.

   Compiled on first use by inference/compiled.py for the machine that it runs on; its twin in PyTorch is inference/decoding.py. */

#include "vectors.h"

#include <sched.h>
#include <stdatomic.h>
#ifdef _OPENMP
#include <omp.h>
#endif

/* Outputs of a matrix are packed by 64, block after block. In a block, words of 32 bits: for each word of the inputs the 64 that
   it is multiplied with, side by side, so that a thread reads one stream and no sum runs across lanes. A word is one float32, two
   bfloat16 or four int8 numbers, of inputs that follow each other; int8 weights have 128 added, as VNNI wants them. */
#define STEP (BLOCK * 4) /* bytes of weights for each word of the inputs */
#define PIECE 2    /* chunks of the inputs: 8 KiB of a block stay in the nearest cache while all rows are multiplied with them */
#define MOST 48    /* rows whose sums stay there too */
#define AHEAD 8192 /* bytes: less, and memory has not answered yet; int8 needs more than bfloat16 */
#define NEXT 2048  /* lines of the next matrix that are fetched while others are waited for, */
#define FIRST 64   /* and of these before */
#define OFFSET 128 /* added to int8 weights */
#define RUN 16     /* tokens of a text that attend together: what they all see comes near once */
#define QUERIES 4  /* and of these, whose means of the values stay in registers */
#define FEW 16     /* tokens that every thread makes ready for itself, which is less than waiting for one another */

#if defined(__clang__) || __GNUC__ >= 12 /* lanes of two vectors: 0 to 15 of the first, 16 to 31 of the second */
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(a, b, ...) __builtin_shuffle(a, b, (integers){__VA_ARGS__})
#endif

enum format { FLOAT32, BFLOAT16, INT8 };
enum ahead { NEVER, ONCE, AGAIN }; /* whether weights are fetched ahead, and are read more often than this once: else they need not push out others */

typedef struct {
    const void *weight;
    const float *scale; /* one for each output, 0 for those that fill the last block; for int8 only */
    const float *bias;  /* or null */
    int32_t inputs, outputs;
} Matrix;

typedef struct {
    const float *attention_norm, *feed_norm; /* channels weights, then channels biases */
    Matrix query_key_value, output, inner, outer;
} Layer;

typedef struct {
    int32_t layers, heads, channels, feed, vocabulary;
    int32_t norm_before, exact_gelu, scale_by_layer, format;
    float epsilon;
    const float *tokens, *positions, *norm;
    const Layer *layer;
    Matrix head;
} Network;

typedef struct {
    void *room; /* layers, keys and values, rows, heads, positions, head size; int8 numbers are followed by their scale, a float */
    int32_t rows, length, format;
} Cache;

typedef struct {
    int32_t count, wanted;
    const int64_t *token;
    const int32_t *row, *place;
    const int32_t *last; /* of those whose logits are wanted, in order: which token */
    float *logits;       /* wanted rows of outputs of the head, a multiple of BLOCK each */
} Batch;

/* --- Threads: one parallel region a pass, which all go through stage by stage. Of a stage's portions of work each has a share,
   side by side in memory; who is done with it takes from the others', so that one which is held up does not hold up the rest. */

typedef struct {
    atomic_int arrived, passed;
    atomic_int *taken; /* of each stage's shares how many portions */
    int threads;
} Team;

typedef struct {
    Team *team;
    int thread;
    int waits, stage; /* so far */
    int finished;     /* shares of this stage of which nothing is left */
} Worker;

static void begin_stage(Worker *worker) { worker->stage++, worker->finished = 0; }

static long share_of(int thread, int threads, long count) { return thread * count / threads; }

static int next_portion(Worker *worker, int count) { /* -1 when none is left */
    const int threads = worker->team->threads;
    for (; worker->finished < threads; worker->finished++) {
        const int owner = (worker->thread + worker->finished) % threads;
        const long first = share_of(owner, threads, count), end = share_of(owner + 1, threads, count);
        atomic_int *taken = &worker->team->taken[(long)worker->stage * threads + owner];
        const long portion = first + atomic_fetch_add_explicit(taken, 1, memory_order_relaxed);
        if (portion < end) return portion;
    }
    return -1;
}

/* Wait for the others, and fetch meanwhile what is read next. Who comes last fetches the beginning too, or would begin with nothing. */
static void wait_for_all(Worker *worker, const char *next) {
    Team *team = worker->team;
    const int number = ++worker->waits;
    for (int line = 0; line < FIRST; line++) __builtin_prefetch(next + line * 64);
    if (atomic_fetch_add(&team->arrived, 1) + 1 == number * team->threads) {
        atomic_store(&team->passed, number);
        return;
    }
    for (int turns = 0; atomic_load_explicit(&team->passed, memory_order_acquire) < number; turns++) {
        for (int line = turns * 8; line < turns * 8 + 8 && line < NEXT; line++) __builtin_prefetch(next + line * 64);
        if (turns > 4096) sched_yield(); /* another program has the core that we wait for */
#if defined(__x86_64__)
        else if (turns > NEXT / 8) __builtin_ia32_pause();
#endif
    }
}

/* --- Numbers. */

static void gelu(float *x, int exact) { /* of a block */
    if (exact) {
        for (int i = 0; i < BLOCK; i++) x[i] = 0.5f * x[i] * (1.0f + erff(x[i] * 0.70710678f));
        return;
    }
    for (int i = 0; i < BLOCK; i += LANES) {
        const floats one = *(const floats *)(x + i), inside = 0.79788456f * (one + 0.044715f * one * one * one);
        *(floats *)(x + i) = one - one / (exponential(2.0f * inside) + 1.0f);
    }
}

static void normalise(const float *x, const float *norm, float *y, int channels, float epsilon) {
    float mean = 0, variance = 0;
#pragma omp simd reduction(+ : mean)
    for (int i = 0; i < channels; i++) mean += x[i];
    mean /= channels;
#pragma omp simd reduction(+ : variance)
    for (int i = 0; i < channels; i++) variance += (x[i] - mean) * (x[i] - mean);
    float scale = 1.0f / sqrtf(variance / channels + epsilon);
#pragma omp simd
    for (int i = 0; i < channels; i++) y[i] = (x[i] - mean) * scale * norm[i] + norm[channels + i];
}

/* --- Matrices. */

/* Round 64 numbers to 8 bits; what these are multiples of. */
static float narrow_to_int8(const float *x, signed char *to, int32_t *start) {
    floats largest = {0};
    integers sum = {0};
    for (int i = 0; i < 4 * LANES; i += LANES) {
        const floats size = (floats)(*(const integers *)(x + i) & 0x7fffffff);
        largest = larger_of(size, largest);
    }
    const float most = fmaxf(largest_in(largest), 1e-30f), scale = 127 / most;
    for (int i = 0; i < 4 * LANES; i += LANES) {
        const floats shifted = *(const floats *)(x + i) * scale + 12582912.0f; /* rounds to an integer in the low bits */
        const integers whole = (integers)shifted - 0x4b400000;
        sum += whole;
        *(bytes *)(to + i) = __builtin_convertvector(whole, bytes);
    }
    int32_t all = 0;
    for (int i = 0; i < LANES; i++) all += sum[i];
    *start = -OFFSET * all;
    return most / 127;
}

/* Tokens in the format of the weights, in chunks of 16 words: chunk after chunk, in each the 16 words of every token. */
typedef struct {
    uint32_t *word;
    float *scale;   /* for int8: of each chunk and token */
    int32_t *start; /* for int8: what sums of a chunk begin with, to take away what the offset of the weights adds */
    int words, rows;
} Inputs;

static int words_of(int inputs, enum format format) {
    const int a_word = format == FLOAT32 ? 1 : format == BFLOAT16 ? 2 : 4;
    return (inputs + a_word - 1) / a_word;
}

static int chunks_of(int words) { return (words + LANES - 1) / LANES; }

/* Round a token's numbers to the format of the weights. Missing ones at the end are 0. */
static void narrow(const float *x, int count, enum format format, const Inputs *to, int t) {
    const int a_chunk = LANES * (format == FLOAT32 ? 1 : format == BFLOAT16 ? 2 : 4);
    float last[4 * LANES] = {0};
    for (int chunk = 0; chunk < chunks_of(to->words); chunk++, x += a_chunk, count -= a_chunk) {
        const long place = (long)chunk * to->rows + t;
        uint32_t *word = to->word + place * LANES;
        const float *from = x;
        if (count < a_chunk) from = memcpy(last, x, count * sizeof(float));
        if (format == FLOAT32)
            memcpy(word, from, LANES * sizeof(float));
        else if (format == BFLOAT16)
            for (int i = 0; i < 2 * LANES; i++) ((half *)word)[i] = narrowed(from[i]);
        else
            to->scale[place] = narrow_to_int8(from, (signed char *)word, to->start + place);
    }
}

/* Lanes of `sum` plus the products of the numbers in each word of `weight` and in the word `x`. */
static inline __attribute__((always_inline)) floats plus_float32(floats sum, words weight, uint32_t x) {
    float one;
    memcpy(&one, &x, 4);
    return sum + (floats)weight * one;
}

static inline __attribute__((always_inline)) floats plus_bfloat16(floats sum, words weight, uint32_t x) {
#ifdef __AVX512BF16__
    return (floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)weight, (__m512bh)_mm512_set1_epi32(x));
#else
    return sum + (floats)(weight << 16) * widened(x & 0xffff) + (floats)(weight & 0xffff0000) * widened(x >> 16);
#endif
}

static inline __attribute__((always_inline)) integers plus_int8(integers sum, words weight, uint32_t x) {
#ifdef __AVX512VNNI__
    const integers all = (integers){0} + (int32_t)x; /* GCC 12 makes copies of what _mm512_dpbusd_epi32 adds to */
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(weight), "v"(all));
    return sum;
#elif defined(__AVXVNNI__)
    __m256i half[2], parts[2];
    memcpy(half, &weight, sizeof half), memcpy(parts, &sum, sizeof parts);
    for (int i = 0; i < 2; i++) parts[i] = _mm256_dpbusd_avx_epi32(parts[i], half[i], _mm256_set1_epi32(x));
    return *(integers *)parts;
#else /* numbers 0 and 2, then 1 and 3, as pairs of 16 bits */
    const words even = weight & 0x00ff00ff, odd = weight >> 8 & 0x00ff00ff;
    const int32_t x0 = (int8_t)x, x1 = (int8_t)(x >> 8), x2 = (int8_t)(x >> 16), x3 = (int8_t)(x >> 24);
#ifdef __AVX2__
    const __m256i even_x = _mm256_set1_epi32((x0 & 0xffff) | x2 * 65536), odd_x = _mm256_set1_epi32((x1 & 0xffff) | x3 * 65536);
    __m256i even_half[2], odd_half[2], added[2];
    memcpy(even_half, &even, sizeof even), memcpy(odd_half, &odd, sizeof odd);
    for (int i = 0; i < 2; i++)
        added[i] = _mm256_add_epi32(_mm256_madd_epi16(even_half[i], even_x), _mm256_madd_epi16(odd_half[i], odd_x));
    return sum + *(integers *)added;
#else
    return sum + (integers)(even & 0xffff) * x0 + (integers)(odd & 0xffff) * x1 + (integers)(even >> 16) * x2 + (integers)(odd >> 16) * x3;
#endif
#endif
}

#define EACH_ROW _Pragma("GCC unroll 6") for (int r = 0; r < rows; r++)
#define EACH_VECTOR _Pragma("GCC unroll 4") for (int v = 0; v < VECTORS; v++)

/* Add to the sums of some rows of inputs the products with chunks `begin` to `end` of a block. Format and number of rows are
   known when this is compiled, so that the sums stay in registers, and for int8 the whole numbers of a chunk too. */
static inline __attribute__((always_inline)) void piece_sums(
    const char *weight, enum format format, const Inputs *inputs, int begin, int end, int first, int rows, enum ahead ahead, float *sums) {
    floats sum[TOGETHER][VECTORS];
    integers whole[TOGETHER][VECTORS];
    EACH_ROW EACH_VECTOR sum[r][v] = *(const floats *)(sums + r * BLOCK + v * LANES);
    for (int chunk = begin; chunk < end; chunk++) {
        const long place = (long)chunk * inputs->rows + first;
        const uint32_t *x = inputs->word + place * LANES;
        const int count = inputs->words - chunk * LANES < LANES ? inputs->words - chunk * LANES : LANES;
        if (format == INT8) EACH_ROW EACH_VECTOR whole[r][v] = (integers){0} + inputs->start[place + r];
        for (int i = 0; i < count; i++, weight += STEP) {
            words w[VECTORS];
            if (ahead == ONCE) EACH_VECTOR __builtin_prefetch(weight + AHEAD + 64 * v, 0, 0);
            if (ahead == AGAIN) EACH_VECTOR __builtin_prefetch(weight + AHEAD + 64 * v);
            EACH_VECTOR w[v] = *(const words *)(weight + 64 * v);
#ifdef __AVX512F__ /* else GCC reads them again for each row */
            EACH_VECTOR __asm__("" : "+v"(w[v]));
#endif
            EACH_ROW EACH_VECTOR
                if (format == FLOAT32) sum[r][v] = plus_float32(sum[r][v], w[v], x[r * LANES + i]);
                else if (format == BFLOAT16) sum[r][v] = plus_bfloat16(sum[r][v], w[v], x[r * LANES + i]);
                else whole[r][v] = plus_int8(whole[r][v], w[v], x[r * LANES + i]);
        }
        if (format == INT8)
            EACH_ROW EACH_VECTOR sum[r][v] += __builtin_convertvector(whole[r][v], floats) * inputs->scale[place + r];
    }
    EACH_ROW EACH_VECTOR *(floats *)(sums + r * BLOCK + v * LANES) = sum[r][v];
}

#define FOR_ROWS(format, rows)                                                                                        \
    case rows: piece_sums(weight, format, inputs, begin, end, first, rows, ahead, sums); break;
#if TOGETHER == 6
#define FOR_FEW(format) FOR_ROWS(format, 1) FOR_ROWS(format, 2) FOR_ROWS(format, 3)
#define FOR_MORE(format) FOR_ROWS(format, 4) FOR_ROWS(format, 5) FOR_ROWS(format, 6)
#else
#define FOR_FEW(format) FOR_ROWS(format, 1)
#define FOR_MORE(format)
#endif

static void some_sums(
    const char *weight, enum format format, const Inputs *inputs, int begin, int end, int first, int rows, enum ahead ahead, float *sums) {
    if (format == FLOAT32) switch (rows) { FOR_FEW(FLOAT32) FOR_MORE(FLOAT32) }
    else if (format == BFLOAT16) switch (rows) { FOR_FEW(BFLOAT16) FOR_MORE(BFLOAT16) }
    else switch (rows) { FOR_FEW(INT8) }
}

static void block_sums(const char *weight, enum format format, const Inputs *inputs, int first, int rows, float *sums) {
    const int together = format == INT8 ? (TOGETHER + 1) / 2 : TOGETHER;
    const int chunks = chunks_of(inputs->words), parts = (rows + together - 1) / together;
    memset(sums, 0, sizeof(float) * rows * BLOCK);
    const int piece = parts == 1 ? chunks : PIECE; /* few rows are multiplied with all of a block before it is left */
    for (int begin = 0; begin < chunks; begin += piece, weight += (long)piece * LANES * STEP) {
        const int end = chunks - begin < piece ? chunks : begin + piece;
        for (int part = 0; part < parts; part++) { /* of equal size, nearly */
            const int r = share_of(part, parts, rows), next = share_of(part + 1, parts, rows);
            some_sums(weight, format, inputs, begin, end, first + r, next - r, part ? NEVER : inputs->rows > MOST ? AGAIN : ONCE, sums + r * BLOCK);
        }
    }
}

enum after { STORE, GELU, EXACT_GELU };

/* Where a thread begins to read a matrix. */
static const char *share_of_matrix(const Worker *worker, const Matrix *matrix, enum format format) {
    const int blocks = (matrix->outputs + BLOCK - 1) / BLOCK;
    return (const char *)matrix->weight + share_of(worker->thread, worker->team->threads, blocks) * words_of(matrix->inputs, format) * STEP;
}

/* y[t] = (base[t] +) matrix x[t] + bias for all tokens; threads take blocks of outputs. Rows of y are `stride` apart. */
static void multiply(
    Worker *worker, const Matrix *matrix, enum format format, const Inputs *x, const float *base, float *y, int stride,
    enum after after) {
    const int blocks = (matrix->outputs + BLOCK - 1) / BLOCK;
    float sums[MOST * BLOCK];
    begin_stage(worker);
    for (int block; (block = next_portion(worker, blocks)) >= 0;) {
        const char *weight = (const char *)matrix->weight + (long)block * x->words * STEP;
        const int start = block * BLOCK, outputs = matrix->outputs - start < BLOCK ? matrix->outputs - start : BLOCK;
        for (int first = 0; first < x->rows; first += MOST) {
            const int rows = x->rows - first < MOST ? x->rows - first : MOST;
            block_sums(weight, format, x, first, rows, sums);
            for (int r = 0; r < rows; r++) {
                const int t = first + r;
                float *row = y + (long)t * stride + start, *sum = sums + r * BLOCK;
                if (format == INT8)
                    for (int o = 0; o < BLOCK; o++) sum[o] *= matrix->scale[start + o];
                if (matrix->bias)
                    for (int o = 0; o < outputs; o++) sum[o] += matrix->bias[start + o];
                if (after != STORE) gelu(sum, after == EXACT_GELU);
                if (base)
                    for (int o = 0; o < outputs; o++) sum[o] += base[(long)t * stride + start + o];
                memcpy(row, sum, outputs * sizeof(float));
            }
        }
    }
}

/* --- Attention. */

/* Numbers of the cache that a key or a value takes. */
static inline int width_of(int size, enum format format) { return format == INT8 ? size + (int)sizeof(float) : size; }

static void remember(const Cache *cache, long at, const float *x, int size) {
    if (cache->format == FLOAT32)
        memcpy((float *)cache->room + at, x, size * sizeof(float));
    else if (cache->format == BFLOAT16)
        for (int i = 0; i < size; i++) ((half *)cache->room)[at + i] = narrowed(x[i]);
    else {
        signed char *to = (signed char *)cache->room + at;
        float most = 1e-30f;
        for (int i = 0; i < size; i++) most = fmaxf(most, fabsf(x[i]));
        const float scale = most / 127;
        for (int i = 0; i < size; i++) to[i] = (signed char)(int)rintf(x[i] * (127 / most));
        memcpy(to + size, &scale, sizeof scale);
    }
}

/* Numbers as they are remembered: those in int8 are yet to be multiplied with the scale of the key or value. */
static inline __attribute__((always_inline)) floats remembered_at(const void *room, long at, enum format format) {
    if (format == INT8) return floats_of((const signed char *)room + at);
    return format == BFLOAT16 ? widened_at((const uint16_t *)room + at) : *(const floats *)((const float *)room + at);
}

static inline float number_at(const void *room, long at, enum format format) {
    if (format == INT8) return ((const signed char *)room)[at];
    return format == BFLOAT16 ? widened(((const half *)room)[at]) : ((const float *)room)[at];
}

static inline float scale_at(const void *room, long at, int size, enum format format) {
    float scale = 1;
    if (format == INT8) memcpy(&scale, (const signed char *)room + at + size, sizeof scale);
    return scale;
}

/* Let a key or value come nearer: a head's are too few for the processor to see where it will read next. */
static inline __attribute__((always_inline)) void fetch(const void *room, enum format format, long at, int size) {
    const int a_number = format == FLOAT32 ? 4 : format == BFLOAT16 ? 2 : 1;
    const char *first = (const char *)room + at * a_number;
    for (int line = 0; line < width_of(size, format) * a_number; line += 64) __builtin_prefetch(first + line);
}

/* Four sums of pairs, fours, eights and sixteens of lanes make of 16 vectors one, whose lane i is the sum of vector i. */
static inline floats sums_of_lanes(floats *v) {
    for (int i = 0; i < 8; i++)
        v[i] = PICK(v[2 * i], v[2 * i + 1], 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30) +
               PICK(v[2 * i], v[2 * i + 1], 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
    for (int i = 0; i < 4; i++)
        v[i] = PICK(v[2 * i], v[2 * i + 1], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
               PICK(v[2 * i], v[2 * i + 1], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    for (int i = 0; i < 2; i++)
        v[i] = PICK(v[2 * i], v[2 * i + 1], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27) +
               PICK(v[2 * i], v[2 * i + 1], 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
    return PICK(v[0], v[1], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
           PICK(v[0], v[1], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
}

/* How well the keys of 16 positions fit a query; after the `last` position, that one's again. */
static inline __attribute__((always_inline)) floats scores_of(
    const void *room, enum format format, long keys, int first, int last, long soon, const float *query, int size) {
    const int whole = size / LANES * LANES, width = width_of(size, format);
    floats sum[LANES];
    float scale[LANES];
#pragma GCC unroll 16
    for (int p = 0; p < LANES; p++) {
        if (soon >= 0) fetch(room, format, soon + (long)(first + p) * width, size);
        const long key = keys + (long)(first + p < last ? first + p : last) * width;
        sum[p] = (floats){0};
        for (int i = 0; i < whole; i += LANES) sum[p] += *(const floats *)(query + i) * remembered_at(room, key + i, format);
        for (int i = whole; i < size; i++) sum[p][i - whole] += query[i] * number_at(room, key + i, format);
        scale[p] = scale_at(room, key, size, format);
    }
    if (format != INT8) return sums_of_lanes(sum);
    return sums_of_lanes(sum) * *(const floats *)scale;
}

/* Make of scores probabilities, not yet divided by their sum, which is returned. After those that are seen there is room for more. */
static float shares(float *score, int seen, floats largest) {
    const float most = largest_in(largest);
    floats total = {0};
    for (int p = seen; p % LANES; p++) score[p] = -INFINITY;
    for (int p = 0; p < seen; p += LANES) {
        const floats share = exponential(*(const floats *)(score + p) - most);
        *(floats *)(score + p) = share;
        total += share;
    }
    return sum_in(total);
}

#define EACH_QUERY _Pragma("GCC unroll 4") for (int q = 0; q < queries; q++)
#define EACH_OF(vectors) _Pragma("GCC unroll 4") for (int v = 0; v < vectors; v++)

/* Some vectors of the weighted means of values, for queries that see one position more each than the one before; meanwhile what is at
   `soon` is fetched, one number for each that is read. */
static inline __attribute__((always_inline)) floats value_at(const void *room, long values, int position, int i, int size, enum format format) {
    const long value = values + (long)position * width_of(size, format);
    return remembered_at(room, value + i, format) * scale_at(room, value, size, format);
}

static inline __attribute__((always_inline)) void mix(
    const void *room, enum format format, long values, int start, long soon, const float *score, long width, int queries, int seen, int size, int vectors,
    const float *total, float *mixed, long stride) {
    floats sum[QUERIES][VECTORS];
    EACH_QUERY EACH_OF(vectors) sum[q][v] = (floats){0};
    for (int p = 0; p < seen; p++) {
        if (soon >= 0) fetch(room, format, soon + (long)p * width_of(size, format), size);
        floats value[VECTORS];
        EACH_OF(vectors) value[v] = value_at(room, values, p, start + v * LANES, size, format);
        EACH_QUERY EACH_OF(vectors) sum[q][v] += score[q * width + p] * value[v];
    }
    EACH_QUERY
        for (int p = seen; p < seen + q; p++)
            EACH_OF(vectors)
                sum[q][v] += score[q * width + p] * value_at(room, values, p, start + v * LANES, size, format);
    EACH_QUERY EACH_OF(vectors) *(floats *)(mixed + q * stride + start + v * LANES) = sum[q][v] / total[q];
}

static inline __attribute__((always_inline)) void mix_all(
    const void *room, enum format format, long values, long soon, const float *score, long width, int queries, int seen, int size,
    const float *total, float *mixed, long stride) {
    const long step = width_of(size, format);
    int start = 0;
    for (; start + BLOCK <= size; start += BLOCK, soon = soon < 0 ? soon : values)
        mix(room, format, values, start, soon, score, width, queries, seen, size, VECTORS, total, mixed, stride);
    for (; start + LANES <= size; start += LANES, soon = soon < 0 ? soon : values)
        mix(room, format, values, start, soon, score, width, queries, seen, size, 1, total, mixed, stride);
    for (; start < size; start++)
        for (int q = 0; q < queries; q++) {
            float sum = 0;
            for (int p = 0; p < seen + q; p++) sum += score[q * width + p] * number_at(room, values + p * step + start, format) * scale_at(room, values + p * step, size, format);
            mixed[q * stride + start] = sum / total[q];
        }
}

/* mixed = the mean of the values that are seen, weighted by how well their keys fit the query. While keys are read what is at `soon`
   is fetched, while values are read what is at `later`. `size` and the format of the cache are known when this is compiled, for
   the usual sizes. */
static inline __attribute__((always_inline)) void attend(
    const void *room, enum format format, long keys, long values, long soon, long later, const float *query, int seen, int size, float scale, float *score,
    float *mixed) {
    floats largest = (floats){0} - INFINITY;
    for (int first = 0; first < seen; first += LANES) {
        const floats found = scores_of(room, format, keys, first, seen - 1, soon, query, size) * scale;
        *(floats *)(score + first) = found;
        largest = larger_of(found, largest);
    }
    const float total = shares(score, seen, largest);
    mix_all(room, format, values, later, score, 0, 1, seen, size, &total, mixed, 0);
}

/* The same for some tokens that follow each other, of which the first one sees `seen` positions. Of their scores there are rows
   `width` apart. `near` has room for 16 keys. */
static inline __attribute__((always_inline)) void attend_together(
    const void *room, enum format format, long keys, long values, const float *query, int queries, int seen, int size, float scale, float *score,
    long width, float *near, float *mixed, long channels) {
    const integers lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const int last = seen + queries - 2;
    floats largest[RUN];
    for (int q = 0; q < queries; q++) largest[q] = (floats){0} - INFINITY;
    for (int first = 0; first <= last; first += LANES) {
        const int count = last - first < LANES ? last - first + 1 : LANES, whole = size / LANES * LANES;
        float key_scale[LANES] = {0};
        for (int p = 0; p < count; p++) {
            const long key = keys + (long)(first + p) * width_of(size, format);
            for (int i = 0; i < whole; i += LANES) *(floats *)(near + p * size + i) = remembered_at(room, key + i, format);
            for (int i = whole; i < size; i++) near[p * size + i] = number_at(room, key + i, format);
            key_scale[p] = scale_at(room, key, size, format);
        }
        for (int q = first < seen ? 0 : first - seen + 1; q < queries; q++) {
            floats found = scores_of(near, FLOAT32, 0, 0, count - 1, -1, query + 3 * q * channels, size);
            if (format == INT8) found *= *(const floats *)key_scale;
            found *= scale;
            *(floats *)(score + q * width + first) = found;
            const integers seen_too = lane < seen + q - first;
            largest[q] = larger_of((floats)((seen_too & (integers)found) | (~seen_too & (integers)largest[q])), largest[q]);
        }
    }
    float total[RUN];
    for (int q = 0; q < queries; q++) total[q] = shares(score + q * width, seen + q, largest[q]);
    int q = 0;
    for (; q + QUERIES <= queries; q += QUERIES)
        mix_all(room, format, values, -1, score + q * width, width, QUERIES, seen + q, size, total + q, mixed + q * channels, channels);
    for (; q < queries; q++)
        mix_all(room, format, values, -1, score + q * width, width, 1, seen + q, size, total + q, mixed + q * channels, channels);
}

#define ATTEND(format, size)                                                                                     \
    {                                                                                                                 \
        if (queries == 1)                                                                                             \
            attend(cache->room, format, keys, keys + per_part, soon, later, query, seen, size, scale, score, mixed); \
        else                                                                                                          \
            attend_together(cache->room, format, keys, keys + per_part, query, queries, seen, size, scale, score, \
                            score_room(cache), score + RUN * score_room(cache), mixed, channels);                     \
    }

/* --- The pass. */

/* Tokens that follow each other in one text, at most RUN, which attend together. */
typedef struct {
    int32_t first, count;
} Run;

typedef struct {
    float *hidden, *query_key_value, *mixed, *inner; /* of all tokens */
    Run *run, *wanted_run;                           /* of all tokens, and of those whose logits are wanted */
    int runs, wanted_runs;
} Scratch;

static long score_room(const Cache *cache) { return (cache->length + 2 * LANES - 1) / LANES * LANES; }

/* Of some tokens (`which`, or the first ones); their number. */
static int find_runs(const Batch *batch, const int32_t *which, int count, Run *run) {
    int runs = 0;
    for (int i = 0; i < count; i++) {
        const int t = which ? which[i] : i;
        const int follows = i && t == run[runs - 1].first + run[runs - 1].count && batch->row[t] == batch->row[t - 1] &&
                            batch->place[t] == batch->place[t - 1] + 1;
        if (!follows || run[runs - 1].count == RUN) run[runs++] = (Run){t, 0};
        run[runs - 1].count++;
    }
    return runs;
}

/* Tokens made ready for a matrix: of all threads if there are many, else each thread has its own. */
typedef struct {
    int is_shared;
    float *normal; /* after normalisation */
    Inputs inputs;
} Ready;

static long ready_size(const Network *net, long count) {
    const long width = net->feed > net->channels ? net->feed : net->channels;
    return count * (net->channels + chunks_of(words_of(width, net->format)) * (LANES + 2L));
}

static Ready ready_in(float *room, const Network *net, int count) {
    const int width = net->feed > net->channels ? net->feed : net->channels, chunks = chunks_of(words_of(width, net->format));
    Ready ready = {.is_shared = count > FEW};
    ready.inputs.word = (uint32_t *)room;
    ready.inputs.scale = room + (long)count * chunks * LANES;
    ready.inputs.start = (int32_t *)ready.inputs.scale + (long)count * chunks;
    ready.normal = (float *)ready.inputs.start + (long)count * chunks;
    return ready;
}

/* Normalise, if a norm is given, and narrow some tokens (`which`, or the first ones) of `width` numbers each. */
static void make_ready(
    Ready *ready, Worker *worker, const Network *net, const float *x, int width, const float *norm,
    const int32_t *which, int count) {
    ready->inputs.words = words_of(width, net->format);
    ready->inputs.rows = count;
    begin_stage(worker);
    for (int mine = 0;; mine++) {
        const int t = ready->is_shared ? next_portion(worker, count) : mine;
        if (t < 0 || t == count) break;
        const float *token = x + (long)(which ? which[t] : t) * width;
        if (norm) {
            normalise(token, norm, ready->normal + (long)t * width, width, net->epsilon);
            token = ready->normal + (long)t * width;
        }
        narrow(token, width, net->format, &ready->inputs, t);
    }
    if (ready->is_shared) wait_for_all(worker, (const char *)ready->inputs.word);
}

/* Numbers of all keys of a layer. */
static long keys_in_a_layer(const Network *net, const Cache *cache) {
    return (long)cache->rows * net->heads * cache->length * width_of(net->channels / net->heads, cache->format);
}

/* Where the keys begin that a head of a token reads; their values are as far away as all keys of a layer are long. */
static long keys_of(const Network *net, const Cache *cache, const Batch *batch, int layer, int token, int head) {
    const long width = width_of(net->channels / net->heads, cache->format);
    return (((2L * layer * cache->rows + batch->row[token]) * net->heads + head) * cache->length) * width;
}

/* What a thread attends to first, before it waits for the others. */
static void fetch_first_keys(const Worker *worker, const Network *net, const Cache *cache, const Batch *batch, int layer) {
    const int size = net->channels / net->heads, first = share_of(worker->thread, worker->team->threads, net->heads);
    const long keys = keys_of(net, cache, batch, layer, 0, first), per_part = keys_in_a_layer(net, cache), width = width_of(size, cache->format);
    for (int p = 0; p <= batch->place[0]; p++) {
        fetch(cache->room, cache->format, keys + p * width, size);
        fetch(cache->room, cache->format, keys + per_part + p * width, size);
    }
}

static void attention(
    Worker *worker, const Network *net, const Cache *cache, const Batch *batch, const Scratch *scratch, const Run *run, int runs, int layer,
    int remembered, float *score) {
    const int channels = net->channels, size = channels / net->heads, portions = runs * net->heads;
    const long per_part = keys_in_a_layer(net, cache), width = width_of(size, cache->format);
    float scale = 1.0f / sqrtf((float)size);
    if (net->scale_by_layer) scale /= (float)(layer + 1);
    begin_stage(worker);
    for (int portion; (portion = next_portion(worker, portions)) >= 0;) {
        const int t = run[portion % runs].first, queries = run[portion % runs].count, head = portion / runs, seen = batch->place[t] + 1;
        const float *query = scratch->query_key_value + (long)t * 3 * channels + head * size;
        const long keys = keys_of(net, cache, batch, layer, t, head);
        if (!remembered) {
            remember(cache, keys + (seen - 1) * width, query + channels, size);
            remember(cache, keys + per_part + (seen - 1) * width, query + 2 * channels, size);
        }
        const int next = portion + 1 < portions ? portion + 1 : portion;
        const long next_keys = keys_of(net, cache, batch, layer, run[next % runs].first, next / runs);
        /* For one token the next portion is fetched, since memory answers too late for this one; for more there is no room for both. */
        const long soon = batch->count == 1 ? next_keys : keys + per_part, later = batch->count == 1 ? next_keys + per_part : next_keys;
        float *mixed = scratch->mixed + (long)t * channels + head * size;
        if (size != 64) ATTEND(cache->format, size)
        else if (cache->format == INT8) ATTEND(INT8, 64)
        else if (cache->format == BFLOAT16) ATTEND(BFLOAT16, 64)
        else ATTEND(FLOAT32, 64)
    }
}

/* Tokens of one row see each other: then all keys and values are written before any is read. */
static void remember_all(
    Worker *worker, const Network *net, const Cache *cache, const Batch *batch, const Scratch *scratch, int layer) {
    const int channels = net->channels, size = channels / net->heads;
    const long per_part = keys_in_a_layer(net, cache);
    begin_stage(worker);
    for (int t; (t = next_portion(worker, batch->count)) >= 0;)
        for (int head = 0; head < net->heads; head++) {
            const float *key = scratch->query_key_value + ((long)t * 3 + 1) * channels + head * size;
            const long at = keys_of(net, cache, batch, layer, t, head) + (long)batch->place[t] * width_of(size, cache->format);
            remember(cache, at, key, size);
            remember(cache, at + per_part, key + channels, size);
        }
}

static int shares_rows(const Batch *batch) {
    for (int one = 1; one < batch->count; one++)
        for (int other = 0; other < one; other++)
            if (batch->row[one] == batch->row[other]) return 1;
    return 0;
}

#define STAGES_A_LAYER 10

#define SHARE(matrix) share_of_matrix(worker, &(matrix), format)

static void pass(
    const Network *net, const Cache *cache, const Batch *batch, const Scratch *scratch, Ready ready, float *score, Worker *worker) {
    const int channels = net->channels, together = shares_rows(batch);
    int count = batch->count;
    const int32_t *wanted = batch->last;
    const enum format format = net->format;
    float *hidden = scratch->hidden;
    for (int t = worker->thread; t < count; t += worker->team->threads)
        for (int i = 0; i < channels; i++)
            hidden[(long)t * channels + i] = net->tokens[batch->token[t] * channels + i] + net->positions[(long)batch->place[t] * channels + i];
    wait_for_all(worker, SHARE(net->layer[0].query_key_value));
    for (int number = 0; number < net->layers; number++) {
        const Layer *layer = net->layer + number;
        const Matrix *after = number + 1 < net->layers ? &layer[1].query_key_value : &net->head;
        const float *norm = net->norm_before ? layer->attention_norm : number ? layer[-1].feed_norm : NULL;
        make_ready(&ready, worker, net, hidden, channels, norm, NULL, count);
        multiply(worker, &layer->query_key_value, format, &ready.inputs, NULL, scratch->query_key_value, 3 * channels, STORE);
        if (count == 1) fetch_first_keys(worker, net, cache, batch, number);
        wait_for_all(worker, SHARE(layer->output));
        if (together) {
            remember_all(worker, net, cache, batch, scratch, number);
            wait_for_all(worker, SHARE(layer->output));
        }
        if (number + 1 < net->layers || !together || !net->norm_before || batch->wanted == count) {
            attention(worker, net, cache, batch, scratch, scratch->run, scratch->runs, number, together, score);
            wait_for_all(worker, SHARE(layer->output));
            make_ready(&ready, worker, net, scratch->mixed, channels, NULL, NULL, count);
        } else { /* of the last layer more than keys and values is wanted of few tokens only, or of none */
            if (!batch->wanted) return;
            if (worker->thread == 0)
                for (int w = 0; w < batch->wanted; w++)
                    memmove(hidden + (long)w * channels, hidden + (long)wanted[w] * channels, channels * sizeof(float));
            attention(worker, net, cache, batch, scratch, scratch->wanted_run, scratch->wanted_runs, number, together, score);
            wait_for_all(worker, SHARE(layer->output));
            count = batch->wanted;
            make_ready(&ready, worker, net, scratch->mixed, channels, NULL, wanted, count);
            wanted = NULL;
        }
        /* With normalisation after a block, what it adds to is the normalised input. */
        multiply(worker, &layer->output, format, &ready.inputs, net->norm_before || !norm ? hidden : ready.normal, hidden, channels, STORE);
        wait_for_all(worker, SHARE(layer->inner));
        norm = net->norm_before ? layer->feed_norm : layer->attention_norm;
        make_ready(&ready, worker, net, hidden, channels, norm, NULL, count);
        multiply(worker, &layer->inner, format, &ready.inputs, NULL, scratch->inner, net->feed, net->exact_gelu ? EXACT_GELU : GELU);
        wait_for_all(worker, SHARE(layer->outer));
        make_ready(&ready, worker, net, scratch->inner, net->feed, NULL, NULL, count);
        multiply(worker, &layer->outer, format, &ready.inputs, net->norm_before ? hidden : ready.normal, hidden, channels, STORE);
        wait_for_all(worker, SHARE(*after));
    }
    const float *norm = net->norm_before ? net->norm : net->layer[net->layers - 1].feed_norm;
    make_ready(&ready, worker, net, hidden, channels, norm, wanted, batch->wanted);
    const int stride = (net->head.outputs + BLOCK - 1) / BLOCK * BLOCK;
    multiply(worker, &net->head, format, &ready.inputs, NULL, batch->logits, stride, STORE);
}

/* Returns 0, or 1 if there is not enough memory. */
int read_tokens(const Network *net, const Cache *cache, const Batch *batch, int threads) {
    const long count = batch->count, channels = net->channels;
    /* For each thread a place for the score of each position and for some keys, and for tokens; lines are not shared between threads. */
    const long scores = count == 1 ? score_room(cache) : RUN * score_room(cache) + LANES * (channels / net->heads);
    const long own = count > FEW ? 0 : (ready_size(net, count) + LANES - 1) / LANES * LANES;
    const long states = (count * (5 * channels + net->feed) + LANES - 1) / LANES * LANES, all = states + (count > FEW ? ready_size(net, count) : 0);
    float *room = aligned_alloc(64, (sizeof(float) * (all + threads * (scores + own)) + 127) / 64 * 64);
    atomic_int *taken = calloc((net->layers * STAGES_A_LAYER + 4L) * threads, sizeof(atomic_int));
    Run *run = malloc((count + batch->wanted) * sizeof(Run));
    if (!room || !taken || !run) {
        free(room);
        free(taken);
        free(run);
        return 1;
    }
    float *of_threads = room + threads * (scores + own);
    Scratch scratch = {.hidden = of_threads, .run = run};
    scratch.query_key_value = scratch.hidden + count * channels;
    scratch.mixed = scratch.query_key_value + 3 * count * channels;
    scratch.inner = scratch.mixed + count * channels;
    float *shared = of_threads + states;
    scratch.runs = find_runs(batch, NULL, count, run);
    scratch.wanted_run = run + count;
    scratch.wanted_runs = find_runs(batch, batch->last, batch->wanted, run + count);
    Team team = {.taken = taken, .threads = threads};
#ifdef _OPENMP
#pragma omp parallel num_threads(threads)
    {
#pragma omp single
        team.threads = omp_get_num_threads(); /* may be fewer than asked for */
        Worker worker = {&team, omp_get_thread_num(), 0, 0, 0};
#else
    {
        team.threads = 1;
        Worker worker = {&team, 0, 0, 0, 0};
#endif
        float *score = room + worker.thread * (scores + own);
        pass(net, cache, batch, &scratch, ready_in(count > FEW ? shared : score + scores, net, count), score, &worker);
    }
    free(room);
    free(taken);
    free(run);
    return 0;
}

/* --- Logits: what drawing a token asks of all of them, each in one pass. */

/* The logarithm of the sum of the exponentials. */
double log_total(const float *x, long count) {
    floats most = (floats){0} - INFINITY;
    long i = 0;
    for (; i + LANES <= count; i += LANES) most = larger_of(*(const floats *)(x + i), most);
    float largest = largest_in(most);
    for (long rest = i; rest < count; rest++) largest = x[rest] > largest ? x[rest] : largest;
    if (isinf(largest)) return largest;
    double total = 0;
    for (i = 0; i < count; i += BLOCK * LANES) { /* floats add up few, doubles these sums */
        const long end = count - i < BLOCK * LANES ? count : i + BLOCK * LANES;
        floats sum = (floats){0};
        long j = i;
        for (; j + LANES <= end; j += LANES) sum += exponential(*(const floats *)(x + j) - largest);
        for (; j < end; j++) sum[0] += expf(x[j] - largest);
        total += sum_in(sum);
    }
    return largest + log(total);
}

typedef struct {
    float value;
    int32_t place;
} Found;

static void sink(Found *heap, int size, Found one) { /* put one where the smallest is, and the heap in order again */
    int at = 0;
    for (int child; (child = 2 * at + 1) < size; at = child) {
        if (child + 1 < size && heap[child + 1].value < heap[child].value) child++;
        if (heap[child].value >= one.value) break;
        heap[at] = heap[child];
    }
    heap[at] = one;
}

static int by_place(const void *one, const void *other) {
    return (((const Found *)one)->place > ((const Found *)other)->place) - (((const Found *)one)->place < ((const Found *)other)->place);
}

/* Write the `most` largest numbers and their places, in the order of places. `heap` has room for them. Returns 0 where that cannot be said:
   with numbers that are none, or as large as each other at the border. */
int largest(const float *x, long count, int most, Found *heap, float *values, int64_t *places) {
    for (int i = 0; i < most; i++) heap[i] = (Found){-INFINITY, -1};
    int is_clear = 1;
    for (long first = 0; first < count; first += BLOCK) {
        const int size = count - first < BLOCK ? count - first : BLOCK;
        const float least = heap[0].value;
        int some = 0;
#pragma omp simd reduction(| : some)
        for (int i = 0; i < size; i++) some |= !(x[first + i] < least);
        if (!some) continue;
        for (int i = 0; i < size; i++) {
            const float one = x[first + i];
            if (one > heap[0].value) {
                const float lost = heap[0].value;
                sink(heap, most, (Found){one, (int32_t)(first + i)});
                is_clear = heap[0].value > lost;
            } else if (one != one)
                return 0;
            else if (one == heap[0].value)
                is_clear = 0;
        }
    }
    if (!is_clear) return 0;
    qsort(heap, most, sizeof *heap, by_place);
    for (int i = 0; i < most; i++) values[i] = heap[i].value, places[i] = heap[i].place;
    return 1;
}
