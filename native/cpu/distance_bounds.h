// Lower bounds of |x − y|² from the float product p of x and y: |x|² + |y|² − 2p, less what it can be off by.
//
// All rows are scaled by one power of two first, so that the longest has a length in [2³⁹, 2⁴⁰): nothing
// overflows, and what underflows is below the term `tiny`. With u = 2⁻²⁴ and |p − x·y| <= γ·|x|·|y|, the sums
// and roundings of the bound itself are worth at most 16u·(|x|² + |y|²), which the squares are made smaller
// by. So
//
//   bound <= |x − y|² <= bound + 4.1γ·|x|·|y| + 2⁻¹⁸·(|x|² + |y|²) + 2·tiny.
#pragma once

#include "distance_kernels.h"
#include "memory.h"
#include "rows.h"

namespace latdyn {

// Beyond this many columns γ is too large for the bounds.
constexpr int64_t most_bound_columns = int64_t{1} << 24;

class DistanceBounds {
  public:
    // error: γ. longest: the largest |x|² or |y|² there is.
    DistanceBounds(int64_t columns, double error, double longest);

    // The power of two that rows are multiplied by.
    double scale() const { return scale_; }
    // What a row on the left, and the rows on the right, bring; from lengths before the scaling.
    BoundRow row(double square) const;
    float square(double square) const;
    float length(double square) const;
    // A float bound above this belongs to a pair whose |x − y|² is above `square`.
    float limit(double square) const;
    // An upper bound, as `limit` gives it, of the (scaled) |x − y|² of every y whose float bound is at most
    // `bound`, whatever the length of y.
    float upper(double row_square, float bound) const;

  private:
    double scale_, gamma, tiny;
};

} // namespace latdyn
