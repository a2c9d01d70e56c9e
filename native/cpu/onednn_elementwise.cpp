// Element-wise functions and arithmetic, in the layout that is there.
#include "onednn_compiler.h"

namespace latdyn::onednn {

Tensor Compiler::activated(Tensor x, const Activation& f, bool in_place) {
    if (f.kind == ActivationKind::none)
        return x;
    // The loop runs over the zero padding too, which must stay zero.
    if (has_padding(x.desc) && !keeps_zero(f)) {
        x = reordered(x, row_major(x.desc.dims()));
        in_place = !is_constant(x);
    }
    const Tensor y = in_place ? x : make(x.desc);
    add_loop({x, y}, [f, n = stored_elements(x.desc), kernel = kernels_.activate](float* const* t) {
        kernel({.x = t[0], .residual = nullptr, .out = t[1], .elements = n, .function = f});
    });
    return y;
}

bool Compiler::keeps_zero(const Activation& f) const {
    alignas(64) float zero[16] = {};
    kernels_.activate({.x = zero, .residual = nullptr, .out = zero, .elements = 1, .function = f});
    return zero[0] == 0;
}

void Compiler::lower_arithmetic(const Node& node) {
    const bool commutes = node.op == "add" || node.op == "mul";
    int a = node.inputs[0], b = node.inputs[1];
    // oneDNN repeats only its second operand, and follows the layout of the first.
    if (commutes && (shape(a) != shape(node.output) || is_row_major(first_form(a).desc)))
        std::swap(a, b);
    if (shape(a) == shape(node.output) && !is_row_major(first_form(a).desc)) {
        if (const auto y = blocked_arithmetic(node, a, b)) {
            define(node.output, activated(*y, node.activation, true));
            return;
        }
    }
    a = node.inputs[0], b = node.inputs[1];
    static const std::map<std::string, plain::Arithmetic> kinds = {{"add", plain::Arithmetic::add},
                                                                   {"sub", plain::Arithmetic::sub},
                                                                   {"mul", plain::Arithmetic::mul},
                                                                   {"div", plain::Arithmetic::div},
                                                                   {"greater", plain::Arithmetic::greater}};
    const Tensor y = make(row_major(dims_of(node.output)));
    add_loop({plain(a), plain(b), y},
             [kind = kinds.at(node.op), axes = plain::broadcast(shape(a), shape(b), shape(node.output))](
                 float* const* t) { plain::arithmetic(kind, axes, t[0], t[1], t[2]); });
    define(node.output, activated(y, node.activation, true));
}

std::optional<Tensor> Compiler::blocked_arithmetic(const Node& node, int a, int b) {
    if (node.op == "greater")
        return std::nullopt;
    const algorithm kind = node.op == "add"   ? algorithm::binary_add
                           : node.op == "sub" ? algorithm::binary_sub
                           : node.op == "mul" ? algorithm::binary_mul
                                              : algorithm::binary_div;
    const Tensor x = first_form(a);
    memory::desc second = x.desc;
    if (shape(b) != shape(node.output)) {
        Dims dims = shape(b);
        dims.insert(dims.begin(), x.desc.dims().size() - dims.size(), 1);
        second = row_major(dims);
    }
    const dnnl::binary::desc descriptor(kind, x.desc, second, x.desc);
    const dnnl::binary::primitive_desc description(descriptor, attributes(nullptr, false), program_.engine,
                                                   true);
    if (description.get(true) == nullptr || !is_fast(description.impl_info_str()))
        return std::nullopt;
    const Tensor other = second == x.desc ? as(b, second) : view(plain(b), second);
    const Tensor y = make(x.desc);
    add_primitive(dnnl::binary(description),
                  {{DNNL_ARG_SRC_0, x}, {DNNL_ARG_SRC_1, other}, {DNNL_ARG_DST, y}},
                  description.scratchpad_desc());
    return y;
}

void Compiler::lower_activate(const Node& node) {
    const Tensor x = first_form(node.inputs[0]);
    define(node.output, activated(x, node.activation, is_free(x)));
}

void Compiler::lower_activate_grad(const Node& node) {
    // A derivative may be infinite at the zeros of a blocked layout's padding.
    const Tensor first = first_form(node.inputs[0]);
    const Tensor x = has_padding(first.desc) ? plain(node.inputs[0]) : first;
    const Tensor t = as(node.inputs[1], x.desc), y = make(x.desc);
    add_loop({x, t, y}, [f = node.activation, n = stored_elements(x.desc),
                         kernel = kernels_.activate_grad](float* const* a) {
        kernel({.x = a[0], .t = a[1], .out = a[2], .elements = n, .function = f});
    });
    define(node.output, y);
}

} // namespace latdyn::onednn
