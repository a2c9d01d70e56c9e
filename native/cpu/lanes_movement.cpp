// Copies: everything that only moves elements.
#include "lanes_compiler.h"

#include <numeric>

namespace latdyn::lanes {

void Compiler::emit_copy(int from, int out, Indices index, Indices to, float value) {
    // Without a list all of it, the rounding included.
    const int64_t n = index.empty() ? program.buffers[out].size : static_cast<int64_t>(index.size());
    add_step({from}, out,
             [=, index = std::move(index), to = std::move(to), k = kernels.copy](const Arena& a) {
                 k({a[from], a[out], index.empty() ? nullptr : index.data(), to.empty() ? nullptr : to.data(),
                    value, narrow(n), a.tile});
             });
}

void Compiler::emit_fill(int out, const std::vector<float>& values, Indices to) {
    add_step({}, out, [out, values, to = std::move(to), k = kernels.fill](const Arena& a) {
        k({values.data(), to.data(), a[out], narrow(static_cast<int64_t>(values.size())), a.tile});
    });
}

void Compiler::reshape(const Node& node) {
    const int value = node.inputs[0];
    const int64_t n = graph.values[value].elements();
    if (!is_constant(value) && !order_matters(node.output)) {
        // Row-major elements keep their place: the same memory under another shape.
        buffer_of[{node.output, Order::row_major}] = stored(value, Order::row_major);
        return;
    }
    Indices index(n);
    for (int64_t e = 0; e < n; e++)
        index[place(node.output, e)] = narrow(place(value, e));
    const int from = stored(value);
    emit_copy(from, result(node), std::move(index), {}, 0);
}

void Compiler::concat(const Node& node) {
    const Shape& ys = shape(node.output);
    const int64_t axis = node.integer("axis");
    const int64_t after = std::accumulate(ys.begin() + axis + 1, ys.end(), int64_t{1}, std::multiplies<>());
    int64_t start = 0;
    std::vector<int> sources;
    for (int value : node.inputs)
        sources.push_back(is_constant(value) ? -1 : stored(value));
    const int out = result(node);
    for (size_t i = 0; i < node.inputs.size(); i++) {
        const int value = node.inputs[i];
        const int64_t n = graph.values[value].elements(), extent = shape(value)[axis];
        Indices from(n), to(n);
        for (int64_t e = 0; e < n; e++) {
            const int64_t outer = e / (extent * after), along = e / after % extent, inner = e % after;
            to[e] = narrow(place(node.output, (outer * ys[axis] + start + along) * after + inner));
            if (sources[i] >= 0)
                from[e] = narrow(place(value, e));
        }
        if (sources[i] < 0)
            emit_fill(out, graph.values[value].constant, std::move(to));
        else
            emit_copy(sources[i], out, std::move(from), std::move(to), 0);
        start += extent;
    }
}

void Compiler::movement(const Node& node) {
    const Indices sources = movement_index(node, shape(node.inputs[0]), shape(node.output));
    Indices index(sources.size());
    for (size_t e = 0; e < sources.size(); e++)
        index[place(node.output, static_cast<int64_t>(e))] =
            sources[e] < 0 ? -1 : narrow(place(node.inputs[0], sources[e]));
    const int from = stored(node.inputs[0]);
    const float value = node.op == "pad" ? static_cast<float>(node.number("value")) : 0.0f;
    emit_copy(from, result(node), std::move(index), {}, value);
}

} // namespace latdyn::lanes
