// The product of packed matrices that every comparison of rows stands on, built once per instruction set.
// Plain structs and pointers only: these are shared with sources compiled for wider processors (see simd.h).
#pragma once

#include "latdyn/isa.h"

#include <stdint.h>

namespace latdyn {

// Rows are packed in groups, zeros where a group is not full: element l of row m of a group of `width` rows
// is at [l * width + m]. Groups of `tile` rows are the left factor, groups of `panel` rows the right one.
struct ProductKernels {
    int32_t tile;
    int32_t panel;
    // out[i * stride + j] = the dot product of row i of the tiles and row j of the panels. Everything is
    // aligned for a register; stride is a multiple of `panel`. A product takes part in at most
    // product_depth(k) roundings.
    void (*dots)(const float* tiles, int64_t tile_count, const float* panels, int64_t panel_count, int64_t k,
                 float* out, int64_t stride);
};

// Every kernel's tile and panel divide these.
constexpr int64_t product_tiles = 12;
constexpr int64_t product_panels = 32;

// Elements multiplied and added in one go; the sums of such stretches are added up after.
constexpr int64_t product_stretch = 256;

// Roundings between a product of two elements and the dot product it ends in: its own, the additions of its
// stretch, and those of the stretches.
constexpr int64_t product_depth(int64_t k) {
    return 1 + (k < product_stretch ? k : product_stretch) + k / product_stretch;
}

#if defined(__x86_64__)
extern const ProductKernels avx512_product_kernels;
extern const ProductKernels avx2_product_kernels;
#endif
extern const ProductKernels portable_product_kernels;

const ProductKernels& product_kernels_of(Isa isa);

} // namespace latdyn
