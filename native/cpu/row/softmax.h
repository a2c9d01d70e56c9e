// Softmax, its derivative and top-k masks along the last axis. A row stays in L1 between its passes.
#pragma once

#include "kernels.h"
#include "registers.h"

namespace latdyn::LATDYN_ISA {

static void softmax(const row::Softmax& p) {
    const ptrdiff_t n = p.size;
    const F lowest = splat(-__builtin_inff());
    for (ptrdiff_t r = 0; r < p.rows; r++) {
        const float* x = p.x + r * n;
        float* out = p.out + r * n;
        F most = lowest;
        for (ptrdiff_t i = 0; i < n; i += W)
            most = larger_lanes(most, keep_first(load_first(x + i, n - i), n - i, lowest));
        most = largest_across(most);
        F sum = {};
        for (ptrdiff_t i = 0; i < n; i += W) {
            const F y = exp_(load_first(x + i, n - i) - most);
            store_first(out + i, y, n - i);
            sum += keep_first(y, n - i, F{});
        }
        const F inverse = splat(1.0f) / sum_across(sum);
        for (ptrdiff_t i = 0; i < n; i += W)
            store_first(out + i, load_first(out + i, n - i) * inverse, n - i);
    }
}

static void softmax_grad(const row::SoftmaxGrad& p) {
    const ptrdiff_t n = p.size;
    for (ptrdiff_t r = 0; r < p.rows; r++) {
        const float *s = p.s + r * n, *t = p.t + r * n;
        float* out = p.out + r * n;
        F along = {};
        for (ptrdiff_t i = 0; i < n; i += W)
            along += load_first(s + i, n - i) * load_first(t + i, n - i);
        along = sum_across(along);
        for (ptrdiff_t i = 0; i < n; i += W)
            store_first(out + i, load_first(s + i, n - i) * (load_first(t + i, n - i) - along), n - i);
    }
}

// Floats as whole numbers of the same order: −0 is 0, NaN more than infinity.
static inline I ordered(F x) {
    const I bits = as_int(x + F{});
    return (x == x) ? bits ^ ((bits >> 31) & 0x7fffffff) : splat(INT32_MAX);
}

// The k-th largest key bit by bit from the top, 32 passes whatever k is; then those above it, and of those
// equal to it the first ones.
static void top_k_mask(const row::TopKMask& p) {
    const ptrdiff_t n = p.size;
    for (ptrdiff_t r = 0; r < p.rows; r++) {
        const float* x = p.x + r * n;
        float* out = p.out + r * n;
        const auto count_from = [&](int32_t least) {
            I count = {};
            for (ptrdiff_t i = 0; i < n; i += W) {
                const I reaches = ordered(load_first(x + i, n - i)) >= splat(least);
                count -= n - i >= W ? reaches : reaches & (lane_numbers() < static_cast<int32_t>(n - i));
            }
            int64_t total = 0;
            for (int lane = 0; lane < W; lane++)
                total += count[lane];
            return total;
        };
        int32_t threshold = INT32_MIN;
        for (int bit = 31; bit >= 0; bit--) {
            const int32_t raised = bit == 31 ? 0 : threshold | (int32_t{1} << bit);
            if (count_from(raised) >= p.k)
                threshold = raised;
        }
        int64_t left = p.k - (threshold == INT32_MAX ? 0 : count_from(threshold + 1));
        for (ptrdiff_t i = 0; i < n; i += W) {
            const I key = ordered(load_first(x + i, n - i));
            for (ptrdiff_t lane = 0; lane < W && i + lane < n; lane++) {
                const bool tied = key[lane] == threshold && left > 0;
                left -= tied;
                out[i + lane] = key[lane] > threshold || tied ? 1.0f : 0.0f;
            }
        }
    }
}

} // namespace latdyn::LATDYN_ISA
