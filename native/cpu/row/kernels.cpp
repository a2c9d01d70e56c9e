// Compiled once per instruction set: see CMakeLists.txt.
#include "attention.h"
#include "elementwise.h"
#include "norm.h"
#include "product.h"
#include "softmax.h"

namespace latdyn::row {

#define LATDYN_PASTE_(a, b) a##b
#define LATDYN_PASTE(a, b) LATDYN_PASTE_(a, b)

extern const Kernels LATDYN_PASTE(LATDYN_ISA, _kernels) = {
    .activate = LATDYN_ISA::activate_values,
    .activate_grad = LATDYN_ISA::activate_grad,
    .layer_norm = LATDYN_ISA::layer_norm,
    .norm_grad = LATDYN_ISA::norm_grad,
    .group_norm = LATDYN_ISA::group_norm,
    .softmax = LATDYN_ISA::softmax,
    .softmax_grad = LATDYN_ISA::softmax_grad,
    .top_k_mask = LATDYN_ISA::top_k_mask,
    .product = LATDYN_ISA::product,
    .pack = LATDYN_ISA::pack,
    .packed_size = LATDYN_ISA::packed_size,
    .attention = LATDYN_ISA::attention,
    .attention_scratch = LATDYN_ISA::attention_scratch,
    .width = LATDYN_WIDTH,
};

} // namespace latdyn::row
