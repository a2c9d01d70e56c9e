// The operators of the graph as plain loops over one row: what the oneDNN plan runs where oneDNN has no
// form of its own, has only its reference code, or hides NaN. Each takes descriptions that are worked out
// once, when the plan is compiled, so that a run allocates nothing.
#pragma once

#include "latdyn/graph.h"

#include <cstdint>
#include <vector>

namespace latdyn::plain {

using Shape = std::vector<int64_t>;

// A tensor [C, H, W] in memory as [C / block][H · W][block]: block is 1 for row-major, C for channels-last,
// 8 or 16 for oneDNN's blocked layouts. block divides C.
struct Channels {
    int64_t channels = 0;
    int64_t points = 0;
    int64_t block = 1;
};

// greater: 1 or 0.
enum class Arithmetic { add, sub, mul, div, greater };

// NumPy broadcasting of a and b to their common shape, adjacent axes merged; a stride of 0 repeats.
struct Broadcast {
    Shape extent, stride_a, stride_b;
};
Broadcast broadcast(const Shape& a, const Shape& b, const Shape& y);
void arithmetic(Arithmetic kind, const Broadcast& shape, const float* a, const float* b, float* y);

// outer · [height, width] · block → outer · [height · scale_h, width · scale_w] · block.
struct Resize {
    int64_t outer, height, width, block, scale_h, scale_w;
};
void resize_nearest(const Resize& shape, const float* x, float* y);

// Windows of a [channels, height, width] tensor in the layout of `Channels`, clipped to the input.
struct Pool {
    int64_t outer, block;
    int64_t height, width, out_height, out_width;
    int64_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
    int64_t top, left, bottom, right;
    bool count_include_pad;
};
void max_pool(const Pool& shape, const float* x, float* y);
void average_pool(const Pool& shape, const float* x, float* y);
// Where the first maximum of each window of x stands (NaN as more than any number): y[window] = t[there], or
// the transpose, y[there] += u[window]. Row-major: block is 1.
void max_pool_grad(const Pool& shape, const float* x, const float* t, float* y);
void max_pool_adjoint(const Pool& shape, const float* x, const float* u, float* y);

// Axes of a row-major tensor walked in another order, adjacent axes merged where they stay together.
struct Walk {
    Shape extent, stride;
};
Walk strided(const Shape& extent, const Shape& stride);
void transpose(const Walk& walk, const float* x, float* y);

// The kept and the reduced axes of a row-major tensor. Sums are double.
struct Reduction {
    Walk kept, reduced;
};
Reduction reduction(const Shape& x, const std::vector<int64_t>& axes);
void reduce_mean(const Reduction& shape, const float* x, float* y);

enum class PadMode { constant, reflect, edge };

// Per axis of the result: the input index times the axis' stride, or −1 for the fill value.
struct Padding {
    std::vector<Shape> source;
    float value = 0;
};
Padding padding(const Shape& x, const std::vector<int64_t>& before, const std::vector<int64_t>& after,
                PadMode mode, float value);
void pad(const Padding& shape, const float* x, float* y);

// Transposed convolution of row-major [channels, height, width] with weights [channels, outputs / groups,
// kernel_h, kernel_w]: for shapes that oneDNN refuses. bias has one element an output, or is null; sums are
// double.
struct ConvTranspose {
    int64_t channels, height, width, outputs, out_height, out_width, groups;
    int64_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, top, left;
};
void conv_transpose(const ConvTranspose& shape, const float* x, const float* weights, const float* bias,
                    float* y);

// indices[i] of the middle axis of [outer, size, inner], as [outer, indices, inner]; and the transpose, which
// adds.
struct Picks {
    int64_t outer = 1, size = 0, inner = 1;
    std::vector<int64_t> indices;
};
Picks picks(const Shape& whole, int64_t axis, const std::vector<int64_t>& indices);
void gather(const Picks& shape, const float* x, float* y);
void scatter_add(const Picks& shape, const float* u, float* y);

// Pieces of `chunk[i]` elements taken in turn from each input, `outer` times.
struct Concat {
    int64_t outer = 1;
    Shape chunk;
};
void concat(const Concat& shape, const float* const* inputs, float* y);

} // namespace latdyn::plain
