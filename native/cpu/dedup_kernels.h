// The hot part of deduplication behind one table, built once per instruction set. Plain structs and pointers
// only: these are shared with sources compiled for wider processors (see simd.h).
#pragma once

#include "latdyn/isa.h"

#include <stdint.h>

namespace latdyn {

// Rows are packed in groups, zeros where a group is not full: element l of row m of a group of `width` rows
// is at [l * width + m]. Groups of `tile` rows are the left factor, groups of `panel` rows the right one.
struct DedupKernels {
    int32_t tile;
    int32_t panel;
    // out[i * stride + j] = the dot product of row i of the tiles and row j of the panels. Everything is
    // aligned for a register; stride is a multiple of `panel`. A product takes part in at most dedup_depth(k)
    // roundings.
    void (*dots)(const float* tiles, int64_t tile_count, const float* panels, int64_t panel_count, int64_t k,
                 float* out, int64_t stride);
    // The first j in [from, to) with scores[j] >= bound, or `to`. scores is aligned for a register.
    int64_t (*next_at_least)(const float* scores, int64_t from, int64_t to, float bound);
    // From cosines, each wrong by at most `error`, to upper bounds of −distance²:
    // a² + b² − 2ab·(cos + error), a = norm, b = norms[j]. In place.
    void (*distance_scores)(float* scores, int64_t count, double norm, const double* norms, double error);
};

// Elements multiplied and added in one go; the sums of such stretches are added up after.
constexpr int64_t dedup_stretch = 256;

// Roundings between a product of two elements and the dot product it ends in: its own, the additions of its
// stretch, and those of the stretches.
constexpr int64_t dedup_depth(int64_t k) {
    return 1 + (k < dedup_stretch ? k : dedup_stretch) + k / dedup_stretch;
}

#if defined(__x86_64__)
extern const DedupKernels avx512_dedup_kernels;
extern const DedupKernels avx2_dedup_kernels;
#endif
extern const DedupKernels portable_dedup_kernels;

const DedupKernels& dedup_kernels_of(Isa isa);

} // namespace latdyn
