/* Vectors of 16 numbers, which GCC and Clang make of whatever a processor has, and bfloat16: for decode.c and reading.c. */

#ifdef __clang__ /* fuses a * b + c everywhere alike, so that a sum does not depend on how many are computed beside it */
#pragma STDC FP_CONTRACT ON
#endif

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

#define LANES 16
#define VECTORS 4
#define BLOCK (LANES * VECTORS)
#ifdef __AVX512F__
#define TOGETHER 6 /* rows whose sums stay in registers: 4 vectors times 6, of 32 registers */
#else
#define TOGETHER 1
#endif

typedef float floats __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t integers __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint32_t words __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint16_t halves __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
typedef signed char bytes __attribute__((vector_size(LANES), aligned(1), may_alias));
typedef uint16_t half __attribute__((may_alias));

static inline float widened(uint16_t half) { /* of bfloat16 */
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static inline __attribute__((always_inline)) floats widened_at(const void *from) {
#ifdef __AVX512F__ /* which GCC does not find by itself */
    return (floats)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)from)), 16);
#else
    return (floats)(__builtin_convertvector(*(const halves *)from, words) << 16);
#endif
}

static inline __attribute__((always_inline)) floats floats_of(const signed char *from) {
#ifdef __AVX512F__ /* which GCC does not find by itself */
    return (floats)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)from)));
#else
    return __builtin_convertvector(*(const bytes *)from, floats);
#endif
}

static inline uint16_t narrowed(float value) { /* to the nearest, ties to even */
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static inline __attribute__((always_inline)) floats larger_of(floats a, floats b) {
    const integers larger = a > b;
    return (floats)((larger & (integers)a) | (~larger & (integers)b));
}

static inline float largest_in(floats x) {
    float largest = x[0];
    for (int i = 1; i < LANES; i++) largest = x[i] > largest ? x[i] : largest;
    return largest;
}

static inline float sum_in(floats x) {
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += x[i];
    return sum;
}

/* Within 2e-7 of exp(x); 0 below -87, and above 87 as at 87; NaN of NaN. */
static inline __attribute__((always_inline)) floats exponential(floats x) {
    const integers far = x < -87.0f;
    x = (floats)(~far & (integers)x);
    x = -larger_of((floats){0} - 87.0f, -x); /* the second if one is no number, which so stays none */
    const floats shifted = x * 1.44269504f + 12582912.0f; /* rounds to an integer in the low bits */
    const floats whole = shifted - 12582912.0f;
    const floats rest = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    floats sum = rest * 1.9875691500e-4f + 1.3981999507e-3f;
    sum = sum * rest + 8.3334519073e-3f;
    sum = sum * rest + 4.1665795894e-2f;
    sum = sum * rest + 1.6666665459e-1f;
    sum = sum * rest + 5.0000001201e-1f;
    sum = sum * rest * rest + rest + 1.0f;
    const integers scale = ((integers)shifted + 127) << 23; /* the magic number's own bits are shifted out */
    return (floats)((integers)(sum * (floats)scale) & ~far);
}
