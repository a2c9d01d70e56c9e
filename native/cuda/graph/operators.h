// The kernels of a graph's operators beside products (products.h), as the host starts them: one source a
// kind.
//
// A value of `rows` rows lies dense, row after row, each row in one of the orders of row_order.h; a constant
// is one row that stands for all (`row` is 0). Every function enqueues one launch. An output of a row is
// computed from that row alone, its sums in an order that the shapes decide.
#pragma once

#include "latdyn/activation.h"

#include <cstdint>
#include <vector>

namespace latdyn::cuda {

// x / value for 0 <= x < 2³¹ and 0 < value < 2³¹: ⌊x·magic / 2^(31 + shift)⌋ with magic = ⌈2^(31 + shift) /
// value⌉ and shift = ⌈log₂ value⌉, exact because magic·value exceeds the power of two by less than 2^shift.
struct Divisor {
    int32_t value = 1;
    uint32_t magic = 1u << 31;
    int32_t shift = 0;
};
Divisor divisor(int64_t value);

// Which element of an operand (or place in a result) the i-th element of a walk means: i itself; `first` and
// axes of an extent and a stride, the innermost first; or a list.
constexpr int max_axes = 6;
struct Map {
    // 0: i itself.
    int32_t axes = 0;
    int32_t first = 0;
    Divisor extent[max_axes];
    int32_t stride[max_axes] = {};
    // On the device; null for the other two. −1: no element.
    const int32_t* list = nullptr;
};
// The axes that give `index`; false where it takes more of them than there are.
bool as_axes(std::vector<int32_t> index, Map* map);

struct Operand {
    const float* data = nullptr;
    // Floats from one row to the next.
    int64_t row = 0;
    Map map = {};
};

// ---- elementwise.cu ----

enum class Combine : int32_t {
    add,
    sub,
    mul,
    div,
    // 1 or 0.
    greater,
    // f(a); there is no b.
    apply,
    // f′(a)·b
    slope,
};
struct Elementwise {
    Combine combine;
    Activation activation;
    Operand a, b;
    float* out;
    int64_t rows;
    int32_t elements;
};
void elementwise(const Elementwise& p);

// ---- movement.cu ----

// out[to(i)] = x[from(i)], or `value` where there is no such element, for i < elements.
struct Move {
    Operand from;
    float* out;
    int64_t out_row;
    Map to;
    float value;
    int64_t rows;
    int32_t elements;
};
void move(const Move& p);

// [matrices, height, width] → [matrices, width, height] of each row.
struct Transpose {
    const float* x;
    float* out;
    int64_t matrices;
    int32_t height, width;
};
void transpose(const Transpose& p);

// Row-major [outer, picks, inner] → [outer, size, inner]: out[o, s, i] = Σ u[o, p, i] over the picks p of s,
// members[begin[s]] … members[begin[s + 1] − 1], ascending.
struct ScatterAdd {
    Operand u;
    float* out;
    const int32_t* begin;
    const int32_t* members;
    int64_t rows;
    int32_t outer, picks, size, inner;
};
void scatter_add(const ScatterAdd& p);

// ---- norms.cu ----

// Groups of `segments` stretches of `length` elements each, stretches `segment_step` and groups `group_step`
// apart: consecutive elements are one stretch, channels of a channels-last value as many as positions.
struct Norm {
    const float *x, *t; // t: a derivative's second operand, else null
    int64_t x_row, t_row;
    float* out;
    // Of element i of a group: at group·group_factors + (by_position ? i % length : i / points).
    const float *scale, *bias;
    int32_t group_factors, points;
    bool by_position;
    float epsilon;
    Activation activation;
    int64_t rows;
    int32_t elements, groups, segments, length, segment_step, group_step;
};
// (x − mean) / √(variance + ε)·scale + bias, and the derivative without the scale:
// (t − mean t − x̂·mean(x̂·(t − mean t))) / √(variance + ε).
void norm(const Norm& p);

// ---- pool.cu ----

// A [channels, height, width] value: what one step along each axis is.
struct Steps {
    int32_t channel, height, width;
};
struct Pool {
    Operand x, t; // t: the second operand of the two derivatives
    float* out;
    int64_t rows;
    int32_t channels, height, width, out_height, out_width;
    int32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, top, left, bottom, right;
    bool count_include_pad;
    // Of the whole value, and of the pooled one.
    Steps whole, pooled;
    // The result lies channels last.
    bool channels_last;
};
enum class PoolKind : int32_t { max, average, max_grad, max_adjoint };
void pool(PoolKind kind, const Pool& p);

// out[o] = mean of x[kept(o) + reduced(i)] over i < count.
struct Mean {
    Operand x; // its map: kept
    Map reduced;
    float* out;
    int64_t rows;
    int32_t elements, count;
    // Consecutive i are consecutive in memory: the lanes of a warp share an output.
    bool side_by_side;
};
void mean(const Mean& p);

// ---- softmax.cu: along the last axis of row-major values ----

struct Sequences {
    Operand x, t; // t: of softmax_grad, where x is the softmax
    float* out;
    int64_t rows;
    int32_t outer, size;
    int32_t k; // of top_k_mask
};
void softmax(const Sequences& p);
// s·(t − Σ s·t)
void softmax_grad(const Sequences& p);
// 1 at the k largest, NaN above every number, the first of equals; else 0.
void top_k_mask(const Sequences& p);

// ---- attention.cu ----

// softmax(scale·q·kᵀ + bias)·v for each of `batch` matrices of a row: q [targets, depth], k [sources, depth],
// v [sources, width].
struct Attention {
    Operand q, k, v;
    // Null: none. bias_offset: where each matrix's begins; steps from target to target and source to source.
    const float* bias;
    const int32_t* bias_offset;
    int32_t bias_row, bias_column;
    float* out;
    int64_t rows;
    int32_t batch, targets, sources, depth, width;
    float scale;
};
void attention(const Attention& p);

} // namespace latdyn::cuda
