// Activations in double, by their definitions: what the kernels' ones are measured against.
#pragma once

#include "latdyn/activation.h"

#include <cmath>

namespace latdyn::test {

inline double apply(const Activation& f, double x) {
    const double alpha = f.alpha, beta = f.beta;
    switch (f.kind) {
    case ActivationKind::none:
        return x;
    case ActivationKind::relu:
        return x < 0 ? 0 : x;
    case ActivationKind::leaky_relu:
        return x < 0 ? alpha * x : x;
    case ActivationKind::elu:
        return x < 0 ? alpha * std::expm1(x) : x;
    case ActivationKind::selu:
        return beta * (x < 0 ? alpha * std::expm1(x) : x);
    case ActivationKind::sigmoid:
        return 1 / (1 + std::exp(-x));
    case ActivationKind::tanh:
        return std::tanh(x);
    case ActivationKind::softplus:
        return std::log1p(std::exp(-std::fabs(x))) + (x < 0 ? 0 : x);
    case ActivationKind::gelu:
        return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case ActivationKind::gelu_tanh:
        return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
    case ActivationKind::silu:
        return x / (1 + std::exp(-x));
    case ActivationKind::clip:
        return x < alpha ? alpha : (x > beta ? beta : x);
    case ActivationKind::erf:
        return std::erf(x);
    case ActivationKind::exp:
        return std::exp(x);
    case ActivationKind::log:
        return std::log(x);
    case ActivationKind::sqrt:
        return std::sqrt(x);
    case ActivationKind::reciprocal:
        return 1 / x;
    case ActivationKind::abs:
        return std::fabs(x);
    case ActivationKind::pow:
        return std::pow(x, alpha);
    }
    return x;
}

} // namespace latdyn::test
