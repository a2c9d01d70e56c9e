// Normalisations, and what runs along the last axis.
#include "lanes_compiler.h"

#include <algorithm>
#include <numeric>

namespace latdyn::lanes {

Indices Compiler::grouped_elements(const Node& node) const {
    Indices elements(graph.values[node.output].elements());
    std::iota(elements.begin(), elements.end(), 0);
    const auto per_group = static_cast<ptrdiff_t>(elements.size()) / norm_groups(node, shape(node.output));
    for (auto group = elements.begin(); group != elements.end(); group += per_group)
        std::sort(group, group + per_group,
                  [&](int32_t i, int32_t j) { return place(node.output, i) < place(node.output, j); });
    return elements;
}

void Compiler::norm(const Node& node) {
    const int64_t n = graph.values[node.output].elements();
    const int64_t groups = norm_groups(node, shape(node.output)), per_group = n / groups;
    const auto &scale = graph.values[node.inputs[1]].constant, &bias = graph.values[node.inputs[2]].constant;
    // A channel of a groupNorm is the elements that share its scale; a layerNorm has one for each of a
    // group.
    const int64_t factors = static_cast<int64_t>(scale.size());
    const bool by_channel = node.op == "groupNorm";
    Indices members = grouped_elements(node);
    std::vector<float> scales(n), biases(n);
    for (int64_t i = 0; i < n; i++) {
        const int64_t factor = by_channel ? members[i] / (n / factors) : members[i] % factors;
        scales[i] = scale[factor];
        biases[i] = bias[factor];
        members[i] = narrow(place(node.output, members[i]));
    }
    const int x = stored(node.inputs[0], orders[node.output]);
    const int out = result(node);
    add_step({x}, out,
             [=, members = std::move(members), scales = std::move(scales), biases = std::move(biases),
              epsilon = static_cast<float>(node.number("epsilon")), activation = node.activation,
              k = kernels.group_norm](const Arena& a) {
                 k({a[x], a[out], members.data(), scales.data(), biases.data(), narrow(groups),
                    narrow(per_group), epsilon, activation, a.tile});
             });
}

void Compiler::norm_grad(const Node& node) {
    const int64_t groups = norm_groups(node, shape(node.output));
    Indices members = grouped_elements(node);
    const int64_t per_group = static_cast<int64_t>(members.size()) / groups;
    for (int32_t& m : members)
        m = narrow(place(node.output, m));
    const int x = stored(node.inputs[0], orders[node.output]),
              t = stored(node.inputs[1], orders[node.output]);
    const int out = result(node);
    add_step({x, t}, out,
             [=, members = std::move(members), epsilon = static_cast<float>(node.number("epsilon")),
              k = kernels.group_norm_grad](const Arena& a) {
                 k({a[x], a[t], a[out], members.data(), narrow(groups), narrow(per_group), epsilon, a.tile});
             });
}

Compiler::Rows Compiler::rows_of(int value) const {
    const int64_t size = shape(value).back();
    return {narrow(graph.values[value].elements() / size), narrow(size)};
}

void Compiler::softmax(const Node& node) {
    const int x = stored(node.inputs[0], Order::row_major), out = result(node);
    const Rows rows = rows_of(node.output);
    add_step({x}, out, [=, k = kernels.softmax](const Arena& a) {
        k({a[x], a[out], rows.outer, rows.size, a.tile});
    });
}

void Compiler::softmax_grad(const Node& node) {
    const int s = stored(node.inputs[0], Order::row_major), t = stored(node.inputs[1], Order::row_major);
    const int out = result(node);
    const Rows rows = rows_of(node.output);
    add_step({s, t}, out, [=, k = kernels.softmax_grad](const Arena& a) {
        k({a[s], a[t], a[out], rows.outer, rows.size, a.tile});
    });
}

void Compiler::top_k_mask(const Node& node) {
    const int x = stored(node.inputs[0], Order::row_major), out = result(node);
    const Rows rows = rows_of(node.output);
    add_step({x}, out, [=, count = narrow(node.integer("k")), k = kernels.top_k_mask](const Arena& a) {
        k({a[x], a[out], rows.outer, rows.size, count, a.tile});
    });
}

} // namespace latdyn::lanes
