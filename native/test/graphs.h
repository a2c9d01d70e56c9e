// Graphs for the native tests, made at random: the same ones on every machine.
#pragma once

#include "latdyn/graph.h"

#include <cmath>
#include <initializer_list>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace latdyn::test {

using Shape = std::vector<int64_t>;
using Attributes = std::map<std::string, std::vector<double>>;

inline std::mt19937 generator;
inline std::normal_distribution<float> distribution;

// The numbers from here on; `distribution` would keep every second one over a seed of the generator alone.
inline void reseed(unsigned seed) {
    generator.seed(seed);
    distribution.reset();
}

inline int64_t pick(std::initializer_list<int64_t> options) {
    return *(options.begin() + generator() % options.size());
}
inline int64_t between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(generator() % (high - low + 1));
}
inline float normal() {
    return distribution(generator);
}

struct Builder {
    Graph graph;

    int value(const Shape& shape) {
        Value v;
        v.shape = shape;
        graph.values.push_back(v);
        return static_cast<int>(graph.values.size()) - 1;
    }
    int input(const Shape& shape) { return graph.input = value(shape); }
    int constant(const Shape& shape, float scale = 1, float offset = 0) {
        const int id = value(shape);
        Value& v = graph.values[id];
        v.is_constant = true;
        v.constant.resize(v.elements());
        for (float& x : v.constant)
            x = normal() * scale + offset;
        return id;
    }
    int node(const std::string& op, std::vector<int> inputs, const Shape& out, Attributes attributes = {},
             Activation activation = {}, int residual = -1) {
        Node n;
        n.op = op;
        n.name = op + std::to_string(graph.nodes.size());
        n.inputs = std::move(inputs);
        n.output = value(out);
        n.attributes = std::move(attributes);
        n.activation = activation;
        n.residual = residual;
        graph.nodes.push_back(n);
        return graph.output = n.output;
    }
    Shape shape(int v) const { return graph.values[v].shape; }
};

inline std::vector<Activation> activations() {
    return {{ActivationKind::relu, 0, 0},        {ActivationKind::leaky_relu, 0.1f, 0},
            {ActivationKind::elu, 0.7f, 0},      {ActivationKind::selu, 1.6732632f, 1.0507010f},
            {ActivationKind::sigmoid, 0, 0},     {ActivationKind::tanh, 0, 0},
            {ActivationKind::softplus, 0, 0},    {ActivationKind::gelu, 0, 0},
            {ActivationKind::gelu_tanh, 0, 0},   {ActivationKind::silu, 0, 0},
            {ActivationKind::clip, -0.5f, 0.8f}, {ActivationKind::clip, 0.2f, 0.9f},
            {ActivationKind::erf, 0, 0},         {ActivationKind::abs, 0, 0}};
}
inline Activation any_activation() {
    const auto all = activations();
    const size_t i = generator() % (all.size() + 2);
    return i < all.size() ? all[i] : Activation{};
}

inline int64_t count(const Shape& shape) {
    int64_t n = 1;
    for (int64_t d : shape)
        n *= d;
    return n;
}

inline std::string describe(const Graph& graph) {
    std::ostringstream text;
    for (const Node& n : graph.nodes) {
        text << n.op << '(';
        for (int v : n.inputs) {
            text << '[';
            for (int64_t d : graph.values[v].shape)
                text << d << ' ';
            text << ']';
        }
        text << ')';
        for (const auto& [key, list] : n.attributes) {
            text << ' ' << key;
            for (double v : list)
                text << ' ' << v;
        }
        text << " activation " << static_cast<int>(n.activation.kind)
             << (n.residual >= 0 ? " residual; " : "; ");
    }
    return text.str();
}

inline std::vector<float> random_input(const Graph& graph) {
    std::vector<float> input(graph.values[graph.input].elements());
    for (float& x : input)
        x = normal();
    return input;
}

inline int64_t channels() {
    return pick({1, 3, 5, 16, 20, 64});
}
inline Shape image(int64_t c) {
    return {c, between(1, 11), between(1, 11)};
}

// A node that leaves its value in whatever layout convolutions like, so that what follows sees it.
inline int mix(Builder& b, int x, int64_t outputs, Activation f = {}) {
    const Shape s = b.shape(x);
    const int w = b.constant({outputs, s[0], 1, 1}, 1 / std::sqrt(static_cast<float>(s[0])));
    return b.node("conv", {x, w, b.constant({outputs})}, {outputs, s[1], s[2]},
                  {{"strides", {1, 1}}, {"pads", {0, 0, 0, 0}}, {"dilations", {1, 1}}, {"groups", {1}}}, f);
}

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

} // namespace latdyn::test
