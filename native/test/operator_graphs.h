// Small random graphs, one operator at a time, as test/support/operatorGraphs.ts makes them: what plans for
// the device are compared with the CPU's on. In half of the cases the operator meets the order that
// convolutions leave.
#pragma once

#include "graphs.h"

#include <algorithm>
#include <functional>
#include <numeric>

namespace latdyn::test {

struct OperatorCase {
    const char* name;
    std::function<void(Builder&)> build;
};

inline std::vector<double> doubles(const Shape& list) {
    return {list.begin(), list.end()};
}

// A small image, sometimes through a convolution.
inline int small_image(Builder& b, int64_t c) {
    const int x = b.input({c, between(1, 7), between(1, 7)});
    return between(0, 1) ? mix(b, x, c) : x;
}
inline int any_input(Builder& b) {
    if (between(0, 1))
        return small_image(b, channels());
    Shape s;
    for (int64_t rank = between(0, 5); rank > 0; --rank)
        s.push_back(between(1, 5));
    return b.input(s);
}
// A second value of the row of the shape of x.
inline int beside(Builder& b, int x) {
    const Shape s = b.shape(x);
    return b.node("mul", {b.constant(s), b.node("activate", {x}, s, {}, {ActivationKind::softplus, 0, 0})},
                  s);
}
// A value of any shape that depends on the row.
inline int made_of(Builder& b, int x, const Shape& s) {
    const int64_t from = count(b.shape(x));
    const int flat = b.node("reshape", {x}, {from});
    const int w = b.constant({count(s), from}, 1 / std::sqrt(static_cast<float>(from)));
    return b.node("reshape", {b.node("linear", {flat, w}, {count(s)})}, s);
}

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

inline void picks(Builder& b, const char* op) {
    int x = any_input(b);
    if (b.shape(x).empty())
        x = b.node("reshape", {x}, {1});
    const Shape s = b.shape(x);
    const int64_t axis = between(0, static_cast<int64_t>(s.size()) - 1);
    const bool gathers = std::string(op) == "gather";
    const int64_t size = gathers ? s[axis] : between(1, 6), length = gathers ? between(1, 6) : s[axis];
    std::vector<double> indices;
    for (int64_t i = 0; i < length; ++i)
        indices.push_back(static_cast<double>(between(0, size - 1)));
    Shape out = s;
    out[axis] = gathers ? length : size;
    b.node(
        op, {x}, out,
        {{"axis", {static_cast<double>(axis)}}, {"indices", indices}, {"size", {static_cast<double>(size)}}});
}

inline void resize(Builder& b) {
    const int x = small_image(b, channels());
    const Shape s = b.shape(x);
    const int64_t h = between(1, 3), w = between(1, 3);
    b.node("resizeNearest", {x}, {s[0], s[1] * h, s[2] * w},
           {{"scales", {static_cast<double>(h), static_cast<double>(w)}}});
}

inline void pool(Builder& b, const char* op) {
    const int x = small_image(b, channels());
    const Shape s = b.shape(x);
    Shape out = s;
    std::vector<double> kernel, strides, dilations, pads(4);
    for (int d = 0; d < 2; ++d) {
        const int64_t apart = between(0, 3) == 0 && s[1 + d] >= 3 ? 2 : 1;
        const int64_t k = std::min(between(1, 3), apart == 2 ? 2 : s[1 + d]), step = between(1, 3);
        const int64_t reach = (k - 1) * apart + 1, before = apart == 2 ? 0 : between(0, k - 1),
                      after = apart == 2 ? 0 : between(0, k - 1);
        const int64_t room = s[1 + d] + before + after - reach;
        out[1 + d] = room / step + 1;
        if (between(0, 1) && room % step != 0 && out[1 + d] * step < s[1 + d] + before)
            ++out[1 + d];
        kernel.push_back(static_cast<double>(k)), strides.push_back(static_cast<double>(step));
        dilations.push_back(static_cast<double>(apart));
        pads[d] = static_cast<double>(before), pads[2 + d] = static_cast<double>(after);
    }
    const Attributes attributes{{"kernel", kernel},
                                {"strides", strides},
                                {"dilations", dilations},
                                {"pads", pads},
                                {"countIncludePad", {static_cast<double>(between(0, 1))}}};
    // Windows with equal elements too.
    const int values =
        between(0, 1) ? x : b.node("activate", {x}, s, {}, {ActivationKind::clip, -0.5f, 0.5f});
    if (std::string(op) == "maxPoolGrad")
        b.node(op, {values, beside(b, x)}, out, attributes);
    else if (std::string(op) == "maxPoolAdjoint")
        b.node(op, {values, b.node("averagePool", {x}, out, attributes)}, s, attributes);
    else
        b.node(op, {values}, out, attributes);
}

inline void reduce_mean(Builder& b) {
    int x = any_input(b);
    if (between(0, 3) == 0) {
        b = {};
        x = b.input({pick({2, 3}), 40, 11});
    }
    const Shape s = b.shape(x);
    std::vector<double> axes;
    Shape kept = s, dropped;
    for (size_t i = 0; i < s.size(); ++i) {
        if (between(0, 1))
            axes.push_back(static_cast<double>(i)), kept[i] = 1;
        else
            dropped.push_back(s[i]);
    }
    b.node("reduceMean", {x}, between(0, 1) ? kept : dropped, {{"axes", axes}});
}

inline void pad(Builder& b) {
    const int x = small_image(b, channels());
    const Shape s = b.shape(x);
    const int64_t mode = between(0, 2);
    std::vector<double> before, after;
    Shape out = s;
    for (size_t i = 0; i < 3; ++i) {
        const int64_t most = mode == 1 ? std::min<int64_t>(s[i] - 1, 3) : 3;
        const int64_t crop = std::min<int64_t>((s[i] - 1) / 2, 1);
        const int64_t a = between(-crop, most), z = between(-crop, most);
        before.push_back(static_cast<double>(a)), after.push_back(static_cast<double>(z));
        out[i] += a + z;
    }
    b.node("pad", {x}, out,
           {{"before", before}, {"after", after}, {"mode", {static_cast<double>(mode)}}, {"value", {0.3}}});
}

inline void reshape(Builder& b) {
    const int x = small_image(b, channels());
    const Shape s = b.shape(x);
    const std::vector<Shape> shapes{
        {count(s)}, {s[1], s[0], s[2]}, {s[0], s[1] * s[2]}, {1, s[0], s[1], s[2]}};
    const int y = b.node("reshape", {x}, shapes[generator() % shapes.size()]);
    if (b.shape(y).size() == 3 && between(0, 1))
        mix(b, y, 3);
}

inline void transpose(Builder& b) {
    const int x =
        between(0, 3) == 0 ? b.input({between(1, 2), between(8, 40), between(8, 40)}) : any_input(b);
    const Shape s = b.shape(x);
    std::vector<double> permutation(s.size());
    std::iota(permutation.begin(), permutation.end(), 0);
    std::shuffle(permutation.begin(), permutation.end(), generator);
    Shape out;
    for (double axis : permutation)
        out.push_back(s[static_cast<size_t>(axis)]);
    b.node("transpose", {x}, out, {{"permutation", permutation}});
}

inline void concat(Builder& b) {
    const int x = small_image(b, channels());
    const Shape s = b.shape(x);
    const int64_t axis = between(0, 2);
    std::vector<int> inputs;
    Shape out = s;
    out[axis] = 0;
    for (int64_t i = between(2, 4); i > 0; --i) {
        Shape other = s;
        other[axis] = between(1, 4);
        inputs.push_back(between(0, 2) == 0 ? b.constant(other)
                         : between(0, 1)    ? mix(b, x, axis == 0 ? pick({16, 5}) : s[0])
                                            : x);
        out[axis] += b.shape(inputs.back())[axis];
    }
    b.node("concat", inputs, out, {{"axis", {static_cast<double>(axis)}}});
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
        {"resizeNearest", resize},
        {"reduceMean", reduce_mean},
        {"pad", pad},
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
