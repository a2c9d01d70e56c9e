// Products with a packed matrix: tokens × weights, and the two products of attention.
//
// b lies in panels of a few registers' width, element after element of the reduction; a block of rows × panel
// keeps its sums in registers. A step loads V registers and broadcasts M numbers for M·V multiply-adds: with
// 8 and 3, 11 loads for 24, so the loop runs at the multiply-add limit while a panel comes from L2. Per call
// 2·rows·depth·columns FLOPs against 4·depth·columns bytes of b, read once, and 4·rows·depth of a, read once
// a panel. The sum runs over the reduction in order, from the bias on, whatever the block.
#pragma once

#include "kernels.h"
#include "registers.h"

namespace latdyn::LATDYN_ISA {

// M·V accumulators, V registers of the panel and a broadcast.
constexpr int block_rows = LATDYN_REGISTERS >= 32 ? 8 : 6;
constexpr int panel_registers = LATDYN_REGISTERS >= 32 ? 3 : 2;
constexpr ptrdiff_t panel_width = panel_registers * W;

// Elements of the reduction that are added up in registers at a stretch: a panel of them fits in L2 beside a.
constexpr ptrdiff_t product_depth = 1024;

static inline ptrdiff_t registers_of(ptrdiff_t columns) {
    return (columns + W - 1) / W;
}
static int64_t packed_size(int64_t depth, int64_t columns) {
    return depth * registers_of(columns) * W;
}

// Panel after panel, the last one as wide as it has to be: [depth][width].
static void pack(const float* b, int64_t row, int64_t column, int64_t depth, int64_t columns, float* panels) {
    for (ptrdiff_t first = 0; first < columns; first += panel_width) {
        const ptrdiff_t count = columns - first < panel_width ? columns - first : panel_width;
        const ptrdiff_t width = registers_of(count) * W;
        if (column == 1) {
            for (ptrdiff_t l = 0; l < depth; l++, panels += width) {
                const float* from = b + l * row + first;
                for (ptrdiff_t c = 0; c < width; c += W)
                    store(panels + c, c < count ? load_first(from + c, count - c) : F{});
            }
            continue;
        }
        if (row == 1) {
            // Columns lie in memory one after another: W of them are turned at a time.
            for (ptrdiff_t c = 0; c < width; c += W)
                for (ptrdiff_t l = 0; l < depth; l += W) {
                    F block[W];
                    for (ptrdiff_t i = 0; i < W; i++)
                        block[i] =
                            c + i < count ? load_first(b + (first + c + i) * column + l, depth - l) : F{};
                    transpose_block(block);
                    for (ptrdiff_t i = 0; i < W && l + i < depth; i++)
                        store(panels + (l + i) * width + c, block[i]);
                }
            panels += depth * width;
            continue;
        }
        for (ptrdiff_t l = 0; l < depth; l++, panels += width) {
            const float* from = b + l * row + first * column;
            for (ptrdiff_t c = 0; c < count; c++)
                panels[c] = from[c * column];
            for (ptrdiff_t c = count; c < width; c++)
                panels[c] = 0;
        }
    }
}

// What a block does with its sums.
struct Sums {
    const float* start;    // one register row for all rows (a bias), or null
    const float* residual; // added at the end, or null
    float* out;
    ptrdiff_t residual_row, out_row;
    ptrdiff_t columns; // of out; the panel may be wider
    bool add;          // to what out holds, instead of `start`
};

template <int M, int V>
static inline void product_block(const float* a, ptrdiff_t a_row, const float* panel, ptrdiff_t depth,
                                 const Sums& s) {
    F sum[M][V];
#pragma GCC unroll 8
    for (int m = 0; m < M; m++)
#pragma GCC unroll 3
        for (int v = 0; v < V; v++)
            sum[m][v] = s.add     ? load_first(s.out + m * s.out_row + v * W, s.columns - v * W)
                        : s.start ? load(s.start + v * W)
                                  : F{};
    for (ptrdiff_t l = 0; l < depth; l++, panel += V * W) {
        F right[V];
#pragma GCC unroll 3
        for (int v = 0; v < V; v++)
            right[v] = load(panel + v * W);
#pragma GCC unroll 8
        for (int m = 0; m < M; m++) {
            const F left = splat(a[m * a_row + l]);
#pragma GCC unroll 3
            for (int v = 0; v < V; v++)
                sum[m][v] += left * right[v];
        }
    }
#pragma GCC unroll 8
    for (int m = 0; m < M; m++)
#pragma GCC unroll 3
        for (int v = 0; v < V; v++) {
            const ptrdiff_t left = s.columns - v * W;
            F y = sum[m][v];
            if (s.residual)
                y += load_first(s.residual + m * s.residual_row + v * W, left);
            store_first(s.out + m * s.out_row + v * W, y, left);
        }
}

template <int V>
static void product_rows(int rows, const float* a, ptrdiff_t a_row, const float* panel, ptrdiff_t depth,
                         const Sums& s) {
    switch (rows) {
#if LATDYN_REGISTERS >= 32
    case 8:
        return product_block<8, V>(a, a_row, panel, depth, s);
    case 7:
        return product_block<7, V>(a, a_row, panel, depth, s);
#endif
    case 6:
        return product_block<6, V>(a, a_row, panel, depth, s);
    case 5:
        return product_block<5, V>(a, a_row, panel, depth, s);
    case 4:
        return product_block<4, V>(a, a_row, panel, depth, s);
    case 3:
        return product_block<3, V>(a, a_row, panel, depth, s);
    case 2:
        return product_block<2, V>(a, a_row, panel, depth, s);
    default:
        return product_block<1, V>(a, a_row, panel, depth, s);
    }
}

static inline void product_panel(int rows, int registers, const float* a, ptrdiff_t a_row, const float* panel,
                                 ptrdiff_t depth, const Sums& s) {
#if LATDYN_REGISTERS >= 32
    if (registers == 3)
        return product_rows<3>(rows, a, a_row, panel, depth, s);
#endif
    if (registers == 2)
        return product_rows<2>(rows, a, a_row, panel, depth, s);
    product_rows<1>(rows, a, a_row, panel, depth, s);
}

// One row has too few sums in one panel to hide the latency of a multiply-add: four full panels at once.
constexpr int wide_panels = 4;

static inline void product_wide(const float* a, const float* panels, ptrdiff_t panel_step, ptrdiff_t depth,
                                const Sums& s) {
    constexpr int V = panel_registers;
    F sum[wide_panels][V];
#pragma GCC unroll 4
    for (int p = 0; p < wide_panels; p++)
#pragma GCC unroll 3
        for (int v = 0; v < V; v++) {
            const ptrdiff_t at = p * panel_width + v * W;
            sum[p][v] = s.add ? load_any(s.out + at) : s.start ? load(s.start + at) : F{};
        }
    for (ptrdiff_t l = 0; l < depth; l++) {
        const F left = splat(a[l]);
#pragma GCC unroll 4
        for (int p = 0; p < wide_panels; p++)
#pragma GCC unroll 3
            for (int v = 0; v < V; v++)
                sum[p][v] += left * load(panels + p * panel_step + l * panel_width + v * W);
    }
#pragma GCC unroll 4
    for (int p = 0; p < wide_panels; p++)
#pragma GCC unroll 3
        for (int v = 0; v < V; v++) {
            const ptrdiff_t at = p * panel_width + v * W;
            store_any(s.out + at, s.residual ? sum[p][v] + load_any(s.residual + at) : sum[p][v]);
        }
}

// Calls body(first row, rows) for blocks that differ by at most one row: a thin one at the end would leave
// the multipliers idle.
template <class Body> static inline void each_block(ptrdiff_t rows, Body body) {
    const ptrdiff_t blocks = (rows + block_rows - 1) / block_rows;
    for (ptrdiff_t b = 0, first = 0; b < blocks; b++) {
        const ptrdiff_t end = rows * (b + 1) / blocks;
        body(first, static_cast<int>(end - first));
        first = end;
    }
}

template <ActivationKind K>
static inline void activate_block(float* out, ptrdiff_t out_row, ptrdiff_t rows, ptrdiff_t columns,
                                  const Activation& f) {
    const F alpha = splat(f.alpha), beta = splat(f.beta);
    for (ptrdiff_t m = 0; m < rows; m++)
        for (ptrdiff_t c = 0; c < columns; c += W) {
            float* at = out + m * out_row + c;
            store_first(at, activate<K>(load_first(at, columns - c), alpha, beta), columns - c);
        }
}

static void product(const row::Product& p) {
    for (ptrdiff_t begin = 0; begin < p.depth; begin += product_depth) {
        const ptrdiff_t depth = p.depth - begin < product_depth ? p.depth - begin : product_depth;
        const bool last = begin + depth == p.depth;
        for (ptrdiff_t first = 0, count; first < p.columns; first += count) {
            const bool wide = p.rows == 1 && p.columns - first >= wide_panels * panel_width;
            const ptrdiff_t most = wide ? wide_panels * panel_width : panel_width;
            count = p.columns - first < most ? p.columns - first : most;
            const int registers = static_cast<int>(registers_of(count));
            // Panels before this one are full.
            const float* panel = p.panels + first * p.depth + begin * (wide ? panel_width : registers * W);
            each_block(p.rows, [&](ptrdiff_t row, int rows) {
                float* out = p.out + row * p.out_row + first;
                const Sums sums{.start = p.bias ? p.bias + first : nullptr,
                                .residual =
                                    p.residual && last ? p.residual + row * p.residual_row + first : nullptr,
                                .out = out,
                                .residual_row = p.residual_row,
                                .out_row = p.out_row,
                                .columns = count,
                                .add = begin > 0};
                if (wide)
                    product_wide(p.a + begin, panel, p.depth * panel_width, depth, sums);
                else
                    product_panel(rows, registers, p.a + row * p.a_row + begin, p.a_row, panel, depth, sums);
                // On what was just written, which is in L1.
                if (last && p.activation.kind != ActivationKind::none)
                    with_kind(p.activation.kind, [&](auto kind) {
                        activate_block<kind.value>(out, p.out_row, rows, count, p.activation);
                    });
            });
        }
    }
}

} // namespace latdyn::LATDYN_ISA
