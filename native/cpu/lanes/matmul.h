// Products of two activations. Every row has its own matrices, so there is nothing to broadcast: a 4 × 4
// block of results needs 8 loads for 16 multiply-adds.
#pragma once

#include "epilogue.h"

namespace latdyn::LATDYN_ISA {

template <class R, int M, int N>
static inline void matmul_block(const lanes::MatMul& p, const float* a, const float* b, float* out) {
    const ptrdiff_t t = p.tile;
    for (ptrdiff_t v = 0; v < t; v += lanes_of<R>) {
        R acc[M][N] = {};
        for (ptrdiff_t i = 0; i < p.inner; i++) {
            R left[M], right[N];
            for (int m = 0; m < M; m++)
                left[m] = read<R>(a + (m * p.a_row + i * p.a_column) * t + v);
            for (int n = 0; n < N; n++)
                right[n] = read<R>(b + (i * p.b_row + n * p.b_column) * t + v);
            for (int m = 0; m < M; m++)
                for (int n = 0; n < N; n++)
                    acc[m][n] += left[m] * right[n];
        }
        for (int m = 0; m < M; m++)
            for (int n = 0; n < N; n++)
                write(out + (static_cast<ptrdiff_t>(m) * p.n + n) * t + v,
                      finish_in_register(acc[m][n], p.activation));
    }
}

template <class R> static void matmul_with(const lanes::MatMul& p) {
    constexpr int S = LATDYN_REGISTERS >= 32 ? 4 : 2;
    const ptrdiff_t t = p.tile;
    for (ptrdiff_t batch = 0; batch < p.batch; batch++) {
        const float* a = p.a + p.a_offset[batch] * t;
        const float* b = p.b + p.b_offset[batch] * t;
        float* out = p.out + batch * p.m * p.n * t;
        int m = 0;
        for (; m + S <= p.m; m += S) {
            const float* a_block = a + static_cast<ptrdiff_t>(m) * p.a_row * t;
            float* row = out + static_cast<ptrdiff_t>(m) * p.n * t;
            int n = 0;
            for (; n + S <= p.n; n += S)
                matmul_block<R, S, S>(p, a_block, b + static_cast<ptrdiff_t>(n) * p.b_column * t,
                                      row + n * t);
            for (; n < p.n; n++)
                matmul_block<R, S, 1>(p, a_block, b + static_cast<ptrdiff_t>(n) * p.b_column * t,
                                      row + n * t);
        }
        for (; m < p.m; m++)
            for (int n = 0; n < p.n; n++)
                matmul_block<R, 1, 1>(p, a + static_cast<ptrdiff_t>(m) * p.a_row * t,
                                      b + static_cast<ptrdiff_t>(n) * p.b_column * t,
                                      out + (static_cast<ptrdiff_t>(m) * p.n + n) * t);
    }
    finish_in_memory(p.out, registers(static_cast<ptrdiff_t>(p.batch) * p.m * p.n * t), p.activation);
}

static void matmul(const lanes::MatMul& p) {
    if (p.tile == 1)
        matmul_with<float>(p);
    else
        matmul_with<F>(p);
}

} // namespace latdyn::LATDYN_ISA
