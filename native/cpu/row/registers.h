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
    for (ptrdiff_t i = 0; i < count; i++)
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
    for (ptrdiff_t i = 0; i < count; i++)
        p[i] = v[i];
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

} // namespace latdyn::LATDYN_ISA
