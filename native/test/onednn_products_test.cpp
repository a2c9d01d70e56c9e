// Convolutions and matrix products of oneDNN's plan, on random shapes with residuals and activations.
#include "onednn_reference.h"

using namespace latdyn;
using namespace latdyn::test;

namespace {

struct Convolution {
    int64_t inputs, outputs, groups;
    Shape kernel, strides, pads, dilations, extra;
};

void add_convolution(Builder& b, int x, const Convolution& c, bool transposed, bool bias, Activation f,
                     bool residual, bool keep_residual) {
    const Shape s = b.shape(x);
    Shape out{c.outputs, 0, 0};
    for (int d = 0; d < 2; ++d) {
        const int64_t reach = (c.kernel[d] - 1) * c.dilations[d] + 1, pads = c.pads[d] + c.pads[2 + d];
        out[1 + d] = transposed ? (s[1 + d] - 1) * c.strides[d] - pads + reach + c.extra[d]
                                : (s[1 + d] + pads - reach) / c.strides[d] + 1;
        if ((!transposed && s[1 + d] + pads < reach) || out[1 + d] < 1) {
            // Too small an image for this window: pass it through another operator instead.
            b.node("activate", {x}, s, {}, {ActivationKind::tanh, 0, 0});
            return;
        }
    }
    const float scale = 1 / std::sqrt(static_cast<float>(c.inputs / c.groups * c.kernel[0] * c.kernel[1]));
    std::vector<int> inputs{
        x, transposed ? b.constant({c.inputs, c.outputs / c.groups, c.kernel[0], c.kernel[1]}, scale)
                      : b.constant({c.outputs, c.inputs / c.groups, c.kernel[0], c.kernel[1]}, scale)};
    if (bias)
        inputs.push_back(b.constant({c.outputs}));
    int added = -1;
    if (residual) {
        // A value of the output's shape that depends on the row.
        const int w = b.constant({count(out), count(s)}, 1 / std::sqrt(static_cast<float>(count(s))));
        const int flat = b.node("reshape", {x}, {count(s)});
        added = b.node("reshape", {b.node("linear", {flat, w}, {count(out)})}, out);
        if (between(0, 1))
            added = mix(b, added, c.outputs);
    }
    const auto list = [](const Shape& v) { return std::vector<double>(v.begin(), v.end()); };
    Attributes attributes{{"strides", list(c.strides)},
                          {"pads", list(c.pads)},
                          {"dilations", list(c.dilations)},
                          {"groups", {static_cast<double>(c.groups)}}};
    if (transposed)
        attributes["outputPadding"] = list(c.extra);
    const int y = b.node(transposed ? "convTranspose" : "conv", inputs, out, attributes, f, added);
    if (residual && keep_residual)
        b.node("add", {y, added}, out);
}

void test_convolutions() {
    for (int seed = 0; seed < 240; ++seed) {
        generator.seed(seed);
        const bool transposed = seed % 2 == 1;
        Convolution c;
        c.groups = pick({1, 1, 1, 1, 2, 4});
        c.inputs = channels();
        c.outputs = channels();
        if (c.groups > 1)
            c.inputs = c.groups * pick({1, 3, 8, 16}), c.outputs = c.groups * pick({1, 2, 8, 16});
        if (between(0, 7) == 0)
            c.groups = c.inputs = c.outputs = channels(); // depthwise
        c.kernel = between(0, 1) ? Shape{3, 3} : Shape{between(1, 5), between(1, 5)};
        const bool plain = between(0, 1);
        c.strides = plain ? Shape{1, 1} : Shape{between(1, 3), between(1, 3)};
        c.dilations = plain ? Shape{1, 1} : Shape{between(1, 2), between(1, 2)};
        c.pads =
            plain ? Shape{1, 1, 1, 1} : Shape{between(0, 2), between(0, 2), between(0, 2), between(0, 2)};
        c.extra = {between(0, c.strides[0] - 1), between(0, c.strides[1] - 1)};
        Builder b;
        const int x = source(b, image(c.inputs));
        add_convolution(b, x, c, transposed, between(0, 1), any_activation(), between(0, 2) == 0,
                        between(0, 1));
        check(transposed ? "convTranspose" : "conv", b.graph);
    }
    // The shapes that Winograd takes, with every activation, and residuals that live on or do not.
    for (int seed = 0; seed < 30; ++seed) {
        generator.seed(1000 + seed);
        const int64_t c = pick({16, 20, 32, 64});
        const Convolution shape{c, pick({3, 16, 32, 64}), 1, {3, 3}, {1, 1}, {1, 1, 1, 1}, {1, 1}, {0, 0}};
        Builder b;
        const int x = source(b, {c, pick({4, 8, 13, 16}), pick({4, 8, 9, 16})});
        const auto all = activations();
        add_convolution(b, x, shape, false, true, all[seed % all.size()], seed % 3 != 0, seed % 2 == 0);
        check("3×3 conv", b.graph);
    }
}

void test_products() {
    for (int seed = 0; seed < 120; ++seed) {
        generator.seed(seed);
        Builder b;
        Shape s =
            pick({0, 1}) ? Shape{pick({1, 5, 16, 37, 128})} : Shape{between(1, 7), pick({1, 5, 16, 37})};
        if (between(0, 3) == 0)
            s.insert(s.begin(), between(1, 3));
        const int64_t in = s.back(), out = pick({1, 2, 16, 33, 100});
        const int x = b.input(s);
        std::vector<int> inputs{x, b.constant({out, in}, 1 / std::sqrt(static_cast<float>(in)))};
        if (between(0, 1))
            inputs.push_back(b.constant({out}));
        Shape o = s;
        o.back() = out;
        int residual = -1;
        if (between(0, 2) == 0)
            residual = b.node("linear", {x, b.constant({out, in})}, o);
        const int y = b.node("linear", inputs, o, {}, any_activation(), residual);
        if (residual >= 0 && between(0, 1))
            b.node("mul", {residual, y}, o);
        check("linear", b.graph);
    }
    for (int seed = 0; seed < 120; ++seed) {
        generator.seed(seed);
        Builder b;
        const int64_t m = between(1, 9), n = between(1, 17), p = between(1, 9), leading = between(2, 3);
        Shape a{m, n}, w{n, p}, out{m, p};
        switch (between(0, 3)) {
        case 1:
            a.insert(a.begin(), leading), out.insert(out.begin(), leading);
            break;
        case 2:
            w.insert(w.begin(), leading), out.insert(out.begin(), leading);
            break;
        case 3:
            a.insert(a.begin(), {leading, 1}), w.insert(w.begin(), {leading, 4});
            out.insert(out.begin(), {leading, 4});
            break;
        }
        const int x = b.input(a);
        const int64_t side = between(0, 2);
        if (side == 0) {
            b.node("matmul", {x, b.constant(w)}, out, {}, any_activation());
        } else if (side == 1) {
            // Both depend on the row.
            const int flat = b.node("reshape", {x}, {count(a)});
            const int other = b.node("linear", {flat, b.constant({count(w), count(a)}, 0.2f)}, {count(w)});
            b.node("matmul", {x, b.node("reshape", {other}, w)}, out, {}, any_activation());
        } else {
            Shape turned = a;
            const int left = b.constant({p, m});
            turned[turned.size() - 2] = p;
            b.node("matmul", {left, x}, turned, {}, any_activation());
        }
        check("matmul", b.graph);
    }
}

} // namespace

int main() {
    test_convolutions();
    test_products();
    return finish("onednn_products_test");
}
