// Selection among float bounds, built once per instruction set. Plain structs and pointers only: these are
// shared with sources compiled for wider processors (see simd.h).
#pragma once

#include "latdyn/isa.h"

#include <stdint.h>

namespace latdyn {

struct KnnKernels {
    // Smallest and largest of count >= 1 values.
    void (*range)(const float* values, int64_t count, float* smallest, float* largest);
    // counts[i] = how many of the values are at most limits[i]; four of each.
    void (*count_at_most)(const float* values, int64_t count, const float* limits, int64_t* counts);
    // Appends the values that are at most `limit`, and first + their place, and gives how many there were.
    // Both outputs have room for one more than that.
    int64_t (*keep_at_most)(const float* values, int64_t count, float limit, int32_t first, float* kept,
                            int32_t* places);
};

#if defined(__x86_64__)
extern const KnnKernels avx512_knn_kernels;
extern const KnnKernels avx2_knn_kernels;
#endif
extern const KnnKernels portable_knn_kernels;

const KnnKernels& knn_kernels_of(Isa isa);

} // namespace latdyn
