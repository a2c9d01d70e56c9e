// Doubles beside the floats of simd.h. A sum over a row is kept as eight sums side by side, on every
// instruction set alike: `parts` registers of `half` lanes, added up in one order (total). So its bits do not
// depend on the width of a register.
#pragma once

#include "simd.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace latdyn::LATDYN_ISA {

// Double lanes of one register.
constexpr int half = W / 2;
constexpr int parts = 8 / half;

typedef double D __attribute__((vector_size(W * 4)));
typedef double DMemory __attribute__((vector_size(W * 4), may_alias, aligned(8)));
typedef float HalfMemory __attribute__((vector_size(W * 2), may_alias, aligned(4)));

// From anywhere in memory.
static inline D load_double(const double* p) {
    return *reinterpret_cast<const DMemory*>(p);
}
static inline D load_double(const float* p) {
#if defined(__AVX512F__)
    // One instruction, of which the compiler makes five where it is left to it.
    return (D)_mm512_maskz_cvtps_pd(0xff, _mm256_loadu_ps(p));
#else
    return __builtin_convertvector(*reinterpret_cast<const HalfMemory*>(p), D);
#endif
}
static inline void store_double(double* p, D v) {
    *reinterpret_cast<DMemory*>(p) = v;
}
static inline D splat(double x) {
    return x - D{};
}

static inline double total(const D* sums) {
    double s[8];
    for (int p = 0; p < parts; p++)
        store_double(s + p * half, sums[p]);
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

} // namespace latdyn::LATDYN_ISA
