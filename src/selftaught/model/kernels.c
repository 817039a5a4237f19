/* What a training step computes on a processor with products of bfloat16 (AVX-512): matrices, attention, normalisation, loss, AdamW.

   Numbers that are multiplied are bfloat16, everything that is added up is float32. Every sum is made in one order whatever the
   number of threads or their timing, so that a run that is repeated or resumed is the same to the last bit.

   Compiled on first use for the machine that it runs on, see compilation.py; called by model/kernels.py. What these kernels
   compute is written in plain PyTorch in model/transformer.py, which is also what runs where they cannot. */

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <omp.h>

typedef uint16_t half; /* the bits of a bfloat16 */

#define INLINE static inline __attribute__((always_inline))
#define LANES 16
#define VECTORS 4
#define PANEL (LANES * VECTORS) /* columns whose sums stay in registers, for */
#define ROWS 6                  /* rows at a time: 24 of 32 registers */
#define TILE (ROWS * PANEL)
#define DEPTH 1024 /* numbers of the inner dimension at a time, so that a panel of them stays in the second cache */
#define CHUNK 96   /* rows of the result that a thread takes at a time, */
#define TURNED 64  /* or so many where the left matrix has to be turned */
#define RANGE 4    /* panels of the result that it takes with them, */
#define WIDE 12    /* or so many, since it turns the rows anew for each such range */
#define AHEAD 16   /* rows that are fetched before they are packed */

/* --- Numbers. */

INLINE __m512 widened(__m256i halves) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16)); }
INLINE __m512 load(const half *at) { return widened(_mm256_loadu_si256((const __m256i *)at)); }
INLINE __m256i narrowed(__m512 value) { return (__m256i)_mm512_cvtneps_pbh(value); }
INLINE void store(half *at, __m512 value) { _mm256_storeu_si256((__m256i *)at, narrowed(value)); }
INLINE __mmask16 first(long count) { return count >= LANES ? 0xffff : count <= 0 ? 0 : (__mmask16)((1u << count) - 1); }

INLINE float one(half bits) {
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, 4);
    return value;
}

INLINE void store_one(half *at, float value) {
    const __m128i bits = (__m128i)_mm_cvtneps_pbh(_mm_set_ss(value));
    *at = (half)_mm_extract_epi16(bits, 0);
}

/* Within 2e-7 of exp(x). Largest and smallest take their second argument if one is no number, so that NaN stays NaN. */
INLINE __m512 exponential(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(-87.0f), x);
    __m512 whole = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 rest = _mm512_fnmadd_ps(whole, _mm512_set1_ps(0.693359375f), x);
    rest = _mm512_fmadd_ps(whole, _mm512_set1_ps(2.12194440e-4f), rest);
    __m512 sum = _mm512_set1_ps(1.9875691500e-4f);
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(1.3981999507e-3f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(8.3334519073e-3f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(4.1665795894e-2f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(1.6666665459e-1f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(5.0000001201e-1f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(1.0f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(sum, whole);
}

/* The share of x that GELU's approximation by tanh lets through, (1 + tanh z) / 2 = 1 / (1 + exp(-2 z)). */
INLINE __m512 gate(__m512 x) {
    __m512 cubic = _mm512_fmadd_ps(_mm512_mul_ps(x, x), _mm512_set1_ps(-2 * 0.79788456f * 0.044715f), _mm512_set1_ps(-2 * 0.79788456f));
    __m512 one = _mm512_set1_ps(1.0f);
    return _mm512_div_ps(one, _mm512_add_ps(one, exponential(_mm512_min_ps(_mm512_set1_ps(87.0f), _mm512_mul_ps(x, cubic)))));
}

/* Its derivative: gate + x gate (1 - gate) 2 z'. */
INLINE __m512 slope(__m512 x, __m512 gate) {
    __m512 inner = _mm512_fmadd_ps(_mm512_mul_ps(x, x), _mm512_set1_ps(2 * 0.79788456f * 3 * 0.044715f), _mm512_set1_ps(2 * 0.79788456f));
    __m512 rising = _mm512_mul_ps(_mm512_mul_ps(x, gate), _mm512_mul_ps(_mm512_sub_ps(_mm512_set1_ps(1.0f), gate), inner));
    return _mm512_add_ps(gate, rising);
}

/* --- Packing: the processor multiplies pairs of numbers that follow each other in the inner dimension. A packed matrix is panels of
   64 columns; in a panel, pair after pair of the inner dimension, 64 pairs lie side by side. Missing numbers are 0. */

INLINE __m512i pairs_of(const void *row, int is_float, long at, long left) { /* 16 pairs from place `at`, of which `left` numbers exist */
    if (is_float) {
        const float *from = (const float *)row + at;
        __m512 low = _mm512_maskz_loadu_ps(first(left), from), high = _mm512_maskz_loadu_ps(first(left - LANES), from + LANES);
        return (__m512i)_mm512_cvtne2ps_pbh(high, low);
    }
    __mmask32 mask = left >= 2 * LANES ? 0xffffffffu : left <= 0 ? 0 : (1u << left) - 1;
    return _mm512_maskz_loadu_epi16(mask, (const half *)row + at);
}

/* Turns 16 rows of 16 pairs so that rows become columns. */
INLINE void turn(__m512i r[16]) {
    __m512i t[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
        r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

/* A panel of a matrix whose rows are the columns of the result and run along the inner dimension. */
static void pack_along(const void *from, int is_float, long stride, long columns, long depth, half *to) {
    const long size = is_float ? 4 : 2, pairs = (depth + 1) / 2;
    for (long pair = 0; pair < pairs; pair += LANES)
        for (int v = 0; v < VECTORS; v++) {
            __m512i row[16];
            for (int c = 0; c < LANES; c++) {
                const char *line = (const char *)from + (v * LANES + c) * stride * size;
                for (long at = 0; at < 2 * LANES * size; at += 64) __builtin_prefetch(line + (2 * pair + PANEL) * size + at);
                row[c] = v * LANES + c < columns ? pairs_of(line, is_float, 2 * pair, depth - 2 * pair) : _mm512_setzero_si512();
            }
            turn(row);
            long count = pairs - pair < LANES ? pairs - pair : LANES;
            for (int p = 0; p < count; p++) _mm512_storeu_si512(to + ((pair + p) * PANEL + v * LANES) * 2, row[p]);
        }
}

INLINE __m512i wide_halves(const void *row, int is_float, long at, __mmask16 mask) { /* 16 numbers as bits in 32-bit lanes */
    if (is_float) return _mm512_cvtepu16_epi32(narrowed(_mm512_maskz_loadu_ps(mask, (const float *)row + at)));
    return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, (const half *)row + at));
}

/* A panel of a matrix whose rows run along the columns of the result; `sums`, if given, are each column's, added to. */
static void pack_across(const void *from, int is_float, long stride, long columns, long depth, half *to, float *sums) {
    const long size = is_float ? 4 : 2;
    const __m512bh ones = (__m512bh)_mm512_set1_epi32(0x3f803f80);
    __mmask16 mask[VECTORS];
    __m512 sum[VECTORS];
    for (int v = 0; v < VECTORS; v++) {
        mask[v] = first(columns - v * LANES);
        sum[v] = sums ? _mm512_loadu_ps(sums + v * LANES) : _mm512_setzero_ps();
    }
    for (long k = 0; k < depth; k += 2) {
        const char *low = (const char *)from + k * stride * size, *high = low + stride * size;
        for (long at = AHEAD * stride * size; at < AHEAD * stride * size + PANEL * size; at += 64) {
            __builtin_prefetch(low + at);
            __builtin_prefetch(high + at);
        }
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) {
            __m512i pairs = wide_halves(low, is_float, v * LANES, mask[v]);
            if (k + 1 < depth) pairs = _mm512_or_si512(pairs, _mm512_slli_epi32(wide_halves(high, is_float, v * LANES, mask[v]), 16));
            _mm512_storeu_si512(to + k * PANEL + v * LANES * 2, pairs);
            sum[v] = _mm512_dpbf16_ps(sum[v], (__m512bh)pairs, ones);
        }
    }
    if (sums)
        for (int v = 0; v < VECTORS; v++) _mm512_storeu_ps(sums + v * LANES, sum[v]);
}

/* --- Products. */

/* sums[row][column] (+)= left x right for a few rows and one packed panel. Pairs of the left matrix are `row` apart from row to row
   and `pair` along the inner dimension. `rows` and `vectors` are known when this is compiled, so that the sums stay in registers. */
INLINE void fixed_tile(
    const int32_t *left, long row, long pair, const half *right, long pairs, float *sums, int more, int rows, int vectors) {
    __m512 sum[ROWS][VECTORS];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) sum[r][v] = more ? _mm512_loadu_ps(sums + r * PANEL + v * LANES) : _mm512_setzero_ps();
    for (long p = 0; p < pairs; p++) {
        __m512bh column[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) column[v] = (__m512bh)_mm512_loadu_si512(right + (p * PANEL + v * LANES) * 2);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            __m512bh both = (__m512bh)_mm512_set1_epi32(left[r * row + p * pair]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], both, column[v]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) _mm512_storeu_ps(sums + r * PANEL + v * LANES, sum[r][v]);
}

#define TILE_OF(r, v) \
    case r * 8 + v: fixed_tile(left, row, pair, right, pairs, sums, more, r, v); break;
#define TILES_OF(r) TILE_OF(r, 1) TILE_OF(r, 2) TILE_OF(r, 3) TILE_OF(r, 4)
#define TILES \
    switch (rows * 8 + vectors) { TILES_OF(1) TILES_OF(2) TILES_OF(3) TILES_OF(4) TILES_OF(5) TILES_OF(6) }

static void row_tile(const int32_t *left, long row, const half *right, long pairs, float *sums, int more, int rows, int vectors) {
    const long pair = 1;
    TILES
}

static void panel_tile(const int32_t *left, const half *right, long pairs, float *sums, int more, int rows, int vectors) {
    const long row = 1, pair = PANEL;
    TILES
}

enum result { FLOATS, HALVES, ADDED, ACTIVATED, ACTIVATED_BACK };

/* result = left x right: (rows, depth) x (depth, columns). */
typedef struct {
    const half *left;   /* rows x depth; or, turned, depth x rows */
    const void *right;  /* depth x columns; or, along, columns x depth */
    const float *bias;  /* of each column, or null */
    const float *base;  /* ADDED: what the product is added to */
    void *result;       /* FLOATS and ADDED: float32, else bfloat16 */
    half *second;       /* ACTIVATED: GELU of the result; ACTIVATED_BACK: GELU of `inner` */
    const half *inner;  /* ACTIVATED_BACK: what GELU was given; the result is the product times its slope there */
    float *sums;        /* turned: the sums of the left matrix over the depth, or null */
    int64_t rows, columns, depth, left_stride, right_stride, result_stride;
    int32_t turned, along, right_is_float, kind, threads;
} Product;

static void finish(const Product *p, const float *sums, long row, long column, int rows) {
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < VECTORS; v++) {
            const long c = column + v * LANES, at = (row + r) * p->result_stride + c;
            const __mmask16 mask = first(p->columns - c);
            if (!mask) break;
            __m512 value = _mm512_loadu_ps(sums + r * PANEL + v * LANES);
            if (p->bias) value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, p->bias + c));
            if (p->kind == FLOATS || p->kind == ADDED) {
                if (p->kind == ADDED) value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, p->base + at));
                if (mask == 0xffff) _mm512_storeu_ps((float *)p->result + at, value);
                else _mm512_mask_storeu_ps((float *)p->result + at, mask, value);
                continue;
            }
            __m512 active = value;
            if (p->kind == ACTIVATED) {
                __m512 kept = widened(narrowed(value)); /* as the way back will find it */
                active = _mm512_mul_ps(kept, gate(kept));
            } else if (p->kind == ACTIVATED_BACK) {
                __m512 inner = widened(_mm256_maskz_loadu_epi16(mask, p->inner + at)), share = gate(inner);
                value = _mm512_mul_ps(value, slope(inner, share));
                active = _mm512_mul_ps(inner, share);
            }
            _mm256_mask_storeu_epi16((half *)p->result + at, mask, narrowed(value));
            if (p->kind != HALVES) _mm256_mask_storeu_epi16(p->second + at, mask, narrowed(active));
        }
}

/* What `finish` reads and writes of a tile is fetched while the product is computed: else it waits for memory longer than it computes. */
INLINE void fetch(const Product *p, long row, long column, int rows) {
    const long wide = p->kind == FLOATS || p->kind == ADDED ? sizeof(float) : sizeof(half), line = 64 / wide;
    for (int r = 0; r < rows; r++) {
        const long at = (row + r) * p->result_stride + column;
        for (long c = 0; c < PANEL; c += line) {
            __builtin_prefetch((char *)p->result + (at + c) * wide, 1);
            if (p->kind == ADDED && p->base != p->result) __builtin_prefetch(p->base + at + c);
            if (p->kind == ACTIVATED || p->kind == ACTIVATED_BACK) __builtin_prefetch(p->second + at + c, 1);
            if (p->kind == ACTIVATED_BACK) __builtin_prefetch(p->inner + at + c);
        }
    }
}

/* Some rows and panels of the result, all of the depth. */
static void part(const Product *p, const half *packed, long row, long rows, long panel, long panels, float *held, half *turned) {
    const long pairs = (p->depth + 1) / 2, tiles = (rows + ROWS - 1) / ROWS;
    float column_sums[TURNED] = {0};
    const int summed = p->turned && p->sums && panel == 0;
    for (long k = 0; k < p->depth; k += DEPTH) {
        const long deep = p->depth - k < DEPTH ? p->depth - k : DEPTH, last = k + DEPTH >= p->depth;
        if (p->turned) pack_across(p->left + k * p->left_stride + row, 0, p->left_stride, rows, deep, turned, summed ? column_sums : NULL);
        for (long n = 0; n < panels; n++) {
            const half *right = packed + ((panel + n) * pairs + k / 2) * PANEL * 2;
            const long left_over = p->columns - (panel + n) * PANEL;
            const int vectors = left_over >= PANEL ? VECTORS : (left_over + LANES - 1) / LANES;
            for (long t = 0; t < tiles; t++) {
                const int some = rows - t * ROWS < ROWS ? rows - t * ROWS : ROWS;
                float *sums = p->depth > DEPTH ? held + (n * tiles + t) * TILE : held;
                if (last) fetch(p, row + t * ROWS, (panel + n) * PANEL, some);
                if (p->turned) panel_tile((const int32_t *)turned + t * ROWS, right, (deep + 1) / 2, sums, k > 0, some, vectors);
                else {
                    const half *left = p->left + (row + t * ROWS) * p->left_stride + k;
                    row_tile((const int32_t *)left, p->left_stride / 2, right, (deep + 1) / 2, sums, k > 0, some, vectors);
                }
                if (last) finish(p, sums, row + t * ROWS, (panel + n) * PANEL, some);
            }
        }
    }
    if (summed)
        for (long r = 0; r < rows; r++) p->sums[row + r] = column_sums[r];
}

static void *room(size_t bytes) { return aligned_alloc(64, (bytes + 63) / 64 * 64); }

/* Returns 0, or 1 if there is not enough memory. Row-wise left matrices have an even depth and stride, or one row less of zeros. */
int product(const Product *p) {
    const long panels = (p->columns + PANEL - 1) / PANEL, pairs = (p->depth + 1) / 2, size = p->right_is_float ? 4 : 2;
    const long chunk = p->turned ? TURNED : CHUNK, chunks = (p->rows + chunk - 1) / chunk;
    long range = p->turned ? WIDE : RANGE; /* the split changes no sum */
    while (range > 1 && chunks * ((panels + range - 1) / range) < 4 * p->threads) range /= 2;
    const long ranges = (panels + range - 1) / range, blocks = (p->depth + DEPTH - 1) / DEPTH;
    const long tiles = (chunk + ROWS - 1) / ROWS * range, own = tiles * TILE + (p->turned ? DEPTH * PANEL / 2 : 0);
    const int wider = p->columns > p->rows; /* The larger matrix passes by once, while the other one stays in a cache. */
    half *packed = room(panels * pairs * PANEL * 2 * sizeof(half));
    float *threads_own = room(p->threads * own * sizeof(float));
    if (!packed || !threads_own) {
        free(packed);
        free(threads_own);
        return 1;
    }
#pragma omp parallel num_threads(p->threads)
    {
#pragma omp for schedule(dynamic)
        for (long job = 0; job < panels * blocks; job++) {
            const long panel = job / blocks, k = job % blocks * DEPTH, deep = p->depth - k < DEPTH ? p->depth - k : DEPTH;
            const long columns = p->columns - panel * PANEL < PANEL ? p->columns - panel * PANEL : PANEL;
            const long start = p->along ? panel * PANEL * p->right_stride + k : k * p->right_stride + panel * PANEL;
            const char *from = (const char *)p->right + start * size;
            half *to = packed + (panel * pairs + k / 2) * PANEL * 2;
            if (p->along) pack_along(from, p->right_is_float, p->right_stride, columns, deep, to);
            else pack_across(from, p->right_is_float, p->right_stride, columns, deep, to, NULL);
        }
        float *held = threads_own + omp_get_thread_num() * own;
        half *turned = (half *)(held + tiles * TILE);
#pragma omp for schedule(dynamic)
        for (long job = 0; job < chunks * ranges; job++) {
            const long row = (wider ? job % chunks : job / ranges) * chunk, panel = (wider ? job / chunks : job % ranges) * range;
            const long rows = p->rows - row < chunk ? p->rows - row : chunk;
            part(p, packed, row, rows, panel, panels - panel < range ? panels - panel : range, held, turned);
        }
    }
    free(packed);
    free(threads_own);
    return 0;
}

/* --- Attention. A thread takes a head of a row of the batch. Scores of a few queries exist at a time; what the way back needs of them it
   computes again from each query's sum of exponentials, so that memory grows with the length, not with its square. */

typedef struct {
    const half *joined;   /* tokens x 3 channels: queries, keys, values, each head after head */
    const int32_t *firsts; /* of each token, the first place of its row that it sees; or null */
    half *mixed;          /* tokens x channels */
    float *log_sum;       /* rows x heads x length: of the exponentials of each query's scores */
    const half *change;   /* way back: of mixed */
    half *joined_change;  /* way back: of joined */
    int64_t rows, length, heads, size;
    float scale;
    int32_t threads;
} Attention;

#define QUERIES 96 /* at a time, a multiple of ROWS */
#define SCORES 32768 /* at a time at most: their room stays in the second cache */

INLINE __mmask16 seen(long key, long from, long to) { /* of 16 keys, those from `from` to `to` */
    return first(to + 1 - key) & ~first(from - key);
}

/* The first key that any of a few queries sees, rounded down to a panel. */
static long lowest(const int32_t *firsts, long start, long end) {
    long found = firsts ? firsts[start] : 0;
    for (long q = start; firsts && q < end; q++) found = firsts[q] < found ? firsts[q] : found;
    return found / PANEL * PANEL;
}

static long padded(long count, long to) { return (count + to - 1) / to * to; }

static void softmax(float *score, half *share, float *log_sum, float *inverse, long low, long from, long to, long end, float scale) {
    __m512 largest = _mm512_set1_ps(-INFINITY), total = _mm512_setzero_ps();
    const __m512 factor = _mm512_set1_ps(scale);
    for (long k = low; k < end; k += LANES) largest = _mm512_mask_max_ps(largest, seen(k, from, to), largest, _mm512_loadu_ps(score + k - low));
    const float most = _mm512_reduce_max_ps(largest) * scale;
    for (long k = low; k < end; k += LANES) {
        const __mmask16 mask = seen(k, from, to);
        __m512 value = _mm512_setzero_ps();
        if (mask) value = _mm512_maskz_mov_ps(mask, exponential(_mm512_fmsub_ps(_mm512_loadu_ps(score + k - low), factor, _mm512_set1_ps(most))));
        total = _mm512_add_ps(total, value);
        store(share + k - low, value);
    }
    const float sum = _mm512_reduce_add_ps(total);
    *log_sum = most + logf(sum);
    *inverse = 1.0f / sum;
}

/* One head: `room` is for packed keys and values, scores and shares. */
static void attend_head(const Attention *a, long row, long head, char *room_for_one) {
    const long T = a->length, K = a->size, C = a->heads * K, panels = (T + PANEL - 1) / PANEL, wide = (K + PANEL - 1) / PANEL;
    const long together = QUERIES * T <= SCORES ? QUERIES : SCORES / T / ROWS * ROWS > ROWS ? SCORES / T / ROWS * ROWS : ROWS;
    const half *query = a->joined + row * T * 3 * C + head * K, *key = query + C, *value = key + C;
    const int32_t *firsts = a->firsts ? a->firsts + row * T : NULL;
    half *keys = (half *)room_for_one, *values = keys + panels * PANEL * K, *shares = values + wide * PANEL * padded(T, 2);
    const long line = panels * PANEL;
    float *scores = (float *)(shares + together * line), inverse[QUERIES], sums[TILE];
    for (long p = 0; p < panels; p++)
        pack_along(key + p * PANEL * 3 * C, 0, 3 * C, T - p * PANEL < PANEL ? T - p * PANEL : PANEL, K, keys + p * PANEL * K);
    for (long w = 0; w < wide; w++)
        pack_across(value + w * PANEL, 0, 3 * C, K - w * PANEL < PANEL ? K - w * PANEL : PANEL, T, values + w * PANEL * padded(T, 2), NULL);
    for (long start = 0; start < T; start += together) {
        const long end = start + together < T ? start + together : T, low = lowest(firsts, start, end), stop = padded(end, PANEL);
        for (long k = low; k < end; k += PANEL)
            for (long q = start; q < end; q += ROWS) {
                const int some = end - q < ROWS ? end - q : ROWS;
                row_tile((const int32_t *)(query + q * 3 * C), 3 * C / 2, keys + k * K, K / 2, sums, 0, some, VECTORS);
                for (int r = 0; r < some; r++) memcpy(scores + (q + r - start) * line + k - low, sums + r * PANEL, PANEL * sizeof(float));
            }
        for (long q = start; q < end; q++)
            softmax(scores + (q - start) * line, shares + (q - start) * line, a->log_sum + (row * a->heads + head) * T + q,
                    inverse + (q - start), low, firsts ? firsts[q] : 0, q, stop, a->scale);
        for (long w = 0; w < wide; w++)
            for (long q = start; q < end; q += ROWS) {
                const int some = end - q < ROWS ? end - q : ROWS, left_over = K - w * PANEL;
                const int vectors = left_over >= PANEL ? VECTORS : left_over / LANES;
                row_tile((const int32_t *)(shares + (q - start) * line), line / 2, values + w * PANEL * padded(T, 2) + low * PANEL,
                         (end - low + 1) / 2, sums, 0, some, vectors);
                for (int r = 0; r < some; r++)
                    for (int v = 0; v < vectors; v++)
                        store(a->mixed + (row * T + q + r) * C + head * K + w * PANEL + v * LANES,
                              _mm512_mul_ps(_mm512_loadu_ps(sums + r * PANEL + v * LANES), _mm512_set1_ps(inverse[q + r - start])));
            }
    }
}

/* Two rows of 16 numbers as pairs. */
INLINE __m512i paired(__m512 low, __m512 high) {
    return _mm512_or_si512(_mm512_cvtepu16_epi32(narrowed(low)), _mm512_slli_epi32(_mm512_cvtepu16_epi32(narrowed(high)), 16));
}

typedef struct {
    half *keys_along, *values_along, *keys_across; /* packed, of the head */
    half *query, *change;                          /* packed, of the queries at a time */
    half *shares, *slopes;                         /* a panel of keys for these queries, in pairs of queries */
    half *lines;                                   /* slopes by query, of all keys */
    float *key_change, *value_change;              /* of all keys, tile by tile of 64 keys */
    float delta[QUERIES];                          /* of each query: the sum of its mixed values times their change */
} Back;

/* Shares and slopes of ROWS queries and a panel of keys: the shares are what softmax gave, the slopes the change of the scores. */
static void back_tile(const Attention *a, const Back *b, const half *query, const half *change, const float *log_sum,
                      const int32_t *firsts, long start, long q, long end, long k, long low) {
    const long K = a->size, C = a->heads * K, line = padded(a->length, PANEL);
    const int some = end - q < ROWS ? end - q : ROWS;
    float scores[TILE], moves[TILE];
    row_tile((const int32_t *)(query + q * 3 * C), 3 * C / 2, b->keys_along + k * K, K / 2, scores, 0, some, VECTORS);
    row_tile((const int32_t *)(change + q * C), C / 2, b->values_along + k * K, K / 2, moves, 0, some, VECTORS);
    for (int r = 0; r < ROWS; r += 2)
        for (int v = 0; v < VECTORS; v++) {
            __m512 share[2], slope[2];
            for (int half_of = 0; half_of < 2; half_of++) {
                const long at = q + r + half_of;
                share[half_of] = slope[half_of] = _mm512_setzero_ps();
                if (at >= end) continue;
                const __mmask16 mask = seen(k + v * LANES, firsts ? firsts[at] : 0, at);
                const int place = (r + half_of) * PANEL + v * LANES;
                __m512 exponent = _mm512_fmsub_ps(_mm512_loadu_ps(scores + place), _mm512_set1_ps(a->scale), _mm512_set1_ps(log_sum[at]));
                share[half_of] = _mm512_maskz_mov_ps(mask, exponential(exponent));
                __m512 change_of = _mm512_sub_ps(_mm512_loadu_ps(moves + place), _mm512_set1_ps(b->delta[at - start]));
                slope[half_of] = _mm512_mul_ps(_mm512_mul_ps(share[half_of], change_of), _mm512_set1_ps(a->scale));
                store(b->lines + (at - start) * line + k - low + v * LANES, slope[half_of]);
            }
            const long to = ((q + r - start) / 2 * PANEL + v * LANES) * 2;
            _mm512_storeu_si512(b->shares + to, paired(share[0], share[1]));
            _mm512_storeu_si512(b->slopes + to, paired(slope[0], slope[1]));
        }
}

static void attend_head_back(const Attention *a, long row, long head, char *room_for_one) {
    const long T = a->length, K = a->size, C = a->heads * K, line = padded(T, PANEL), panels = line / PANEL;
    const long wide = (K + PANEL - 1) / PANEL, key_tiles = (PANEL + ROWS - 1) / ROWS;
    const half *query = a->joined + row * T * 3 * C + head * K, *key = query + C, *value = key + C;
    const half *change = a->change + row * T * C + head * K, *mixed = a->mixed + row * T * C + head * K;
    const int32_t *firsts = a->firsts ? a->firsts + row * T : NULL;
    const float *log_sum = a->log_sum + (row * a->heads + head) * T;
    Back b;
    float sums[TILE];
    b.key_change = (float *)room_for_one;
    b.value_change = b.key_change + panels * wide * key_tiles * TILE;
    b.keys_along = (half *)(b.value_change + panels * wide * key_tiles * TILE);
    b.values_along = b.keys_along + line * K;
    b.keys_across = b.values_along + line * K;
    b.query = b.keys_across + wide * PANEL * line;
    b.change = b.query + wide * PANEL * QUERIES;
    b.shares = b.change + wide * PANEL * QUERIES;
    b.slopes = b.shares + PANEL * QUERIES;
    b.lines = b.slopes + PANEL * QUERIES;
    for (long p = 0; p < panels; p++) {
        const long columns = T - p * PANEL < PANEL ? T - p * PANEL : PANEL;
        pack_along(key + p * PANEL * 3 * C, 0, 3 * C, columns, K, b.keys_along + p * PANEL * K);
        pack_along(value + p * PANEL * 3 * C, 0, 3 * C, columns, K, b.values_along + p * PANEL * K);
    }
    for (long w = 0; w < wide; w++)
        pack_across(key + w * PANEL, 0, 3 * C, K - w * PANEL < PANEL ? K - w * PANEL : PANEL, T, b.keys_across + w * PANEL * line, NULL);
    memset(b.key_change, 0, 2 * panels * wide * key_tiles * TILE * sizeof(float));
    for (long start = 0; start < T; start += QUERIES) {
        const long end = start + QUERIES < T ? start + QUERIES : T, low = lowest(firsts, start, end);
        for (long q = start; q < end; q++) {
            __m512 sum = _mm512_setzero_ps();
            for (long i = 0; i < K; i += LANES) sum = _mm512_fmadd_ps(load(change + q * C + i), load(mixed + q * C + i), sum);
            b.delta[q - start] = _mm512_reduce_add_ps(sum);
        }
        for (long w = 0; w < wide; w++) {
            const long columns = K - w * PANEL < PANEL ? K - w * PANEL : PANEL;
            pack_across(query + start * 3 * C + w * PANEL, 0, 3 * C, columns, end - start, b.query + w * PANEL * QUERIES, NULL);
            pack_across(change + start * C + w * PANEL, 0, C, columns, end - start, b.change + w * PANEL * QUERIES, NULL);
        }
        for (long k = low; k < end; k += PANEL) {
            /* Queries before the first key of this panel have no share in it. */
            const long from = k > start ? start + (k - start) / ROWS * ROWS : start;
            for (long q = start; q < from; q++) memset(b.lines + (q - start) * line + k - low, 0, PANEL * sizeof(half));
            for (long q = from; q < end; q += ROWS) back_tile(a, &b, query, change, log_sum, firsts, start, q, end, k, low);
            const long skipped = (from - start) / 2 * PANEL * 2, pairs = (end - from + 1) / 2;
            for (long w = 0; w < wide; w++) {
                const int vectors = K - w * PANEL >= PANEL ? VECTORS : (K - w * PANEL) / LANES;
                float *key_sums = b.key_change + (k / PANEL * wide + w) * key_tiles * TILE;
                float *value_sums = b.value_change + (k / PANEL * wide + w) * key_tiles * TILE;
                for (long t = 0; t < key_tiles; t++) {
                    const int some = PANEL - t * ROWS < ROWS ? PANEL - t * ROWS : ROWS;
                    panel_tile((const int32_t *)(b.slopes + skipped) + t * ROWS, b.query + w * PANEL * QUERIES + (from - start) * PANEL,
                               pairs, key_sums + t * TILE, 1, some, vectors);
                    panel_tile((const int32_t *)(b.shares + skipped) + t * ROWS, b.change + w * PANEL * QUERIES + (from - start) * PANEL,
                               pairs, value_sums + t * TILE, 1, some, vectors);
                }
            }
        }
        for (long w = 0; w < wide; w++)
            for (long q = start; q < end; q += ROWS) {
                const int some = end - q < ROWS ? end - q : ROWS, vectors = K - w * PANEL >= PANEL ? VECTORS : (K - w * PANEL) / LANES;
                row_tile((const int32_t *)(b.lines + (q - start) * line), line / 2, b.keys_across + w * PANEL * line + low * PANEL,
                         (end - low + 1) / 2, sums, 0, some, vectors);
                for (int r = 0; r < some; r++)
                    for (int v = 0; v < vectors; v++)
                        store(a->joined_change + (row * T + q + r) * 3 * C + head * K + w * PANEL + v * LANES,
                              _mm512_loadu_ps(sums + r * PANEL + v * LANES));
            }
    }
    for (long k = 0; k < T; k++)
        for (long i = 0; i < K; i += LANES) {
            const long tile = (k / PANEL * wide + i / PANEL) * key_tiles + k % PANEL / ROWS;
            const long from = tile * TILE + k % PANEL % ROWS * PANEL + i % PANEL;
            half *to = a->joined_change + (row * T + k) * 3 * C + head * K + i;
            store(to + C, _mm512_loadu_ps(b.key_change + from));
            store(to + 2 * C, _mm512_loadu_ps(b.value_change + from));
        }
}

/* Forward where `change` is null. Returns 0, or 1 if there is not enough memory. The head size is a multiple of 16. */
int attention(const Attention *a) {
    const long line = padded(a->length, PANEL), wide = padded(a->size, PANEL), jobs = a->rows * a->heads;
    const long queries = a->change ? QUERIES : QUERIES * a->length <= SCORES ? QUERIES : SCORES / a->length > ROWS ? SCORES / a->length : ROWS;
    long bytes = sizeof(half) * (2 * line * a->size + wide * line + 2 * wide * QUERIES + 2 * PANEL * QUERIES + queries * line);
    bytes += a->change ? sizeof(float) * 2 * line / PANEL * wide / PANEL * ((PANEL + ROWS - 1) / ROWS) * TILE : sizeof(float) * queries * line;
    bytes = padded(bytes, 64);
    char *own = room(bytes * a->threads);
    if (!own) return 1;
#pragma omp parallel for schedule(dynamic) num_threads(a->threads)
    for (long job = 0; job < jobs; job++) {
        char *room_for_one = own + omp_get_thread_num() * bytes;
        if (a->change) attend_head_back(a, job / a->heads, job % a->heads, room_for_one);
        else attend_head(a, job / a->heads, job % a->heads, room_for_one);
    }
    free(own);
    return 0;
}

/* --- Normalisation, of rows of a multiple of 16 channels. */

typedef struct {
    const float *hidden, *weight, *bias;
    half *normal;            /* of `hidden`: bfloat16 */
    float *mean, *deviation; /* of each row; the inverse of the deviation */
    const half *change;      /* way back: of normal */
    const float *base;       /* what the change of hidden is added to, or null */
    float *hidden_change;    /* base + the change of hidden */
    half *rounded;           /* the same in bfloat16, or null */
    float *weight_change, *bias_change;
    int64_t rows, channels;
    float epsilon;
    int32_t threads;
} Norm;

int normalise(const Norm *n) {
    const long C = n->channels;
#pragma omp parallel for schedule(static) num_threads(n->threads)
    for (long row = 0; row < n->rows; row++) {
        const float *x = n->hidden + row * C;
        __m512 sum = _mm512_setzero_ps(), squares = sum;
        for (long c = 0; c < C; c += LANES) sum = _mm512_add_ps(sum, _mm512_loadu_ps(x + c));
        const float mean = _mm512_reduce_add_ps(sum) / C;
        const __m512 middle = _mm512_set1_ps(mean);
        for (long c = 0; c < C; c += LANES) {
            __m512 away = _mm512_sub_ps(_mm512_loadu_ps(x + c), middle);
            squares = _mm512_fmadd_ps(away, away, squares);
        }
        const float inverse = 1.0f / sqrtf(_mm512_reduce_add_ps(squares) / C + n->epsilon);
        const __m512 scale = _mm512_set1_ps(inverse);
        for (long c = 0; c < C; c += LANES) {
            __m512 normal = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(x + c), middle), scale);
            store(n->normal + row * C + c, _mm512_fmadd_ps(normal, _mm512_loadu_ps(n->weight + c), _mm512_loadu_ps(n->bias + c)));
        }
        n->mean[row] = mean;
        n->deviation[row] = inverse;
    }
    return 0;
}

#define PIECES 32 /* into which rows are divided for sums over them, whatever the number of threads */

/* Returns 0, or 1 if there is not enough memory. */
int normalise_back(const Norm *n) {
    const long C = n->channels, size = (n->rows + PIECES - 1) / PIECES;
    float *partial = room(PIECES * 2 * C * sizeof(float));
    if (!partial) return 1;
#pragma omp parallel for schedule(dynamic) num_threads(n->threads)
    for (long piece = 0; piece < PIECES; piece++) {
        float *weights = partial + piece * 2 * C, *biases = weights + C;
        memset(weights, 0, 2 * C * sizeof(float));
        for (long row = piece * size; row < (piece + 1) * size && row < n->rows; row++) {
            const float *x = n->hidden + row * C;
            const half *change = n->change + row * C;
            const __m512 middle = _mm512_set1_ps(n->mean[row]), scale = _mm512_set1_ps(n->deviation[row]);
            __m512 sum = _mm512_setzero_ps(), along = sum;
            for (long c = 0; c < C; c += LANES) {
                __m512 normal = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(x + c), middle), scale), move = load(change + c);
                _mm512_storeu_ps(biases + c, _mm512_add_ps(_mm512_loadu_ps(biases + c), move));
                _mm512_storeu_ps(weights + c, _mm512_fmadd_ps(move, normal, _mm512_loadu_ps(weights + c)));
                move = _mm512_mul_ps(move, _mm512_loadu_ps(n->weight + c));
                sum = _mm512_add_ps(sum, move);
                along = _mm512_fmadd_ps(move, normal, along);
            }
            const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / C), part = _mm512_set1_ps(_mm512_reduce_add_ps(along) / C);
            for (long c = 0; c < C; c += LANES) {
                __m512 normal = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(x + c), middle), scale);
                __m512 move = _mm512_mul_ps(load(change + c), _mm512_loadu_ps(n->weight + c));
                move = _mm512_mul_ps(scale, _mm512_fnmadd_ps(normal, part, _mm512_sub_ps(move, mean)));
                if (n->base) move = _mm512_add_ps(move, _mm512_loadu_ps(n->base + row * C + c));
                _mm512_storeu_ps(n->hidden_change + row * C + c, move);
                if (n->rounded) store(n->rounded + row * C + c, move);
            }
        }
    }
    for (long c = 0; c < C; c++) {
        float weight = 0, bias = 0;
        for (long piece = 0; piece < PIECES; piece++) {
            weight += partial[piece * 2 * C + c];
            bias += partial[piece * 2 * C + C + c];
        }
        n->weight_change[c] = weight;
        n->bias_change[c] = bias;
    }
    free(partial);
    return 0;
}

/* --- Loss. */

/* -log softmax(logits)[target] of each token; with `change` the logits become its derivative, softmax - 1 at the target. Rows are
   `stride` apart, a multiple of 16; what lies behind the vocabulary becomes 0. */
void cross_entropy(half *logits, const int64_t *targets, float *losses, int64_t tokens, int64_t vocabulary, int64_t stride, int32_t change, int32_t threads) {
#pragma omp parallel for schedule(dynamic, 8) num_threads(threads)
    for (long token = 0; token < tokens; token++) {
        half *row = logits + token * stride;
        const float wanted = one(row[targets[token]]);
        __m512 largest = _mm512_set1_ps(-INFINITY), total = _mm512_setzero_ps();
        for (long v = 0; v < vocabulary; v += LANES) largest = _mm512_mask_max_ps(largest, first(vocabulary - v), largest, load(row + v));
        const float most = _mm512_reduce_max_ps(largest);
        for (long v = 0; v < vocabulary; v += LANES)
            total = _mm512_mask_add_ps(total, first(vocabulary - v), total, exponential(_mm512_sub_ps(load(row + v), _mm512_set1_ps(most))));
        const float log_sum = most + logf(_mm512_reduce_add_ps(total));
        losses[token] = log_sum - wanted;
        if (!change) continue;
        for (long v = 0; v < stride; v += LANES)
            store(row + v, _mm512_maskz_mov_ps(first(vocabulary - v), exponential(_mm512_sub_ps(load(row + v), _mm512_set1_ps(log_sum)))));
        /* Rounded once: where the target is all but certain, share - 1 is small and must not be lost. */
        store_one(row + targets[token], expm1f(wanted - log_sum));
    }
}

/* --- The embedding's gradient: each token's row is added to that of its id, row after row, by each thread in columns of its own. */

void add_rows(float *matrix, const int64_t *ids, const float *rows, int64_t tokens, int64_t channels, int32_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long start = 0; start < channels; start += PANEL)
        for (long token = 0; token < tokens; token++)
            for (long c = start; c < start + PANEL && c < channels; c += LANES) {
                float *to = matrix + ids[token] * channels + c;
                _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), _mm512_loadu_ps(rows + token * channels + c)));
            }
}

/* --- AdamW, and the size of all gradients. */

#define STRETCH (1 << 17) /* numbers that a thread takes at a time */
#define SOON 256          /* numbers that are fetched before they are needed: half of the time otherwise goes by waiting */

typedef struct {
    float *weight;
    const float *gradient;
    float *mean, *square;             /* running ones of the gradient and of its square; */
    int64_t count;
    float kept, rate, inverse_square_bias; /* what decay leaves of the weight; the rate by the first's bias; the second's, 1 / its root */
} Adam;

/* Decoupled decay, then a change by mean / (root of square + epsilon), of gradients times `scale`. */
void adamw(const Adam *weights, int64_t number, double beta1, double beta2, float epsilon, float scale, int32_t threads) {
    const __m512 forget1 = _mm512_set1_ps(1 - beta1), keep2 = _mm512_set1_ps(beta2), forget2 = _mm512_set1_ps(1 - beta2);
#pragma omp parallel num_threads(threads)
    for (long n = 0; n < number; n++) {
        const Adam w = weights[n];
        const __m512 kept = _mm512_set1_ps(w.kept), rate = _mm512_set1_ps(w.rate), bias = _mm512_set1_ps(w.inverse_square_bias);
#pragma omp for schedule(dynamic) nowait
        for (long start = 0; start < w.count; start += STRETCH)
            for (long i = start; i < w.count && i < start + STRETCH; i += LANES) {
                const __mmask16 mask = first(w.count - i);
                __builtin_prefetch(w.gradient + i + SOON);
                __builtin_prefetch(w.mean + i + SOON, 1);
                __builtin_prefetch(w.square + i + SOON, 1);
                __builtin_prefetch(w.weight + i + SOON, 1);
                __m512 gradient = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, w.gradient + i), _mm512_set1_ps(scale));
                __m512 mean = _mm512_maskz_loadu_ps(mask, w.mean + i), square = _mm512_maskz_loadu_ps(mask, w.square + i);
                mean = _mm512_fmadd_ps(_mm512_sub_ps(gradient, mean), forget1, mean);
                square = _mm512_fmadd_ps(_mm512_mul_ps(gradient, gradient), forget2, _mm512_mul_ps(square, keep2));
                __m512 size = _mm512_fmadd_ps(_mm512_sqrt_ps(square), bias, _mm512_set1_ps(epsilon));
                __m512 weight = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, w.weight + i), kept);
                _mm512_mask_storeu_ps(w.weight + i, mask, _mm512_fnmadd_ps(rate, _mm512_div_ps(mean, size), weight));
                _mm512_mask_storeu_ps(w.mean + i, mask, mean);
                _mm512_mask_storeu_ps(w.square + i, mask, square);
            }
    }
}

/* The sum of the squares of all gradients; -1 if there is not enough memory. */
double squares(const Adam *weights, int64_t number, int32_t threads) {
    long stretches = 0, before = 0;
    for (long n = 0; n < number; n++) stretches += (weights[n].count + STRETCH - 1) / STRETCH;
    double *partial = room(stretches * sizeof(double)), total = 0;
    if (!partial) return -1;
#pragma omp parallel num_threads(threads) firstprivate(before)
    for (long n = 0; n < number; n++) {
        const long count = weights[n].count;
#pragma omp for schedule(dynamic) nowait
        for (long start = 0; start < count; start += STRETCH) {
            __m512 sum[4] = {0};
            for (long i = start; i < count && i < start + STRETCH; i += 4 * LANES)
                for (int v = 0; v < 4; v++) {
                    __builtin_prefetch(weights[n].gradient + i + v * LANES + 4 * SOON);
                    __m512 value = _mm512_maskz_loadu_ps(first(count - i - v * LANES), weights[n].gradient + i + v * LANES);
                    sum[v] = _mm512_fmadd_ps(value, value, sum[v]);
                }
            partial[before + start / STRETCH] = _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3])));
        }
        before += (count + STRETCH - 1) / STRETCH;
    }
    for (long stretch = 0; stretch < stretches; stretch++) total += partial[stretch];
    free(partial);
    return total;
}
