// Element-wise work and data movement: bound by loads and stores, 4·tile bytes each per element.
#pragma once

#include "epilogue.h"

namespace latdyn::LATDYN_ISA {

using lanes::BinaryOp;

template <BinaryOp O, class R> static inline R combine(R a, R b) {
    if constexpr (O == BinaryOp::add)
        return a + b;
    if constexpr (O == BinaryOp::sub)
        return a - b;
    if constexpr (O == BinaryOp::mul)
        return a * b;
    if constexpr (O == BinaryOp::greater)
        return select(a > b, broadcast<R>(1.0f), broadcast<R>(0.0f));
    return a / b;
}

template <BinaryOp O, class R> static void binary_with(const lanes::Binary& p) {
    const ptrdiff_t t = p.tile;
    for (ptrdiff_t e = 0; e < p.elements; e++) {
        const float* a = p.a_constant ? nullptr : p.a + (p.a_index ? p.a_index[e] : e) * t;
        const float* b = p.b_constant ? nullptr : p.b + (p.b_index ? p.b_index[e] : e) * t;
        float* out = p.out + e * t;
        for (ptrdiff_t v = 0; v < t; v += lanes_of<R>) {
            const R left = a ? read<R>(a + v) : broadcast<R>(p.a_constant[e]);
            const R right = b ? read<R>(b + v) : broadcast<R>(p.b_constant[e]);
            write(out + v, finish_in_register(combine<O>(left, right), p.activation));
        }
    }
    finish_in_memory(p.out, registers(p.elements * t), p.activation);
}

template <BinaryOp O> static void binary_op(const lanes::Binary& p) {
    if (p.tile == 1)
        binary_with<O, float>(p);
    else
        binary_with<O, F>(p);
}

static void binary(const lanes::Binary& p) {
    switch (p.op) {
    case BinaryOp::add:
        binary_op<BinaryOp::add>(p);
        break;
    case BinaryOp::sub:
        binary_op<BinaryOp::sub>(p);
        break;
    case BinaryOp::mul:
        binary_op<BinaryOp::mul>(p);
        break;
    case BinaryOp::div:
        binary_op<BinaryOp::div>(p);
        break;
    case BinaryOp::greater:
        binary_op<BinaryOp::greater>(p);
        break;
    }
}

static void activate_values(const lanes::Activate& p) {
    activate_block(p.x, p.out, registers(static_cast<ptrdiff_t>(p.elements) * p.tile), p.activation);
}

template <class R> static void copy_with(const lanes::Copy& p) {
    const ptrdiff_t t = p.tile;
    for (ptrdiff_t e = 0; e < p.elements; e++) {
        const ptrdiff_t from = p.from ? p.from[e] : e;
        float* out = p.out + (p.to ? p.to[e] : e) * t;
        for (ptrdiff_t v = 0; v < t; v += lanes_of<R>)
            write(out + v, from < 0 ? broadcast<R>(p.value) : read<R>(p.x + from * t + v));
    }
}

static void copy(const lanes::Copy& p) {
    if (p.tile == 1)
        copy_with<float>(p);
    else
        copy_with<F>(p);
}

static void fill(const lanes::Fill& p) {
    const ptrdiff_t t = p.tile;
    for (ptrdiff_t e = 0; e < p.elements; e++)
        for (ptrdiff_t v = 0; v < t; v++)
            p.out[p.to[e] * t + v] = p.values[e];
}

} // namespace latdyn::LATDYN_ISA
