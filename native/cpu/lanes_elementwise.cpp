// Arithmetic and activations, with their derivatives.
#include "lanes_compiler.h"

namespace latdyn::lanes {

void Compiler::binary(const Node& node) {
    const auto op = node.op == "add"   ? BinaryOp::add
                    : node.op == "sub" ? BinaryOp::sub
                    : node.op == "mul" ? BinaryOp::mul
                    : node.op == "div" ? BinaryOp::div
                                       : BinaryOp::greater;
    struct Operand {
        int buffer = -1;
        Indices index;
        std::vector<float> constant;
    };
    const Shape& ys = shape(node.output);
    const int64_t n = graph.values[node.output].elements();
    const auto operand = [&](int value) {
        Operand o;
        const Indices from = broadcast_index(shape(value), ys);
        if (is_constant(value)) {
            o.constant.resize(n);
            for (int64_t e = 0; e < n; e++)
                o.constant[place(node.output, e)] = graph.values[value].constant[from[e]];
            return o;
        }
        o.buffer = stored(value);
        o.index.resize(n);
        bool same = true;
        for (int64_t e = 0; e < n; e++) {
            const int64_t at = place(node.output, e);
            o.index[at] = narrow(place(value, from[e]));
            same = same && o.index[at] == at;
        }
        if (same)
            o.index.clear();
        return o;
    };
    Operand a = operand(node.inputs[0]), b = operand(node.inputs[1]);
    const int out = result(node);
    add_step({a.buffer, b.buffer}, out,
             [=, activation = node.activation, a = std::move(a), b = std::move(b),
              k = kernels.binary](const Arena& arena) {
                 const auto at = [&](const Operand& o) { return o.buffer < 0 ? nullptr : arena[o.buffer]; };
                 const auto list = [](const auto& v) { return v.empty() ? nullptr : v.data(); };
                 k({op, at(a), at(b), list(a.index), list(b.index), list(a.constant), list(b.constant),
                    arena[out], narrow(n), activation, arena.tile});
             });
}

void Compiler::activate(const Node& node) {
    const int x = stored(node.inputs[0], orders[node.output]);
    const int out = result(node);
    const int32_t n = narrow(graph.values[node.output].elements());
    add_step({x}, out, [=, activation = node.activation, k = kernels.activate](const Arena& a) {
        k({a[x], a[out], n, activation, a.tile});
    });
}

void Compiler::activate_grad(const Node& node) {
    const int x = stored(node.inputs[0], orders[node.output]),
              t = stored(node.inputs[1], orders[node.output]);
    const int out = result(node);
    const int32_t n = narrow(graph.values[node.output].elements());
    add_step({x, t}, out, [=, function = node.activation, k = kernels.activate_grad](const Arena& a) {
        k({a[x], a[t], a[out], n, function, a.tile});
    });
}

} // namespace latdyn::lanes
