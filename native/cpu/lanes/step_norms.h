// The three sums that the iteration's rules need, in one pass over z, f(z) and the anchor: 12·tile bytes per
// element read, nothing written. Sums are in double, so that k does not limit the residual's accuracy.
#pragma once

#include "simd.h"

#include "kernels.h"

namespace latdyn::LATDYN_ISA {

typedef double D __attribute__((vector_size(W * 8)));

static inline D widen(F x) {
    return __builtin_convertvector(x, D);
}

static void step_norms(const lanes::StepNorms& p) {
    const ptrdiff_t t = p.tile;
    for (ptrdiff_t v = 0; v < t; v += W) {
        D step = {}, norm = {}, back = {};
        for (ptrdiff_t e = 0; e < p.elements; e++) {
            const F next = load(p.next + e * t + v);
            const D s = widen(next - load(p.z + e * t + v));
            const D b = widen(next - load(p.anchor + e * t + v));
            const D n = widen(next);
            step += s * s;
            norm += n * n;
            back += b * b;
        }
        for (int i = 0; i < W; i++) {
            p.step[v + i] = step[i];
            p.norm[v + i] = norm[i];
            p.back[v + i] = back[i];
        }
    }
}

} // namespace latdyn::LATDYN_ISA
