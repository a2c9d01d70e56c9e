// Compiled once per instruction set: see CMakeLists.txt.
//
// A product of packed matrices, 2·tile·panel·k FLOPs against 4·(tile + panel)·k bytes a block. The
// accumulators of one tile × panel block fill the registers; a panel's stretch (32 KiB at 16 lanes) stays in
// L1 while the tiles pass, so the loop runs at the multiply-add limit.
#include "product_kernels.h"
#include "simd.h"

namespace latdyn::LATDYN_ISA {

// 24 or 12 accumulators, and room for two registers of the panel and one broadcast.
constexpr int tile_rows = LATDYN_REGISTERS >= 32 ? 12 : 6;
constexpr int panel_rows = 2 * W;
static_assert(product_tiles % tile_rows == 0 && product_panels % panel_rows == 0);

// out (+)= tile · panel over `depth` elements. On the way `ahead` is fetched, `ahead_step` floats an element.
static inline void block(const float* tile, const float* panel, int64_t depth, bool add, float* out,
                         int64_t stride, const float* ahead, int64_t ahead_step) {
    F sum[tile_rows][2] = {};
    for (int64_t l = 0; l < depth; l++) {
        const F left = load(panel), right = load(panel + W);
        __builtin_prefetch(ahead, 0, 2);
        ahead += ahead_step;
#pragma GCC unroll 12
        for (int m = 0; m < tile_rows; m++) {
            const F x = splat(tile[m]);
            sum[m][0] += x * left;
            sum[m][1] += x * right;
        }
        tile += tile_rows;
        panel += panel_rows;
    }
#pragma GCC unroll 12
    for (int m = 0; m < tile_rows; m++) {
        float* to = out + m * stride;
        store(to, add ? load(to) + sum[m][0] : sum[m][0]);
        store(to + W, add ? load(to + W) + sum[m][1] : sum[m][1]);
    }
}

static void dots(const float* tiles, int64_t tile_count, const float* panels, int64_t panel_count, int64_t k,
                 float* out, int64_t stride) {
    // While the tiles meet one panel, each of them fetches its share of the next.
    const int64_t ahead_step = tile_count < panel_rows ? panel_rows / tile_count : 1;
    for (int64_t begin = 0; begin < k; begin += product_stretch) {
        const int64_t depth = k - begin < product_stretch ? k - begin : product_stretch;
        for (int64_t p = 0; p < panel_count; p++) {
            const float* panel = panels + (p * k + begin) * panel_rows;
            const float* next = p + 1 < panel_count ? panel + k * panel_rows : panel;
            for (int64_t t = 0; t < tile_count; t++)
                block(tiles + (t * k + begin) * tile_rows, panel, depth, begin != 0,
                      out + t * tile_rows * stride + p * panel_rows, stride, next + t * depth * ahead_step,
                      ahead_step);
        }
    }
}

} // namespace latdyn::LATDYN_ISA

namespace latdyn {

#define LATDYN_PASTE_(a, b) a##b
#define LATDYN_PASTE(a, b) LATDYN_PASTE_(a, b)

extern const ProductKernels LATDYN_PASTE(LATDYN_ISA, _product_kernels) = {
    .tile = LATDYN_ISA::tile_rows,
    .panel = LATDYN_ISA::panel_rows,
    .dots = LATDYN_ISA::dots,
};

} // namespace latdyn
