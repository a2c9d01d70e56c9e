// Windows of activations on a device: what they are given, what they should give, and the comparison of the
// two.
#pragma once

#include "points.h"
#include "product_reference.h"

#include <string>

namespace latdyn::test {

using cuda::Window;
using cuda::WindowShape;

struct WindowCase {
    WindowShape shape;
    std::vector<float> weights, bias;
    Activation activation;
    bool residual = false;

    int64_t inputs() const { return int64_t{shape.height} * shape.width * shape.channels; }
    int64_t outputs() const { return int64_t{shape.out_height} * shape.out_width * shape.out_channels; }
};

inline WindowCase window_case(const WindowShape& shape, uint64_t seed, const Activation& activation = {},
                              bool bias = true, bool residual = false) {
    const int64_t weights =
        int64_t{shape.channels} * (shape.out_channels / shape.groups) * shape.kernel_h * shape.kernel_w;
    return {shape, gaussian(1, weights, seed).data,
            bias ? gaussian(1, shape.out_channels, seed + 1).data : std::vector<float>{}, activation,
            residual};
}

inline std::vector<Expected> plain(const WindowCase& one, Precision precision, const float* x,
                                   const float* residual, int64_t rows) {
    const WindowShape& s = one.shape;
    const int64_t in = s.channels / s.groups, out = s.out_channels / s.groups;
    std::vector<Expected> y(static_cast<size_t>(rows * one.outputs()));
    const auto weight = [&](int64_t first, int64_t second, int64_t split, int64_t h, int64_t w) {
        return rounded(precision, one.weights[((first * split + second) * s.kernel_h + h) * s.kernel_w + w]);
    };
    for (int64_t row = 0; row < rows; row++)
        for (int64_t h = 0; h < (s.transposed ? s.height : s.out_height); h++)
            for (int64_t w = 0; w < (s.transposed ? s.width : s.out_width); w++)
                for (int64_t i = 0; i < s.kernel_h; i++)
                    for (int64_t j = 0; j < s.kernel_w; j++) {
                        const int64_t other_h = h * s.stride_h - s.top + i * s.dilation_h;
                        const int64_t other_w = w * s.stride_w - s.left + j * s.dilation_w;
                        const int64_t from_h = s.transposed ? h : other_h, to_h = s.transposed ? other_h : h;
                        const int64_t from_w = s.transposed ? w : other_w, to_w = s.transposed ? other_w : w;
                        if (other_h < 0 || other_w < 0 ||
                            other_h >= (s.transposed ? s.out_height : s.height) ||
                            other_w >= (s.transposed ? s.out_width : s.width))
                            continue;
                        const float* from = x + row * one.inputs() + (from_h * s.width + from_w) * s.channels;
                        Expected* to =
                            y.data() + row * one.outputs() + (to_h * s.out_width + to_w) * s.out_channels;
                        for (int64_t g = 0; g < s.groups; g++)
                            for (int64_t o = 0; o < out; o++)
                                for (int64_t c = 0; c < in; c++)
                                    to[g * out + o].add(rounded(precision, from[g * in + c]) *
                                                        (s.transposed ? weight(g * in + c, o, out, i, j)
                                                                      : weight(g * out + o, c, in, i, j)));
                    }
    for (size_t i = 0; i < y.size(); i++) {
        if (!one.bias.empty())
            y[i].add(one.bias[i % static_cast<size_t>(s.out_channels)]);
        if (residual)
            y[i].add(residual[i]);
    }
    return y;
}

inline std::vector<float> run(const WindowCase& one, Precision precision, const std::vector<float>& x,
                              const std::vector<float>& residual, bool in_place = false) {
    const int64_t rows = static_cast<int64_t>(x.size()) / one.inputs();
    const Window window(one.shape, one.weights, one.bias, one.activation, precision);
    const cuda::Buffer<float> from{std::span<const float>(x)};
    cuda::Buffer<float> to(rows * one.outputs());
    cuda::Buffer<float> added(std::max<int64_t>(1, static_cast<int64_t>(residual.size())));
    (in_place ? to : added).set(residual);
    window.run(from.get(), residual.empty() ? nullptr : (in_place ? to : added).get(), to.get(), rows);
    return to.read();
}

inline void compare_window(const char* what, const WindowCase& one, int64_t rows, uint64_t seed) {
    const std::vector<float> x = gaussian(rows, one.inputs(), seed).data;
    const std::vector<float> residual =
        one.residual ? gaussian(rows, one.outputs(), seed + 1).data : std::vector<float>{};
    const WindowShape& s = one.shape;
    const std::string text = std::string(what) + (s.transposed ? " transposed [" : " [") +
                             std::to_string(s.height) + ", " + std::to_string(s.width) + ", " +
                             std::to_string(s.channels) + "] → [" + std::to_string(s.out_height) + ", " +
                             std::to_string(s.out_width) + ", " + std::to_string(s.out_channels) + "], " +
                             std::to_string(s.groups) + " groups, kernel " + std::to_string(s.kernel_h) +
                             "×" + std::to_string(s.kernel_w) + ", " + std::to_string(rows) + " rows";
    for (Precision precision : precisions) {
        const std::vector<Expected> expected =
            plain(one, precision, x.data(), residual.empty() ? nullptr : residual.data(), rows);
        compare(text.c_str(), precision, one.activation, expected,
                run(one, precision, x, residual, seed % 2 == 0));
    }
}

// kernel, stride, dilation, top and left in both directions alike; as many outputs as fit with `below` more
// lines of nothing at the end.
inline WindowShape square(int32_t size, int32_t channels, int32_t outputs, int32_t kernel, int32_t stride = 1,
                          int32_t padding = 0, bool transposed = false, int32_t groups = 1) {
    WindowShape s;
    s.height = s.width = size;
    s.channels = channels;
    s.out_channels = outputs;
    s.groups = groups;
    s.kernel_h = s.kernel_w = kernel;
    s.stride_h = s.stride_w = stride;
    s.top = s.left = padding;
    s.transposed = transposed;
    s.out_height = s.out_width =
        transposed ? (size - 1) * stride + kernel - 2 * padding : (size + 2 * padding - kernel) / stride + 1;
    return s;
}
inline WindowShape linear(int32_t positions, int32_t channels, int32_t outputs) {
    WindowShape s;
    s.height = s.out_height = positions;
    s.channels = channels;
    s.out_channels = outputs;
    return s;
}

// The row alone gives what it gives among `rows`, in every order of threads.
inline void alone(const WindowCase& one, int64_t rows, const std::vector<int64_t>& tried) {
    const std::vector<float> x = gaussian(rows, one.inputs(), 300).data;
    const std::vector<float> residual =
        one.residual ? gaussian(rows, one.outputs(), 301).data : std::vector<float>{};
    for (Precision precision : precisions) {
        const std::vector<float> together = run(one, precision, x, residual);
        const auto compare_alone = [&](const char* order) {
            for (int64_t row : tried) {
                const std::vector<float> found =
                    run(one, precision, part_of(x, one.inputs(), row),
                        one.residual ? part_of(residual, one.outputs(), row) : residual);
                CHECK(same_bits(found, part_of(together, one.outputs(), row)),
                      "%s, %d channels to %d: row %lld of %lld depends on others (%s)", name_of(precision),
                      one.shape.channels, one.shape.out_channels, static_cast<long long>(row),
                      static_cast<long long>(rows), order);
            }
        };
        in_every_order(compare_alone);
    }
}

} // namespace latdyn::test
