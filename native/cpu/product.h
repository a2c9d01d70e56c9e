// Rows made ready for the float product, and how far it can be off.
#pragma once

#include "product_kernels.h"
#include "rows.h"

#include <algorithm>

namespace latdyn {

inline int64_t round_up(int64_t n, int64_t to) {
    return (n + to - 1) / to * to;
}

// rows[m] times scales[m], for `count` rows, as one group of `width` (see ProductKernels); zeros beyond them.
void pack_group(const float* const* rows, const double* scales, int64_t count, int64_t k, float* group,
                int64_t width);

// Rows row(first) … row(first + count − 1), each times its scale(i), as groups from `to` on.
template <class Row, class Scale>
void pack_rows(int64_t first, int64_t count, int64_t k, Row row, Scale scale, float* to, int64_t width) {
    const float* rows[product_panels];
    double scales[product_panels];
    for (int64_t begin = 0; begin < count; begin += width) {
        const int64_t lanes = std::min(width, count - begin);
        for (int64_t m = 0; m < lanes; m++) {
            rows[m] = row(first + begin + m);
            scales[m] = scale(first + begin + m);
        }
        pack_group(rows, scales, lanes, k, to + begin * k, width);
    }
}

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
