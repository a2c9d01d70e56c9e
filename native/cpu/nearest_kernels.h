// What the search for nearest neighbours reads off its scores, built once per instruction set. Plain structs
// and pointers only: these are shared with sources compiled for wider processors (see simd.h).
#pragma once

#include "latdyn/isa.h"

#include <stdint.h>

namespace latdyn {

struct NearestKernels {
    // The first j in [from, to) with scores[j] <= row_bound or scores[j] <= column_bounds[j], or `to`. Both
    // arrays are aligned for a register.
    int64_t (*next_candidate)(const float* scores, const float* column_bounds, int64_t from, int64_t to,
                              float row_bound);
};

#if defined(__x86_64__)
extern const NearestKernels avx512_nearest_kernels;
extern const NearestKernels avx2_nearest_kernels;
#endif
extern const NearestKernels portable_nearest_kernels;

const NearestKernels& nearest_kernels_of(Isa isa);

} // namespace latdyn
