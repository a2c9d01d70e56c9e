// One vector type for every instruction set. A source that includes this is compiled once per set, with
// LATDYN_ISA naming the namespace and LATDYN_WIDTH the float lanes of a register. Everything here and in
// such a source stays inside that namespace and uses no templates or inline functions of the standard
// library: the linker keeps one copy of those, and it might keep the one made for a wider processor.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifndef LATDYN_ISA
#error "compile this with LATDYN_ISA and LATDYN_WIDTH (see CMakeLists.txt)"
#endif

namespace latdyn::LATDYN_ISA {

// Float lanes of one register.
constexpr int W = LATDYN_WIDTH;

typedef float F __attribute__((vector_size(W * 4)));
typedef int32_t I __attribute__((vector_size(W * 4)));

// Memory aligned for a register only.
typedef float FMemory __attribute__((vector_size(W * 4), may_alias));
static inline F load(const float* p) {
    return *reinterpret_cast<const FMemory*>(p);
}
static inline void store(float* p, F v) {
    *reinterpret_cast<FMemory*>(p) = v;
}
// x − 0 is x for every x, −0 included, so the compiler drops the subtraction.
static inline F splat(float x) {
    return x - F{};
}
static inline I splat(int32_t x) {
    return x - I{};
}
// The same bits under the other type: between vectors a cast means that.
static inline I as_int(F v) {
    return (I)v;
}
static inline F as_float(I v) {
    return (F)v;
}
// Per lane: mask (all ones or zero) ? a : b.
static inline F select(I mask, F a, F b) {
    return mask ? a : b;
}
// Comparisons of vectors give such masks: (a < b) is an I.
static inline bool any(I mask) {
    typedef int64_t Halves __attribute__((vector_size(W * 4)));
    const Halves halves = (Halves)mask;
    int64_t bits = 0;
    for (int i = 0; i < W / 2; i++)
        bits |= halves[i];
    return bits != 0;
}

} // namespace latdyn::LATDYN_ISA
