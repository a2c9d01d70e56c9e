// Derivatives at x applied to a second tensor: of the element-wise functions, of group normalisation, of max
// pooling and its transpose. Bound by loads and stores, apart from the costlier functions.
#pragma once

#include "reduce.h"
#include "vector_derivatives.h"

namespace latdyn::LATDYN_ISA {

template <ActivationKind K> static inline void activate_grad_all(const lanes::ActivateGrad& p) {
    const F alpha = splat(p.function.alpha), beta = splat(p.function.beta);
    const ptrdiff_t n = registers(static_cast<ptrdiff_t>(p.elements) * p.tile);
    for (ptrdiff_t i = 0; i < n; i++)
        store(p.out + i * W, derivative<K>(load(p.x + i * W), alpha, beta) * load(p.t + i * W));
}

static void activate_grad(const lanes::ActivateGrad& p) {
    with_kind(p.function.kind, [&](auto kind) { activate_grad_all<kind.value>(p); });
}

template <class R> static void group_norm_grad_with(const lanes::GroupNormGrad& p) {
    const ptrdiff_t tile = p.tile;
    const R count = broadcast<R>(static_cast<float>(p.per_group));
    for (ptrdiff_t g = 0; g < p.groups; g++) {
        const int32_t* members = p.members + g * p.per_group;
        for (ptrdiff_t v = 0; v < tile; v += lanes_of<R>) {
            const float *x = p.x + v, *t = p.t + v;
            const auto at = [=](const float* values, ptrdiff_t m) { return read<R>(values + m * tile); };
            const R mean =
                sum_members<R>(members, p.per_group, [&](ptrdiff_t m) { return at(x, m); }) / count;
            const R mean_t =
                sum_members<R>(members, p.per_group, [&](ptrdiff_t m) { return at(t, m); }) / count;
            const R variance = sum_members<R>(members, p.per_group,
                                              [&](ptrdiff_t m) {
                                                  const R d = at(x, m) - mean;
                                                  return d * d;
                                              }) /
                               count;
            const R inverse = broadcast<R>(1.0f) / square_root(variance + broadcast<R>(p.epsilon));
            const R along = sum_members<R>(members, p.per_group,
                                           [&](ptrdiff_t m) {
                                               return (at(x, m) - mean) * inverse * (at(t, m) - mean_t);
                                           }) /
                            count;
            for (ptrdiff_t i = 0; i < p.per_group; i++) {
                const R normalised = (at(x, members[i]) - mean) * inverse;
                write(p.out + members[i] * tile + v,
                      (at(t, members[i]) - mean_t - normalised * along) * inverse);
            }
        }
    }
}

static void group_norm_grad(const lanes::GroupNormGrad& p) {
    if (p.tile == 1)
        group_norm_grad_with<float>(p);
    else
        group_norm_grad_with<F>(p);
}

// NaN is larger than every number, and the first of equals stays.
static inline I is_larger(F x, F best) {
    return (x > best) | ((x != x) & (best == best));
}
static inline bool is_larger(float x, float best) {
    return x > best || (x != x && best == best);
}

// Each lane has its own maximum: its place in the window is kept as a number in the lane.
template <class R>
static inline R place_of_maximum(const float* x, const int32_t* members, ptrdiff_t count, ptrdiff_t tile) {
    R best = read<R>(x + members[0] * tile), place = {};
    for (ptrdiff_t i = 1; i < count; i++) {
        const R value = read<R>(x + members[i] * tile);
        const auto larger = is_larger(value, best);
        best = select(larger, value, best);
        place = select(larger, broadcast<R>(static_cast<float>(i)), place);
    }
    return place;
}

template <class R> static void max_pool_grad_with(const lanes::MaxPoolGrad& p) {
    const ptrdiff_t tile = p.tile;
    for (ptrdiff_t w = 0; w < p.windows; w++) {
        const int32_t* members = p.members + p.begin[w];
        const ptrdiff_t count = p.begin[w + 1] - p.begin[w];
        for (ptrdiff_t v = 0; v < tile; v += lanes_of<R>) {
            const R place = place_of_maximum<R>(p.x + v, members, count, tile);
            R y = read<R>(p.t + members[0] * tile + v);
            for (ptrdiff_t i = 1; i < count; i++)
                y = select(place == broadcast<R>(static_cast<float>(i)), read<R>(p.t + members[i] * tile + v),
                           y);
            write(p.out + p.window[w] * tile + v, y);
        }
    }
}

static void max_pool_grad(const lanes::MaxPoolGrad& p) {
    if (p.tile == 1)
        max_pool_grad_with<float>(p);
    else
        max_pool_grad_with<F>(p);
}

template <class R> static void max_pool_adjoint_with(const lanes::MaxPoolGrad& p) {
    const ptrdiff_t tile = p.tile;
    for (ptrdiff_t i = 0; i < p.elements * tile; i++)
        p.out[i] = 0;
    for (ptrdiff_t w = 0; w < p.windows; w++) {
        const int32_t* members = p.members + p.begin[w];
        const ptrdiff_t count = p.begin[w + 1] - p.begin[w];
        for (ptrdiff_t v = 0; v < tile; v += lanes_of<R>) {
            const R place = place_of_maximum<R>(p.x + v, members, count, tile);
            const R u = read<R>(p.t + p.window[w] * tile + v);
            for (ptrdiff_t i = 0; i < count; i++) {
                float* out = p.out + members[i] * tile + v;
                const R sum = read<R>(out);
                write(out, select(place == broadcast<R>(static_cast<float>(i)), sum + u, sum));
            }
        }
    }
}

static void max_pool_adjoint(const lanes::MaxPoolGrad& p) {
    if (p.tile == 1)
        max_pool_adjoint_with<float>(p);
    else
        max_pool_adjoint_with<F>(p);
}

} // namespace latdyn::LATDYN_ISA
