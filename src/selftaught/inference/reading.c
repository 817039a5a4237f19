/* What PyTorch does slowly when many texts are read in one line: attention of each text to itself, and looking through logits.

   `attend` takes queries, keys and values of all tokens of a line and mixes the values. A line is a row of trees: the tokens of
   a trunk, then those of its branches. A trunk's token sees the trunk up to itself, a branch's all of the trunk and its branch
   up to itself. All sums are float32, in an order that depends on the tree alone: neither what else is in the line nor the
   number of threads changes a bit. `look` finds of each row of logits the largest and the logarithm of the sum.

   Compiled on first use (`compilation.py`); the twins in PyTorch are in inference/reading.py and inference/likelihood.py. */

#include "vectors.h"

#define QUERIES (4 * 6) /* that share a block of keys while it is in the nearest cache */
#define PORTION 1024    /* logits that are added in float32; the sums of portions are added in float64 */

typedef struct {
    const void *query_key_value; /* tokens, 3, heads, head size */
    void *mixed;                 /* tokens, heads, head size */
    const int32_t *first;        /* of each tree its first token; one more: the number of tokens */
    const int32_t *trunk;        /* of each tree how many tokens its trunk has */
    const int32_t *own;          /* of each token the first one of its branch, or of its trunk */
    int32_t trees, heads, size, is_bfloat16;
    float scale;
} Line;

typedef struct {
    float *keys;   /* blocks of 64 keys, in each for every number of the head those of 64 keys side by side */
    float *values; /* panels of 64 numbers of the head, in each for every key its 64 numbers */
    float *query, *score, *mixed;
} Scratch;

static inline float number_at(const Line *line, long at) {
    return line->is_bfloat16 ? widened(((const uint16_t *)line->query_key_value)[at]) : ((const float *)line->query_key_value)[at];
}

/* --- Attention. */

static int blocks_of(int count) { return (count + BLOCK - 1) / BLOCK; }

/* Keys and values of one head of a tree as the products want them; what is missing of a block is 0. */
static void pack(const Line *line, int tree, int head, const Scratch *scratch) {
    const int start = line->first[tree], count = line->first[tree + 1] - start, size = line->size;
    const long step = 3L * line->heads * size, channels = (long)line->heads * size;
    const int blocks = blocks_of(count), panels = blocks_of(size);
    for (int block = 0; block < blocks; block++) {
        const int here = count - block * BLOCK < BLOCK ? count - block * BLOCK : BLOCK;
        const long from = (start + (long)block * BLOCK) * step + channels + (long)head * size;
        float *to = scratch->keys + (long)block * BLOCK * size;
        for (int i = 0; i < size; i++) {
            for (int j = 0; j < here; j++) to[i * BLOCK + j] = number_at(line, from + j * step + i);
            for (int j = here; j < BLOCK; j++) to[i * BLOCK + j] = 0;
        }
    }
    for (int panel = 0; panel < panels; panel++) {
        const int here = size - panel * BLOCK < BLOCK ? size - panel * BLOCK : BLOCK;
        float *to = scratch->values + (long)panel * blocks * BLOCK * BLOCK;
        for (int j = 0; j < blocks * BLOCK; j++, to += BLOCK) {
            const long from = (start + (long)j) * step + 2 * channels + (long)head * size + panel * BLOCK;
            if (j < count)
                for (int i = 0; i < here; i++) to[i] = number_at(line, from + i);
            for (int i = j < count ? here : 0; i < BLOCK; i++) to[i] = 0;
        }
    }
}

/* sums[t] (+)= factors[t] . rows, for TOGETHER rows of factors `step` apart and `count` rows of BLOCK numbers. */
static inline __attribute__((always_inline)) void multiply(
    const float *factors, long step, const float *rows, int count, float *sums, long sums_step, int add) {
    floats sum[TOGETHER][VECTORS];
    for (int t = 0; t < TOGETHER; t++)
        for (int v = 0; v < VECTORS; v++)
            sum[t][v] = add ? *(const floats *)(sums + t * sums_step + v * LANES) : (floats){0};
    for (int i = 0; i < count; i++) {
        floats row[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) row[v] = *(const floats *)(rows + (long)i * BLOCK + v * LANES);
#pragma GCC unroll 6
        for (int t = 0; t < TOGETHER; t++)
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++) sum[t][v] += row[v] * factors[t * step + i];
    }
    for (int t = 0; t < TOGETHER; t++)
        for (int v = 0; v < VECTORS; v++) *(floats *)(sums + t * sums_step + v * LANES) = sum[t][v];
}

/* Turn the scores of one query into probabilities, not yet divided by their sum, which is returned. It sees keys up to
   `trunk` and those from `own` to `end`; blocks up to `near` and from `far` to `last` are there, what it does not see gets 0. */
static float shares(float *score, int trunk, int own, int end, int near, int far, int last) {
    for (int j = trunk; j < near * BLOCK; j++)
        if (j < own || j >= end) score[j] = -INFINITY;
    for (int j = far * BLOCK; j < last * BLOCK; j++)
        if (j >= trunk && (j < own || j >= end)) score[j] = -INFINITY;
    floats largest = (floats){0} - INFINITY, sum = {0};
    for (int j = 0; j < last * BLOCK; j += LANES)
        if (j < near * BLOCK || j >= far * BLOCK) largest = larger_of(largest, *(const floats *)(score + j));
    const float top = largest_in(largest);
    for (int j = 0; j < last * BLOCK; j += LANES)
        if (j < near * BLOCK || j >= far * BLOCK) {
            floats share = exponential(*(const floats *)(score + j) - top);
            *(floats *)(score + j) = share;
            sum += share;
        }
    return sum_in(sum);
}

/* Queries `begin` to `end` of a tree, at most QUERIES; numbers are counted from the tree's first token. */
static void attend_some(const Line *line, int tree, int head, int begin, int end, const Scratch *scratch) {
    const int start = line->first[tree], count = line->first[tree + 1] - start, trunk = line->trunk[tree], size = line->size;
    const int blocks = blocks_of(count), panels = blocks_of(size), rows = end - begin;
    const long width = (long)blocks * BLOCK, channels = (long)line->heads * size;
    int seen = end < trunk ? end : trunk, lowest = end;
    for (int q = begin; q < end; q++) {
        const int own = line->own[start + q] - start;
        if (q >= trunk && own < lowest) lowest = own;
    }
    const int near = blocks_of(seen), last = lowest < end ? blocks_of(end) : near;
    const int far = lowest < end ? (lowest / BLOCK > near ? lowest / BLOCK : near) : near;
    for (int q = 0; q < QUERIES; q++)
        for (int i = 0; i < size; i++)
            scratch->query[q * size + i] =
                q < rows ? line->scale * number_at(line, (start + (long)begin + q) * 3 * channels + (long)head * size + i) : 0;
    for (int block = 0; block < last; block++)
        if (block < near || block >= far)
            for (int q = 0; q < rows; q += TOGETHER)
                multiply(scratch->query + q * size, size, scratch->keys + (long)block * BLOCK * size, size,
                         scratch->score + q * width + block * BLOCK, width, 0);
    float sums[QUERIES];
    for (int q = 0; q < rows; q++) {
        const int place = begin + q, own = line->own[start + place] - start;
        sums[q] = shares(scratch->score + q * width, place < trunk ? place + 1 : trunk, place < trunk ? 0 : own, place + 1, near, far, last);
    }
    for (int panel = 0; panel < panels; panel++) {
        const int here = size - panel * BLOCK < BLOCK ? size - panel * BLOCK : BLOCK;
        memset(scratch->mixed, 0, sizeof(float) * QUERIES * BLOCK);
        for (int block = 0; block < last; block++)
            if (block < near || block >= far)
                for (int q = 0; q < rows; q += TOGETHER)
                    multiply(scratch->score + q * width + block * BLOCK, width,
                             scratch->values + ((long)panel * blocks + block) * BLOCK * BLOCK, BLOCK, scratch->mixed + q * BLOCK, BLOCK, 1);
        for (int q = 0; q < rows; q++) {
            const long to = (start + (long)begin + q) * channels + (long)head * size + panel * BLOCK;
            for (int i = 0; i < here; i++) {
                float value = scratch->mixed[q * BLOCK + i] / sums[q];
                if (line->is_bfloat16)
                    ((uint16_t *)line->mixed)[to + i] = narrowed(value);
                else
                    ((float *)line->mixed)[to + i] = value;
            }
        }
    }
}

/* Returns 1 where there is too little memory, else 0. */
int attend(const Line *line, int threads) {
    long longest = 0;
    for (int tree = 0; tree < line->trees; tree++) {
        long count = line->first[tree + 1] - line->first[tree];
        longest = count > longest ? count : longest;
    }
    const long width = (longest + BLOCK - 1) / BLOCK * BLOCK, size = line->size, wide = (size + BLOCK - 1) / BLOCK * BLOCK;
    int failed = 0;
    (void)threads;
#pragma omp parallel num_threads(threads) reduction(| : failed)
    {
        float *room = malloc(sizeof(float) * (width * size + width * wide + QUERIES * (size + width + BLOCK)));
        const Scratch scratch = {room, room + width * size, room + width * (size + wide), room + width * (size + wide) + QUERIES * size,
                                 room + width * (size + wide) + QUERIES * (size + width)};
        if (!room) failed = 1;
#pragma omp for schedule(dynamic)
        for (int job = 0; job < line->trees * line->heads; job++) {
            if (!room) continue;
            const int tree = job / line->heads, head = job % line->heads, count = line->first[tree + 1] - line->first[tree];
            pack(line, tree, head, &scratch);
            for (int begin = 0; begin < count; begin += QUERIES)
                attend_some(line, tree, head, begin, begin + QUERIES < count ? begin + QUERIES : count, &scratch);
        }
        free(room);
    }
    return failed;
}

/* --- Logits. */

static int first_of_largest(const float *logits, int count, float *largest) {
    float best = -INFINITY;
    int portion = 0;
    for (int start = 0; start < count; start += PORTION) {
        const int end = start + PORTION < count ? start + PORTION : count;
        floats most = (floats){0} - INFINITY;
        int j = start;
        for (; j + LANES <= end; j += LANES) most = larger_of(most, *(const floats *)(logits + j));
        float found = largest_in(most);
        for (; j < end; j++) found = logits[j] > found ? logits[j] : found;
        if (found > best) best = found, portion = start;
    }
    *largest = best;
    while (portion < count - 1 && logits[portion] != best) portion++;
    return portion;
}

/* Of each row of `count` logits: which is the largest (the first of equal ones), the same among those that are not barred, and
   log(sum(exp(logits))). Barred logits are gone afterwards. */
void look(float *logits, int rows, int count, const int64_t *barred, int bars, int64_t *first, int64_t *allowed, float *total, int threads) {
    (void)threads;
#pragma omp parallel for num_threads(threads)
    for (int row = 0; row < rows; row++) {
        float *here = logits + (long)row * count, largest, other;
        first[row] = first_of_largest(here, count, &largest);
        double sum = 0;
        for (int start = 0; start < count; start += PORTION) {
            const int end = start + PORTION < count ? start + PORTION : count;
            floats part = {0};
            int j = start;
            for (; j + LANES <= end; j += LANES) part += exponential(*(const floats *)(here + j) - largest);
            sum += sum_in(part);
            for (; j < end; j++) sum += expf(here[j] - largest);
        }
        total[row] = largest + (float)log(sum);
        for (int i = 0; i < bars; i++) here[barred[i]] = -INFINITY;
        allowed[row] = bars ? first_of_largest(here, count, &other) : first[row];
    }
}
