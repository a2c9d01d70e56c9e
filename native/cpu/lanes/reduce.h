// Pooling, means and group normalisation over lists of elements.
#pragma once

#include "epilogue.h"

namespace latdyn::LATDYN_ISA {

// Σ over members in partial sums of 32, so that the float32 error grows with the number of partial sums.
template <class Term>
static inline F sum_members(const int32_t* members, ptrdiff_t count, Term term) {
    F total = {};
    for (ptrdiff_t begin = 0; begin < count; begin += 32) {
        const ptrdiff_t end = begin + 32 < count ? begin + 32 : count;
        F part = {};
        for (ptrdiff_t i = begin; i < end; i++) part += term(members[i]);
        total += part;
    }
    return total;
}

static void reduce(const lanes::Reduce& p) {
    const ptrdiff_t t = p.tile;
    for (ptrdiff_t e = 0; e < p.elements; e++) {
        const int32_t* members = p.members + p.begin[e];
        const ptrdiff_t count = p.begin[e + 1] - p.begin[e];
        for (ptrdiff_t v = 0; v < t; v += W) {
            const float* x = p.x + v;
            F y;
            if (p.scale) {
                y = sum_members(members, count, [&](ptrdiff_t m) { return load(x + m * t); }) * splat(p.scale[e]);
            } else {
                y = load(x + members[0] * t);
                // A NaN wins over every number, wherever it stands in the window.
                for (ptrdiff_t i = 1; i < count; i++) {
                    const F other = load(x + members[i] * t);
                    y = select((other > y) | (other != other), other, y);
                }
            }
            store(p.out + e * t + v, y);
        }
    }
}

static inline F square_root(F x) {
    F y = x;
    for (int i = 0; i < W; i++) y[i] = __builtin_sqrtf(x[i]);
    return y;
}

static void group_norm(const lanes::GroupNorm& p) {
    const ptrdiff_t t = p.tile;
    const F count = splat(static_cast<float>(p.per_group));
    for (ptrdiff_t g = 0; g < p.groups; g++) {
        const int32_t* members = p.members + g * p.per_group;
        const float* scale = p.scale + g * p.per_group;
        const float* bias = p.bias + g * p.per_group;
        for (ptrdiff_t v = 0; v < t; v += W) {
            const float* x = p.x + v;
            const F mean = sum_members(members, p.per_group, [&](ptrdiff_t m) { return load(x + m * t); }) / count;
            const F variance = sum_members(members, p.per_group,
                                           [&](ptrdiff_t m) {
                                               const F d = load(x + m * t) - mean;
                                               return d * d;
                                           }) /
                               count;
            const F inverse = splat(1.0f) / square_root(variance + splat(p.epsilon));
            for (ptrdiff_t i = 0; i < p.per_group; i++) {
                const F y = (load(x + members[i] * t) - mean) * inverse;
                store(p.out + members[i] * t + v,
                      finish_in_register(y * splat(scale[i]) + splat(bias[i]), p.activation));
            }
        }
    }
    finish_in_memory(p.out, static_cast<ptrdiff_t>(p.groups) * p.per_group * (t / W), p.activation);
}

} // namespace latdyn::LATDYN_ISA
