// Rows as lanes: the innermost dimension of every activation is the row, so element e of a value is `tile`
// consecutive floats and every operator runs at full vector width whatever its channel count.
//
// The kernels behind one table, built once per instruction set. Plain structs and pointers only: these are
// shared with sources compiled for wider processors (see simd.h). All offsets count elements (of `tile`
// floats each) unless said otherwise; all pointers to activations are 64-byte aligned. A tile is 16 or 32
// rows, or 1 row, which gives the same bits; then an activation's memory is rounded up to 64 bytes.
#pragma once

#include "latdyn/activation.h"
#include "latdyn/isa.h"

#include <stddef.h>
#include <stdint.h>

namespace latdyn::lanes {

// A stretch of the reduction: `length` consecutive input elements against consecutive weight columns.
struct Tap {
    int32_t x;
    int32_t weight; // column: multiply by the block's width for floats
    int32_t length;
};

// Output positions that share one set of taps, evenly spaced.
struct Run {
    int32_t out, out_step;
    int32_t x, x_step;
    int32_t count;
    int32_t tap_begin, tap_end;
};

// Output channels computed together: `width` of them from `channel` on.
struct Block {
    int32_t channel;
    int32_t width;
    int32_t x;      // added to every run's x: where this block's group of input channels begins
    size_t weights; // first float of its packed weights: [column][width]
};

// out[position][channel] = activation(bias[channel] + Σ weight · x + residual): convolution, transposed
// convolution and products with a constant matrix are this with different taps. Taps that fall on padding
// are not in the list.
struct Gather {
    const float* x;
    float* out;
    const float* residual; // laid out as out; null for none
    const float* weights;
    const float* bias; // one per channel
    const Block* blocks;
    int32_t block_count;
    const Run* runs;
    int32_t run_count;
    const Tap* taps;
    Activation activation;
    int32_t elements; // of out
    int32_t tile;
};

// a [batch, m, inner] · b [batch, inner, n], both different in every row. Strides in elements.
struct MatMul {
    const float* a;
    const float* b;
    float* out;              // [batch][m][n]
    const int32_t* a_offset; // per batch
    const int32_t* b_offset;
    int32_t batch, m, inner, n;
    int32_t a_row, a_column, b_row, b_column;
    Activation activation;
    int32_t tile;
};

enum class BinaryOp : int32_t { add, sub, mul, div, greater };

// out[e] = activation(a[ai[e]] op b[bi[e]]); an index list that is null means e itself; a constant operand
// gives one float per output element instead.
struct Binary {
    BinaryOp op;
    const float* a;
    const float* b;
    const int32_t* a_index;
    const int32_t* b_index;
    const float* a_constant;
    const float* b_constant;
    float* out;
    int32_t elements;
    Activation activation;
    int32_t tile;
};

struct Activate {
    const float* x;
    float* out;
    int32_t elements;
    Activation activation;
    int32_t tile;
};

// out[to[e]] = x[from[e]], or `value` where from[e] is negative; a null list means e itself.
struct Copy {
    const float* x;
    float* out;
    const int32_t* from;
    const int32_t* to;
    float value;
    int32_t elements;
    int32_t tile;
};

// out[to[e]] = values[e] in every row.
struct Fill {
    const float* values;
    const int32_t* to;
    float* out;
    int32_t elements;
    int32_t tile;
};

// out[e] = scale[e] · Σ x[member], or the maximum, over members begin[e] … begin[e+1].
struct Reduce {
    const float* x;
    float* out;
    const int32_t* begin;
    const int32_t* members;
    const float* scale; // null: maximum
    int32_t elements;
    int32_t tile;
};

// Per group: mean and biased variance over its members, then (x − mean)/√(variance + ε) · scale + bias.
struct GroupNorm {
    const float* x;
    float* out;
    const int32_t* members; // [groups][per_group]
    const float* scale;     // like members
    const float* bias;
    int32_t groups, per_group;
    float epsilon;
    Activation activation;
    int32_t tile;
};

// e^(x − max x) / Σ e^(x − max x) over the last axis of [outer, size].
struct Softmax {
    const float* x;
    float* out;
    int32_t outer, size;
    int32_t tile;
};

// s·(t − Σ s·t) over the last axis of [outer, size].
struct SoftmaxGrad {
    const float* s;
    const float* t;
    float* out;
    int32_t outer, size;
    int32_t tile;
};

// softmax(scale · q·kᵀ + bias)·v: q [batch, targets, depth], k [batch, sources, depth], v [batch, sources,
// width]. Only a block of scores exists at a time.
struct Attention {
    const float* q;
    const float* k;
    const float* v;
    float* out; // [batch, targets, width]
    // Numbers, the same for every row; null for none. Of target i and source j of batch b:
    // bias[bias_offset[b] + i·bias_row + j·bias_column].
    const float* bias;
    const int32_t* bias_offset;
    int32_t bias_row, bias_column;
    int32_t batch, targets, sources, depth, width;
    float scale;
    int32_t tile;
};

// 1 for the k largest of the last axis of [outer, size], else 0; the first of equals count, NaN is more than
// any number. 33 passes of one comparison an element, whatever k is.
struct TopKMask {
    const float* x;
    float* out;
    int32_t outer, size, k;
    int32_t tile;
};

// out[e] = function′(x[e]) · t[e].
struct ActivateGrad {
    const float* x;
    const float* t;
    float* out;
    int32_t elements;
    Activation function;
    int32_t tile;
};

// Per group: (t − mean(t) − x̂·mean(x̂·t))/√(variance + ε), x̂ the normalised x.
struct GroupNormGrad {
    const float* x;
    const float* t;
    float* out;
    const int32_t* members; // [groups][per_group]
    int32_t groups, per_group;
    float epsilon;
    int32_t tile;
};

// Windows are members begin[w] … begin[w+1] of x; window w stands at element window[w] of the pooled tensor.
// Where the first maximum is: out[window] = t[member], or its transpose, out[member] += t[window].
struct MaxPoolGrad {
    const float* x;
    const float* t;
    float* out;
    const int32_t* begin;
    const int32_t* members;
    const int32_t* window;
    int32_t windows;
    int32_t elements; // of out
    int32_t tile;
};

// Per lane, in double: step = Σ (next − z)², norm = Σ next², back = Σ (next − anchor)². [elements][tile]
struct StepNorms {
    const float* z;
    const float* next;
    const float* anchor;
    int32_t elements;
    int32_t tile;
    double* step;
    double* norm;
    double* back;
};

struct Kernels {
    // Float lanes of a register; a tile is a whole number of them.
    int32_t width;
    // Widest block of output channels gather takes for tiles of 16 and 32 rows; it also takes every smaller
    // power of two.
    int32_t widest_block_16, widest_block_32;
    void (*gather)(const Gather&);
    void (*matmul)(const MatMul&);
    void (*binary)(const Binary&);
    void (*activate)(const Activate&);
    void (*copy)(const Copy&);
    void (*fill)(const Fill&);
    void (*reduce)(const Reduce&);
    void (*group_norm)(const GroupNorm&);
    void (*softmax)(const Softmax&);
    void (*softmax_grad)(const SoftmaxGrad&);
    void (*attention)(const Attention&);
    void (*top_k_mask)(const TopKMask&);
    void (*activate_grad)(const ActivateGrad&);
    void (*group_norm_grad)(const GroupNormGrad&);
    void (*max_pool_grad)(const MaxPoolGrad&);
    void (*max_pool_adjoint)(const MaxPoolGrad&);
    void (*step_norms)(const StepNorms&);
};

#if defined(__x86_64__)
extern const Kernels avx512_kernels;
extern const Kernels avx2_kernels;
#endif
extern const Kernels portable_kernels;

const Kernels& kernels_of(Isa isa);

} // namespace latdyn::lanes
