// The oneDNN plan against the definitions in src/graph/graph.ts, written out in double: every operator on
// random shapes, residuals and activations, whole small networks, the same bits on every thread, and NaN.
#include "latdyn/error.h"
#include "latdyn/plan.h"

#include "activation_reference.h"
#include "check.h"
#include "graphs.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <thread>

namespace {

using namespace latdyn;
using namespace latdyn::test;
using Doubles = std::vector<double>;

constexpr double infinity = std::numeric_limits<double>::infinity();

// --- The reference: definitions in double ---------------------------------------------------------------

Shape index_of(int64_t flat, const Shape& shape) {
    Shape index(shape.size());
    for (size_t i = shape.size(); i-- > 0;) {
        index[i] = flat % shape[i];
        flat /= shape[i];
    }
    return index;
}

int64_t flat_of(const Shape& index, const Shape& shape) {
    int64_t flat = 0;
    for (size_t i = 0; i < shape.size(); ++i)
        flat = flat * shape[i] + index[i];
    return flat;
}

// The element of `shape` that an index into the (right-aligned) broadcast shape means.
int64_t broadcast_flat(const Shape& index, const Shape& shape) {
    Shape own(shape.size());
    for (size_t i = 0; i < shape.size(); ++i) {
        own[i] = shape[i] == 1 ? 0 : index[index.size() - shape.size() + i];
    }
    return flat_of(own, shape);
}

Doubles reference_node(const Graph& graph, const Node& n, const std::vector<Doubles>& values) {
    const auto in = [&](size_t i) -> const Doubles& { return values[n.inputs[i]]; };
    const auto shape = [&](size_t i) -> const Shape& { return graph.values[n.inputs[i]].shape; };
    const Shape& out = graph.values[n.output].shape;
    Doubles y(count(out));
    if (n.op == "conv" || n.op == "convTranspose") {
        const auto s = n.ints("strides"), p = n.ints("pads"), d = n.ints("dilations");
        const int64_t groups = n.integer("groups");
        const Shape &x = shape(0), &w = shape(1);
        const bool transposed = n.op == "convTranspose";
        const Shape& big = transposed ? out : x;
        const Shape& small = transposed ? x : out;
        for (int64_t o = 0; n.inputs.size() == 3 && o < out[0]; ++o) {
            std::fill_n(y.begin() + o * out[1] * out[2], out[1] * out[2], in(2)[o]);
        }
        // Both walk the same taps: a convolution gathers at the small side, its transpose scatters from it.
        for (int64_t a = 0; a < w[0]; ++a)
            for (int64_t b = 0; b < w[1]; ++b) {
                const int64_t from = a, to = a / (w[0] / groups) * w[1] + b;
                for (int64_t i = 0; i < small[1]; ++i)
                    for (int64_t j = 0; j < small[2]; ++j)
                        for (int64_t u = 0; u < w[2]; ++u)
                            for (int64_t v = 0; v < w[3]; ++v) {
                                const int64_t h = i * s[0] - p[0] + u * d[0], k = j * s[1] - p[1] + v * d[1];
                                if (h < 0 || k < 0 || h >= big[1] || k >= big[2])
                                    continue;
                                const int64_t at_small = (from * small[1] + i) * small[2] + j;
                                const int64_t at_big = (to * big[1] + h) * big[2] + k;
                                const double weight = in(1)[((a * w[1] + b) * w[2] + u) * w[3] + v];
                                if (transposed)
                                    y[at_big] += weight * in(0)[at_small];
                                else
                                    y[at_small] += weight * in(0)[at_big];
                            }
            }
    } else if (n.op == "linear") {
        const int64_t outputs = shape(1)[0], inputs = shape(1)[1];
        for (int64_t i = 0; i < count(out); ++i) {
            y[i] = n.inputs.size() == 3 ? in(2)[i % outputs] : 0;
            for (int64_t k = 0; k < inputs; ++k) {
                y[i] += in(0)[i / outputs * inputs + k] * in(1)[i % outputs * inputs + k];
            }
        }
    } else if (n.op == "matmul") {
        const int64_t inner = shape(0).back();
        for (int64_t i = 0; i < count(out); ++i) {
            const Shape at = index_of(i, out);
            for (int64_t k = 0; k < inner; ++k) {
                Shape a = at, b = at;
                a.back() = k;
                b[b.size() - 2] = k;
                y[i] += in(0)[broadcast_flat(a, shape(0))] * in(1)[broadcast_flat(b, shape(1))];
            }
        }
    } else if (n.op == "add" || n.op == "sub" || n.op == "mul" || n.op == "div") {
        for (int64_t i = 0; i < count(out); ++i) {
            const double a = in(0)[broadcast_flat(index_of(i, out), shape(0))];
            const double b = in(1)[broadcast_flat(index_of(i, out), shape(1))];
            y[i] = n.op == "add" ? a + b : n.op == "sub" ? a - b : n.op == "mul" ? a * b : a / b;
        }
    } else if (n.op == "groupNorm") {
        const int64_t groups = n.integer("groups"), size = count(out) / groups, points = count(out) / out[0];
        for (int64_t g = 0; g < groups; ++g) {
            double mean = 0, variance = 0;
            for (int64_t i = 0; i < size; ++i)
                mean += in(0)[g * size + i] / size;
            for (int64_t i = 0; i < size; ++i)
                variance += std::pow(in(0)[g * size + i] - mean, 2) / size;
            for (int64_t i = g * size; i < (g + 1) * size; ++i) {
                const int64_t c = i / points;
                y[i] = (in(0)[i] - mean) / std::sqrt(variance + n.number("epsilon")) * in(1)[c] + in(2)[c];
            }
        }
    } else if (n.op == "resizeNearest") {
        const auto s = n.ints("scales");
        for (int64_t i = 0; i < count(out); ++i) {
            const Shape at = index_of(i, out);
            y[i] = in(0)[flat_of({at[0], at[1] / s[0], at[2] / s[1]}, shape(0))];
        }
    } else if (n.op == "maxPool" || n.op == "averagePool") {
        const auto k = n.ints("kernel"), s = n.ints("strides"), p = n.ints("pads"), d = n.ints("dilations");
        const Shape& x = shape(0);
        for (int64_t i = 0; i < count(out); ++i) {
            const Shape at = index_of(i, out);
            double sum = 0, most = -infinity, inside = 0, padded = 0;
            for (int64_t u = 0; u < k[0]; ++u)
                for (int64_t v = 0; v < k[1]; ++v) {
                    const int64_t h = at[1] * s[0] - p[0] + u * d[0], w = at[2] * s[1] - p[1] + v * d[1];
                    padded += h < x[1] + p[2] && w < x[2] + p[3];
                    if (h < 0 || w < 0 || h >= x[1] || w >= x[2])
                        continue;
                    const double value = in(0)[(at[0] * x[1] + h) * x[2] + w];
                    inside += 1;
                    sum += value;
                    if (std::isnan(value) || value > most)
                        most = value;
                }
            y[i] = n.op == "maxPool" ? most : sum / (n.integer("countIncludePad") != 0 ? padded : inside);
        }
    } else if (n.op == "reduceMean") {
        const auto axes = n.ints("axes");
        const Shape& x = shape(0);
        Shape kept = x;
        for (int64_t axis : axes)
            kept[axis] = 1;
        for (int64_t i = 0; i < count(x); ++i) {
            y[broadcast_flat(index_of(i, x), kept)] += in(0)[i] * count(kept) / count(x);
        }
    } else if (n.op == "pad") {
        const auto before = n.ints("before");
        const int64_t mode = n.integer("mode");
        const Shape& x = shape(0);
        for (int64_t i = 0; i < count(out); ++i) {
            Shape at = index_of(i, out);
            bool outside = false;
            for (size_t a = 0; a < at.size(); ++a) {
                at[a] -= before[a];
                if (mode == 2)
                    at[a] = std::clamp<int64_t>(at[a], 0, x[a] - 1);
                while (mode == 1 && (at[a] < 0 || at[a] >= x[a])) {
                    at[a] = at[a] < 0 ? -at[a] : 2 * (x[a] - 1) - at[a];
                }
                outside = outside || at[a] < 0 || at[a] >= x[a];
            }
            y[i] = outside ? static_cast<float>(n.number("value")) : in(0)[flat_of(at, x)];
        }
    } else if (n.op == "transpose") {
        const auto permutation = n.ints("permutation");
        for (int64_t i = 0; i < count(out); ++i) {
            const Shape at = index_of(i, out);
            Shape from(at.size());
            for (size_t a = 0; a < at.size(); ++a)
                from[permutation[a]] = at[a];
            y[i] = in(0)[flat_of(from, shape(0))];
        }
    } else if (n.op == "concat") {
        const int64_t axis = n.integer("axis");
        for (int64_t i = 0; i < count(out); ++i) {
            Shape at = index_of(i, out);
            size_t input = 0;
            while (at[axis] >= shape(input)[axis])
                at[axis] -= shape(input++)[axis];
            y[i] = in(input)[flat_of(at, shape(input))];
        }
    } else {
        y = in(0); // reshape, activate
    }
    for (int64_t i = 0; i < count(out); ++i) {
        y[i] = apply(n.activation, y[i] + (n.residual >= 0 ? values[n.residual][i] : 0));
    }
    return y;
}

Doubles reference(const Graph& graph, const std::vector<float>& input) {
    std::vector<Doubles> values(graph.values.size());
    for (size_t i = 0; i < values.size(); ++i) {
        values[i].assign(graph.values[i].constant.begin(), graph.values[i].constant.end());
    }
    values[graph.input].assign(input.begin(), input.end());
    for (const Node& n : graph.nodes)
        values[n.output] = reference_node(graph, n, values);
    return values[graph.output];
}

// --- Checks ---------------------------------------------------------------------------------------------

std::vector<float> run(const Plan& plan, Workspace& workspace, const std::vector<float>& input) {
    std::copy(input.begin(), input.end(), workspace.input);
    plan.run(workspace);
    return {workspace.output, workspace.output + plan.info.output_elements};
}

// The plan against the reference, twice in one workspace that held another row in between.
void check(const char* what, const Graph& graph) {
    try {
        const auto plan = compile_onednn(graph, widest_isa());
        const auto workspace = plan->make_workspace();
        const std::vector<float> input = random_input(graph), other = random_input(graph);
        const std::vector<float> y = run(*plan, *workspace, input);
        CHECK(std::equal(input.begin(), input.end(), workspace->input), "%s: the input was changed", what);
        run(*plan, *workspace, other);
        const std::vector<float> again = run(*plan, *workspace, input);
        CHECK(std::memcmp(y.data(), again.data(), y.size() * sizeof(float)) == 0,
              "%s: other bits the second time: %s", what, describe(graph).c_str());
        const Doubles expected = reference(graph, input);
        double scale = 1e-3, worst = 0;
        for (double v : expected)
            scale = std::max(scale, std::fabs(v));
        for (size_t i = 0; i < y.size(); ++i) {
            const double error = std::fabs(y[i] - expected[i]) / scale;
            if (!(error <= worst))
                worst = error;
        }
        CHECK(worst <= 1e-5, "%s: off by %g of the output's scale: %s", what, worst, describe(graph).c_str());
        CHECK(reinterpret_cast<uintptr_t>(workspace->input) % 64 == 0 &&
                  reinterpret_cast<uintptr_t>(workspace->output) % 64 == 0,
              "%s: not aligned", what);
    } catch (const Error& error) {
        CHECK(false, "%s: %s: %s", what, error.what(), describe(graph).c_str());
    }
}

// Random input, through a convolution in half of the cases.
int source(Builder& b, const Shape& shape) {
    const int x = b.input(shape);
    return shape.size() == 3 && between(0, 1) ? mix(b, x, shape[0]) : x;
}

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

void test_arithmetic() {
    for (int seed = 0; seed < 240; ++seed) {
        generator.seed(seed);
        Builder b;
        const char* op = std::vector<const char*>{"add", "sub", "mul", "div"}[seed % 4];
        Shape full;
        if (between(0, 1))
            full = image(channels());
        else
            for (int64_t rank = between(0, 6); rank > 0; --rank)
                full.push_back(between(1, 4));
        Shape left = full, right = full;
        // Broadcast one side, or both on different axes.
        for (Shape* side : {&left, &right}) {
            if (between(0, 2) != 0)
                continue;
            for (size_t i = 0; i < side->size(); ++i)
                if (between(0, 1) && left[i] == right[i])
                    (*side)[i] = 1;
            if (between(0, 1) && side == &right) {
                while (!right.empty() && (right[0] == 1 || left[left.size() - right.size()] == right[0]) &&
                       between(0, 2))
                    right.erase(right.begin());
            }
        }
        Shape out = left;
        for (size_t i = 0; i < right.size(); ++i) {
            const size_t at = left.size() - right.size() + i;
            out[at] = left[at] == 1 ? right[i] : left[at];
        }
        const int x = source(b, left);
        // Away from zero, since it may divide; a function of the row or a constant.
        int y = b.constant(right, 0.2f, 2);
        if (left == right && between(0, 1)) {
            y = left.size() == 3 && between(0, 1)
                    ? mix(b, x, left[0], {ActivationKind::clip, 1, 2})
                    : b.node("activate", {x}, left, {}, {ActivationKind::clip, 1, 2});
        } else if (between(0, 3) == 0) {
            y = b.node(
                "add",
                {b.node("activate", {b.node("mul", {x, x}, left)}, left, {}, {ActivationKind::sigmoid, 0, 0}),
                 b.constant({}, 0, 1)},
                left);
        }
        if (b.shape(y) != right)
            out = left;
        if (between(0, 3) == 0 && op[0] != 'd')
            b.node(op, {y, x}, out, {}, any_activation());
        else
            b.node(op, {x, y}, out, {}, any_activation());
        check(op, b.graph);
    }
    Builder b;
    const int x = b.input({20, 3, 3});
    const int y = mix(b, x, 20);
    b.node("mul", {y, y}, {20, 3, 3});
    check("square", b.graph);
}

void test_activations() {
    for (const Activation& f : activations()) {
        for (int64_t c : {1, 3, 5, 16, 20, 64}) {
            generator.seed(c);
            Builder b;
            const int x = source(b, {c, 3, 5});
            const int y = b.node("activate", {x}, {c, 3, 5}, {}, f);
            if (c % 2 == 0)
                b.node("add", {y, x}, {c, 3, 5});
            check("activate", b.graph);
        }
        Builder b;
        const int x = b.input({});
        b.node("activate", {x}, {}, {}, f);
        check("activate a scalar", b.graph);
    }
}

void test_normalization() {
    for (int seed = 0; seed < 100; ++seed) {
        generator.seed(seed);
        const int64_t groups = pick({1, 2, 4, 5, 8}), c = groups * pick({1, 3, 4, 8, 16, 64});
        Builder b;
        Shape s = image(c);
        if (between(0, 4) == 0)
            s.resize(between(1, 2));
        if (count(s) == groups)
            s.push_back(7); // One element has no variance.
        const int x = source(b, s);
        const int y =
            b.node("groupNorm", {x, b.constant({c}), b.constant({c})}, s,
                   {{"groups", {static_cast<double>(between(0, 3) ? groups : c)}}, {"epsilon", {1e-5}}},
                   any_activation());
        if (s.size() == 3 && between(0, 1))
            mix(b, y, channels());
        check("groupNorm", b.graph);
    }
    // A mean far from zero must not swallow the variance.
    Builder b;
    const int x = b.input({64, 4, 4});
    const int far = b.node("add", {x, b.constant({}, 0, 300)}, {64, 4, 4});
    b.node("groupNorm", {far, b.constant({64}), b.constant({64})}, {64, 4, 4},
           {{"groups", {4}}, {"epsilon", {1e-5}}});
    generator.seed(1);
    const auto plan = compile_onednn(b.graph, widest_isa());
    const auto workspace = plan->make_workspace();
    std::vector<float> input = random_input(b.graph);
    for (float& v : input)
        v = std::round(v * 4096) / 4096; // So that adding 300 is exact.
    const auto y = run(*plan, *workspace, input);
    const Doubles expected = reference(b.graph, input);
    for (size_t i = 0; i < y.size(); ++i)
        CHECK(std::fabs(y[i] - expected[i]) < 1e-5, "groupNorm far from zero: %g", y[i] - expected[i]);
}

void test_movement() {
    for (int seed = 0; seed < 100; ++seed) {
        generator.seed(seed);
        Builder b;
        const Shape s = image(channels());
        const int64_t h = between(1, 3), w = between(1, 3);
        const int x = source(b, s);
        const int y = b.node("resizeNearest", {x}, {s[0], s[1] * h, s[2] * w},
                             {{"scales", {static_cast<double>(h), static_cast<double>(w)}}});
        if (between(0, 1))
            mix(b, y, channels());
        check("resizeNearest", b.graph);
    }
    for (int seed = 0; seed < 160; ++seed) {
        generator.seed(seed);
        Builder b;
        const Shape s = image(channels());
        const int x = source(b, s);
        Shape out = s;
        std::vector<double> kernel, strides, dilations, pads(4);
        for (int d = 0; d < 2; ++d) {
            const int64_t k = std::min(between(1, 3), s[1 + d]), step = between(1, 3), apart = between(1, 2);
            const int64_t reach = (k - 1) * apart + 1;
            int64_t before = between(0, reach / 2), after = between(0, reach / 2);
            if (s[1 + d] + before + after < reach)
                before = after = reach - 1;
            // Rounded up in half of the cases, as long as the last window begins inside.
            const int64_t room = s[1 + d] + before + after - reach;
            out[1 + d] = room / step + 1;
            if (between(0, 1) && room % step != 0 && out[1 + d] * step < s[1 + d] + before)
                ++out[1 + d];
            kernel.push_back(k), strides.push_back(step), dilations.push_back(apart);
            pads[d] = before, pads[2 + d] = after;
        }
        // A window whose taps all step over a one-pixel image has nothing to pool.
        const char* op = seed % 2 ? "maxPool" : "averagePool";
        b.node(op, {x}, out,
               {{"kernel", kernel},
                {"strides", strides},
                {"dilations", dilations},
                {"pads", pads},
                {"countIncludePad", {static_cast<double>(between(0, 1))}}});
        const Doubles expected = reference(b.graph, random_input(b.graph));
        if (std::all_of(expected.begin(), expected.end(), [](double v) { return std::isfinite(v); }))
            check(op, b.graph);
    }
    for (int seed = 0; seed < 100; ++seed) {
        generator.seed(seed);
        Builder b;
        Shape s = image(channels());
        if (between(0, 3) == 0)
            s.push_back(between(1, 3));
        const int x = source(b, s);
        std::vector<double> axes;
        Shape kept = s, dropped;
        for (size_t i = 0; i < s.size(); ++i) {
            if (between(0, 1))
                axes.push_back(static_cast<double>(i)), kept[i] = 1;
            else
                dropped.push_back(s[i]);
        }
        b.node("reduceMean", {x}, between(0, 1) ? kept : dropped, {{"axes", axes}});
        check("reduceMean", b.graph);
    }
    for (int seed = 0; seed < 100; ++seed) {
        generator.seed(seed);
        Builder b;
        const Shape s = image(channels());
        const int x = source(b, s);
        const int64_t mode = between(0, 2);
        std::vector<double> before, after;
        Shape out = s;
        for (size_t i = 0; i < 3; ++i) {
            const int64_t most = mode == 1 ? std::min<int64_t>(s[i] - 1, 3) : 3;
            const int64_t crop = (s[i] - 1) / 2;
            const int64_t a = between(-std::min<int64_t>(crop, 1), most),
                          z = between(-std::min<int64_t>(crop, 1), most);
            before.push_back(static_cast<double>(a)), after.push_back(static_cast<double>(z));
            out[i] += a + z;
        }
        b.node(
            "pad", {x}, out,
            {{"before", before}, {"after", after}, {"mode", {static_cast<double>(mode)}}, {"value", {0.3}}});
        check("pad", b.graph);
    }
    for (int seed = 0; seed < 100; ++seed) {
        generator.seed(seed);
        Builder b;
        Shape s;
        if (between(0, 1))
            s = image(channels());
        else
            for (int64_t rank = between(0, 6); rank > 0; --rank)
                s.push_back(between(1, 4));
        const int x = source(b, s);
        std::vector<double> permutation;
        for (size_t i = 0; i < s.size(); ++i)
            permutation.push_back(static_cast<double>(i));
        std::shuffle(permutation.begin(), permutation.end(), generator);
        Shape out;
        for (double axis : permutation)
            out.push_back(s[static_cast<size_t>(axis)]);
        const int y = b.node("transpose", {x}, out, {{"permutation", permutation}});
        if (between(0, 1))
            b.node("reshape", {y}, {count(s)});
        check("transpose", b.graph);
    }
    for (int seed = 0; seed < 100; ++seed) {
        generator.seed(seed);
        Builder b;
        const Shape s = image(channels());
        const int64_t axis = between(0, 2);
        const int x = b.input(s);
        std::vector<int> inputs;
        Shape out = s;
        out[axis] = 0;
        for (int64_t i = between(2, 4); i > 0; --i) {
            if (between(0, 1))
                inputs.push_back(mix(b, x, axis == 0 ? pick({16, 64, 5}) : s[0]));
            else if (between(0, 1))
                inputs.push_back(x);
            else
                inputs.push_back(b.constant(s));
            out[axis] += b.shape(inputs.back())[axis];
        }
        b.node("concat", inputs, out, {{"axis", {static_cast<double>(axis)}}});
        check("concat", b.graph);
    }
    {
        generator.seed(3);
        Builder b;
        const int x = b.input(Shape(14, 2));
        const int y = b.node("transpose", {x}, Shape(14, 2),
                             {{"permutation", {13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0}}});
        const int z = b.node("activate", {y}, Shape(14, 2), {}, {ActivationKind::tanh, 0, 0});
        b.node("add", {z, x}, Shape(14, 2));
        check("fourteen axes", b.graph);
    }
}

// --- Graphs with an odd wiring --------------------------------------------------------------------------

void test_wiring() {
    {
        Builder b;
        b.graph.output = b.input({3, 4});
        check("the input is the output", b.graph);
    }
    {
        Builder b;
        b.input({3, 4});
        b.graph.output = b.constant({5});
        check("the output is a constant", b.graph);
    }
    {
        Builder b;
        const int x = b.input({6});
        b.node("reshape", {x}, {2, 3});
        check("the output is the input under another shape", b.graph);
    }
    {
        Builder b;
        const int x = b.input({6});
        b.node("add", {b.constant({6}), b.constant({6})}, {6});
        const int y = b.graph.output;
        b.node("mul", {y, x}, {6});
        check("two constants", b.graph);
    }
    {
        // The residual is the input; the value after it is used twice, once as the output.
        Builder b;
        const int x = b.input({16, 8, 8});
        const int w = b.constant({16, 16, 3, 3}, 0.1f);
        const Attributes a{
            {"strides", {1, 1}}, {"pads", {1, 1, 1, 1}}, {"dilations", {1, 1}}, {"groups", {1}}};
        const int y = b.node("conv", {x, w}, {16, 8, 8}, a, {ActivationKind::relu, 0, 0}, x);
        b.node("conv", {y, w}, {16, 8, 8}, a, {}, y);
        b.node("conv", {y, w}, {16, 8, 8}, a, {}, b.graph.output);
        b.graph.output = y;
        check("residual is the input", b.graph);
    }
    {
        // What the convolution reads is its residual too, for the last time.
        Builder b;
        const int x = mix(b, b.input({64, 8, 8}), 64);
        b.node("conv", {x, b.constant({64, 64, 5, 5}, 0.02f)}, {64, 8, 8},
               {{"strides", {1, 1}}, {"pads", {2, 2, 2, 2}}, {"dilations", {1, 1}}, {"groups", {1}}}, {}, x);
        check("residual is the convolution's input", b.graph);
    }
    {
        // A reshape names the memory of a residual, and is read after it.
        Builder b;
        const int x = b.input({16, 8, 8});
        const int w = b.constant({16, 16, 3, 3}, 0.1f);
        const Attributes a{
            {"strides", {1, 1}}, {"pads", {1, 1, 1, 1}}, {"dilations", {1, 1}}, {"groups", {1}}};
        const int t = b.node("activate", {x}, {16, 8, 8}, {}, {ActivationKind::tanh, 0, 0});
        const int flat = b.node("reshape", {t}, {1024});
        const int y = b.node("conv", {x, w}, {16, 8, 8}, a, {}, t);
        const int z = b.node("reshape", {y}, {1024});
        b.node("sub", {z, flat}, {1024});
        check("a view outlives a residual", b.graph);
    }
    for (int seed = 0; seed < 40; ++seed) {
        // A small residual network down and up, as autoencoders are.
        generator.seed(seed);
        Builder b;
        const int64_t c = pick({16, 20, 32, 64});
        const Activation f = any_activation();
        const Attributes same{
            {"strides", {1, 1}}, {"pads", {1, 1, 1, 1}}, {"dilations", {1, 1}}, {"groups", {1}}};
        const auto conv = [&](int v, int64_t o, const Activation& g, int residual) {
            const Shape s = b.shape(v);
            return b.node("conv",
                          {v, b.constant({o, s[0], 3, 3}, 1 / std::sqrt(9.0f * s[0])), b.constant({o})},
                          {o, s[1], s[2]}, same, g, residual);
        };
        int v = conv(b.input({3, 8, 8}), c, f, -1);
        for (int block = 0; block < 2; ++block) {
            const int first = conv(v, c, f, -1);
            v = conv(conv(first, c, f, -1), c, f, v);
        }
        v = b.node("groupNorm", {v, b.constant({c}), b.constant({c})}, {c, 8, 8},
                   {{"groups", {4}}, {"epsilon", {1e-5}}}, f);
        v = b.node("maxPool", {v}, {c, 4, 4},
                   {{"kernel", {2, 2}},
                    {"strides", {2, 2}},
                    {"dilations", {1, 1}},
                    {"pads", {0, 0, 0, 0}},
                    {"countIncludePad", {0}}});
        v = b.node("reshape", {v}, {c * 16});
        v = b.node("linear", {v, b.constant({10, c * 16}, 1 / std::sqrt(16.0f * c)), b.constant({10})}, {10});
        v = b.node("linear", {v, b.constant({c * 16, 10}, 0.3f), b.constant({c * 16})}, {c * 16}, {}, f);
        v = b.node("reshape", {v}, {c, 4, 4});
        v = b.node("resizeNearest", {v}, {c, 8, 8}, {{"scales", {2, 2}}});
        conv(v, 3, {ActivationKind::sigmoid, 0, 0}, -1);
        check("network", b.graph);
    }
}

// --- The same bits, on two threads at once --------------------------------------------------------------

int threads_now() {
    int threads = 0;
    if (std::FILE* file = std::fopen("/proc/self/status", "r")) {
        char line[256];
        while (std::fgets(line, sizeof line, file))
            std::sscanf(line, "Threads: %d", &threads);
        std::fclose(file);
    }
    return threads;
}

void test_threads() {
    generator.seed(7);
    Builder b;
    const Attributes same{
        {"strides", {1, 1}}, {"pads", {1, 1, 1, 1}}, {"dilations", {1, 1}}, {"groups", {1}}};
    int v = b.input({64, 16, 16});
    for (int i = 0; i < 4; ++i) {
        v = b.node("conv", {v, b.constant({64, 64, 3, 3}, 0.05f), b.constant({64})}, {64, 16, 16}, same,
                   {ActivationKind::relu, 0, 0});
    }
    v = mix(b, v, 256);
    v = b.node("groupNorm", {v, b.constant({256}), b.constant({256})}, {256, 16, 16},
               {{"groups", {4}}, {"epsilon", {1e-5}}}, {ActivationKind::gelu, 0, 0});
    mix(b, v, 5, {ActivationKind::tanh, 0, 0});
    const auto plan = compile_onednn(b.graph, widest_isa());
    CHECK(plan->info.tile_rows == 1 && plan->info.layout == Layout::onednn && plan->info.arena_bytes > 0 &&
              plan->info.weight_bytes >= 4 * 64 * 64 * 9 * sizeof(float),
          "plan info");
    CHECK(plan->info.flops_per_row == b.graph.nominal_flops(), "%g flops", plan->info.flops_per_row);
    constexpr int rows = 12;
    std::vector<std::vector<float>> inputs;
    for (int i = 0; i < rows; ++i)
        inputs.push_back(random_input(b.graph));
    std::vector<std::vector<float>> outputs[2];
    const auto work = [&](int thread) {
        const auto workspace = plan->make_workspace();
        outputs[thread].resize(rows);
        // In opposite orders.
        for (int i = 0; i < rows; ++i) {
            const int row = thread == 0 ? i : rows - 1 - i;
            outputs[thread][row] = run(*plan, *workspace, inputs[row]);
        }
    };
    std::thread first(work, 0), second(work, 1);
    first.join();
    second.join();
    for (int i = 0; i < rows; ++i) {
        CHECK(std::memcmp(outputs[0][i].data(), outputs[1][i].data(), outputs[0][i].size() * sizeof(float)) ==
                  0,
              "row %d has other bits on another thread", i);
    }
    // A second plan of the same graph has them too.
    const auto again = compile_onednn(b.graph, widest_isa());
    const auto workspace = again->make_workspace();
    CHECK(run(*again, *workspace, inputs[3]) == outputs[0][3], "another plan, other bits");
    const int threads = threads_now();
    CHECK(threads <= 1, "%d threads are left where none was asked for", threads);
}

// --- NaN ------------------------------------------------------------------------------------------------

void test_nan() {
    const auto poisoned = [](const char* what, const Graph& graph) {
        try {
            const auto plan = compile_onednn(graph, widest_isa());
            const auto workspace = plan->make_workspace();
            std::vector<float> input = random_input(graph);
            input[input.size() / 2] = std::numeric_limits<float>::quiet_NaN();
            const auto y = run(*plan, *workspace, input);
            const Doubles expected = reference(graph, input);
            for (size_t i = 0; i < y.size(); ++i) {
                // Winograd spreads NaN over a tile of outputs: more is no harm, less is.
                if (std::isnan(expected[i]) && !std::isnan(y[i])) {
                    CHECK(false, "%s hides NaN at %zu: %s", what, i, describe(graph).c_str());
                    return;
                }
            }
        } catch (const Error& error) {
            CHECK(false, "%s: %s", what, error.what());
        }
    };
    const Attributes same{
        {"strides", {1, 1}}, {"pads", {1, 1, 1, 1}}, {"dilations", {1, 1}}, {"groups", {1}}};
    auto all = activations();
    all.push_back({});
    for (const Activation& f : all)
        for (int64_t c : {3, 20, 64})
            for (bool residual : {false, true}) {
                generator.seed(c);
                {
                    Builder b;
                    const int x = b.input({c, 8, 8});
                    b.node("conv", {x, b.constant({c, c, 3, 3}), b.constant({c})}, {c, 8, 8}, same, f,
                           residual ? x : -1);
                    poisoned("conv", b.graph);
                }
                {
                    Builder b;
                    const int x = b.input({c, 8, 8});
                    Attributes a = same;
                    a["outputPadding"] = {0, 0};
                    b.node("convTranspose", {x, b.constant({c, c, 3, 3}), b.constant({c})}, {c, 8, 8}, a, f,
                           residual ? x : -1);
                    poisoned("convTranspose", b.graph);
                }
                {
                    Builder b;
                    const int x = b.input({c});
                    b.node("linear", {x, b.constant({c, c})}, {c}, {}, f, residual ? x : -1);
                    poisoned("linear", b.graph);
                }
                {
                    Builder b;
                    const int x = b.input({c, c});
                    b.node("matmul", {x, x}, {c, c}, {}, f);
                    poisoned("matmul", b.graph);
                }
                {
                    Builder b;
                    const int x = b.input({c, 3, 3});
                    b.node("groupNorm", {mix(b, x, c), b.constant({c}), b.constant({c})}, {c, 3, 3},
                           {{"groups", {1}}, {"epsilon", {1e-5}}}, f);
                    poisoned("groupNorm", b.graph);
                }
                {
                    Builder b;
                    const int x = b.input({c, 3, 3});
                    const int y = residual ? mix(b, x, c) : x;
                    b.node("sub", {y, x}, {c, 3, 3}, {}, f);
                    poisoned("sub", b.graph);
                }
                if (f.kind != ActivationKind::none) {
                    Builder b;
                    const int x = b.input({c, 3, 3});
                    b.node("activate", {residual ? mix(b, x, c) : x}, {c, 3, 3}, {}, f);
                    poisoned("activate", b.graph);
                }
            }
    for (const char* op : {"maxPool", "averagePool"})
        for (int64_t c : {1, 3, 16, 20, 64}) {
            Builder b;
            const int x = b.input({c, 4, 4});
            b.node(op, {c % 2 ? x : mix(b, x, c)}, {c, 2, 2},
                   {{"kernel", {2, 2}},
                    {"strides", {2, 2}},
                    {"dilations", {1, 1}},
                    {"pads", {0, 0, 0, 0}},
                    {"countIncludePad", {0}}});
            poisoned(op, b.graph);
        }
}

// --- What cannot be run ---------------------------------------------------------------------------------

void test_refusals() {
    Builder b;
    const int x = b.input({3});
    b.node("fourier", {x}, {3});
    b.graph.nodes.back().name = "the odd one";
    try {
        compile_onednn(b.graph, widest_isa());
        CHECK(false, "an unknown operator was accepted");
    } catch (const Error& error) {
        CHECK(std::strstr(error.what(), "the odd one") != nullptr, "the message does not name the node: %s",
              error.what());
    }
}

// The first node of the operators that sequences need, and what can be wrong with it.
void test_sequence_refusals() {
    struct Case {
        const char* what;
        const char* op;
        std::vector<Shape> inputs; // The first one is the row's, the others are constants …
        size_t computed;           // … from this one on.
        Shape out;
        Attributes attributes;
    };
    const Attributes norm{{"dimensions", {1}}, {"epsilon", {1e-5}}}, scale{{"scale", {0.5}}};
    const double nan = std::nan("");
    const std::vector<Case> cases = {
        {"no scale", "layerNorm", {{3, 4}}, 1, {3, 4}, norm},
        {"a scale of another length", "layerNorm", {{3, 4}, {3}, {4}}, 1, {3, 4}, norm},
        {"a bias of another shape", "layerNorm", {{3, 4}, {4}, {1, 4}}, 1, {3, 4}, norm},
        {"a scale that is not constant", "layerNorm", {{4}, {4}, {4}}, 3, {4}, norm},
        {"no axes", "layerNorm", {{3, 4}, {4}, {4}}, 1, {3, 4}, {{"dimensions", {0}}, {"epsilon", {0}}}},
        {"more axes than there are",
         "layerNorm",
         {{4}, {4}, {4}},
         1,
         {4},
         {{"dimensions", {2}}, {"epsilon", {0}}}},
        {"half an axis", "layerNorm", {{4}, {4}, {4}}, 1, {4}, {{"dimensions", {0.5}}, {"epsilon", {0}}}},
        {"no epsilon", "layerNorm", {{4}, {4}, {4}}, 1, {4}, {{"dimensions", {1}}}},
        {"another result", "layerNorm", {{3, 4}, {4}, {4}}, 1, {4, 3}, norm},
        {"a tangent of another shape", "layerNormGrad", {{3, 4}, {4, 3}}, 1, {3, 4}, norm},
        {"more axes than there are",
         "layerNormGrad",
         {{4}, {4}},
         1,
         {4},
         {{"dimensions", {3}}, {"epsilon", {0}}}},
        {"a scalar", "softmax", {{}}, 1, {}, {}},
        {"two inputs", "softmax", {{4}, {4}}, 1, {4}, {}},
        {"another shape", "softmaxGrad", {{4}, {2, 2}}, 1, {4}, {}},
        {"one input", "softmaxGrad", {{4}}, 1, {4}, {}},
        {"two inputs", "attention", {{5, 4}, {5, 4}}, 2, {5, 4}, scale},
        {"vectors", "attention", {{4}, {4}, {4}}, 1, {4}, scale},
        {"depths that differ", "attention", {{5, 4}, {6, 3}, {6, 7}}, 1, {5, 7}, scale},
        {"lengths that differ", "attention", {{5, 4}, {6, 4}, {7, 7}}, 1, {5, 7}, scale},
        {"heads that differ", "attention", {{2, 5, 4}, {1, 6, 4}, {2, 6, 7}}, 1, {2, 5, 7}, scale},
        {"ranks that differ", "attention", {{2, 5, 4}, {6, 4}, {6, 7}}, 1, {2, 5, 7}, scale},
        {"a bias that does not broadcast", "attention", {{5, 4}, {6, 4}, {6, 7}, {5, 5}}, 1, {5, 7}, scale},
        {"a bias that broadcasts further",
         "attention",
         {{5, 4}, {6, 4}, {6, 7}, {2, 5, 6}},
         1,
         {5, 7},
         scale},
        {"a bias that is not constant", "attention", {{6, 6}, {6, 6}, {6, 6}, {6, 6}}, 4, {6, 6}, scale},
        {"no scale", "attention", {{5, 4}, {6, 4}, {6, 7}}, 1, {5, 7}, {}},
        {"a scale of NaN", "attention", {{5, 4}, {6, 4}, {6, 7}}, 1, {5, 7}, {{"scale", {nan}}}},
        {"an axis beyond", "gather", {{3, 4}}, 1, {3, 1}, {{"axis", {2}}, {"indices", {0}}}},
        {"an axis before", "gather", {{3, 4}}, 1, {3, 1}, {{"axis", {-1}}, {"indices", {0}}}},
        {"an index beyond", "gather", {{3, 4}}, 1, {3, 2}, {{"axis", {1}}, {"indices", {0, 4}}}},
        {"an index before", "gather", {{3, 4}}, 1, {3, 2}, {{"axis", {1}}, {"indices", {-1, 0}}}},
        {"half an index", "gather", {{3, 4}}, 1, {3, 1}, {{"axis", {1}}, {"indices", {0.5}}}},
        {"an index that is NaN", "gather", {{3, 4}}, 1, {3, 1}, {{"axis", {1}}, {"indices", {nan}}}},
        {"an index past int32", "gather", {{3, 4}}, 1, {3, 1}, {{"axis", {1}}, {"indices", {4294967296.0}}}},
        {"no indices", "gather", {{3, 4}}, 1, {3, 1}, {{"axis", {1}}}},
        {"an empty list", "gather", {{3, 4}}, 1, {3, 1}, {{"axis", {1}}, {"indices", {}}}},
        {"another length", "gather", {{3, 4}}, 1, {3, 3}, {{"axis", {1}}, {"indices", {0, 1}}}},
        {"no size", "scatterAdd", {{3, 1}}, 1, {3, 4}, {{"axis", {1}}, {"indices", {0}}}},
        {"a size of 0", "scatterAdd", {{3, 1}}, 1, {3, 1}, {{"axis", {1}}, {"indices", {0}}, {"size", {0}}}},
        {"too few indices",
         "scatterAdd",
         {{3, 2}},
         1,
         {3, 4},
         {{"axis", {1}}, {"indices", {0}}, {"size", {4}}}},
        {"an index beyond",
         "scatterAdd",
         {{3, 1}},
         1,
         {3, 4},
         {{"axis", {1}}, {"indices", {4}}, {"size", {4}}}},
        {"k of 0", "topKMask", {{3, 4}}, 1, {3, 4}, {{"k", {0}}}},
        {"more than there are", "topKMask", {{3, 4}}, 1, {3, 4}, {{"k", {5}}}},
        {"no k", "topKMask", {{3, 4}}, 1, {3, 4}, {}},
        {"a scalar", "topKMask", {{}}, 1, {}, {{"k", {1}}}},
        {"shapes that do not broadcast", "greater", {{3, 4}, {3}}, 1, {3, 4}, {}},
        {"one input", "greater", {{3, 4}}, 1, {3, 4}, {}},
    };
    for (const Case& c : cases) {
        Builder b;
        std::vector<int> inputs{b.input(c.inputs[0])};
        for (size_t i = 1; i < c.inputs.size(); ++i)
            inputs.push_back(i < c.computed && c.inputs[i] == c.inputs[0] ? inputs[0]
                                                                          : b.constant(c.inputs[i]));
        b.node(c.op, inputs, c.out, c.attributes);
        b.graph.nodes.back().name = "the odd one";
        for (const auto& compile : {std::function(compile_lanes), std::function(compile_onednn)}) {
            try {
                b.graph.validate();
                compile(b.graph, widest_isa());
                CHECK(false, "%s with %s was accepted", c.op, c.what);
            } catch (const Error& error) {
                CHECK(std::strstr(error.what(), "the odd one") != nullptr,
                      "%s with %s: the message does not name the node: %s", c.op, c.what, error.what());
            }
        }
    }
}

// Nodes with shapes and attributes at random: refused in a sentence, or run without touching what is not
// theirs (which the sanitizers watch).
void test_sequence_mutations() {
    const char* ops[] = {"layerNorm", "layerNormGrad", "softmax",  "softmaxGrad", "attention",
                         "gather",    "scatterAdd",    "topKMask", "greater"};
    int accepted = 0;
    for (int seed = 0; seed < 4000; ++seed) {
        generator.seed(seed);
        const auto any_shape = [] {
            Shape s(between(0, 3));
            for (int64_t& d : s)
                d = between(1, 3);
            return s;
        };
        Builder b;
        const std::string op = ops[generator() % std::size(ops)];
        const Shape s = any_shape();
        std::vector<int> inputs{b.input(s)};
        for (int64_t i = between(0, 3); i > 0; --i)
            inputs.push_back(between(0, 1) ? inputs[0] : b.constant(between(0, 2) ? s : any_shape()));
        std::vector<double> indices;
        for (int64_t i = between(0, 3); i > 0; --i)
            indices.push_back(static_cast<double>(between(-1, 3)));
        const auto few = [] { return std::vector<double>{static_cast<double>(between(-1, 4))}; };
        b.node(op, inputs, between(0, 2) ? s : any_shape(),
               {{"dimensions", few()},
                {"epsilon", {1e-3}},
                {"scale", {0.5}},
                {"axis", few()},
                {"indices", indices},
                {"size", few()},
                {"k", few()}});
        try {
            b.graph.validate();
            for (const auto& plan :
                 {compile_lanes(b.graph, widest_isa()), compile_onednn(b.graph, widest_isa())}) {
                const auto workspace = plan->make_workspace();
                const int tile = plan->info.tile_rows;
                for (int64_t i = 0; i < plan->info.input_elements * tile; ++i)
                    workspace->input[i] = normal();
                plan->run(*workspace);
            }
            ++accepted;
        } catch (const Error&) {
        }
    }
    CHECK(accepted > 200, "only %d of the random nodes were accepted", accepted);
}

} // namespace

int main() {
    test_threads(); // First: it counts the threads of the process.
    test_convolutions();
    test_products();
    test_arithmetic();
    test_activations();
    test_normalization();
    test_movement();
    test_wiring();
    test_nan();
    test_refusals();
    test_sequence_refusals();
    test_sequence_mutations();
    return latdyn::test::finish("onednn_plan_test");
}
