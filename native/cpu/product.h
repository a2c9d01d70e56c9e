// Rows made ready for the float product, and how far it can be off.
#pragma once

#include "product_kernels.h"
#include "rows.h"

namespace latdyn {

inline int64_t round_up(int64_t n, int64_t to) {
    return (n + to - 1) / to * to;
}

// `row` times `scale` as lane `lane` of the group of `width` rows at `group` (see ProductKernels).
void pack_row(const float* row, int64_t k, double scale, float* group, int64_t width, int64_t lane);

// Bound on |product − x·y| / (|x|·|y|) for rows of k floats. With u = 2⁻²⁴, summing n-fold rounded products
// is off by at most n·u/(1 − n·u)·Σ|xᵢyᵢ|, and Σ|xᵢyᵢ| <= |x|·|y| (Cauchy–Schwarz); n is product_depth(k).
// What underflows comes on top. (Higham, "Accuracy and Stability of Numerical Algorithms", chapter 3.)
double product_error(int64_t k);

// Bound on the error of the product of two unit vectors that were rounded to float, and of a comparison of it
// in float: (2u + u²)·Σ|xᵢyᵢ| for rounding the vectors and 2u for the comparison make n + 6 of n; a hundredth
// on top is for what is smaller still: roundings in double, and elements below 1e-38 of their vector's
// length.
double cosine_error(int64_t k);

} // namespace latdyn
