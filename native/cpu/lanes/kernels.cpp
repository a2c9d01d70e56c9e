// Compiled once per instruction set: see CMakeLists.txt.
#include "derivatives.h"
#include "elementwise.h"
#include "gather.h"
#include "matmul.h"
#include "reduce.h"
#include "sequence.h"
#include "step_norms.h"

namespace latdyn::lanes {

#define LATDYN_PASTE_(a, b) a##b
#define LATDYN_PASTE(a, b) LATDYN_PASTE_(a, b)

extern const Kernels LATDYN_PASTE(LATDYN_ISA, _kernels) = {
    .width = LATDYN_WIDTH,
    .widest_block_16 = LATDYN_ISA::widest_block<16 / LATDYN_WIDTH>(),
    .widest_block_32 = LATDYN_ISA::widest_block<32 / LATDYN_WIDTH>(),
    .gather = LATDYN_ISA::gather,
    .matmul = LATDYN_ISA::matmul,
    .binary = LATDYN_ISA::binary,
    .activate = LATDYN_ISA::activate_values,
    .copy = LATDYN_ISA::copy,
    .fill = LATDYN_ISA::fill,
    .reduce = LATDYN_ISA::reduce,
    .group_norm = LATDYN_ISA::group_norm,
    .softmax = LATDYN_ISA::softmax,
    .softmax_grad = LATDYN_ISA::softmax_grad,
    .attention = LATDYN_ISA::attention,
    .top_k_mask = LATDYN_ISA::top_k_mask,
    .activate_grad = LATDYN_ISA::activate_grad,
    .group_norm_grad = LATDYN_ISA::group_norm_grad,
    .max_pool_grad = LATDYN_ISA::max_pool_grad,
    .max_pool_adjoint = LATDYN_ISA::max_pool_adjoint,
    .step_norms = LATDYN_ISA::step_norms,
};

} // namespace latdyn::lanes
