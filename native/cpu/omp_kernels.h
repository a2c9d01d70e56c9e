// The hot part of matching pursuit behind one table, built once per instruction set. Plain pointers only:
// these are shared with sources compiled for wider processors (see simd.h). Nothing here fuses a multiply
// with an add, and every sum has one order, so the doubles have the same bits everywhere.
#pragma once

#include "latdyn/isa.h"

#include <stdint.h>

namespace latdyn {

struct OmpKernels {
    // out[j] = initial[j] − Σ coefficients[i] · rows[i][j], i < count, in float: rows of the Gram matrix. All
    // are aligned for a register and as long as a multiple of omp_padding. At most omp_stretch products are
    // added up before they meet the rest.
    void (*correlate)(const float* initial, const float* const* rows, const float* coefficients,
                      int64_t count, int64_t length, float* out);
    // The same in double, subtracting product after product; a row is the sum of its two halves.
    void (*score)(const double* initial, const float* const* high, const float* const* low,
                  const double* coefficients, int64_t count, int64_t length, double* out);
    // The largest |values[j]|; length is a multiple of omp_padding.
    float (*largest)(const float* values, int64_t length);
    // The first `room` places with |values[j]| >= bound, ascending; how many there are, or room + 1 where
    // there are more.
    int64_t (*collect)(const float* values, int64_t length, float bound, int32_t* places, int64_t room);
    // Solves L·x = b and Lᵀ·x = b in place. Row i of L is at rows + omp_row(i), without its diagonal element,
    // whose inverse is in `inverse`.
    void (*solve_lower)(const double* rows, const double* inverse, int64_t count, double* b);
    void (*solve_upper)(const double* rows, const double* inverse, int64_t count, double* b);
    // Of whole groups of 8.
    double (*dot)(const double* x, const double* y, int64_t count);
    // out = vector − Σ factors[i] · rows[i], i < count, product after product; k elements each.
    void (*subtract)(const float* vector, const float* const* rows, const double* factors, int64_t count,
                     int64_t k, double* out);
};

constexpr int64_t omp_padding = 64;
constexpr int64_t omp_stretch = 32;

// Where row i of a lower triangle begins: its rows are as long as multiples of 8, with room for the diagonal.
constexpr int64_t omp_row(int64_t i) {
    return (i / 8 + 1) * (i / 8 * 4 + i % 8) * 8;
}
static_assert(omp_row(0) == 0 && omp_row(1) == 8 && omp_row(8) == 64 && omp_row(9) == 80 &&
              omp_row(17) == 216);

#if defined(__x86_64__)
extern const OmpKernels avx512_omp_kernels;
extern const OmpKernels avx2_omp_kernels;
#endif
extern const OmpKernels portable_omp_kernels;

const OmpKernels& omp_kernels_of(Isa isa);

} // namespace latdyn
