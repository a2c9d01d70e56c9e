// Normalisations, softmax and top-k masks.
#include "onednn_compiler.h"

namespace latdyn::onednn {

void Compiler::lower_group_norm(const Node& node) {
    const int64_t channels = shape(node.inputs[0])[0];
    const Tensor x =
        walkable(node.inputs[0], [this](int64_t block) { return block == 1 || block % kernels_.width == 0; });
    row::GroupNorm p{};
    p.channels = channels;
    p.points = graph_.values[node.inputs[0]].elements() / channels;
    p.block = channel_block(x.desc);
    p.groups = node.integer("groups");
    p.epsilon = node.number("epsilon");
    p.activation = node.activation;
    const Tensor y = is_free(x) ? x : make(x.desc);
    const Tensor moments = scratch(2 * channels * static_cast<int64_t>(sizeof(double) / sizeof(float)));
    add_loop({x, plain(node.inputs[1]), plain(node.inputs[2]), y, moments},
             [p, kernel = kernels_.group_norm](float* const* t) {
                 row::GroupNorm call = p;
                 call.x = t[0];
                 call.scale = t[1];
                 call.bias = t[2];
                 call.out = t[3];
                 call.moments = reinterpret_cast<double*>(t[4]);
                 kernel(call);
             });
    define(node.output, y);
}

void Compiler::lower_layer_norm(const Node& node) {
    row::LayerNorm p{};
    p.size = graph_.values[node.inputs[1]].elements();
    p.rows = graph_.values[node.output].elements() / p.size;
    p.epsilon = node.number("epsilon");
    p.activation = node.activation;
    const Tensor y = make(row_major(dims_of(node.output)));
    add_loop({plain(node.inputs[0]), plain(node.inputs[1]), plain(node.inputs[2]), y},
             [p, kernel = kernels_.layer_norm](float* const* t) {
                 row::LayerNorm call = p;
                 call.x = t[0];
                 call.scale = t[1];
                 call.bias = t[2];
                 call.out = t[3];
                 kernel(call);
             });
    define(node.output, y);
}

void Compiler::lower_softmax(const Node& node) {
    const Tensor y = make(row_major(dims_of(node.output)));
    add_loop({plain(node.inputs[0]), y}, [rows = rows_of(node.output), size = last_axis(node.output),
                                          kernel = kernels_.softmax](float* const* t) {
        kernel({t[0], t[1], rows, size});
    });
    define(node.output, y);
}

void Compiler::lower_softmax_grad(const Node& node) {
    const Tensor y = make(row_major(dims_of(node.output)));
    add_loop({plain(node.inputs[0]), plain(node.inputs[1]), y},
             [rows = rows_of(node.output), size = last_axis(node.output),
              kernel = kernels_.softmax_grad](float* const* t) {
                 kernel({t[0], t[1], t[2], rows, size});
             });
    define(node.output, y);
}

void Compiler::lower_top_k_mask(const Node& node) {
    const Tensor y = make(row_major(dims_of(node.output)));
    add_loop({plain(node.inputs[0]), y},
             [rows = rows_of(node.output), size = last_axis(node.output), k = node.integer("k"),
              kernel = kernels_.top_k_mask](float* const* t) {
                 kernel({t[0], t[1], rows, size, k});
             });
    define(node.output, y);
}

void Compiler::lower_norm_grad(const Node& node) {
    const std::vector<int64_t>& s = shape(node.output);
    int64_t rows = 1;
    if (node.op == "groupNormGrad")
        rows = node.integer("groups");
    else
        for (size_t i = 0; i + node.integer("dimensions") < s.size(); ++i)
            rows *= s[i];
    const Tensor y = make(row_major(dims_of(node.output)));
    add_loop({plain(node.inputs[0]), plain(node.inputs[1]), y},
             [rows, size = graph_.values[node.output].elements() / rows, epsilon = node.number("epsilon"),
              kernel = kernels_.norm_grad](float* const* t) {
                 kernel({t[0], t[1], t[2], rows, size, epsilon});
             });
    define(node.output, y);
}

} // namespace latdyn::onednn
