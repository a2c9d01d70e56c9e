// Element-wise functions and their derivatives in device code, as vector_math.h and vector_derivatives.h
// define them: NaN in, NaN out; the limits at ±infinity; at kinks relu 0, leaky_relu, elu and selu what holds
// to the left, clip 1 on both ends, abs 0. Built on CUDA's float functions, which are within 2 units in the
// last place (4 of erff's tail), so values agree with the CPU's to some units and not bit by bit.
#pragma once

#include "device.h"
#include "latdyn/activation.h"

#include <math.h>

namespace latdyn::cuda {

namespace functions {

__device__ inline float sigmoid(float x) {
    // From e^−|x|, so that nothing overflows and both tails keep their accuracy.
    const float e = expf(-fabsf(x));
    return (x < 0 ? e : 1.0f) / (e + 1.0f);
}
// σ(x)·σ(−x)
__device__ inline float sigmoid_slope(float x) {
    const float e = expf(-fabsf(x));
    return e / ((e + 1.0f) * (e + 1.0f));
}
// x·σ(u): σ(u) is 0 long before x is −200; the limit at −∞ is 0, where −∞·0 would be NaN.
__device__ inline float times_sigmoid(float x, float u) {
    return (x < -200.0f ? -200.0f : x) * sigmoid(u);
}
// Φ(−a), a >= 0.
__device__ inline float normal_tail(float a) {
    return 0.5f * erfcf(a * 0.70710678f);
}
__device__ inline float clamped(float x, float bound) {
    return x < -bound ? -bound : x > bound ? bound : x;
}
// NaN⁰ is NaN here.
__device__ inline float power(float x, float exponent) {
    return x == x ? powf(x, exponent) : x;
}

} // namespace functions

__device__ inline float activated(const Activation& activation, float x) {
    using namespace functions;
    const float alpha = activation.alpha, beta = activation.beta;
    switch (activation.kind) {
    case ActivationKind::none:
        return x;
    case ActivationKind::relu:
        return x < 0 ? 0.0f : x;
    case ActivationKind::leaky_relu:
        // A slope of 0 makes this relu, at −∞ too.
        return x < 0 ? (alpha == 0 ? 0.0f : alpha * x) : x;
    case ActivationKind::elu:
        return x > 0 ? x : alpha * expm1f(x);
    case ActivationKind::selu:
        return beta * (x > 0 ? x : alpha * expm1f(x));
    case ActivationKind::sigmoid:
        return sigmoid(x);
    case ActivationKind::tanh:
        return tanhf(x);
    case ActivationKind::softplus:
        return (x < 0 ? 0.0f : x) + log1pf(expf(-fabsf(x)));
    case ActivationKind::gelu:
        // max(x, 0) − |x|·Φ(−|x|): no difference of near-equal numbers in either tail.
        return x == x ? (x > 0 ? x : 0.0f) - fminf(fabsf(x), 15.0f) * normal_tail(fminf(fabsf(x), 15.0f)) : x;
    case ActivationKind::gelu_tanh:
        return times_sigmoid(x, x * (x * x * 0.0713548163f + 1.5957691216f));
    case ActivationKind::silu:
        return times_sigmoid(x, x);
    case ActivationKind::clip: {
        const float least = x < alpha ? alpha : x;
        return least > beta ? beta : least;
    }
    case ActivationKind::erf:
        return erff(x);
    case ActivationKind::exp:
        return expf(x);
    case ActivationKind::log:
        return logf(x);
    case ActivationKind::sqrt:
        return sqrtf(x);
    case ActivationKind::reciprocal:
        return 1.0f / x;
    case ActivationKind::abs:
        return fabsf(x);
    case ActivationKind::pow:
        return power(x, alpha);
    }
    return x;
}

__device__ inline float slope(const Activation& activation, float x) {
    using namespace functions;
    const float alpha = activation.alpha, beta = activation.beta;
    switch (activation.kind) {
    case ActivationKind::none:
        return 1.0f;
    case ActivationKind::relu:
        return x == x ? (x > 0 ? 1.0f : 0.0f) : x;
    case ActivationKind::leaky_relu:
        return x == x ? (x > 0 ? 1.0f : alpha) : x;
    case ActivationKind::elu:
        return x > 0 ? 1.0f : alpha * expf(x);
    case ActivationKind::selu:
        return beta * (x > 0 ? 1.0f : alpha * expf(x));
    case ActivationKind::sigmoid:
        return sigmoid_slope(x);
    case ActivationKind::tanh:
        // 1 − tanh² x = 4·σ(2x)·σ(−2x)
        return 4.0f * sigmoid_slope(2.0f * x);
    case ActivationKind::softplus:
        return sigmoid(x);
    case ActivationKind::gelu: {
        // Φ(x) + x·φ(x), which is 0 or 1 in float beyond ±14.5.
        const float c = clamped(x, 14.5f), tail = normal_tail(fabsf(c));
        return (c > 0 ? 1.0f - tail : tail) + c * (expf(-0.5f * c * c) * 0.39894228f);
    }
    case ActivationKind::gelu_tanh: {
        // σ(v) + x·v′·σ(v)·σ(−v), which is 0 or 1 in float beyond ±20.
        const float c = clamped(x, 20.0f);
        const float v = c * (c * c * 0.0713548163f + 1.5957691216f);
        return sigmoid(v) + c * (c * c * 0.2140644489f + 1.5957691216f) * sigmoid_slope(v);
    }
    case ActivationKind::silu: {
        const float c = clamped(x, 200.0f);
        return sigmoid(c) + c * sigmoid_slope(c);
    }
    case ActivationKind::clip:
        return x == x ? (x >= alpha && x <= beta ? 1.0f : 0.0f) : x;
    case ActivationKind::erf:
        return expf(-x * x) * 1.12837917f;
    case ActivationKind::exp:
        return expf(x);
    case ActivationKind::log:
        return 1.0f / x;
    case ActivationKind::sqrt:
        return 0.5f / sqrtf(x);
    case ActivationKind::reciprocal:
        return -1.0f / (x * x);
    case ActivationKind::abs:
        return x == x ? (x > 0 ? 1.0f : x < 0 ? -1.0f : 0.0f) : x;
    case ActivationKind::pow:
        return alpha == 0 ? (x == x ? 0.0f : x) : alpha * power(x, alpha - 1.0f);
    }
    return 1.0f;
}

} // namespace latdyn::cuda
