// What tests of oneDNN's plan compare with: the definitions in src/graph/graph.ts, written out in double.
#pragma once

#include "latdyn/error.h"
#include "latdyn/plan.h"

#include "activation_reference.h"
#include "check.h"
#include "graphs.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace latdyn::test {

using Doubles = std::vector<double>;

// --- The reference: definitions in double ---------------------------------------------------------------

inline Shape index_of(int64_t flat, const Shape& shape) {
    Shape index(shape.size());
    for (size_t i = shape.size(); i-- > 0;) {
        index[i] = flat % shape[i];
        flat /= shape[i];
    }
    return index;
}

inline int64_t flat_of(const Shape& index, const Shape& shape) {
    int64_t flat = 0;
    for (size_t i = 0; i < shape.size(); ++i)
        flat = flat * shape[i] + index[i];
    return flat;
}

// The element of `shape` that an index into the (right-aligned) broadcast shape means.
inline int64_t broadcast_flat(const Shape& index, const Shape& shape) {
    Shape own(shape.size());
    for (size_t i = 0; i < shape.size(); ++i) {
        own[i] = shape[i] == 1 ? 0 : index[index.size() - shape.size() + i];
    }
    return flat_of(own, shape);
}

inline Doubles reference_node(const Graph& graph, const Node& n, const std::vector<Doubles>& values) {
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
            double sum = 0, most = -std::numeric_limits<double>::infinity(), inside = 0, padded = 0;
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

inline Doubles reference(const Graph& graph, const std::vector<float>& input) {
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

inline std::vector<float> run(const Plan& plan, Workspace& workspace, const std::vector<float>& input) {
    std::copy(input.begin(), input.end(), workspace.input);
    plan.run(workspace);
    return {workspace.output, workspace.output + plan.info.output_elements};
}

// The plan against the reference, twice in one workspace that held another row in between.
inline void check(const char* what, const Graph& graph) {
    try {
        const auto plan = compile_onednn(graph, widest_isa());
        const auto workspace = plan->make_workspace();
        const std::vector<float> input = random_input(graph), other = random_input(graph);
        const std::vector<float> y = run(*plan, *workspace, input);
        CHECK(std::equal(input.begin(), input.end(), workspace->input), "%s: the input was changed", what);
        run(*plan, *workspace, other);
        const std::vector<float> again = run(*plan, *workspace, input);
        CHECK(same_bits(y, again), "%s: other bits the second time: %s", what, describe(graph).c_str());
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
inline int source(Builder& b, const Shape& shape) {
    const int x = b.input(shape);
    return shape.size() == 3 && between(0, 1) ? mix(b, x, shape[0]) : x;
}

} // namespace latdyn::test
