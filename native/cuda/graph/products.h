// The products of a graph: windows (convolution, transposed convolution, linear layer) over constant weights,
// and products of two activations. All are one implicit matrix product: rows × positions on the left,
// gathered from where they lie, output channels on the right.
//
// The sum of an output is in one order, which its shape decides, so a row has the same bits whatever its
// neighbours are.
#pragma once

#include "latdyn/activation.h"
#include "plan.h"

#include <cstdint>
#include <span>
#include <vector>

namespace latdyn::cuda {

// y[h, w, o] = Σ over the window of x[…, i]·w[…, i, o]. Activations are channels-last: [height, width,
// channels] floats a row, dense, rows one after the other; groups split channels on both sides.
// A linear layer over the last axis is a 1 × 1 window over [positions, 1, channels].
struct WindowShape {
    int32_t height = 1, width = 1, channels = 1;
    int32_t out_height = 1, out_width = 1, out_channels = 1;
    int32_t groups = 1;
    int32_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
    int32_t top = 0, left = 0;
    // y[i·stride − top + tap·dilation] += x[i]·w[tap] instead of y[i] += x[i·stride − top +
    // tap·dilation]·w[tap].
    bool transposed = false;
};

struct WindowClass;
struct Tap;

// Packed weights of a window, resident.
class Window {
  public:
    // weights as in the graph: [out_channels, channels / groups, kernel_h, kernel_w], of a transposed window
    // [channels, out_channels / groups, kernel_h, kernel_w]. bias: one an output channel, or empty.
    Window(const WindowShape& shape, std::span<const float> weights, std::span<const float> bias,
           const Activation& activation, Precision precision);

    const WindowShape& shape() const { return shape_; }
    int64_t weight_bytes() const;
    int launches() const;
    // y = activation(window of x + bias + residual). residual (null: none) lies like y and may be y. Arrays
    // are 16-byte aligned.
    void run(const float* x, const float* residual, float* y, int64_t rows) const;

  private:
    WindowShape shape_;
    Activation activation;
    Precision precision;
    // As in WindowTables.
    int32_t step_h, step_w, out_step_h, out_step_w;
    bool vector, by_warpgroups;
    int columns, column_tiles;
    int64_t most_positions;
    Buffer<WindowClass> classes;
    Buffer<Tap> taps;
    Buffer<float> packed, biases;
};

// y[b] = activation(a[b]·b[b]) for every product b of a row: a [m, inner], b [inner, n], y [m, n], row-major.
struct MatmulShape {
    int64_t m = 1, n = 1, inner = 1;
    // Floats of one row of each operand; 0 where the operand is a constant, the same for every row.
    int64_t a_row = 0, b_row = 0;
    // Where the operands of each product of a row begin, in floats (broadcasting repeats them).
    std::vector<int32_t> a_offset, b_offset;
};

class Matmul {
  public:
    Matmul(const MatmulShape& shape, const Activation& activation, Precision precision);
    int64_t table_bytes() const;
    void run(const float* a, const float* b, float* y, int64_t rows) const;

  private:
    MatmulShape shape_;
    Activation activation;
    Precision precision;
    // Whether copies of four floats are possible, of a and of b.
    bool vector, right_vector;
    Buffer<int32_t> a_offsets, b_offsets;
};

} // namespace latdyn::cuda
