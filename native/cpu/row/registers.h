// Registers at any address, the first lanes of one, and sums across one.
#pragma once

#include "vector_math.h"

namespace latdyn::LATDYN_ISA {

typedef float FAnywhere __attribute__((vector_size(W * 4), may_alias, aligned(4)));

static inline F load_any(const float* p) {
    return *reinterpret_cast<const FAnywhere*>(p);
}
static inline void store_any(float* p, F v) {
    *reinterpret_cast<FAnywhere*>(p) = v;
}

// The first `count` lanes, 0 < count <= W; 0 in the others.
static inline F load_first(const float* p, ptrdiff_t count) {
    if (count >= W)
        return load_any(p);
#if defined(__AVX512F__)
    return (F)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), p);
#else
    F v = {};
    for (int i = 0; i < W; i++)
        if (i < count)
            v[i] = p[i];
    return v;
#endif
}
static inline void store_first(float* p, F v, ptrdiff_t count) {
    if (count >= W)
        return store_any(p, v);
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << count) - 1), (__m512)v);
#else
    for (int i = 0; i < W; i++)
        if (i < count)
            p[i] = v[i];
#endif
}

// a > b ? a : b: b where one of them is NaN.
static inline F more(F a, F b) {
#if defined(__AVX512F__)
    return (F)__builtin_ia32_maxps512_mask((__m512)a, (__m512)b, (__m512)b, -1, _MM_FROUND_CUR_DIRECTION);
#elif defined(__AVX2__)
    return (F)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
    return (F)_mm_max_ps((__m128)a, (__m128)b);
#else
    return select(a > b, a, b);
#endif
}

static inline I lane_numbers() {
    I lane;
    for (int i = 0; i < W; i++)
        lane[i] = i;
    return lane;
}
// The first `count` lanes of v, `rest` in the others.
static inline F keep_first(F v, ptrdiff_t count, F rest) {
    return count >= W ? v : select(lane_numbers() < static_cast<int32_t>(count), v, rest);
}

// The lanes' sum and largest, in every lane; the same tree for all.
static inline F sum_across(F v) {
    for (int step = W / 2; step > 0; step /= 2)
        v += __builtin_shuffle(v, (lane_numbers() + step) & (W - 1));
    return v;
}
// A NaN wins over every number.
static inline F larger_lanes(F y, F other) {
    return select((other > y) | (other != other), other, y);
}
static inline F largest_across(F v) {
    for (int step = W / 2; step > 0; step /= 2)
        v = larger_lanes(v, __builtin_shuffle(v, (lane_numbers() + step) & (W - 1)));
    return v;
}
// Of numbers only.
static inline F most_across(F v) {
    for (int step = W / 2; step > 0; step /= 2)
        v = more(v, __builtin_shuffle(v, (lane_numbers() + step) & (W - 1)));
    return v;
}

// A block of W × W: lane j of register i becomes lane i of register j.
static inline void transpose_block(F* v) {
    for (int step = 1; step < W; step *= 2) {
        // In pairs of registers `step` apart, blocks of `step` lanes change places.
        const I lane = lane_numbers(), upper = (lane & step) != 0;
        const I first = upper ? lane - step + W : lane, second = upper ? lane + W : lane + step;
        for (int i = 0; i < W; i++) {
            if (i & step)
                continue;
            const F a = v[i], b = v[i + step];
            v[i] = __builtin_shuffle(a, b, first);
            v[i + step] = __builtin_shuffle(a, b, second);
        }
    }
}

} // namespace latdyn::LATDYN_ISA
