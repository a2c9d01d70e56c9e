// Pooling, means and group normalisation over lists of elements.
#pragma once

#include "epilogue.h"

namespace latdyn::LATDYN_ISA {

// Σ over members in partial sums of 32, so that the float32 error grows with the number of partial sums.
template <class R, class Term>
static inline R sum_members(const int32_t* members, ptrdiff_t count, Term term) {
    R total = {};
    for (ptrdiff_t begin = 0; begin < count; begin += 32) {
        const ptrdiff_t end = begin + 32 < count ? begin + 32 : count;
        R part = {};
        for (ptrdiff_t i = begin; i < end; i++)
            part += term(members[i]);
        total += part;
    }
    return total;
}

// A NaN wins over every number, wherever it stands in the window.
static inline F larger(F y, F other) {
    return select((other > y) | (other != other), other, y);
}
static inline float larger(float y, float other) {
    return other > y || other != other ? other : y;
}

template <class R> static void reduce_with(const lanes::Reduce& p) {
    const ptrdiff_t t = p.tile;
    for (ptrdiff_t e = 0; e < p.elements; e++) {
        const int32_t* members = p.members + p.begin[e];
        const ptrdiff_t count = p.begin[e + 1] - p.begin[e];
        for (ptrdiff_t v = 0; v < t; v += lanes_of<R>) {
            const float* x = p.x + v;
            R y;
            if (p.scale) {
                y = sum_members<R>(members, count, [&](ptrdiff_t m) { return read<R>(x + m * t); }) *
                    broadcast<R>(p.scale[e]);
            } else {
                y = read<R>(x + members[0] * t);
                for (ptrdiff_t i = 1; i < count; i++)
                    y = larger(y, read<R>(x + members[i] * t));
            }
            write(p.out + e * t + v, y);
        }
    }
}

static void reduce(const lanes::Reduce& p) {
    if (p.tile == 1)
        reduce_with<float>(p);
    else
        reduce_with<F>(p);
}

static inline float square_root(float x) {
    return __builtin_sqrtf(x);
}
static inline F square_root(F x) {
    return sqrt_(x);
}

template <class R> static void group_norm_with(const lanes::GroupNorm& p) {
    const ptrdiff_t t = p.tile;
    const R count = broadcast<R>(static_cast<float>(p.per_group));
    for (ptrdiff_t g = 0; g < p.groups; g++) {
        const int32_t* members = p.members + g * p.per_group;
        const float* scale = p.scale + g * p.per_group;
        const float* bias = p.bias + g * p.per_group;
        for (ptrdiff_t v = 0; v < t; v += lanes_of<R>) {
            const float* x = p.x + v;
            const R mean =
                sum_members<R>(members, p.per_group, [&](ptrdiff_t m) { return read<R>(x + m * t); }) / count;
            const R variance = sum_members<R>(members, p.per_group,
                                              [&](ptrdiff_t m) {
                                                  const R d = read<R>(x + m * t) - mean;
                                                  return d * d;
                                              }) /
                               count;
            const R inverse = broadcast<R>(1.0f) / square_root(variance + broadcast<R>(p.epsilon));
            for (ptrdiff_t i = 0; i < p.per_group; i++) {
                const R y = (read<R>(x + members[i] * t) - mean) * inverse;
                write(p.out + members[i] * t + v,
                      finish_in_register(y * broadcast<R>(scale[i]) + broadcast<R>(bias[i]), p.activation));
            }
        }
    }
    finish_in_memory(p.out, registers(static_cast<ptrdiff_t>(p.groups) * p.per_group * t), p.activation);
}

static void group_norm(const lanes::GroupNorm& p) {
    if (p.tile == 1)
        group_norm_with<float>(p);
    else
        group_norm_with<F>(p);
}

} // namespace latdyn::LATDYN_ISA
