#include "distance_bounds.h"

#include "latdyn/error.h"

#include <cmath>
#include <limits>
#include <string>

namespace latdyn {

namespace {

// At most, or at least, `value`.
float down(double value) {
    return std::nextafter(static_cast<float>(value), -std::numeric_limits<float>::infinity());
}
float up(double value) {
    return std::nextafter(static_cast<float>(value), std::numeric_limits<float>::infinity());
}

} // namespace

DistanceBounds::DistanceBounds(int64_t columns, double error, double longest)
    : gamma(error),
      // Elements and products below 2⁻¹²⁶ count as zero: that changes a product by at most √k·2⁻⁸⁵ + k·2⁻¹²⁵.
      tiny(static_cast<double>(columns) * 0x1p-80) {
    if (columns > most_bound_columns)
        throw Error(std::to_string(columns) + " columns, expected at most " +
                    std::to_string(most_bound_columns));
    int exponent = 0;
    std::frexp(std::sqrt(longest), &exponent);
    scale_ = longest > 0 ? std::ldexp(1.0, 40 - exponent) : 1;
}

float DistanceBounds::square(double square) const {
    return down(square * scale_ * scale_ * (1 - 0x1p-20));
}

BoundRow DistanceBounds::row(double square) const {
    const double scaled = square * scale_ * scale_;
    return {down(scaled * (1 - 0x1p-20) - tiny), up(2 * gamma * std::sqrt(scaled) * (1 + 0x1p-22))};
}

float DistanceBounds::length(double square) const {
    return up(std::sqrt(square) * scale_);
}

float DistanceBounds::limit(double square) const {
    return up(square * scale_ * scale_ * (1 + 1e-12));
}

float DistanceBounds::upper(double row_square, float bound) const {
    // y is no longer than 2|x| + 1.05·√bound: where it is longer than 2|x|, |y| − |x| is at least half of
    // |y|, and the error of the bound less than a tenth of its square.
    const double x = std::sqrt(row_square) * scale_, y = 2 * x + 1.05 * std::sqrt(double(bound) + 2 * tiny);
    return up(bound + 4.1 * gamma * x * y + 0x1p-18 * (x * x + y * y) + 2 * tiny);
}

} // namespace latdyn
