// Derivatives of the element-wise functions of vector_math.h, under the same rules: branch-free, NaN in, NaN
// out, the limits at ±infinity. At kinks: relu 0, leaky_relu, elu and selu what holds to the left, clip 1 on
// both ends, abs 0.
#pragma once

#include "vector_math.h"

namespace latdyn::LATDYN_ISA {

static inline F clamp_(F x, float bound) {
    x = select(x < -bound, splat(-bound), x);
    return select(x > bound, splat(bound), x);
}

// σ(x)·σ(−x), from e = exp(−|x|) so that neither tail cancels.
static inline F sigmoid_slope(F x) {
    const F e = exp_(-abs_(x));
    return e / ((e + 1.0f) * (e + 1.0f));
}

// y, or x itself where that is NaN.
static inline F or_nan(F x, F y) {
    return select(x == x, y, x);
}

// The derivative of function K at x; alpha and beta as in activation.h.
template <ActivationKind K> static inline F derivative(F x, F alpha, F beta) {
    const F one = splat(1.0f);
    if constexpr (K == ActivationKind::none)
        return one;
    if constexpr (K == ActivationKind::relu)
        return or_nan(x, select(x > 0.0f, one, F{}));
    if constexpr (K == ActivationKind::leaky_relu)
        return or_nan(x, select(x > 0.0f, one, alpha));
    if constexpr (K == ActivationKind::elu)
        return select(x > 0.0f, one, alpha * exp_(select(x > 0.0f, F{}, x)));
    if constexpr (K == ActivationKind::selu)
        return beta * select(x > 0.0f, one, alpha * exp_(select(x > 0.0f, F{}, x)));
    if constexpr (K == ActivationKind::sigmoid)
        return sigmoid_slope(x);
    // 1 − tanh² x = 4·σ(2x)·σ(−2x)
    if constexpr (K == ActivationKind::tanh)
        return sigmoid_slope(x * 2.0f) * 4.0f;
    if constexpr (K == ActivationKind::softplus)
        return sigmoid_(x);
    // Φ(x) + x·φ(x), which is 0 or 1 in float beyond ±14.5.
    if constexpr (K == ActivationKind::gelu) {
        const F c = clamp_(x, 14.5f);
        const F tail = normal_tail(abs_(c));
        return select(c > 0.0f, 1.0f - tail, tail) + c * (exp_(c * c * -0.5f) * 0.39894228f);
    }
    // σ(v) + x·v′·σ(v)·σ(−v) with v = 2·√(2/π)·(x + 0.044715x³), which is 0 or 1 in float beyond ±20.
    if constexpr (K == ActivationKind::gelu_tanh) {
        const F c = clamp_(x, 20.0f);
        const F v = c * (c * c * 0.0713548163f + 1.5957691216f);
        return sigmoid_(v) + c * (c * c * 0.2140644489f + 1.5957691216f) * sigmoid_slope(v);
    }
    // σ(x) + x·σ(x)·σ(−x), which is 0 or 1 in float beyond ±200.
    if constexpr (K == ActivationKind::silu) {
        const F c = clamp_(x, 200.0f);
        return sigmoid_(c) + c * sigmoid_slope(c);
    }
    if constexpr (K == ActivationKind::clip)
        return or_nan(x, select((x >= alpha) & (x <= beta), one, F{}));
    // 2/√π·e^(−x²)
    if constexpr (K == ActivationKind::erf)
        return exp_(-x * x) * 1.12837917f;
    if constexpr (K == ActivationKind::exp)
        return exp_(x);
    if constexpr (K == ActivationKind::log)
        return 1.0f / x;
    if constexpr (K == ActivationKind::sqrt)
        return 0.5f / sqrt_(x);
    if constexpr (K == ActivationKind::reciprocal)
        return -1.0f / (x * x);
    if constexpr (K == ActivationKind::abs)
        return or_nan(x, select(x > 0.0f, one, select(x < 0.0f, -one, F{})));
    if constexpr (K == ActivationKind::pow)
        return alpha[0] == 0.0f ? or_nan(x, F{}) : alpha * pow_(x, alpha[0] - 1.0f);
}

} // namespace latdyn::LATDYN_ISA
