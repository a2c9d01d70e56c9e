// Element-wise work and data movement: bound by loads and stores, 4·tile bytes each per element.
#pragma once

#include "epilogue.h"

namespace latdyn::LATDYN_ISA {

using lanes::BinaryOp;

template <BinaryOp O>
static inline F apply(F a, F b) {
    if constexpr (O == BinaryOp::add) return a + b;
    if constexpr (O == BinaryOp::sub) return a - b;
    if constexpr (O == BinaryOp::mul) return a * b;
    return a / b;
}

template <BinaryOp O>
static void binary_op(const lanes::Binary& p) {
    const ptrdiff_t t = p.tile;
    for (ptrdiff_t e = 0; e < p.elements; e++) {
        const float* a = p.a_constant ? nullptr : p.a + (p.a_index ? p.a_index[e] : e) * t;
        const float* b = p.b_constant ? nullptr : p.b + (p.b_index ? p.b_index[e] : e) * t;
        float* out = p.out + e * t;
        for (ptrdiff_t v = 0; v < t; v += W) {
            const F left = a ? load(a + v) : splat(p.a_constant[e]);
            const F right = b ? load(b + v) : splat(p.b_constant[e]);
            store(out + v, finish_in_register(apply<O>(left, right), p.activation));
        }
    }
    finish_in_memory(p.out, p.elements * (t / W), p.activation);
}

static void binary(const lanes::Binary& p) {
    switch (p.op) {
    case BinaryOp::add: binary_op<BinaryOp::add>(p); break;
    case BinaryOp::sub: binary_op<BinaryOp::sub>(p); break;
    case BinaryOp::mul: binary_op<BinaryOp::mul>(p); break;
    case BinaryOp::div: binary_op<BinaryOp::div>(p); break;
    }
}

static void activate_values(const lanes::Activate& p) {
    activate_block(p.x, p.out, static_cast<ptrdiff_t>(p.elements) * (p.tile / W), p.activation);
}

static void copy(const lanes::Copy& p) {
    const ptrdiff_t t = p.tile;
    for (ptrdiff_t e = 0; e < p.elements; e++) {
        const ptrdiff_t from = p.from ? p.from[e] : e;
        float* out = p.out + (p.to ? p.to[e] : e) * t;
        for (ptrdiff_t v = 0; v < t; v += W)
            store(out + v, from < 0 ? splat(p.value) : load(p.x + from * t + v));
    }
}

static void fill(const lanes::Fill& p) {
    const ptrdiff_t t = p.tile;
    for (ptrdiff_t e = 0; e < p.elements; e++)
        for (ptrdiff_t v = 0; v < t; v += W) store(p.out + p.to[e] * t + v, splat(p.values[e]));
}

} // namespace latdyn::LATDYN_ISA
