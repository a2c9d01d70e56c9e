// Dot products of float rows, summed in double, behind one table built once per instruction set. Plain
// pointers only: this is shared with sources compiled for wider processors (see simd.h).
#pragma once

#include "latdyn/isa.h"

#include <stdint.h>

namespace latdyn {

// out[i * stride + j] = left[i] · right[j], k elements each. A product of two floats is exact in double and
// the sums have one order (see simd_double.h), so a pair has the same bits on every instruction set, in
// whatever company it is computed.
using DoubleDots = void (*)(const float* const* left, int64_t left_count, const float* const* right,
                            int64_t right_count, int64_t k, double* out, int64_t stride);

#if defined(__x86_64__)
extern const DoubleDots avx512_double_dots;
extern const DoubleDots avx2_double_dots;
#endif
extern const DoubleDots portable_double_dots;

inline DoubleDots double_dots_of([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
    if (isa == Isa::avx512)
        return avx512_double_dots;
    if (isa == Isa::avx2)
        return avx2_double_dots;
#endif
    return portable_double_dots;
}

} // namespace latdyn
