// TF32: floats with 11 digits in place of 24, which tensor cores multiply; and how far a product of rows made
// of them can be off.
//
// With u = 2⁻¹¹ + 2⁻²³ for rounding an element (to float, then to TF32), products of two elements are exact
// in float32 and off by (2u + u²) of themselves. One instruction adds eight products to a sum. How it rounds
// is not specified; measured (see multiply_add in device.h), the nine terms are lined up under the largest
// with at least 24 digits and cut off, perhaps four products at a time: at most 12·2⁻²³ of |sum| +
// Σ|products|, taken here as 2⁻¹⁹. After `stretch` elements the sum moves into a second accumulator, with one
// float rounding. So with S = Σ|xᵢyᵢ| <= |x|·|y| (Cauchy–Schwarz)
//
//   |product − x·y| <= (2u + u² + (stretch / 8)·2⁻¹⁹ + (k / stretch + 1)·2⁻²⁴)·1.01·S.
//
// cuda_product_test measures it on the device against this bound.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#ifndef __CUDACC__
#define LATDYN_TF32_FUNCTION inline
#else
#define LATDYN_TF32_FUNCTION __host__ __device__ inline
#endif

namespace latdyn::cuda {

// Columns that one accumulator takes, a multiple of tile_depth.
constexpr int64_t stretch = 256;

// The nearest number of 11 digits, ties away from zero. Of numbers below 2¹²⁷.
LATDYN_TF32_FUNCTION float round_tf32(float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    bits = (bits + 0x1000u) & ~0x1fffu;
    memcpy(&v, &bits, sizeof bits);
    return v;
}

// The upper half of the nearest float of 8 digits (bf16), ties to even; NaN stays NaN.
LATDYN_TF32_FUNCTION uint16_t round_bf16(float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    if (v != v)
        return 0x7fff;
    return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

// Bound on |product − x·y| / (|x|·|y|) for rows of k elements.
inline double tf32_product_error(int64_t k) {
    const double u = 0x1p-11 + 0x1p-23;
    const double instructions = static_cast<double>(std::min(stretch, k + 7) / 8);
    const double stretches = static_cast<double>((k + stretch - 1) / stretch);
    return 1.01 * (2 * u + u * u + instructions * 0x1p-19 + (stretches + 1) * 0x1p-24);
}

// Bound on the error of the product of two unit vectors and of what is compared with it in float.
inline double tf32_cosine_error(int64_t k) {
    return tf32_product_error(k) + 0x1p-21;
}

} // namespace latdyn::cuda
