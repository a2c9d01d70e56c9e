// Distances of rows, built once per instruction set: lower bounds from a float product, and exact ones in
// double. Plain structs and pointers only: these are shared with sources compiled for wider processors (see
// simd.h).
#pragma once

#include "latdyn/isa.h"

#include <stdint.h>

namespace latdyn {

// What a bound takes from the row on the left (see distance_bounds.h).
struct BoundRow {
    float square;
    float error;
};

// z, its predecessor and each lane's nearest attractor, element-major: element e of lane r at [e * tile + r].
struct TileDistances {
    const float* previous;
    const float* z;
    const float* nearest;
    int64_t elements;
    int64_t tile;
    // [tile] each: |z − previous|², |z − nearest|², |z|².
    double* step;
    double* distance;
    double* norm;
};

struct DistanceKernels {
    // In place, from products x·y to lower bounds of |x − y|², none negative:
    // max(0, (row.square + squares[j]) − 2·products[j] − row.error·lengths[j]). Everything is aligned for a
    // register and padded to whole ones.
    void (*bounds)(float* products, int64_t count, BoundRow row, const float* squares, const float* lengths);
    // out[i] = |scales[j]·y_j − x|² in double, j = indices[i], y_j = rows + j·k. scales may be null: all 1.
    void (*squared)(const double* x, const float* rows, const double* scales, int64_t k,
                    const int32_t* indices, int64_t count, double* out);
    // out[i] = |y_j − x|² in float, j = indices[i], from the differences: off by at most
    // float_distance_error(k) of itself, as long as nothing overflows; what underflows makes it smaller.
    void (*squared_float)(const float* x, const float* rows, int64_t k, const int32_t* indices, int64_t count,
                          float* out);
    // Σ √values[i] over those below `below`, and how many there are.
    double (*sum_of_roots)(const double* values, int64_t count, double below, int64_t* summed);
    // |z − previous|² and |z − nearest|² of rows of k elements.
    void (*step)(const float* previous, const float* z, const float* nearest, int64_t k, double* step,
                 double* distance);
    // Tiles of whole registers only.
    void (*tile)(const TileDistances&);
    // The indices of those of `values` (count, a multiple of 8) that are at most `limit`, ascending, to
    // `out`, which has room for 8 more; how many there are. rest: the least of the others, or infinity.
    int64_t (*at_most)(const double* values, int64_t count, double limit, int32_t* out, double* rest);
};

// A term of the sum takes part in at most so many roundings: two of its difference (squared), one of the
// square, the additions of one of at least four lanes, those of the lanes and of what is left over.
constexpr double float_distance_error(int64_t k) {
    return 1.1 * static_cast<double>(k / 4 + 32) * 0x1p-24;
}

#if defined(__x86_64__)
extern const DistanceKernels avx512_distance_kernels;
extern const DistanceKernels avx2_distance_kernels;
#endif
extern const DistanceKernels portable_distance_kernels;

inline const DistanceKernels& distance_kernels_of([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
    if (isa == Isa::avx512)
        return avx512_distance_kernels;
    if (isa == Isa::avx2)
        return avx2_distance_kernels;
#endif
    return portable_distance_kernels;
}

} // namespace latdyn
