// Element-wise functions over whole buffers: bound by loads and stores, or by the function.
#pragma once

#include "kernels.h"
#include "registers.h"
#include "vector_derivatives.h"

namespace latdyn::LATDYN_ISA {

static void activate_values(const row::Activate& p) {
    const ptrdiff_t n = (p.elements + W - 1) / W;
    const F alpha = splat(p.function.alpha), beta = splat(p.function.beta);
    with_kind(p.function.kind, [&](auto kind) {
        if (p.residual) {
            for (ptrdiff_t i = 0; i < n; i++)
                store(p.out + i * W,
                      activate<kind.value>(load(p.x + i * W) + load(p.residual + i * W), alpha, beta));
        } else {
            for (ptrdiff_t i = 0; i < n; i++)
                store(p.out + i * W, activate<kind.value>(load(p.x + i * W), alpha, beta));
        }
    });
}

static void activate_grad(const row::ActivateGrad& p) {
    const ptrdiff_t n = (p.elements + W - 1) / W;
    const F alpha = splat(p.function.alpha), beta = splat(p.function.beta);
    with_kind(p.function.kind, [&](auto kind) {
        for (ptrdiff_t i = 0; i < n; i++)
            store(p.out + i * W, derivative<kind.value>(load(p.x + i * W), alpha, beta) * load(p.t + i * W));
    });
}

} // namespace latdyn::LATDYN_ISA
