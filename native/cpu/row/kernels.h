// One row at a time, row-major or in blocks of channels: what the oneDNN plan runs beside its convolutions.
//
// The kernels behind one table, built once per instruction set. Plain structs and pointers only: these are
// shared with sources compiled for wider processors (see simd.h). Whole buffers are 64-byte aligned and have
// whole registers; rows inside them may begin anywhere. The order of every sum follows from the shapes.
#pragma once

#include "latdyn/activation.h"
#include "latdyn/isa.h"

#include <stddef.h>
#include <stdint.h>

namespace latdyn::row {

// out = function(x [+ residual]), whole registers of whole buffers; out may be x or residual.
struct Activate {
    const float* x;
    const float* residual; // null for none
    float* out;
    int64_t elements;
    Activation function;
};

// out = function′(x)·t, whole registers of whole buffers.
struct ActivateGrad {
    const float* x;
    const float* t;
    float* out;
    int64_t elements;
    Activation function;
};

// (x − mean)/√(variance + ε)·scale + bias over the last axis of [rows, size], mean and biased variance of
// each row.
struct LayerNorm {
    const float* x;
    float* out;
    const float* scale; // [size]
    const float* bias;
    int64_t rows, size;
    double epsilon;
    Activation activation;
};

// (t − mean(t) − x̂·mean(x̂·t))/√(variance + ε) over the last axis of [rows, size], x̂ the normalised x.
struct NormGrad {
    const float* x;
    const float* t;
    float* out;
    int64_t rows, size;
    double epsilon;
};

// As LayerNorm over each group of channels and all points. x is [channels / block][points][block]: block is
// 1, or a multiple of a register's width.
struct GroupNorm {
    const float* x;
    float* out;
    const float* scale; // [channels]
    const float* bias;
    double* moments; // memory for 2·channels numbers
    int64_t channels, points, block, groups;
    double epsilon;
    Activation activation;
};

// e^(x − max x) / Σ e^(x − max x) over the last axis of [rows, size].
struct Softmax {
    const float* x;
    float* out;
    int64_t rows, size;
};

// s·(t − Σ s·t) over the last axis of [rows, size].
struct SoftmaxGrad {
    const float* s;
    const float* t;
    float* out;
    int64_t rows, size;
};

// 1 for the k largest of the last axis of [rows, size], else 0; the first of equals count, NaN is more than
// any number.
struct TopKMask {
    const float* x;
    float* out;
    int64_t rows, size, k;
};

// out = activation(bias + a·b + residual). a [rows, depth], out and residual [rows, columns], each with its
// own distance between rows. b and bias are packed (see Kernels::pack).
struct Product {
    const float* a;
    const float* panels;
    const float* bias;     // packed as one row; null for none
    const float* residual; // null for none
    float* out;
    int64_t a_row, residual_row, out_row;
    int64_t rows, depth, columns;
    Activation activation;
};

// softmax(scale · q·kᵀ + bias)·v for one head: q [targets, depth], k [sources, depth], v [sources, width],
// each with its own distance between rows.
struct Attention {
    const float* q;
    const float* k;
    const float* v;
    float* out; // [targets, width]
    // bias[i·bias_row + j·bias_column]; null for none.
    const float* bias;
    int64_t q_row, k_row, v_row, out_row, bias_row, bias_column;
    int64_t targets, sources, depth, width;
    float scale;
    float* scratch; // Kernels::attention_scratch floats, aligned for a register
};

struct Kernels {
    void (*activate)(const Activate&);
    void (*activate_grad)(const ActivateGrad&);
    void (*layer_norm)(const LayerNorm&);
    void (*norm_grad)(const NormGrad&);
    void (*group_norm)(const GroupNorm&);
    void (*softmax)(const Softmax&);
    void (*softmax_grad)(const SoftmaxGrad&);
    void (*top_k_mask)(const TopKMask&);
    void (*product)(const Product&);
    // b [depth, columns] into panels: element (l, c) is at b[l·row + c·column]. The panels take
    // packed_size(depth, columns) floats, what is left over in the last one is 0.
    void (*pack)(const float* b, int64_t row, int64_t column, int64_t depth, int64_t columns, float* panels);
    int64_t (*packed_size)(int64_t depth, int64_t columns);
    void (*attention)(const Attention&);
    int64_t (*attention_scratch)(int64_t sources, int64_t depth, int64_t width);
    // Lanes of a register.
    int32_t width;
};

#if defined(__x86_64__)
extern const Kernels avx512_kernels;
extern const Kernels avx2_kernels;
#endif
extern const Kernels portable_kernels;

const Kernels& kernels_of(Isa isa);

} // namespace latdyn::row
