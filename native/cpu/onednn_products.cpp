// Products with packed matrices, and attention: operands are read, and heads written, in place.
#include "onednn_compiler.h"

namespace latdyn::onednn {

Tensor Compiler::packed(const float* b, int64_t row, int64_t column, int64_t depth, int64_t columns) {
    const int64_t n = kernels_.packed_size(depth, columns);
    const Tensor panels{program_.add_constant(static_cast<size_t>(n) * sizeof(float)), row_major({n})};
    kernels_.pack(b, row, column, depth, columns, program_.buffers[panels.buffer].constant.get());
    return panels;
}

void Compiler::lower_linear(const Node& node) {
    const Value& weights = graph_.values[node.inputs[1]];
    const int64_t columns = weights.shape[0], depth = weights.shape[1];
    row::Product p{};
    p.depth = depth;
    p.columns = columns;
    p.rows = graph_.values[node.inputs[0]].elements() / depth;
    p.activation = node.activation;
    p.out_row = p.residual_row = columns;
    Strided a = side_by_side(node.inputs[0]);
    const auto rows = reshaped(shape(node.inputs[0]), a.stride, {p.rows, depth});
    if (!rows)
        a = {plain(node.inputs[0]), 0, {}};
    p.a_row = rows && p.rows > 1 ? (*rows)[0] : depth;
    const Tensor y = make(row_major(dims_of(node.output)));
    std::vector<Tensor> tensors{a.base, packed(weights.constant.data(), 1, depth, depth, columns), y};
    const bool has_bias = node.inputs.size() == 3, has_residual = node.residual >= 0;
    if (has_bias)
        tensors.push_back(packed(graph_.values[node.inputs[2]].constant.data(), 0, 1, 1, columns));
    if (has_residual)
        tensors.push_back(plain(node.residual));
    add_loop(std::move(tensors),
             [p, has_bias, has_residual, offset = a.offset, kernel = kernels_.product](float* const* t) {
                 row::Product call = p;
                 call.a = t[0] + offset;
                 call.panels = t[1];
                 call.out = t[2];
                 call.bias = has_bias ? t[3] : nullptr;
                 call.residual = has_residual ? t[has_bias ? 4 : 3] : nullptr;
                 kernel(call);
             });
    define(node.output, y);
}

std::vector<int64_t> Compiler::matrix_offsets(const std::vector<int64_t>& extent, const Strided& view,
                                              const std::vector<int64_t>& batch) const {
    std::vector<int64_t> offsets{view.offset};
    for (size_t axis = 0; axis < batch.size(); ++axis) {
        const size_t missing = batch.size() + 2 - extent.size();
        const int64_t step = axis < missing || extent[axis - missing] == 1 ? 0 : view.stride[axis - missing];
        std::vector<int64_t> next;
        for (int64_t offset : offsets)
            for (int64_t i = 0; i < batch[axis]; ++i)
                next.push_back(offset + i * step);
        offsets = std::move(next);
    }
    return offsets;
}

void Compiler::lower_matmul(const Node& node) {
    const std::vector<int64_t>&as = shape(node.inputs[0]), &bs = shape(node.inputs[1]),
          &ys = shape(node.output);
    const std::vector<int64_t> batch(ys.begin(), ys.end() - 2);
    const Strided a = side_by_side(node.inputs[0]), b = strided(node.inputs[1]);
    row::Product p{};
    p.rows = ys[ys.size() - 2];
    p.columns = ys.back();
    p.depth = as.back();
    p.a_row = a.stride[as.size() - 2];
    p.out_row = p.columns;
    p.activation = node.activation;
    const int64_t b_row = b.stride[bs.size() - 2], b_column = b.stride.back();
    const Tensor y = make(row_major(dims_of(node.output)));
    add_loop({a.base, b.base, y, scratch(kernels_.packed_size(p.depth, p.columns))},
             [p, b_row, b_column, a_at = matrix_offsets(as, a, batch), b_at = matrix_offsets(bs, b, batch),
              &kernels = kernels_](float* const* t) {
                 row::Product call = p;
                 call.panels = t[3];
                 for (size_t i = 0; i < a_at.size(); ++i) {
                     if (i == 0 || b_at[i] != b_at[i - 1])
                         kernels.pack(t[1] + b_at[i], b_row, b_column, p.depth, p.columns, t[3]);
                     call.a = t[0] + a_at[i];
                     call.out = t[2] + static_cast<int64_t>(i) * p.rows * p.columns;
                     kernels.product(call);
                 }
             });
    define(node.output, y);
}

std::optional<std::vector<int64_t>> Compiler::wanted_order(int value) const {
    if (readers_[value].size() != 1 || value == graph_.output)
        return std::nullopt;
    const Node& reader = graph_.nodes[readers_[value][0]];
    if (reader.op != "transpose")
        return std::nullopt;
    auto permutation = reader.ints("permutation");
    if (permutation.back() + 1 != static_cast<int64_t>(permutation.size()))
        return std::nullopt;
    return permutation;
}

void Compiler::lower_attention(const Node& node) {
    const std::vector<int64_t>&qs = shape(node.inputs[0]), &ks = shape(node.inputs[1]),
          &vs = shape(node.inputs[2]), &ys = shape(node.output);
    const size_t rank = qs.size();
    const std::vector<int64_t> batch(qs.begin(), qs.end() - 2);
    const Strided q = side_by_side(node.inputs[0]), k = side_by_side(node.inputs[1]),
                  v = side_by_side(node.inputs[2]);
    // Heads are written where the transpose behind them wants them.
    Strided y{make(row_major({1, graph_.values[node.output].elements()})), 0, dense_strides(ys)};
    const auto order = wanted_order(node.output);
    if (order) {
        std::vector<int64_t> extent;
        for (int64_t axis : *order)
            extent.push_back(ys[axis]);
        const auto dense = dense_strides(extent);
        for (size_t i = 0; i < rank; ++i)
            y.stride[(*order)[i]] = dense[i];
    }
    row::Attention p{};
    p.targets = qs[rank - 2];
    p.sources = ks[rank - 2];
    p.depth = qs.back();
    p.width = vs.back();
    p.q_row = q.stride[rank - 2];
    p.k_row = k.stride[rank - 2];
    p.v_row = v.stride[rank - 2];
    p.out_row = y.stride[rank - 2];
    p.scale = static_cast<float>(node.number("scale"));
    std::vector<Tensor> tensors{q.base, k.base, v.base, y.base,
                                scratch(kernels_.attention_scratch(p.sources, p.depth, p.width))};
    std::vector<int64_t> bias_at;
    if (node.inputs.size() == 4) {
        std::vector<int64_t> extent = shape(node.inputs[3]);
        extent.insert(extent.begin(), rank - extent.size(), 1);
        const Tensor bias = plain(node.inputs[3]);
        const Strided dense{bias, 0, dense_strides(extent)};
        p.bias_row = extent[rank - 2] > 1 ? dense.stride[rank - 2] : 0;
        p.bias_column = extent[rank - 1] > 1 ? 1 : 0;
        bias_at = matrix_offsets(extent, dense, batch);
        tensors.push_back(bias);
    }
    add_loop(std::move(tensors),
             [p, bias_at, q_at = matrix_offsets(qs, q, batch), k_at = matrix_offsets(ks, k, batch),
              v_at = matrix_offsets(vs, v, batch), y_at = matrix_offsets(ys, y, batch),
              kernel = kernels_.attention](float* const* t) {
                 row::Attention call = p;
                 call.scratch = t[4];
                 for (size_t head = 0; head < q_at.size(); ++head) {
                     call.q = t[0] + q_at[head];
                     call.k = t[1] + k_at[head];
                     call.v = t[2] + v_at[head];
                     call.out = t[3] + y_at[head];
                     call.bias = bias_at.empty() ? nullptr : t[5] + bias_at[head];
                     kernel(call);
                 }
             });
    if (order)
        define_view(node.output, y);
    else
        define(node.output, view(y.base, row_major(dims_of(node.output))));
}

} // namespace latdyn::onednn
