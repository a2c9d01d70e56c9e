// Every activation and its derivative against their definitions in double, on a sweep of all exponents and
// both signs. Compiled and run once per instruction set.
#include "vector_derivatives.h"

#include "check.h"

#include <cmath>
#include <cstring>
#include <initializer_list>
#include <limits>

namespace {

using latdyn::ActivationKind;
using namespace latdyn::LATDYN_ISA;

constexpr double infinity = std::numeric_limits<double>::infinity();

float from_bits(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

double sigmoid(double x) {
    return 1 / (1 + std::exp(-x));
}
double gelu(double x) {
    return x == -infinity ? 0 : 0.5 * x * std::erfc(-x / std::sqrt(2.0));
}
double gelu_tanh(double x) {
    const double u = std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x);
    return x == -infinity ? 0 : x * sigmoid(2 * u);
}
double silu(double x) {
    return x == -infinity ? 0 : x * sigmoid(x);
}
double softplus(double x) {
    return std::fmax(x, 0) + std::log1p(std::exp(-std::fabs(x)));
}

// NaN⁰ is NaN, as for every function here.
auto power(float exponent) {
    return [exponent](double x) { return std::isnan(x) ? x : std::pow(x, double(exponent)); };
}

// Distance between two neighbouring floats at y.
double ulp(double y) {
    const float a = std::fabs(static_cast<float>(y));
    if (a >= std::numeric_limits<float>::max())
        return std::ldexp(1.0, 104);
    return std::nextafter(a, std::numeric_limits<float>::infinity()) - double(a);
}

struct Worst {
    double ulps = 0;
    float at = 0;
    double scaled = 0;
    float scaled_at = 0;
};

// Runs `f` over the sweep. At most `ulps` units in the last place from `expected` where it is at least
// `from` in size or x is at most `small`, and everywhere at most `bound` · max(1, |y|).
template <typename Function, typename Reference>
void sweep(const char* name, Function f, Reference expected, double ulps, double from, double small,
           double bound = 2e-7) {
    alignas(64) float x[W], y[W];
    Worst worst;
    const auto measure = [&] {
        store(y, f(load(x)));
        for (int i = 0; i < W; i++) {
            const double e = expected(double(x[i]));
            if (std::isnan(e)) {
                CHECK(std::isnan(y[i]), "%s(%g) = %g, expected NaN", name, x[i], y[i]);
                continue;
            }
            const float rounded = static_cast<float>(e);
            if (std::isinf(rounded)) {
                // A result within the tolerance of the largest float may stay finite.
                CHECK(y[i] == rounded || (std::isfinite(e) && std::fabs(e - y[i]) <= ulps * ulp(e)),
                      "%s(%g) = %g, expected %g", name, x[i], y[i], e);
                continue;
            }
            if (std::isinf(y[i])) {
                CHECK(ulps * ulp(e) > std::numeric_limits<float>::max() - std::fabs(e),
                      "%s(%g) = %g, expected %g", name, x[i], y[i], e);
                continue;
            }
            const double error = std::fabs(y[i] - e);
            const double scaled = error / std::fmax(1, std::fabs(e));
            CHECK(scaled <= bound, "%s(%a) = %a, expected %a: error %g", name, x[i], y[i], e, error);
            if (scaled > worst.scaled)
                worst.scaled = scaled, worst.scaled_at = x[i];
            if (std::fabs(e) < from && std::fabs(x[i]) > small)
                continue;
            const double units = error / ulp(e);
            if (units > worst.ulps)
                worst.ulps = units, worst.at = x[i];
        }
    };
    int filled = 0;
    const auto put = [&](float v) {
        x[filled++] = v;
        if (filled == W)
            measure(), filled = 0;
    };
    // 4,093 is prime: every exponent with more than two thousand mantissas, both signs, NaNs.
    for (uint64_t bits = 0; bits < (uint64_t{1} << 32); bits += 4093)
        put(from_bits(static_cast<uint32_t>(bits)));
    for (uint32_t bits :
         {0u, 1u, 0x00800000u, 0x007fffffu, 0x7f7fffffu, 0x7f800000u, 0x7fc00000u, 0x7f800001u}) {
        put(from_bits(bits));
        put(from_bits(bits | 0x80000000u));
    }
    // The range in which the functions bend.
    for (int i = -1200000; i <= 1200000; i++)
        put(static_cast<float>(i) * 1e-4f);
    while (filled != 0)
        put(0.5f);
    CHECK(worst.ulps <= ulps, "%s: %.3f ulp at %a", name, worst.ulps, worst.at);
    std::printf("  %-12s %6.3f ulp at %-14g %.2e of max(1, |y|) at %g\n", name, worst.ulps, worst.at,
                worst.scaled, worst.scaled_at);
}

template <ActivationKind K> auto kind(float alpha = 0, float beta = 0) {
    return [alpha, beta](F x) { return activate<K>(x, splat(alpha), splat(beta)); };
}

template <ActivationKind K> auto slope(float alpha = 0, float beta = 0) {
    return [alpha, beta](F x) { return derivative<K>(x, splat(alpha), splat(beta)); };
}

double sigmoid_slope_at(double x) {
    return ::sigmoid(x) * ::sigmoid(-x);
}
double gelu_slope(double x) {
    const double density = std::exp(-x * x / 2) / std::sqrt(2 * std::acos(-1.0));
    return 0.5 * std::erfc(-x / std::sqrt(2.0)) + (density == 0 ? 0 : x * density);
}
double gelu_tanh_slope(double x) {
    const double c = 2 * std::sqrt(2 / std::acos(-1.0));
    const double v = c * (x + 0.044715 * x * x * x), decay = sigmoid_slope_at(v);
    return ::sigmoid(v) + (decay == 0 ? 0 : x * c * (1 + 3 * 0.044715 * x * x) * decay);
}
double silu_slope(double x) {
    const double decay = sigmoid_slope_at(x);
    return ::sigmoid(x) + (decay == 0 ? 0 : x * decay);
}

// Derivatives: bounded in absolute terms, and at kinks the choices that are written down.
void slopes() {
    using enum ActivationKind;
    const double all = 0, no = -1, absolute = std::numeric_limits<double>::infinity();
    // A reference that compares would lose NaN.
    const auto keeping_nan = [](auto f) { return [f](double x) { return std::isnan(x) ? x : f(x); }; };
    sweep("relu'", slope<relu>(), keeping_nan([](double x) { return x > 0 ? 1.0 : 0.0; }), 0, all, no);
    sweep("leaky relu'", slope<leaky_relu>(0.25f), keeping_nan([](double x) { return x > 0 ? 1.0 : 0.25; }),
          0, all, no);
    sweep("clip'", slope<clip>(-1.5f, 6),
          keeping_nan([](double x) { return x >= -1.5 && x <= 6 ? 1.0 : 0.0; }), 0, all, no);
    sweep(
        "elu'", slope<elu>(1), [](double x) { return x > 0 ? 1 : std::exp(x); }, 2.5, all, no);
    const float alpha = 1.67326319f, gamma = 1.05070102f;
    sweep(
        "selu'", slope<selu>(alpha, gamma),
        [=](double x) { return double(gamma) * (x > 0 ? 1 : double(alpha) * std::exp(x)); }, 3.5, all, no);
    sweep("sigmoid'", slope<sigmoid>(), sigmoid_slope_at, 4.5, all, no);
    sweep(
        "tanh'", slope<tanh>(), [](double x) { return 4 * sigmoid_slope_at(2 * x); }, 4.5, all, no);
    sweep("softplus'", slope<softplus>(), ::sigmoid, 2.5, all, no);
    sweep("gelu'", slope<gelu>(), gelu_slope, absolute, absolute, no, 2.5e-7);
    sweep("gelu tanh'", slope<gelu_tanh>(), gelu_tanh_slope, absolute, absolute, no);
    sweep("silu'", slope<silu>(), silu_slope, absolute, absolute, no);
    sweep(
        "erf'", slope<erf>(), [](double x) { return 2 / std::sqrt(std::acos(-1.0)) * std::exp(-x * x); },
        absolute, absolute, no);
    sweep(
        "exp'", slope<ActivationKind::exp>(), [](double x) { return std::exp(x); }, 2, all, no);
    sweep(
        "log'", slope<ActivationKind::log>(), [](double x) { return 1 / x; }, 0.5, all, no);
    sweep(
        "sqrt'", slope<ActivationKind::sqrt>(), [](double x) { return 0.5 / std::sqrt(x); }, 1.5, all, no);
    sweep(
        "reciprocal'", slope<reciprocal>(),
        // In float x² leaves the range long before its reciprocal does.
        [](double x) { return -1 / double(float(x * x)); }, 1.5, all, no);
    sweep("abs'", slope<ActivationKind::abs>(),
          keeping_nan([](double x) { return x > 0   ? 1.0
                                            : x < 0 ? -1.0
                                                    : 0.0; }), 0, all, no);
    for (float exponent : {-1.0f, 0.0f, 0.5f, 1.0f, 2.0f, 3.0f, 4.5f}) {
        char name[32];
        std::snprintf(name, sizeof name, "pow %g'", exponent);
        const auto lower = power(exponent - 1);
        sweep(
            name, slope<ActivationKind::pow>(exponent),
            [=](double x) { return exponent == 0 ? (std::isnan(x) ? x : 0) : exponent * lower(x); }, 3, all,
            no);
    }
}

// The sign of a zero is part of the value: it survives odd functions.
void zeros() {
    alignas(64) float y[W];
    const auto negative = [&](F v) {
        store(y, v);
        return y[0] == 0 && std::signbit(y[0]);
    };
    const F minus = splat(-0.0f), plus = splat(0.0f), none = splat(0.0f);
    CHECK(negative(activate<ActivationKind::tanh>(minus, none, none)), "tanh(-0) = %g", y[0]);
    CHECK(!negative(activate<ActivationKind::tanh>(plus, none, none)), "tanh(0) = %g", y[0]);
    CHECK(negative(activate<ActivationKind::none>(minus, none, none)), "identity(-0) = %g", y[0]);
}

// Whether the processor has the instructions this was compiled for.
bool runs_here() {
#if defined(__AVX512F__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#elif defined(__AVX2__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return true;
#endif
}

} // namespace

int main() {
    if (!runs_here()) {
        std::printf("vector_math: skipped: this processor has no registers of %d lanes\n", W);
        return 0;
    }
    std::printf("%d lanes\n", W);
    using enum ActivationKind;
    const double all = 0, no = -1;
    sweep(
        "exp", exp_, [](double x) { return std::exp(x); }, 2, all, no);
    sweep(
        "none", kind<none>(), [](double x) { return x; }, 0, all, no);
    sweep(
        "relu", kind<relu>(), [](double x) { return x < 0 ? 0 : x; }, 0, all, no);
    sweep(
        "leaky relu", kind<leaky_relu>(0.01f), [](double x) { return x < 0 ? double(0.01f) * x : x; }, 0.5,
        all, no);
    sweep(
        "leaky relu 0", kind<leaky_relu>(0), [](double x) { return x < 0 ? 0 : x; }, 0, all, no);
    sweep(
        "elu", kind<elu>(1), [](double x) { return x > 0 ? x : std::expm1(x); }, 2, all, no);
    sweep(
        "elu 0.3", kind<elu>(0.3f), [](double x) { return x > 0 ? x : double(0.3f) * std::expm1(x); }, 2.5,
        all, no);
    const float alpha = 1.67326319f, gamma = 1.05070102f;
    sweep(
        "selu", kind<selu>(alpha, gamma),
        [=](double x) { return double(gamma) * (x > 0 ? x : double(alpha) * std::expm1(x)); }, 3, all, no);
    sweep("sigmoid", kind<sigmoid>(), ::sigmoid, 2.5, all, no);
    sweep(
        "tanh", kind<tanh>(), [](double x) { return std::tanh(x); }, 2.5, all, no);
    sweep("softplus", kind<softplus>(), ::softplus, 3, all, no);
    // Out in the left tail only the absolute error is bounded: the exponent is rounded before exp.
    sweep("gelu", kind<gelu>(), ::gelu, 6, 0.1, 0.1);
    sweep("gelu tanh", kind<gelu_tanh>(), ::gelu_tanh, 6, 0.1, 0.1);
    sweep("silu", kind<silu>(), ::silu, 3, 0.1, 0.1);
    sweep(
        "clip", kind<clip>(-1.5f, 6), [](double x) { return x < -1.5 ? -1.5
                                                            : x > 6  ? 6
                                                                     : x; }, 0, all, no);
    sweep(
        "erf", kind<erf>(), [](double x) { return std::erf(x); }, 2.5, all, no);
    sweep(
        "exp kind", kind<ActivationKind::exp>(), [](double x) { return std::exp(x); }, 2, all, no);
    sweep(
        "log", kind<ActivationKind::log>(), [](double x) { return std::log(x); }, 2, all, no);
    sweep(
        "sqrt", kind<ActivationKind::sqrt>(), [](double x) { return std::sqrt(x); }, 0.5, all, no);
    sweep(
        "reciprocal", kind<reciprocal>(), [](double x) { return 1 / x; }, 0.5, all, no);
    sweep(
        "abs", kind<ActivationKind::abs>(), [](double x) { return std::fabs(x); }, 0, all, no);
    for (float exponent : {-3.0f, -1.0f, -0.5f, 0.0f, 0.3f, 0.5f, 1.0f, 1.7f, 2.0f, 3.0f, 40.0f}) {
        char name[32];
        std::snprintf(name, sizeof name, "pow %g", exponent);
        sweep(name, kind<ActivationKind::pow>(exponent), power(exponent), 0.51, all, no);
    }
    slopes();
    zeros();
    return latdyn::test::finish("vector_math");
}
