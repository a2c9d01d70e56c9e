// Small random graphs of operators that move, pick or reduce elements, of a given value or of one of their
// own.
#pragma once

#include "graphs.h"

#include <algorithm>
#include <numeric>

namespace latdyn::test {

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

inline int resized(Builder& b, int x) {
    const Shape s = b.shape(x);
    const int64_t h = between(1, 3), w = between(1, 3);
    return b.node("resizeNearest", {x}, {s[0], s[1] * h, s[2] * w},
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

inline int averaged(Builder& b, int x) {
    const Shape s = b.shape(x);
    std::vector<double> axes;
    Shape kept = s, dropped;
    for (size_t i = 0; i < s.size(); ++i) {
        if (between(0, 1))
            axes.push_back(static_cast<double>(i)), kept[i] = 1;
        else
            dropped.push_back(s[i]);
    }
    return b.node("reduceMean", {x}, between(0, 1) ? kept : dropped, {{"axes", axes}});
}

inline void reduce_mean(Builder& b) {
    int x = any_input(b);
    if (between(0, 3) == 0) {
        b = {};
        x = b.input({pick({2, 3}), 40, 11});
    }
    averaged(b, x);
}

inline int padded(Builder& b, int x) {
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
    return b.node(
        "pad", {x}, out,
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

inline int transposed(Builder& b, int x) {
    const Shape s = b.shape(x);
    std::vector<double> permutation(s.size());
    std::iota(permutation.begin(), permutation.end(), 0);
    std::shuffle(permutation.begin(), permutation.end(), generator);
    Shape out;
    for (double axis : permutation)
        out.push_back(s[static_cast<size_t>(axis)]);
    return b.node("transpose", {x}, out, {{"permutation", permutation}});
}

inline void transpose(Builder& b) {
    transposed(b,
               between(0, 3) == 0 ? b.input({between(1, 2), between(8, 40), between(8, 40)}) : any_input(b));
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

} // namespace latdyn::test
