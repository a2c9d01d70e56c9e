// What products of activations on a device are compared with: plain sums in double over the operands as the
// precision rounds them. What is left is the order and rounding of sums, which the bounds below allow for.
#pragma once

#include "graph/products.h"

#include "activation_reference.h"
#include "on_device.h"
#include "tf32.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace latdyn::test {

using cuda::Precision;

constexpr Precision precisions[] = {Precision::float32, Precision::tf32, Precision::bf16};
inline const char* name_of(Precision precision) {
    constexpr const char* names[] = {"float32", "tf32", "bf16"};
    return names[static_cast<int>(precision)];
}

// The largest error as a share of its bound, by precision.
inline double worst_share[3] = {};

inline double rounded(Precision precision, float v) {
    if (v - v != 0 || precision == Precision::float32)
        return v;
    if (precision == Precision::tf32)
        return cuda::round_tf32(v);
    return std::bit_cast<float>(uint32_t{cuda::round_bf16(v)} << 16);
}

// Of a sum of `terms` products that has moved by S = Σ|products| + |bias| + |residual|, as tf32.h states it:
// one rounding a multiply-add, or 2⁻¹⁹ an instruction of 8 (16) products; and two roundings at the end.
inline double error_bound(Precision precision, int64_t terms, double moved) {
    const double sums = precision == Precision::float32 ? static_cast<double>(terms) * 0x1p-24
                                                        : static_cast<double>((terms + 15) / 8) * 0x1p-19;
    return 1.01 * (sums + 3 * 0x1p-24) * moved + 1e-37;
}

// Bound on a difference of activations of numbers that differ by `error` around x.
inline double spread(const Activation& f, double x, double error) {
    const double y = apply(f, x);
    double most = std::max(std::abs(apply(f, x - error) - y), std::abs(apply(f, x + error) - y));
    return 1.01 * most + 1e-6 * std::max(1.0, std::abs(y));
}

// What a sum should be: itself, and how far its terms have moved it.
struct Expected {
    double sum = 0, moved = 0;
    int64_t terms = 0;
    void add(double v) {
        sum += v;
        moved += std::abs(v);
        terms++;
    }
};

inline void compare(const char* what, Precision precision, const Activation& activation,
                    const std::vector<Expected>& expected, const std::vector<float>& found) {
    int64_t wrong = 0;
    for (size_t i = 0; i < expected.size(); i++) {
        const double y = apply(activation, expected[i].sum);
        if (std::isnan(y) || std::isinf(y)) {
            wrong += std::isnan(y) ? !std::isnan(found[i]) : found[i] != y;
            continue;
        }
        const double error = error_bound(precision, expected[i].terms, expected[i].moved);
        const double bound =
            activation.kind == ActivationKind::none ? error : spread(activation, expected[i].sum, error);
        const double share = std::abs(found[i] - y) / bound;
        if (activation.kind == ActivationKind::none)
            worst_share[static_cast<int>(precision)] =
                std::max(worst_share[static_cast<int>(precision)], share);
        if (!(share <= 1) && wrong++ == 0)
            std::printf("%s, %s: output %lld is %.9g, expected %.9g ± %.3g\n", what, name_of(precision),
                        static_cast<long long>(i), found[i], y, bound);
    }
    CHECK(wrong == 0 && expected.size() == found.size(), "%s, %s: %lld of %lld outputs are wrong", what,
          name_of(precision), static_cast<long long>(wrong), static_cast<long long>(expected.size()));
}

// What main() of such a test returns.
template <class Body> int test_products(const char* name, Body body) {
    return test_on_device(name, [&] {
        with_and_without_warpgroups(body);
        for (Precision precision : precisions)
            std::printf("%s: %s: the largest error is %.3f of its bound\n", name, name_of(precision),
                        worst_share[static_cast<int>(precision)]);
    });
}

// NaN, the one that devices give, and infinities.
inline std::vector<float> not_finite() {
    const float infinity = std::numeric_limits<float>::infinity();
    return {std::numeric_limits<float>::quiet_NaN(), std::bit_cast<float>(0x7fffffffu), infinity, -infinity};
}

inline std::vector<float> part_of(const std::vector<float>& x, int64_t width, int64_t row) {
    return {x.begin() + row * width, x.begin() + (row + 1) * width};
}

} // namespace latdyn::test
