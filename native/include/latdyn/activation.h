// Element-wise functions a node can end with. Apart from graph.h so that sources compiled once per
// instruction set can name them without the standard library.
#pragma once

namespace latdyn {

enum class ActivationKind {
    none,
    relu,
    leaky_relu,
    elu,
    selu,
    sigmoid,
    tanh,
    softplus,
    gelu,
    gelu_tanh,
    silu,
    clip,
    erf,
    exp,
    log,
    sqrt,
    reciprocal,
    abs,
    pow,
};

// alpha, beta: leaky_relu slope, -; elu α, -; selu α, γ; clip min, max; pow exponent, -; others unused (0).
struct Activation {
    ActivationKind kind = ActivationKind::none;
    float alpha = 0;
    float beta = 0;
};

} // namespace latdyn
