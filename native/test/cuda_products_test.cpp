// Windows and products of activations on a device against a plain loop in double over the operands as the
// precision rounds them. What is left is the order and rounding of sums, which the bounds below allow for.
#include "graph/products.h"

#include "activation_reference.h"
#include "on_device.h"
#include "points.h"
#include "tf32.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

using namespace latdyn;
using namespace latdyn::test;
using cuda::Matmul;
using cuda::MatmulShape;
using cuda::Precision;
using cuda::Window;
using cuda::WindowShape;

namespace {

const Precision precisions[] = {Precision::float32, Precision::tf32, Precision::bf16};
const char* const names[] = {"float32", "tf32", "bf16"};
const char* name_of(Precision precision) {
    return names[static_cast<int>(precision)];
}

double worst_share[3] = {};

double rounded(Precision precision, float v) {
    if (v - v != 0 || precision == Precision::float32)
        return v;
    if (precision == Precision::tf32)
        return cuda::round_tf32(v);
    const uint32_t bits = uint32_t{cuda::round_bf16(v)} << 16;
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

// Of a sum of `terms` products that has moved by S = Σ|products| + |bias| + |residual|, as tf32.h states it:
// one rounding a multiply-add, or 2⁻¹⁹ an instruction of 8 (16) products; and two roundings at the end.
double error_bound(Precision precision, int64_t terms, double moved) {
    const double sums = precision == Precision::float32 ? static_cast<double>(terms) * 0x1p-24
                                                        : static_cast<double>((terms + 15) / 8) * 0x1p-19;
    return 1.01 * (sums + 3 * 0x1p-24) * moved + 1e-37;
}

// Bound on a difference of activations of numbers that differ by `error` around x.
double spread(const Activation& f, double x, double error) {
    const double y = apply(f, x);
    double most = std::max(std::abs(apply(f, x - error) - y), std::abs(apply(f, x + error) - y));
    return 1.01 * most + 1e-6 * std::max(1.0, std::abs(y));
}

// What a sum should be: itself, and how far its terms have moved it.
struct Expected {
    double sum = 0, moved = 0;
    int64_t terms = 0;
    void add(double v) {
        sum += v;
        moved += std::abs(v);
        terms++;
    }
};

void compare(const char* what, Precision precision, const Activation& activation,
             const std::vector<Expected>& expected, const std::vector<float>& found) {
    int64_t wrong = 0;
    for (size_t i = 0; i < expected.size(); i++) {
        const double y = apply(activation, expected[i].sum);
        if (std::isnan(y) || std::isinf(y)) {
            wrong += std::isnan(y) ? !std::isnan(found[i]) : found[i] != y;
            continue;
        }
        const double error = error_bound(precision, expected[i].terms, expected[i].moved);
        const double bound =
            activation.kind == ActivationKind::none ? error : spread(activation, expected[i].sum, error);
        const double share = std::abs(found[i] - y) / bound;
        if (activation.kind == ActivationKind::none)
            worst_share[static_cast<int>(precision)] =
                std::max(worst_share[static_cast<int>(precision)], share);
        if (!(share <= 1) && wrong++ == 0)
            std::printf("%s, %s: output %lld is %.9g, expected %.9g ± %.3g\n", what, name_of(precision),
                        static_cast<long long>(i), found[i], y, bound);
    }
    CHECK(wrong == 0 && expected.size() == found.size(), "%s, %s: %lld of %lld outputs are wrong", what,
          name_of(precision), static_cast<long long>(wrong), static_cast<long long>(expected.size()));
}

// ---- windows ----

struct WindowCase {
    WindowShape shape;
    std::vector<float> weights, bias;
    Activation activation;
    bool residual = false;

    int64_t inputs() const { return int64_t{shape.height} * shape.width * shape.channels; }
    int64_t outputs() const { return int64_t{shape.out_height} * shape.out_width * shape.out_channels; }
};

WindowCase window_case(const WindowShape& shape, uint64_t seed, const Activation& activation = {},
                       bool bias = true, bool residual = false) {
    const int64_t weights =
        int64_t{shape.channels} * (shape.out_channels / shape.groups) * shape.kernel_h * shape.kernel_w;
    return {shape, gaussian(1, weights, seed).data,
            bias ? gaussian(1, shape.out_channels, seed + 1).data : std::vector<float>{}, activation,
            residual};
}

std::vector<Expected> plain(const WindowCase& one, Precision precision, const float* x, const float* residual,
                            int64_t rows) {
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

std::vector<float> run(const WindowCase& one, Precision precision, const std::vector<float>& x,
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

void compare_window(const char* what, const WindowCase& one, int64_t rows, uint64_t seed) {
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
WindowShape square(int32_t size, int32_t channels, int32_t outputs, int32_t kernel, int32_t stride = 1,
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
WindowShape linear(int32_t positions, int32_t channels, int32_t outputs) {
    WindowShape s;
    s.height = s.out_height = positions;
    s.channels = channels;
    s.out_channels = outputs;
    return s;
}

void known_windows() {
    // A kernel of ones over ones counts what is inside.
    WindowCase one{square(3, 1, 1, 3, 1, 1), std::vector<float>(9, 1), {}, {}, false};
    for (Precision precision : precisions) {
        const std::vector<float> found = run(one, precision, std::vector<float>(9, 1), {});
        CHECK((found == std::vector<float>{4, 6, 4, 6, 9, 6, 4, 6, 4}), "%s: a window of ones",
              name_of(precision));
    }
    // Turned round, it writes every input into every output that it touches.
    one = {square(2, 1, 1, 3, 2, 0, true), {1, 2, 3, 4, 5, 6, 7, 8, 9}, {}, {}, false};
    for (Precision precision : precisions) {
        const std::vector<float> found = run(one, precision, {1, 10, 100, 1000}, {});
        const std::vector<float> expected{1,    2,    13,  20,   30,   4,    5,   46,  50,
                                          60,   107,  208, 1379, 2080, 3090, 400, 500, 4600,
                                          5000, 6000, 700, 800,  7900, 8000, 9000};
        CHECK(found == expected, "%s: a transposed window", name_of(precision));
    }
    // Nothing but bias where no tap comes to.
    WindowShape apart = square(2, 1, 2, 1, 3, 0, true);
    one = {apart, {1, 2}, {5, 7}, {}, false};
    for (Precision precision : precisions) {
        const std::vector<float> found = run(one, precision, {1, 2, 3, 4}, {});
        for (int h = 0; h < 4; h++)
            for (int w = 0; w < 4; w++) {
                const int at = (h * 4 + w) * 2, x = h % 3 == 0 && w % 3 == 0 ? h / 3 * 2 + w / 3 + 1 : 0;
                CHECK(found[at] == 5 + x && found[at + 1] == 7 + 2 * x, "%s: apart, at %d, %d",
                      name_of(precision), h, w);
            }
    }
}

void chosen_windows() {
    compare_window("mnist decoder", window_case(square(2, 128, 64, 3, 2, 1, true), 1), 3, 10);
    compare_window("mnist decoder", window_case(square(8, 32, 16, 3, 2, 1, true), 2), 2, 11);
    compare_window("mnist decoder", window_case(square(9, 16, 1, 3, 2, 1, true), 3), 3, 12);
    compare_window("mnist encoder", window_case(square(16, 1, 16, 3, 2, 1), 4), 3, 13);
    compare_window("mnist encoder", window_case(square(8, 16, 32, 3, 2, 1), 5), 5, 14);
    compare_window("mnist latent", window_case(linear(1, 512, 16), 6), 5, 15);
    compare_window("mnist latent", window_case(linear(1, 16, 512), 7), 130, 16);
    compare_window("taef2", window_case(square(8, 64, 64, 3, 1, 1), 8, {ActivationKind::relu}, true, true), 3,
                   18);
    compare_window("taef2", window_case(square(9, 3, 64, 3, 1, 1), 9), 2, 19);
    compare_window("taef2", window_case(square(9, 64, 3, 3, 1, 1), 10), 2, 20);
    compare_window("vit", window_case(linear(17, 48, 144), 11, {ActivationKind::gelu}), 3, 21);
    compare_window("one of each", window_case(square(1, 1, 1, 1), 12), 1, 22);
    compare_window("depthwise", window_case(square(7, 12, 12, 3, 1, 1, false, 12), 13), 2, 23);
    compare_window("depthwise", window_case(square(5, 6, 12, 4, 2, 1, true, 6), 14), 2, 24);
    compare_window("groups", window_case(square(6, 16, 24, 3, 1, 1, false, 4), 15), 2, 25);
    compare_window("patches", window_case(square(12, 3, 40, 4, 4), 16), 3, 26);
    compare_window("all outside", window_case(square(4, 4, 4, 2, 3, 5), 17), 2, 27);
    WindowShape shape = square(6, 5, 7, 3, 2, 1);
    shape.dilation_h = 2;
    shape.stride_w = 1;
    shape.left = 4;
    shape.out_height = 3;
    shape.out_width = 9;
    compare_window("uneven", window_case(shape, 18), 3, 28);
    shape = square(5, 8, 10, 2, 5, 0, true);
    shape.top = -3;
    shape.out_height = shape.out_width = 30;
    compare_window("gaps", window_case(shape, 19), 2, 29);
    compare_window("many rows", window_case(linear(1, 4, 3), 20), 1000, 30);
    if (!on_host) {
        compare_window("large", window_case(square(64, 64, 64, 3, 1, 1), 21), 20, 31);
        compare_window("large", window_case(square(16, 128, 64, 3, 2, 1, true), 22), 100, 32);
        compare_window("large", window_case(linear(197, 768, 192), 23), 20, 33);
    }
}

// Where channels are whole stages, windows of several taps go by patches.
void patches() {
    compare_window("patches", window_case(square(16, 16, 24, 3, 1, 1), 30, {}, true, true), 2, 100);
    compare_window("patches", window_case(square(20, 16, 8, 3, 1, 1), 31), 1, 101);
    compare_window("patches", window_case(square(8, 48, 16, 3, 1, 1), 32), 3, 102);
    compare_window("patches", window_case(square(4, 64, 128, 3, 1, 1), 33), 11, 103);
    compare_window("patches", window_case(square(17, 32, 64, 3, 2, 1), 34), 3, 104);
    compare_window("patches", window_case(square(12, 64, 40, 2, 1, 0, false, 2), 35), 2, 105);
    compare_window("patches", window_case(square(13, 16, 5, 5, 3, 2), 36), 3, 106);
    WindowShape shape = square(11, 32, 12, 3, 1, 1);
    shape.height = 7;
    shape.kernel_h = 5;
    shape.dilation_w = 2;
    shape.stride_h = 2;
    shape.top = 3;
    shape.left = -1;
    shape.out_height = 5;
    shape.out_width = 13;
    compare_window("patches", window_case(shape, 37), 4, 107);
    for (uint64_t seed = 400; seed < (on_host ? 416 : 500); seed++) {
        const auto some = [&](uint64_t at, int32_t least, int32_t most) {
            return least + static_cast<int32_t>(pick(seed, at, static_cast<uint64_t>(most - least + 1)));
        };
        WindowShape s;
        s.groups = some(0, 1, 2);
        s.channels = 16 * s.groups * some(1, 1, 3);
        s.out_channels = s.groups * some(2, 1, 40);
        s.height = some(3, 1, 12);
        s.width = some(4, 1, 12);
        s.kernel_h = some(5, 1, 4);
        s.kernel_w = some(6, 2, 4);
        s.stride_h = some(7, 1, 2);
        s.stride_w = some(8, 1, 2);
        s.dilation_h = some(9, 1, 2);
        s.dilation_w = some(10, 1, 2);
        s.top = some(11, -1, 3);
        s.left = some(12, -1, 3);
        s.out_height = some(13, 1, 12);
        s.out_width = some(14, 1, 12);
        compare_window("random patches", window_case(s, seed), some(15, 1, 6), 2 * seed);
    }
}

void random_windows() {
    const int rounds = on_host ? 40 : 200;
    const auto all = [] {
        std::vector<Activation> list;
        for (int kind = 0; kind <= static_cast<int>(ActivationKind::pow); kind++) {
            Activation one{static_cast<ActivationKind>(kind), 0.25f, 0.75f};
            if (one.kind == ActivationKind::pow)
                one.alpha = 2;
            list.push_back(one);
        }
        return list;
    }();
    for (int i = 0; i < rounds; i++) {
        const uint64_t seed = 1000 + static_cast<uint64_t>(i);
        auto some = [seed, at = uint64_t{0}](int32_t least, int32_t most) mutable {
            return least + static_cast<int32_t>(pick(seed, at++, static_cast<uint64_t>(most - least + 1)));
        };
        WindowShape s;
        s.groups = some(0, 2) == 0 ? some(2, 3) : 1;
        s.channels = s.groups * (some(0, 1) ? some(1, 9) : 4 * some(1, 9));
        s.out_channels = s.groups * some(1, some(0, 3) == 0 ? 70 : 20);
        s.height = some(1, 9);
        s.width = some(1, 9);
        s.kernel_h = some(1, 4);
        s.kernel_w = some(1, 4);
        s.stride_h = some(1, 3);
        s.stride_w = some(1, 3);
        s.dilation_h = some(1, 2);
        s.dilation_w = some(1, 3);
        s.top = some(-1, 3);
        s.left = some(-1, 3);
        s.transposed = some(0, 1);
        s.out_height = some(1, 10);
        s.out_width = some(1, 10);
        // Functions that are wild near 0, or have a kink, are tried with sums that are wide of it.
        const Activation activation = all[static_cast<size_t>(i) % all.size()];
        WindowCase one = window_case(s, seed, activation, some(0, 3) > 0, some(0, 1));
        const bool positive =
            activation.kind == ActivationKind::log || activation.kind == ActivationKind::sqrt ||
            activation.kind == ActivationKind::reciprocal || activation.kind == ActivationKind::exp;
        if (positive) {
            one.residual = false;
            one.bias.assign(static_cast<size_t>(s.out_channels), 3);
            for (float& w : one.weights)
                w *= 0.01f;
        }
        compare_window("random", one, some(1, some(0, 2) == 0 ? 40 : 4), 2 * seed + (i / 2) % 2);
    }
}

// ---- products of two activations ----

std::vector<float> run(const MatmulShape& shape, const Activation& activation, Precision precision,
                       const std::vector<float>& a, const std::vector<float>& b, int64_t rows) {
    const Matmul matmul(shape, activation, precision);
    const cuda::Buffer<float> left{std::span<const float>(a)}, right{std::span<const float>(b)};
    const cuda::Buffer<float> to(rows * static_cast<int64_t>(shape.a_offset.size()) * shape.m * shape.n);
    matmul.run(left.get(), right.get(), to.get(), rows);
    return to.read();
}

std::vector<Expected> plain(const MatmulShape& s, Precision precision, const std::vector<float>& a,
                            const std::vector<float>& b, int64_t rows) {
    std::vector<Expected> y;
    for (int64_t row = 0; row < rows; row++)
        for (size_t product = 0; product < s.a_offset.size(); product++)
            for (int64_t i = 0; i < s.m; i++)
                for (int64_t j = 0; j < s.n; j++) {
                    Expected one;
                    for (int64_t k = 0; k < s.inner; k++)
                        one.add(rounded(precision, a[row * s.a_row + s.a_offset[product] + i * s.inner + k]) *
                                rounded(precision, b[row * s.b_row + s.b_offset[product] + k * s.n + j]));
                    y.push_back(one);
                }
    return y;
}

// `heads` products of a row, one after the other; of every `share` of them b is the same.
MatmulShape heads(int64_t m, int64_t inner, int64_t n, int count, int share = 1) {
    MatmulShape s;
    s.m = m;
    s.n = n;
    s.inner = inner;
    s.a_row = count * m * inner;
    s.b_row = (count + share - 1) / share * inner * n;
    for (int i = 0; i < count; i++) {
        s.a_offset.push_back(static_cast<int32_t>(i * m * inner));
        s.b_offset.push_back(static_cast<int32_t>(i / share * inner * n));
    }
    return s;
}

// What a run reads: as far as the last row's last product.
int64_t floats_of(int64_t row, const std::vector<int32_t>& offsets, int64_t size, int64_t rows) {
    return row * (rows - 1) + *std::max_element(offsets.begin(), offsets.end()) + size;
}

void compare_matmul(const char* what, const MatmulShape& s, int64_t rows, uint64_t seed,
                    const Activation& activation = {}) {
    const std::vector<float> a = gaussian(1, floats_of(s.a_row, s.a_offset, s.m * s.inner, rows), seed).data;
    const std::vector<float> b =
        gaussian(1, floats_of(s.b_row, s.b_offset, s.inner * s.n, rows), seed + 1).data;
    const std::string text = std::string(what) + " [" + std::to_string(s.m) + ", " + std::to_string(s.inner) +
                             "]·[" + std::to_string(s.inner) + ", " + std::to_string(s.n) + "]";
    for (Precision precision : precisions)
        compare(text.c_str(), precision, activation, plain(s, precision, a, b, rows),
                run(s, activation, precision, a, b, rows));
}

void matmuls() {
    compare_matmul("queries and keys", heads(17, 32, 17, 3), 2, 50);
    compare_matmul("weights and values", heads(17, 17, 32, 3), 2, 51);
    compare_matmul("all by four", heads(20, 24, 36, 2), 3, 52, {ActivationKind::gelu});
    compare_matmul("one number", heads(1, 1, 1, 1), 1, 53);
    compare_matmul("a column", heads(5, 70, 1, 2), 2, 54);
    compare_matmul("a row", heads(1, 300, 70, 1), 4, 55);
    compare_matmul("several tiles", heads(150, 20, 130, 1), 1, 56);
    compare_matmul("shared", heads(6, 8, 12, 4, 2), 3, 57);
    MatmulShape s = heads(9, 12, 8, 2);
    s.b_row = 0;
    compare_matmul("a constant on the right", s, 3, 58);
    s = heads(9, 12, 8, 2);
    s.a_row = 0;
    compare_matmul("a constant on the left", s, 3, 59);
    for (uint64_t seed = 60; seed < (on_host ? 72 : 160); seed++) {
        const auto some = [&](uint64_t at, uint64_t most) {
            return static_cast<int64_t>(1 + pick(seed, at, most));
        };
        const int64_t width = some(4, 2) == 1 ? 4 : 1;
        compare_matmul("random",
                       heads(some(0, 40), width * some(1, 12), (some(5, 2) == 1 ? 4 : 1) * some(2, 12),
                             static_cast<int>(some(3, 3))),
                       some(6, 3), seed);
    }
    if (!on_host) {
        compare_matmul("large", heads(197, 64, 197, 12), 4, 200);
        compare_matmul("large", heads(197, 197, 64, 12), 4, 201);
    }
}

// ---- what holds of bits ----

std::vector<float> part_of(const std::vector<float>& x, int64_t width, int64_t row) {
    return {x.begin() + row * width, x.begin() + (row + 1) * width};
}
bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// The row alone gives what it gives among `rows`, in every order of threads.
void alone(const WindowCase& one, int64_t rows, const std::vector<int64_t>& tried) {
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

void bits() {
    alone(window_case(square(6, 20, 12, 3, 1, 1), 70, {ActivationKind::tanh}, true, true), 7, {0, 3, 6});
    alone(window_case(square(5, 3, 40, 4, 2, 1, true), 71, {ActivationKind::silu}), 9, {0, 8});
    alone(window_case(square(5, 6, 6, 3, 1, 1, false, 2), 72), 5, {1, 4});
    // Enough rows for the large tiles, and a row for which there are smaller ones; the same of patches, of
    // several images.
    const int64_t many = on_host ? 300 : 40000;
    alone(window_case(linear(1, 36, 128), 73, {ActivationKind::relu}), many, {0, 255, many - 1});
    alone(window_case(linear(2, 20, 32), 77), 2 * many, {0, 255, 2 * many - 1});
    alone(window_case(square(4, 16, 20, 3, 1, 1), 78), many / 4, {0, many / 4 - 1});
    alone(window_case(linear(1, 20, 192), 74), many, {0, 255, many - 1});
    alone(window_case(square(9, 16, 192, 2), 75, {ActivationKind::relu}, true, true), many / 30,
          {0, many / 30 - 1});
    alone(window_case(square(4, 16, 128, 3, 1, 1), 76), many / 12, {0, many / 12 - 1});
    const MatmulShape shape = heads(20, 33, 24, 2);
    const std::vector<float> a = gaussian(4, shape.a_row, 302).data, b = gaussian(4, shape.b_row, 303).data;
    for (Precision precision : precisions) {
        const std::vector<float> together = run(shape, {}, precision, a, b, 4);
        in_every_order([&](const char* order) {
            for (int64_t row : {0, 3})
                CHECK(same_bits(run(shape, {}, precision, part_of(a, shape.a_row, row),
                                    part_of(b, shape.b_row, row), 1),
                                part_of(together, 2 * 20 * 24, row)),
                      "%s: products of row %lld depend on others (%s)", name_of(precision),
                      static_cast<long long>(row), order);
        });
    }
}

// ---- what is not a number, or does not work ----

void extremes() {
    const float infinity = std::numeric_limits<float>::infinity();
    const float nan = std::numeric_limits<float>::quiet_NaN();
    uint32_t all_ones = 0x7fffffff;
    float device_nan;
    memcpy(&device_nan, &all_ones, sizeof device_nan);
    WindowCase one = window_case(square(4, 5, 6, 3, 1, 1), 80);
    for (float& w : one.weights)
        w = std::abs(w) + 0.01f;
    for (Precision precision : precisions)
        for (float v : {nan, device_nan, infinity, -infinity}) {
            std::vector<float> x = gaussian(3, one.inputs(), 81).data;
            // A corner of row 1: four output positions of it see that.
            x[one.inputs()] = v;
            const std::vector<float> found = run(one, precision, x, {});
            for (int64_t i = 0; i < 3 * one.outputs(); i++) {
                const int64_t row = i / one.outputs(), h = i % one.outputs() / 24, w = i % 24 / 6;
                const bool sees = row == 1 && h < 2 && w < 2;
                CHECK(sees ? (std::isnan(v) ? std::isnan(found[i]) : found[i] == v) : std::isfinite(found[i]),
                      "%s: %g became %g at row %lld, %lld, %lld", name_of(precision), v, found[i],
                      static_cast<long long>(row), static_cast<long long>(h), static_cast<long long>(w));
            }
            const MatmulShape shape = heads(3, 5, 3, 1);
            std::vector<float> a(15, 1), b(15, 1);
            b[4] = v;
            const std::vector<float> product = run(shape, {}, precision, a, b, 1);
            for (int i = 0; i < 9; i++)
                CHECK(i % 3 == 1 ? (std::isnan(v) ? std::isnan(product[i]) : product[i] == v)
                                 : product[i] == 5,
                      "%s: %g became %g in a product", name_of(precision), v, product[i]);
        }
}

void abuse() {
    const auto message = [](WindowShape shape, size_t weights, size_t bias) {
        return message_of([&] {
            Window(shape, std::vector<float>(weights), std::vector<float>(bias), {}, Precision::float32);
        });
    };
    WindowShape shape = square(3, 4, 6, 3);
    std::string found = message(shape, 215, 6);
    CHECK(found == "a window has 215 weights, expected 216", "%s", found.c_str());
    found = message(shape, 216, 5);
    CHECK(found == "a window has 5 biases, expected 6", "%s", found.c_str());
    shape.groups = 4;
    found = message(shape, 216, 6);
    CHECK(found == "a window of 4 → 6 channels does not have 4 groups", "%s", found.c_str());
    shape.groups = 0;
    found = message(shape, 216, 6);
    CHECK(found == "a window has a size of 0, expected at least 1", "%s", found.c_str());
    MatmulShape product = heads(1, 1, 1, 1);
    product.b_offset.clear();
    found = message_of([&] { Matmul(product, {}, Precision::float32); });
    CHECK(found == "a product has 1 and 0 offsets, expected as many, and at least one", "%s", found.c_str());
    // No rows: nothing is started.
    const Window window(square(2, 1, 1, 1), std::vector<float>(1), {}, {}, Precision::tf32);
    window.run(nullptr, nullptr, nullptr, 0);
    CHECK(window.launches() == 1 && window.weight_bytes() > 0, "a window's size");
#ifdef LATDYN_SIMT
    const WindowCase one = window_case(square(4, 4, 4, 3, 2, 1, true), 90);
    for (Precision precision : precisions) {
        with_broken_launches({0}, [&] { run(one, precision, gaussian(2, one.inputs(), 91).data, {}); });
        with_broken_launches({0}, [&] {
            run(heads(2, 2, 2, 1), {}, precision, {1, 2, 3, 4}, {1, 2, 3, 4}, 1);
        });
    }
    simt::limit_memory(100);
    found = message_of([&] { run(one, Precision::float32, gaussian(2, one.inputs(), 91).data, {}); });
    CHECK(found.find("device: CUDA: allocating ") == 0, "%s", found.c_str());
    simt::limit_memory(int64_t{1} << 40);
    compare_window("after all that", one, 2, 92);
    // Devices between sm_80 and sm_90 have 99 KiB.
    simt::limit_shared_memory(99 << 10);
    compare_window("little shared memory", window_case(linear(1, 20, 128), 93), 300, 94);
    compare_window("little shared memory", window_case(square(4, 32, 128, 3, 1, 1), 95), 20, 96);
    compare_window("little shared memory", window_case(square(9, 32, 64, 3, 2, 1), 97), 20, 98);
    compare_matmul("little shared memory", heads(130, 20, 70, 1), 3, 99);
    // With less there is no room for these patches, and what is gathered tap by tap has the same bits.
    for (const auto& [outputs, kibibytes] : {std::pair(64, 52), std::pair(6, 38)}) {
        const WindowCase small = window_case(square(4, 32, outputs, 3, 1, 1), 100, {}, true, true);
        const std::vector<float> x = gaussian(9, small.inputs(), 101).data;
        const std::vector<float> residual = gaussian(9, small.outputs(), 102).data;
        for (Precision precision : precisions) {
            simt::limit_shared_memory(227 << 10);
            const std::vector<float> patched = run(small, precision, x, residual);
            simt::limit_shared_memory(static_cast<size_t>(kibibytes) << 10);
            CHECK(same_bits(run(small, precision, x, residual), patched), "%s: bits of patches",
                  name_of(precision));
        }
    }
    simt::limit_shared_memory(227 << 10);
#endif
}

} // namespace

int main() {
    return test_on_device("cuda_products", [] {
        known_windows();
        chosen_windows();
        patches();
        random_windows();
        matmuls();
        bits();
        extremes();
        abuse();
        for (Precision precision : precisions)
            std::printf("cuda_products: %s: the largest error is %.3f of its bound\n", name_of(precision),
                        worst_share[static_cast<int>(precision)]);
    });
}
