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
static inline __attribute__((always_inline)) void gather_block(const Gather& g, const Block& block,
                                                               const Run& run, int first) {
    constexpr int T = V * W;
    F acc[B][P][V];
    for (int b = 0; b < B; b++)
        for (int p = 0; p < P; p++)
            for (int v = 0; v < V; v++)
                acc[b][p][v] = splat(g.bias[block.channel + b]);

    const float* x_base = g.x + static_cast<ptrdiff_t>(run.x + block.x + first * run.x_step) * T;
    const ptrdiff_t x_step = static_cast<ptrdiff_t>(run.x_step) * T;
    for (int t = run.tap_begin; t < run.tap_end; t++) {
        const Tap& tap = g.taps[t];
        const float* x = x_base + static_cast<ptrdiff_t>(tap.x) * T;
        const float* w = g.weights + block.weights + static_cast<ptrdiff_t>(tap.weight) * B;
        for (int i = 0; i < tap.length; i++) {
            F in[P][V];
            for (int p = 0; p < P; p++)
                for (int v = 0; v < V; v++)
                    in[p][v] = load(x + p * x_step + v * W);
            for (int b = 0; b < B; b++) {
                const F weight = splat(w[b]);
                for (int p = 0; p < P; p++)
                    for (int v = 0; v < V; v++)
                        acc[b][p][v] += weight * in[p][v];
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
                if (g.residual)
                    y += load(g.residual + e);
                store(g.out + e, finish_in_register(y, g.activation));
            }
        finish_in_memory(g.out + at, B * V, g.activation);
    }
}

// All positions of a run, P at a time, the rest one by one.
template <int B, int P, int V> static void gather_runs(const Gather& g, const Block& block) {
    for (int r = 0; r < g.run_count; r++) {
        const Run& run = g.runs[r];
        int first = 0;
        for (; first + P <= run.count; first += P)
            gather_block<B, P, V>(g, block, run, first);
        if constexpr (P > 1)
            for (; first < run.count; first++)
                gather_block<B, 1, V>(g, block, run, first);
    }
}

// Accumulators, inputs and one weight of B channels at P positions stay in registers.
constexpr bool fits(int channels, int positions, int vectors) {
    return (channels * positions + positions) * vectors + 1 <= LATDYN_REGISTERS;
}

template <int V> constexpr int widest_block() {
    int b = 1;
    while (b < 16 && fits(2 * b, 1, V))
        b *= 2;
    return b;
}

template <int B, int V> constexpr int positions() {
    int p = 1;
    while (p < 8 && fits(B, p + 1, V))
        p++;
    return p;
}

template <int B, int V> static void gather_width(const Gather& g, const Block& block) {
    if constexpr (B <= widest_block<V>()) {
        if (block.width == B)
            return gather_runs<B, positions<B, V>(), V>(g, block);
    }
    if constexpr (B > 1)
        gather_width<B / 2, V>(g, block);
}

template <int V> static void gather_tile(const Gather& g) {
    for (int i = 0; i < g.block_count; i++)
        gather_width<16, V>(g, g.blocks[i]);
}

// ---- a tile of one row ----
//
// The last points of a queue would leave most lanes idle, so one row can also run by itself: then B output
// channels are the lanes, a weight vector meets a broadcast x, and every element sees the same multiply-adds
// in the same order as above, hence the same bits.

template <int B> struct Channels {
    typedef float Vector __attribute__((vector_size(B * 4)));
    typedef float Memory __attribute__((vector_size(B * 4), aligned(4), may_alias));
    static inline Vector load(const float* p) { return *reinterpret_cast<const Memory*>(p); }
    static inline void store(float* p, Vector v) { *reinterpret_cast<Memory*>(p) = v; }
    static inline Vector splat(float x) { return x - Vector{}; }
};
template <> struct Channels<1> {
    typedef float Vector;
    static inline float load(const float* p) { return *p; }
    static inline void store(float* p, float v) { *p = v; }
    static inline float splat(float x) { return x; }
};

// N blocks of B channels at P positions.
template <int B, int N, int P>
static inline __attribute__((always_inline)) void gather_one_block(const Gather& g, const Block* blocks,
                                                                   const Run& run, int first) {
    using C = Channels<B>;
    typename C::Vector acc[N][P];
    for (int n = 0; n < N; n++)
        for (int p = 0; p < P; p++)
            acc[n][p] = C::load(g.bias + blocks[n].channel);
    const float* x_base = g.x + run.x + blocks[0].x + static_cast<ptrdiff_t>(first) * run.x_step;
    for (int t = run.tap_begin; t < run.tap_end; t++) {
        const Tap& tap = g.taps[t];
        const float* x = x_base + tap.x;
        const float* w[N];
        for (int n = 0; n < N; n++)
            w[n] = g.weights + blocks[n].weights + static_cast<ptrdiff_t>(tap.weight) * B;
        for (ptrdiff_t i = 0; i < tap.length; i++) {
            typename C::Vector in[P];
            for (int p = 0; p < P; p++)
                in[p] = C::splat(x[static_cast<ptrdiff_t>(p) * run.x_step + i]);
            for (int n = 0; n < N; n++) {
                const typename C::Vector weight = C::load(w[n] + i * B);
                for (int p = 0; p < P; p++)
                    acc[n][p] += weight * in[p];
            }
        }
    }
    for (int p = 0; p < P; p++) {
        const ptrdiff_t at = run.out + static_cast<ptrdiff_t>(first + p) * run.out_step;
        for (int n = 0; n < N; n++) {
            const ptrdiff_t e = at + blocks[n].channel;
            typename C::Vector y = acc[n][p];
            if (g.residual)
                y += C::load(g.residual + e);
            C::store(g.out + e, y);
        }
    }
}

// Eight accumulators hide the latency of a multiply-add: as many blocks at once as there are, then positions.
template <int B, int N> static void gather_one_runs(const Gather& g, const Block* blocks) {
    constexpr int P = 8 / N;
    for (int r = 0; r < g.run_count; r++) {
        const Run& run = g.runs[r];
        int first = 0;
        for (; first + P <= run.count; first += P)
            gather_one_block<B, N, P>(g, blocks, run, first);
        for (; first < run.count; first++)
            gather_one_block<B, N, 1>(g, blocks, run, first);
    }
}

template <int B> static int gather_one_width(const Gather& g, int block) {
    const Block* blocks = g.blocks + block;
    int alike = 1;
    while (alike < 8 && block + alike < g.block_count && blocks[alike].width == B &&
           blocks[alike].x == blocks[0].x)
        alike++;
    if (alike == 8)
        return gather_one_runs<B, 8>(g, blocks), 8;
    if (alike >= 4)
        return gather_one_runs<B, 4>(g, blocks), 4;
    if (alike >= 2)
        return gather_one_runs<B, 2>(g, blocks), 2;
    return gather_one_runs<B, 1>(g, blocks), 1;
}

static void gather_one(const Gather& g, ptrdiff_t elements) {
    for (int block = 0; block < g.block_count;) {
        switch (g.blocks[block].width) {
        case 16:
            block += gather_one_width<16>(g, block);
            break;
        case 8:
            block += gather_one_width<8>(g, block);
            break;
        case 4:
            block += gather_one_width<4>(g, block);
            break;
        case 2:
            block += gather_one_width<2>(g, block);
            break;
        default:
            block += gather_one_width<1>(g, block);
            break;
        }
    }
    if (g.activation.kind != ActivationKind::none)
        activate_block(g.out, g.out, registers(elements), g.activation);
}

static void gather(const Gather& g) {
    if (g.tile == 1)
        gather_one(g, g.elements);
    else if (g.tile == 16)
        gather_tile<16 / W>(g);
    else
        gather_tile<32 / W>(g);
}

} // namespace latdyn::LATDYN_ISA
