// Convolution, transposed convolution and products with a constant matrix, on rows as lanes.
//
// One register holds one element of W rows. A block of B output channels at P output positions keeps
// B·P·V accumulators in registers (V = tile / W); each step of the reduction loads P·V elements of x and
// broadcasts B weights: B·P·V fused multiply-adds for P·V + B loads, all of them contiguous. Per tile the
// kernel does 2·tile·taps FLOPs against 4·taps bytes of weights and 4·tile bytes per element of x, so with
// x and one block's weights in L2 it runs at the multiply-add limit. The order of the sum is that of the
// taps, the same for every row, position and P.
#pragma once

#include "epilogue.h"

namespace latdyn::LATDYN_ISA {

using lanes::Block;
using lanes::Gather;
using lanes::Run;
using lanes::Tap;

template <int B, int P, int V>
static inline __attribute__((always_inline)) void gather_block(const Gather& g, const Block& block, const Run& run,
                                                               int first) {
    constexpr int T = V * W;
    F acc[B][P][V];
    for (int b = 0; b < B; b++)
        for (int p = 0; p < P; p++)
            for (int v = 0; v < V; v++) acc[b][p][v] = splat(g.bias[block.channel + b]);

    const float* x_base = g.x + static_cast<ptrdiff_t>(run.x + block.x + first * run.x_step) * T;
    const ptrdiff_t x_step = static_cast<ptrdiff_t>(run.x_step) * T;
    for (int t = run.tap_begin; t < run.tap_end; t++) {
        const Tap& tap = g.taps[t];
        const float* x = x_base + static_cast<ptrdiff_t>(tap.x) * T;
        const float* w = g.weights + block.weights + static_cast<ptrdiff_t>(tap.weight) * B;
        for (int i = 0; i < tap.length; i++) {
            F in[P][V];
            for (int p = 0; p < P; p++)
                for (int v = 0; v < V; v++) in[p][v] = load(x + p * x_step + v * W);
            for (int b = 0; b < B; b++) {
                const F weight = splat(w[b]);
                for (int p = 0; p < P; p++)
                    for (int v = 0; v < V; v++) acc[b][p][v] += weight * in[p][v];
            }
            x += T;
            w += B;
        }
    }

    for (int p = 0; p < P; p++) {
        const ptrdiff_t at = static_cast<ptrdiff_t>(run.out + (first + p) * run.out_step + block.channel) * T;
        for (int b = 0; b < B; b++)
            for (int v = 0; v < V; v++) {
                const ptrdiff_t e = at + b * T + v * W;
                F y = acc[b][p][v];
                if (g.residual) y += load(g.residual + e);
                store(g.out + e, finish_in_register(y, g.activation));
            }
        finish_in_memory(g.out + at, B * V, g.activation);
    }
}

// All positions of a run, P at a time, the rest one by one.
template <int B, int P, int V>
static void gather_runs(const Gather& g, const Block& block) {
    for (int r = 0; r < g.run_count; r++) {
        const Run& run = g.runs[r];
        int first = 0;
        for (; first + P <= run.count; first += P) gather_block<B, P, V>(g, block, run, first);
        if constexpr (P > 1)
            for (; first < run.count; first++) gather_block<B, 1, V>(g, block, run, first);
    }
}

// Accumulators, inputs and one weight of B channels at P positions stay in registers.
constexpr bool fits(int channels, int positions, int vectors) {
    return (channels * positions + positions) * vectors + 1 <= LATDYN_REGISTERS;
}

template <int V>
constexpr int widest_block() {
    int b = 1;
    while (b < 16 && fits(2 * b, 1, V)) b *= 2;
    return b;
}

template <int B, int V>
constexpr int positions() {
    int p = 1;
    while (p < 8 && fits(B, p + 1, V)) p++;
    return p;
}

template <int B, int V>
static void gather_width(const Gather& g, const Block& block) {
    if constexpr (B <= widest_block<V>()) {
        if (block.width == B) return gather_runs<B, positions<B, V>(), V>(g, block);
    }
    if constexpr (B > 1) gather_width<B / 2, V>(g, block);
}

template <int V>
static void gather_tile(const Gather& g) {
    for (int i = 0; i < g.block_count; i++) gather_width<16, V>(g, g.blocks[i]);
}

static void gather(const Gather& g) {
    if (g.tile == 16)
        gather_tile<16 / W>(g);
    else
        gather_tile<32 / W>(g);
}

} // namespace latdyn::LATDYN_ISA
