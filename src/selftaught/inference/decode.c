/* One pass of a GPT decoder over a few new tokens, written for the one thing that limits it: reading every weight once.

   `read_tokens` takes the tokens of any rows of a cache, several of one row too (then in order), writes their keys and values
   into the cache and the logits of those asked for. Activations are float32 throughout; weights are float32, bfloat16 or int8
   with a scale for each output, and are widened as they are read. The result for a token does not depend, to the last bit, on
   which other tokens are read with it or on the number of threads: every sum is made in one order.

   Compiled on first use by inference/compiled.py for the machine that it runs on; its twin in PyTorch is inference/decoding.py. */

#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#endif

/* Outputs of a matrix are packed by 64: block after block, and in it for each input the 64 weights side by side, so that a
   thread reads one stream and no sum runs across lanes. */
#define LANES 16
#define VECTORS 4
#define BLOCK (LANES * VECTORS)
#ifdef __AVX512F__
#define TOGETHER 6 /* tokens whose sums stay in registers: 4 vectors of weights times 6 tokens, of 32 registers */
#else
#define TOGETHER 1
#endif
#define AHEAD 8192 /* bytes: less, and memory has not answered yet; int8 needs more than bfloat16 */

typedef float floats __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t integers __attribute__((vector_size(4 * LANES)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));
typedef int8_t bytes __attribute__((vector_size(LANES), aligned(1)));
typedef int16_t shorts __attribute__((vector_size(2 * LANES)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES), aligned(2)));

enum format { FLOAT32, BFLOAT16, INT8 };

typedef struct {
    const void *weight;
    const float *scale; /* one for each output; for int8 only */
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
    void *room; /* layers, keys and values, rows, heads, positions, head size */
    int32_t rows, length, is_bfloat16;
} Cache;

typedef struct {
    int32_t count, wanted;
    const int64_t *token;
    const int32_t *row, *place;
    const int32_t *last; /* of those whose logits are wanted: which token */
    float *logits;       /* wanted rows of outputs of the head, a multiple of BLOCK each */
} Batch;

/* --- Threads: one parallel region a pass. They take work in portions, so that one which is held up does not hold up the other. */

typedef struct {
    atomic_int arrived, passed;
    atomic_int *portion; /* next portion of work, for each stage */
    int threads;
} Team;

static void wait_for_all(Team *team, int *stage) {
    int number = ++*stage;
    if (atomic_fetch_add(&team->arrived, 1) + 1 == number * team->threads) {
        atomic_store(&team->passed, number);
        return;
    }
    for (int turns = 0; atomic_load_explicit(&team->passed, memory_order_acquire) < number; turns++) {
        if (turns > 4096) sched_yield(); /* another program has the core that we wait for */
#if defined(__x86_64__)
        else __builtin_ia32_pause();
#endif
    }
}

static int next_portion(Team *team, int stage) {
    return atomic_fetch_add_explicit(&team->portion[stage], 1, memory_order_relaxed);
}

/* --- Numbers. */

static inline float widened(uint16_t half) {
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static inline uint16_t narrowed(float value) { /* to the nearest, ties to even */
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static inline float exponential(float x) { /* within 2e-7 of exp(x), and without a branch, so that loops become vectors */
    x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    float shifted = x * 1.44269504f + 12582912.0f; /* rounds to an integer in the low bits */
    int32_t power;
    memcpy(&power, &shifted, 4);
    float whole = shifted - 12582912.0f;
    float rest = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    float sum = 1.9875691500e-4f;
    sum = sum * rest + 1.3981999507e-3f;
    sum = sum * rest + 8.3334519073e-3f;
    sum = sum * rest + 4.1665795894e-2f;
    sum = sum * rest + 1.6666665459e-1f;
    sum = sum * rest + 5.0000001201e-1f;
    sum = sum * rest * rest + rest + 1.0f;
    uint32_t bits = (uint32_t)(power + 127) << 23; /* the magic number's own bits are shifted out */
    float scale;
    memcpy(&scale, &bits, 4);
    return sum * scale;
}

static void gelu(float *x, int count, int exact) {
    if (exact) {
        for (int i = 0; i < count; i++) x[i] = 0.5f * x[i] * (1.0f + erff(x[i] * 0.70710678f));
        return;
    }
#pragma omp simd
    for (int i = 0; i < count; i++) {
        float inside = 0.79788456f * (x[i] + 0.044715f * x[i] * x[i] * x[i]);
        x[i] = x[i] - x[i] / (exponential(2.0f * inside) + 1.0f);
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

static inline __attribute__((always_inline)) floats weights_at(const void *weight, long at, enum format format) {
    if (format == FLOAT32) return *(const floats *)((const float *)weight + at);
#ifdef __AVX512F__ /* one instruction each, which GCC does not find by itself */
    if (format == BFLOAT16)
        return (floats)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)((const uint16_t *)weight + at))), 16);
    return (floats)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)((const int8_t *)weight + at))));
#else
    if (format == BFLOAT16)
        return (floats)(__builtin_convertvector(*(const halves *)((const uint16_t *)weight + at), words) << 16);
    /* By way of 16 bits, else GCC takes the numbers one by one. */
    shorts wider = __builtin_convertvector(*(const bytes *)((const int8_t *)weight + at), shorts);
    return __builtin_convertvector(__builtin_convertvector(wider, integers), floats);
#endif
}

/* Sums of one block for `tokens` tokens; both are known when this is compiled, so that the sums stay in registers. */
static inline __attribute__((always_inline)) void block_sums(
    const void *weight, enum format format, const float *x, int inputs, int tokens, float *sums) {
    floats sum[TOGETHER][VECTORS];
    const int size = format == FLOAT32 ? 4 : format == BFLOAT16 ? 2 : 1;
    for (int t = 0; t < tokens; t++)
        for (int v = 0; v < VECTORS; v++) sum[t][v] = (floats){0};
    for (int i = 0; i < inputs; i++) {
        const char *ahead = (const char *)weight + (long)i * BLOCK * size + AHEAD;
#pragma GCC unroll 4
        for (int line = 0; line < BLOCK * size; line += 64) __builtin_prefetch(ahead + line);
        floats w[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) w[v] = weights_at(weight, (long)i * BLOCK + v * LANES, format);
#pragma GCC unroll 6
        for (int t = 0; t < tokens; t++)
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++) sum[t][v] += w[v] * x[(long)t * inputs + i];
    }
    for (int t = 0; t < tokens; t++)
        for (int v = 0; v < VECTORS; v++) *(floats *)(sums + t * BLOCK + v * LANES) = sum[t][v];
}

#define FOR_TOKENS(format, tokens) \
    case tokens: block_sums(weight, format, x, inputs, tokens, sums); break;
#if TOGETHER == 6
#define FOR_FORMAT(format)                                                             \
    switch (tokens) {                                                                  \
        FOR_TOKENS(format, 1) FOR_TOKENS(format, 2) FOR_TOKENS(format, 3)              \
        FOR_TOKENS(format, 4) FOR_TOKENS(format, 5) FOR_TOKENS(format, 6)              \
    }
#else
#define FOR_FORMAT(format) switch (tokens) { FOR_TOKENS(format, 1) }
#endif

static void some_sums(const void *weight, enum format format, const float *x, int inputs, int tokens, float *sums) {
    if (format == FLOAT32) FOR_FORMAT(FLOAT32)
    else if (format == BFLOAT16) FOR_FORMAT(BFLOAT16)
    else FOR_FORMAT(INT8)
}

enum after { STORE, GELU, EXACT_GELU };

/* y[t] = (base[t] +) matrix x[t] + bias for all tokens; threads take blocks of outputs. Rows of y are `stride` apart. */
static void multiply(
    Team *team, int stage, const Matrix *matrix, enum format format, const float *x, int count, const float *base, float *y,
    int stride, enum after after) {
    const int size = format == FLOAT32 ? 4 : format == BFLOAT16 ? 2 : 1;
    const int blocks = (matrix->outputs + BLOCK - 1) / BLOCK;
    float sums[TOGETHER * BLOCK];
    for (int block; (block = next_portion(team, stage)) < blocks;) {
        const char *weight = (const char *)matrix->weight + (long)block * matrix->inputs * BLOCK * size;
        const int start = block * BLOCK, outputs = matrix->outputs - start < BLOCK ? matrix->outputs - start : BLOCK;
        for (int first = 0; first < count; first += TOGETHER) {
            int tokens = count - first < TOGETHER ? count - first : TOGETHER;
            some_sums(weight, format, x + (long)first * matrix->inputs, matrix->inputs, tokens, sums);
            for (int t = 0; t < tokens; t++) {
                float *row = y + (long)(first + t) * stride + start, *sum = sums + t * BLOCK;
                if (matrix->scale)
                    for (int o = 0; o < outputs; o++) sum[o] *= matrix->scale[start + o];
                if (matrix->bias)
                    for (int o = 0; o < outputs; o++) sum[o] += matrix->bias[start + o];
                if (after != STORE) gelu(sum, outputs, after == EXACT_GELU);
                if (base)
                    for (int o = 0; o < outputs; o++) sum[o] += base[(long)(first + t) * stride + start + o];
                memcpy(row, sum, outputs * sizeof(float));
            }
        }
    }
}

/* --- Attention. */

typedef struct {
    long step; /* numbers between layers' keys and values */
    long row, head;
} Strides;

static void remember(const Cache *cache, long at, const float *x, int size) {
    if (cache->is_bfloat16) {
        uint16_t *to = (uint16_t *)cache->room + at;
        for (int i = 0; i < size; i++) to[i] = narrowed(x[i]);
    } else
        memcpy((float *)cache->room + at, x, size * sizeof(float));
}

#define ATTEND(NAME, TYPE, WIDEN)                                                                                   \
    static void NAME(const TYPE *keys, const TYPE *values, const float *query, int seen, int size, float scale,     \
                     float *score, float *mixed) {                                                                  \
        float largest = -INFINITY, total = 0;                                                                       \
        for (int p = 0; p < seen; p++) {                                                                            \
            float dot = 0;                                                                                          \
            const TYPE *key = keys + (long)p * size;                                                                \
            _Pragma("omp simd reduction(+ : dot)") for (int i = 0; i < size; i++) dot += query[i] * WIDEN(key[i]);  \
            score[p] = dot * scale;                                                                                 \
            largest = score[p] > largest ? score[p] : largest;                                                      \
        }                                                                                                           \
        _Pragma("omp simd reduction(+ : total)") for (int p = 0; p < seen; p++) {                                   \
            score[p] = exponential(score[p] - largest);                                                             \
            total += score[p];                                                                                      \
        }                                                                                                           \
        for (int i = 0; i < size; i++) mixed[i] = 0;                                                                \
        for (int p = 0; p < seen; p++) {                                                                            \
            const TYPE *value = values + (long)p * size;                                                            \
            float share = score[p];                                                                                 \
            _Pragma("omp simd") for (int i = 0; i < size; i++) mixed[i] += share * WIDEN(value[i]);                 \
        }                                                                                                           \
        for (int i = 0; i < size; i++) mixed[i] /= total;                                                           \
    }
ATTEND(attend_float32, float, )
ATTEND(attend_bfloat16, uint16_t, widened)

/* --- The pass. */

typedef struct {
    float *hidden, *query_key_value, *mixed, *inner; /* of all tokens */
    float *own;                                      /* for each thread: normalised tokens, then scores */
    long own_size;
} Scratch;

static void attention(
    Team *team, int stage, const Network *net, const Cache *cache, const Batch *batch, const Scratch *scratch, int layer,
    int remembered, float *score) {
    const int channels = net->channels, size = channels / net->heads;
    const long per_head = (long)cache->length * size, per_row = per_head * net->heads, per_part = per_row * cache->rows;
    float scale = 1.0f / sqrtf((float)size);
    if (net->scale_by_layer) scale /= (float)(layer + 1);
    for (int portion; (portion = next_portion(team, stage)) < batch->count * net->heads;) {
        const int t = portion / net->heads, head = portion % net->heads, seen = batch->place[t] + 1;
        const float *query = scratch->query_key_value + (long)t * 3 * channels + head * size;
        const long keys = 2 * layer * per_part + batch->row[t] * per_row + head * per_head, values = keys + per_part;
        if (!remembered) {
            remember(cache, keys + (long)(seen - 1) * size, query + channels, size);
            remember(cache, values + (long)(seen - 1) * size, query + 2 * channels, size);
        }
        float *mixed = scratch->mixed + (long)t * channels + head * size;
        if (cache->is_bfloat16)
            attend_bfloat16((uint16_t *)cache->room + keys, (uint16_t *)cache->room + values, query, seen, size, scale, score, mixed);
        else
            attend_float32((float *)cache->room + keys, (float *)cache->room + values, query, seen, size, scale, score, mixed);
    }
}

/* Tokens of one row see each other: then all keys and values are written before any is read. */
static void remember_all(
    Team *team, int stage, const Network *net, const Cache *cache, const Batch *batch, const Scratch *scratch, int layer) {
    const int channels = net->channels, size = channels / net->heads;
    const long per_head = (long)cache->length * size, per_row = per_head * net->heads, per_part = per_row * cache->rows;
    for (int t; (t = next_portion(team, stage)) < batch->count;)
        for (int head = 0; head < net->heads; head++) {
            const float *key = scratch->query_key_value + ((long)t * 3 + 1) * channels + head * size;
            long at = 2 * layer * per_part + batch->row[t] * per_row + head * per_head + (long)batch->place[t] * size;
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

#define STAGES_A_LAYER 6

static void pass(const Network *net, const Cache *cache, const Batch *batch, const Scratch *scratch, Team *team, int thread) {
    const int channels = net->channels, count = batch->count, together = shares_rows(batch);
    const enum format format = net->format;
    float *own = scratch->own + thread * scratch->own_size, *score = own + (long)count * channels, *hidden = scratch->hidden;
    int stage = 0, work = 0;
    for (int t = thread; t < count; t += team->threads)
        for (int i = 0; i < channels; i++)
            hidden[(long)t * channels + i] = net->tokens[batch->token[t] * channels + i] + net->positions[(long)batch->place[t] * channels + i];
    wait_for_all(team, &stage);
    for (int number = 0; number < net->layers; number++) {
        const Layer *layer = net->layer + number;
        const float *norm = net->norm_before ? layer->attention_norm : number ? layer[-1].feed_norm : NULL;
        /* Every thread normalises all tokens for itself, which is less than waiting for one another. */
        for (int t = 0; t < count; t++) {
            if (norm) normalise(hidden + (long)t * channels, norm, own + (long)t * channels, channels, net->epsilon);
            else memcpy(own + (long)t * channels, hidden + (long)t * channels, channels * sizeof(float));
        }
        multiply(team, work++, &layer->query_key_value, format, own, count, NULL, scratch->query_key_value, 3 * channels, STORE);
        wait_for_all(team, &stage);
        if (together) {
            remember_all(team, work, net, cache, batch, scratch, number);
            wait_for_all(team, &stage);
        }
        work++;
        attention(team, work++, net, cache, batch, scratch, number, together, score);
        wait_for_all(team, &stage);
        /* With normalisation after a block, what it adds to is the normalised input. */
        multiply(team, work++, &layer->output, format, scratch->mixed, count, net->norm_before ? hidden : own, hidden, channels, STORE);
        wait_for_all(team, &stage);
        norm = net->norm_before ? layer->feed_norm : layer->attention_norm;
        for (int t = 0; t < count; t++)
            normalise(hidden + (long)t * channels, norm, own + (long)t * channels, channels, net->epsilon);
        multiply(team, work++, &layer->inner, format, own, count, NULL, scratch->inner, net->feed, net->exact_gelu ? EXACT_GELU : GELU);
        wait_for_all(team, &stage);
        multiply(team, work++, &layer->outer, format, scratch->inner, count, net->norm_before ? hidden : own, hidden, channels, STORE);
        wait_for_all(team, &stage);
    }
    for (int t = 0; t < batch->wanted; t++)
        normalise(hidden + (long)batch->last[t] * channels, net->norm_before ? net->norm : net->layer[net->layers - 1].feed_norm,
                  own + (long)t * channels, channels, net->epsilon);
    const int stride = (net->head.outputs + BLOCK - 1) / BLOCK * BLOCK;
    multiply(team, work, &net->head, format, own, batch->wanted, NULL, batch->logits, stride, STORE);
}

/* Returns 0, or 1 if there is not enough memory. */
int read_tokens(const Network *net, const Cache *cache, const Batch *batch, int threads) {
    const long count = batch->count, channels = net->channels;
    Scratch scratch;
    /* Scores need a place for each position; lines are not shared between threads. */
    scratch.own_size = (count * channels + cache->length + 15) / 16 * 16 + 16;
    float *room = malloc(sizeof(float) * (count * (5 * channels + net->feed) + threads * scratch.own_size));
    atomic_int *portion = calloc(net->layers * STAGES_A_LAYER + 1, sizeof(atomic_int));
    if (!room || !portion) {
        free(room);
        free(portion);
        return 1;
    }
    scratch.hidden = room;
    scratch.query_key_value = scratch.hidden + count * channels;
    scratch.mixed = scratch.query_key_value + 3 * count * channels;
    scratch.inner = scratch.mixed + count * channels;
    scratch.own = scratch.inner + count * net->feed;
    Team team = {.portion = portion, .threads = threads};
#ifdef _OPENMP
#pragma omp parallel num_threads(threads)
    {
#pragma omp single
        team.threads = omp_get_num_threads(); /* may be fewer than asked for */
        pass(net, cache, batch, &scratch, &team, omp_get_thread_num());
    }
#else
    team.threads = 1;
    pass(net, cache, batch, &scratch, &team, 0);
#endif
    free(room);
    free(portion);
    return 0;
}
