// Small random graphs, one operator at a time, as test/support/operatorGraphs.ts makes them: what plans for
// the device are compared with the CPU's on. In half of the cases the operator meets the order that
// convolutions leave.
#pragma once

#include "movement_graphs.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

namespace latdyn::test {

struct OperatorCase {
    const char* name;
    std::function<void(Builder&)> build;
};

inline std::vector<Activation> all_functions() {
    auto all = activations();
    for (const Activation& f :
         {Activation{ActivationKind::exp, 0, 0}, Activation{ActivationKind::log, 0, 0},
          Activation{ActivationKind::sqrt, 0, 0}, Activation{ActivationKind::reciprocal, 0, 0},
          Activation{ActivationKind::pow, 3, 0}, Activation{ActivationKind::pow, 0.5f, 0},
          Activation{ActivationKind::pow, 2, 0}, Activation{ActivationKind::pow, -1, 0}})
        all.push_back(f);
    return all;
}

// What f is applied to. Where f is steep, a rounding of the convolution before it would be all that is seen.
inline int operand_of(Builder& b, const Activation& f) {
    const bool steep = f.kind == ActivationKind::log || f.kind == ActivationKind::sqrt ||
                       f.kind == ActivationKind::reciprocal || f.kind == ActivationKind::pow;
    return steep ? b.input({channels(), between(1, 7), between(1, 7)}) : any_input(b);
}

inline void convolution(Builder& b, bool transposed) {
    const int64_t groups = pick({1, 1, 1, 2, 4});
    const int64_t in = groups * pick({1, 3, 4, 8}), out = groups * pick({1, 2, 5, 16});
    const int x = small_image(b, in);
    const Shape s = b.shape(x);
    const Shape kernel{between(1, 3), between(1, 3)}, strides{between(1, 3), between(1, 3)},
        dilations{between(1, 2), between(1, 2)},
        extra{between(0, strides[0] - 1), between(0, strides[1] - 1)};
    Shape pads(4), shape{out, 0, 0};
    for (int d = 0; d < 2; ++d) {
        const int64_t reach = (kernel[d] - 1) * dilations[d] + 1;
        if (transposed) {
            const int64_t most = std::min(reach - 1, ((s[1 + d] - 1) * strides[d] + reach - 1) / 2);
            pads[d] = between(0, most), pads[2 + d] = between(0, most);
            shape[1 + d] = (s[1 + d] - 1) * strides[d] - pads[d] - pads[2 + d] + reach + extra[d];
        } else {
            pads[d] = std::max(between(0, reach - 1), reach - s[1 + d]), pads[2 + d] = between(0, reach - 1);
            shape[1 + d] = (s[1 + d] + pads[d] + pads[2 + d] - reach) / strides[d] + 1;
        }
    }
    const float scale = 1 / std::sqrt(static_cast<float>(in / groups * kernel[0] * kernel[1]));
    std::vector<int> inputs{x, b.constant(transposed ? Shape{in, out / groups, kernel[0], kernel[1]}
                                                     : Shape{out, in / groups, kernel[0], kernel[1]},
                                          scale)};
    if (between(0, 1))
        inputs.push_back(b.constant({out}));
    const int residual = between(0, 2)   ? -1
                         : between(0, 1) ? mix(b, made_of(b, x, shape), out)
                                         : made_of(b, x, shape);
    Attributes attributes{{"strides", doubles(strides)},
                          {"pads", doubles(pads)},
                          {"dilations", doubles(dilations)},
                          {"groups", {static_cast<double>(groups)}}};
    if (transposed)
        attributes["outputPadding"] = doubles(extra);
    b.node(transposed ? "convTranspose" : "conv", inputs, shape, attributes, any_activation(), residual);
}

inline void linear(Builder& b) {
    Shape s(between(0, 2));
    for (int64_t& d : s)
        d = between(1, 5);
    s.push_back(pick({1, 3, 16, 50}));
    const int x = b.input(s);
    const int64_t out = pick({1, 2, 7, 16, 33});
    Shape o = s;
    o.back() = out;
    std::vector<int> inputs{x, b.constant({out, s.back()}, 1 / std::sqrt(static_cast<float>(s.back())))};
    if (between(0, 1))
        inputs.push_back(b.constant({out}));
    const int residual = between(0, 2) ? -1 : b.node("linear", {x, b.constant({out, s.back()})}, o);
    b.node("linear", inputs, o, {}, any_activation(), residual);
}

inline void matmul(Builder& b) {
    const int64_t m = between(1, 9), n = between(1, 17), p = between(1, 9);
    Shape a{m, n}, w{n, p}, out{m, p};
    switch (between(0, 3)) {
    case 1:
        a.insert(a.begin(), 3), out.insert(out.begin(), 3);
        break;
    case 2:
        w.insert(w.begin(), 2), out.insert(out.begin(), 2);
        break;
    case 3:
        a.insert(a.begin(), {2, 1}), w.insert(w.begin(), {2, 4}), out.insert(out.begin(), {2, 4});
        break;
    }
    const int x = b.input(a);
    if (between(0, 2) == 0) {
        Shape turned = a;
        turned[turned.size() - 2] = p;
        b.node("matmul", {b.constant({p, m}), x}, turned, {}, any_activation());
        return;
    }
    b.node("matmul", {x, between(0, 1) ? b.constant(w) : made_of(b, x, w)}, out, {}, any_activation());
}

inline void binary(Builder& b, const char* op) {
    const int x = any_input(b);
    const Shape s = b.shape(x);
    int y;
    if (between(0, 2) == 0) {
        y = b.node("activate", {x}, s, {}, {ActivationKind::clip, 1, 2});
    } else {
        Shape other = s;
        for (int64_t& d : other)
            if (between(0, 1))
                d = 1;
        while (!other.empty() && between(0, 2) == 0)
            other.erase(other.begin());
        y = b.constant(other, 0.2f, 2);
        if (between(0, 2) == 0)
            y = b.node(
                "add",
                {y, made_of(b, b.node("activate", {x}, s, {}, {ActivationKind::sigmoid, 0, 0}), other)},
                other);
    }
    // Away from zero where it divides.
    if (std::string(op) == "div")
        y = b.node(
            "add",
            {b.node("activate", {y}, b.shape(y), {}, {ActivationKind::abs, 0, 0}), b.constant({}, 0, 0.5f)},
            b.shape(y));
    const Activation f = std::string(op) == "greater" ? Activation{} : any_activation();
    const bool swaps = std::string(op) != "div" && between(0, 1);
    b.node(op, swaps ? std::vector<int>{y, x} : std::vector<int>{x, y}, s, {}, f);
}

inline void group_norm(Builder& b, bool derivative) {
    // Short and long groups, channels in bundles and channels of more than a block's threads.
    const int64_t groups = pick({1, 2, 4, 5});
    const int64_t c = groups * pick({1, 3, 8, 16, 40, 260});
    const bool large = between(0, 3) == 0;
    const int input = b.input({c, large ? 9 : between(1, 4), large ? 8 : between(2, 5)});
    const int x = c < 200 && between(0, 1) ? mix(b, input, c)
                  : between(0, 1) ? b.node("conv", {input, b.constant({c, 1, 1, 1}, 0.1f, 1)}, b.shape(input),
                                           {{"strides", {1, 1}},
                                            {"pads", {0, 0, 0, 0}},
                                            {"dilations", {1, 1}},
                                            {"groups", {static_cast<double>(c)}}})
                                  : input;
    const Shape s = b.shape(x);
    // A variance near ε would only measure how well a derivative is conditioned.
    const Attributes attributes{{"groups", {static_cast<double>(groups)}},
                                {"epsilon", {derivative ? 0.1 : 1e-5}}};
    if (derivative)
        b.node("groupNormGrad", {x, beside(b, x)}, s, attributes);
    else
        b.node("groupNorm", {x, b.constant({c}), b.constant({c})}, s, attributes, any_activation());
}

inline void layer_norm(Builder& b, bool derivative) {
    Shape s{between(1, 4), between(2, 5), pick({3, 16, 33, 300})};
    const int64_t dimensions = between(1, 3);
    int x = b.input(s);
    if (between(0, 1))
        x = mix(b, x, s[0]);
    const Attributes attributes{{"dimensions", {static_cast<double>(dimensions)}},
                                {"epsilon", {derivative ? 0.1 : 1e-5}}};
    const Shape factors(s.end() - dimensions, s.end());
    if (derivative)
        b.node("layerNormGrad", {x, beside(b, x)}, s, attributes);
    else
        b.node("layerNorm", {x, b.constant(factors), b.constant(factors)}, s, attributes, any_activation());
}

inline void sequence(Builder& b, const char* op) {
    Shape s(between(0, 2));
    for (int64_t& d : s)
        d = between(1, 4);
    s.push_back(pick({1, 2, 5, 33, 200}));
    int x = b.input(s);
    if (s.size() == 3 && between(0, 1))
        x = mix(b, x, s[0]);
    if (std::string(op) == "softmaxGrad")
        b.node(op, {b.node("softmax", {x}, s), beside(b, x)}, s);
    else if (std::string(op) == "topKMask")
        // Many equals.
        b.node(op, {between(0, 1) ? x : b.node("greater", {x, b.constant({}, 0, 0.3f)}, s)}, s,
               {{"k", {static_cast<double>(between(1, s.back()))}}});
    else
        b.node(op, {x}, s);
}

inline void attention(Builder& b) {
    const Shape heads = between(0, 1) ? Shape{between(1, 3)} : between(0, 1) ? Shape{2, 2} : Shape{};
    const int64_t targets = pick({1, 5, 17, 70}), sources = pick({1, 4, 33, 130}), depth = pick({1, 8, 40}),
                  width = pick({1, 8, 33, 140});
    const auto matrix = [&](int64_t rows, int64_t columns) {
        Shape s = heads;
        s.insert(s.end(), {rows, columns});
        return s;
    };
    const int q = b.input(matrix(targets, depth));
    const int seed = b.node("reduceMean", {q}, {depth}, {{"axes", [&] {
                                                              std::vector<double> axes(heads.size() + 1);
                                                              std::iota(axes.begin(), axes.end(), 0);
                                                              return axes;
                                                          }()}});
    std::vector<int> inputs{
        q, between(0, 3) ? made_of(b, seed, matrix(sources, depth)) : b.constant(matrix(sources, depth)),
        made_of(b, seed, matrix(sources, width))};
    if (between(0, 1)) {
        Shape bias = matrix(targets, sources);
        for (int64_t& d : bias)
            if (between(0, 1))
                d = 1;
        while (!bias.empty() && between(0, 2) == 0)
            bias.erase(bias.begin());
        inputs.push_back(b.constant(bias));
    }
    b.node("attention", inputs, matrix(targets, width),
           {{"scale", {1 / std::sqrt(static_cast<double>(depth))}}});
}

inline std::vector<OperatorCase> operator_cases() {
    std::vector<OperatorCase> cases{
        {"conv", [](Builder& b) { convolution(b, false); }},
        {"convTranspose", [](Builder& b) { convolution(b, true); }},
        {"linear", linear},
        {"matmul", matmul},
        {"groupNorm", [](Builder& b) { group_norm(b, false); }},
        {"groupNormGrad", [](Builder& b) { group_norm(b, true); }},
        {"layerNorm", [](Builder& b) { layer_norm(b, false); }},
        {"layerNormGrad", [](Builder& b) { layer_norm(b, true); }},
        {"attention", attention},
        {"resizeNearest", [](Builder& b) { resized(b, small_image(b, channels())); }},
        {"reduceMean", reduce_mean},
        {"pad", [](Builder& b) { padded(b, small_image(b, channels())); }},
        {"reshape", reshape},
        {"transpose", transpose},
        {"concat", concat},
    };
    for (const char* op : {"add", "sub", "mul", "div", "greater"})
        cases.push_back({op, [op](Builder& b) { binary(b, op); }});
    for (const char* op : {"softmax", "softmaxGrad", "topKMask"})
        cases.push_back({op, [op](Builder& b) { sequence(b, op); }});
    for (const char* op : {"gather", "scatterAdd"})
        cases.push_back({op, [op](Builder& b) { picks(b, op); }});
    for (const char* op : {"maxPool", "averagePool", "maxPoolGrad", "maxPoolAdjoint"})
        cases.push_back({op, [op](Builder& b) { pool(b, op); }});
    for (const Activation& f : all_functions()) {
        cases.push_back({"activate", [f](Builder& b) {
                             const int x = operand_of(b, f);
                             b.node("activate", {x}, b.shape(x), {}, f);
                         }});
        cases.push_back({"activateGrad", [f](Builder& b) {
                             const int x = operand_of(b, f);
                             b.node("activateGrad", {x, beside(b, x)}, b.shape(x), {}, f);
                         }});
    }
    return cases;
}

} // namespace latdyn::test
