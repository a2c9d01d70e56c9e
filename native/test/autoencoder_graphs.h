// Small autoencoders, latent → latent, that the fused plans are tested with.
#pragma once

#include "graphs.h"

#include <cmath>

namespace latdyn::test {

inline Attributes window(int stride, int pad) {
    const double s = stride, p = pad;
    return {{"strides", {s, s}}, {"pads", {p, p, p, p}}, {"dilations", {1, 1}}, {"groups", {1}}};
}
inline Attributes upsampling() {
    Attributes attributes = window(2, 1);
    attributes["outputPadding"] = {1, 1};
    return attributes;
}
inline float spread(int64_t inputs) {
    return 1 / std::sqrt(static_cast<float>(inputs));
}
inline int dense(Builder& b, int x, int64_t outputs, float scale, Activation f = {}) {
    const int64_t inputs = b.shape(x)[0];
    return b.node("linear",
                  {x, b.constant({outputs, inputs}, scale * spread(inputs)), b.constant({outputs}, 0.5f)},
                  {outputs}, {}, f);
}
inline int upsample(Builder& b, int x, int64_t outputs, Activation f = {}) {
    const Shape s = b.shape(x);
    return b.node(
        "convTranspose",
        {x, b.constant({s[0], outputs, 3, 3}, 1.5f * spread(s[0] * 9)), b.constant({outputs}, 0.1f)},
        {outputs, 2 * s[1], 2 * s[2]}, upsampling(), f);
}
inline int downsample(Builder& b, int x, int64_t outputs, Activation f = {}) {
    const Shape s = b.shape(x);
    return b.node(
        "conv", {x, b.constant({outputs, s[0], 3, 3}, 1.5f * spread(s[0] * 9)), b.constant({outputs}, 0.1f)},
        {outputs, (s[1] + 1) / 2, (s[2] + 1) / 2}, window(2, 1), f);
}

// As the models of examples/mnist, which have `width` 16 and four levels: a linear layer, transposed
// convolutions that double the image, one channel, and back. `gain` makes f contract or not.
inline Graph convolutional(int64_t k, int64_t width, int levels, float gain, uint32_t seed) {
    generator.seed(seed);
    const Activation relu{ActivationKind::relu, 0, 0};
    Builder b;
    int64_t channels = width << (levels - 1);
    int x = dense(b, b.input({k}), channels * 4, 1, relu);
    x = b.node("reshape", {x}, {channels, 2, 2});
    for (int level = 1; level < levels; level++)
        x = upsample(b, x, channels /= 2, relu);
    x = upsample(b, x, 1);
    for (int level = 0; level < levels; level++, channels *= 2)
        x = downsample(b, x, level == 0 ? width : channels, relu);
    x = b.node("reshape", {x}, {count(b.shape(x))});
    dense(b, x, k, gain);
    return b.graph;
}

// What else small autoencoders are made of: norms, pooling and resizing, a residual, another activation.
inline Graph with_norms(int64_t k, float gain, uint32_t seed) {
    generator.seed(seed);
    const Activation silu{ActivationKind::silu, 0, 0};
    const Attributes groups{{"groups", {4}}, {"epsilon", {1e-5}}};
    Builder b;
    int x = dense(b, b.input({k}), 16 * 4, 1);
    x = b.node("reshape", {x}, {16, 2, 2});
    x = b.node("groupNorm", {x, b.constant({16}, 0.1f, 1), b.constant({16}, 0.1f)}, {16, 2, 2}, groups, silu);
    x = b.node("resizeNearest", {x}, {16, 4, 4}, {{"scales", {2, 2}}});
    x = b.node("conv", {x, b.constant({16, 16, 3, 3}, spread(144)), b.constant({16})}, {16, 4, 4},
               window(1, 1), silu, x);
    const int image = b.node("conv", {x, b.constant({3, 16, 3, 3}, spread(144))}, {3, 4, 4}, window(1, 1),
                             {ActivationKind::tanh, 0, 0});
    x = b.node("conv", {image, b.constant({16, 3, 3, 3}, spread(27)), b.constant({16})}, {16, 4, 4},
               window(1, 1), silu);
    Attributes pool = window(2, 0);
    pool.erase("groups");
    pool["kernel"] = {2, 2};
    pool["countIncludePad"] = {0};
    const int most = b.node("maxPool", {x}, {16, 2, 2}, pool),
              mean = b.node("averagePool", {x}, {16, 2, 2}, pool);
    x = b.node("concat", {most, mean}, {32, 2, 2}, {{"axis", {0}}});
    x = b.node("reduceMean", {x}, {32}, {{"axes", {1, 2}}});
    x = b.node("layerNorm", {x, b.constant({32}, 0.1f, 1), b.constant({32}, 0.1f)}, {32},
               {{"dimensions", {1}}, {"epsilon", {1e-5}}});
    dense(b, x, k, gain);
    return b.graph;
}

// A perceptron: positions of one, blocks of many rows.
inline Graph perceptron(int64_t k, int64_t width, float gain, uint32_t seed) {
    generator.seed(seed);
    const Activation tanh{ActivationKind::tanh, 0, 0};
    Builder b;
    int x = b.input({k});
    for (int layer = 0; layer < 3; layer++)
        x = dense(b, x, layer == 1 ? 7 : width, 1, tanh);
    dense(b, x, k, gain);
    return b.graph;
}

} // namespace latdyn::test
