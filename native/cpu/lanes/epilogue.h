// What happens to a result before it is stored for good, and the two kinds of register kernels are written
// for: F, one element of W rows, and float, one element of the one row of a tile of one. ReLU stays in the
// register; the others are computed on the block just stored, which is still in L1.
#pragma once

#include "kernels.h"
#include "vector_math.h"

namespace latdyn::LATDYN_ISA {

template <class R> constexpr ptrdiff_t lanes_of = sizeof(R) / sizeof(float);

template <class R> static inline R read(const float* p) {
    if constexpr (lanes_of<R> == 1)
        return *p;
    else
        return load(p);
}
static inline void write(float* p, F v) {
    store(p, v);
}
static inline void write(float* p, float v) {
    *p = v;
}
template <class R> static inline R broadcast(float x) {
    if constexpr (lanes_of<R> == 1)
        return x;
    else
        return splat(x);
}

static inline float select(bool mask, float a, float b) {
    return mask ? a : b;
}

// Registers that hold `floats` floats: buffers of a tile of one row are rounded up to whole ones.
static inline ptrdiff_t registers(ptrdiff_t floats) {
    return (floats + W - 1) / W;
}

static inline float finish_in_register(float y, const Activation& activation) {
    if (activation.kind == ActivationKind::relu)
        return y < 0 ? 0.0f : y;
    return y;
}
static inline F finish_in_register(F y, const Activation& activation) {
    if (activation.kind == ActivationKind::relu)
        return activate<ActivationKind::relu>(y, y, y);
    return y;
}

template <ActivationKind K>
static inline void activate_all(const float* x, float* out, ptrdiff_t registers,
                                const Activation& activation) {
    const F alpha = splat(activation.alpha), beta = splat(activation.beta);
    for (ptrdiff_t i = 0; i < registers; i++)
        store(out + i * W, activate<K>(load(x + i * W), alpha, beta));
}

// `registers` vectors of x through the activation, into out (which may be x).
static void activate_block(const float* x, float* out, ptrdiff_t registers, const Activation& activation) {
    with_kind(activation.kind, [&](auto kind) { activate_all<kind.value>(x, out, registers, activation); });
}

static inline void finish_in_memory(float* out, ptrdiff_t registers, const Activation& activation) {
    if (activation.kind != ActivationKind::none && activation.kind != ActivationKind::relu)
        activate_block(out, out, registers, activation);
}

} // namespace latdyn::LATDYN_ISA
