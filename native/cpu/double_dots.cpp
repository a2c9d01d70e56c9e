// Compiled once per instruction set: see CMakeLists.txt.
//
// 2·k FLOPs a pair. A block of tall × wide pairs reads tall + wide rows, converting as it loads, for
// tall · wide multiply-adds: with 4 × 4 (32 registers of 512 bits) two multiply-adds a load, which keeps the
// multipliers busy from L2. Callers pass blocks of rows that stay there.
#include "double_dots.h"
#include "simd_double.h"

namespace latdyn::LATDYN_ISA {

// tall · wide · parts accumulators, a left factor and `wide` right ones at a time.
constexpr int tall = LATDYN_REGISTERS >= 32 && parts == 1 ? 4 : parts <= 2 ? 2 : 1;
constexpr int wide = LATDYN_REGISTERS >= 32 && parts == 1 ? 4 : 2;

template <int Rows, int Columns>
static inline void add(const float* const* left, const float* const* right, int64_t at,
                       D (&sums)[Rows][Columns][parts]) {
#pragma GCC unroll 4
    for (int p = 0; p < parts; p++) {
        D y[Columns];
#pragma GCC unroll 4
        for (int j = 0; j < Columns; j++)
            y[j] = load_double(right[j] + at + p * half);
#pragma GCC unroll 4
        for (int i = 0; i < Rows; i++) {
            const D x = load_double(left[i] + at + p * half);
#pragma GCC unroll 4
            for (int j = 0; j < Columns; j++)
                sums[i][j][p] += x * y[j];
        }
    }
}

// The first `rows` × `columns` of the block are wanted; every pointer is valid.
template <int Rows, int Columns>
static inline void block(const float* const* left, const float* const* right, int64_t k, double* out,
                         int64_t stride, int rows, int columns) {
    D sums[Rows][Columns][parts] = {};
    int64_t l = 0;
    for (; l + 8 <= k; l += 8)
        add<Rows, Columns>(left, right, l, sums);
    if (l < k) {
        // The rest, with zeros after it.
        float left_rest[Rows][8] = {}, right_rest[Columns][8] = {};
        const float *left_rows[Rows], *right_rows[Columns];
        for (int i = 0; i < Rows; i++) {
            left_rows[i] = left_rest[i];
            for (int64_t m = l; m < k; m++)
                left_rest[i][m - l] = left[i][m];
        }
        for (int j = 0; j < Columns; j++) {
            right_rows[j] = right_rest[j];
            for (int64_t m = l; m < k; m++)
                right_rest[j][m - l] = right[j][m];
        }
        add<Rows, Columns>(left_rows, right_rows, 0, sums);
    }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++)
            out[i * stride + j] = total(sums[i][j]);
}

template <int Rows>
static void stripes(const float* const* left, int64_t left_count, const float* const* right,
                    int64_t right_count, int64_t k, double* out, int64_t stride) {
    for (int64_t i = 0; i < left_count; i += Rows) {
        const int rows = left_count - i < Rows ? static_cast<int>(left_count - i) : Rows;
        const float* x[Rows];
        for (int m = 0; m < Rows; m++)
            x[m] = left[m < rows ? i + m : i];
        for (int64_t j = 0; j < right_count; j += wide) {
            const int columns = right_count - j < wide ? static_cast<int>(right_count - j) : wide;
            const float* y[wide];
            for (int m = 0; m < wide; m++)
                y[m] = right[m < columns ? j + m : j];
            block<Rows, wide>(x, y, k, out + i * stride + j, stride, rows, columns);
        }
    }
}

static void dots(const float* const* left, int64_t left_count, const float* const* right, int64_t right_count,
                 int64_t k, double* out, int64_t stride) {
    if (left_count == 1)
        stripes<1>(left, left_count, right, right_count, k, out, stride);
    else
        stripes<tall>(left, left_count, right, right_count, k, out, stride);
}

} // namespace latdyn::LATDYN_ISA

namespace latdyn {

#define LATDYN_PASTE_(a, b) a##b
#define LATDYN_PASTE(a, b) LATDYN_PASTE_(a, b)

extern const DoubleDots LATDYN_PASTE(LATDYN_ISA, _double_dots) = LATDYN_ISA::dots;

} // namespace latdyn
