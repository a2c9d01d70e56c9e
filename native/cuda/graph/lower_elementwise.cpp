// Arithmetic with broadcasting, functions and their derivatives.
#include "compiler.h"

namespace latdyn::cuda::graphs {

void Compiler::emit_elementwise(Elementwise p, int a, int b, int out) {
    add_step({a, b, out}, [=](const Run& run) {
        Elementwise q = p;
        q.a.data = run[a];
        q.b.data = b < 0 ? nullptr : run[b];
        q.out = run[out];
        q.rows = run.rows;
        elementwise(q);
    });
}

void Compiler::binary(const Node& node) {
    static const std::map<std::string, Combine> kinds = {{"add", Combine::add},
                                                         {"sub", Combine::sub},
                                                         {"mul", Combine::mul},
                                                         {"div", Combine::div},
                                                         {"greater", Combine::greater}};
    const auto broadcast = [&](int value, int storage) {
        if (shape(value) == shape(node.output) && channels_last(value) == channels_last(node.output))
            return operand(storage);
        const Indices from = broadcast_index(shape(value), shape(node.output));
        Indices index(from.size());
        for (size_t e = 0; e < from.size(); e++)
            index[place_in(node.output, static_cast<int64_t>(e))] = narrow(place_in(value, from[e]));
        Operand o = operand(storage);
        o.map = map_of(index);
        return o;
    };
    const int a = stored(node.inputs[0]), b = stored(node.inputs[1]), out = result(node);
    Elementwise p{};
    p.combine = kinds.at(node.op);
    p.activation = node.activation;
    p.a = broadcast(node.inputs[0], a);
    p.b = broadcast(node.inputs[1], b);
    p.elements = narrow(elements(node.output));
    emit_elementwise(p, a, b, out);
}

// activate, activateGrad.
void Compiler::activate(const Node& node) {
    const int x = stored(node.inputs[0], orders[node.output]);
    const int t = node.inputs.size() == 2 ? stored(node.inputs[1], orders[node.output]) : -1;
    const int out = result(node);
    Elementwise p{};
    p.combine = t < 0 ? Combine::apply : Combine::slope;
    p.activation = node.activation;
    p.a = operand(x);
    if (t >= 0)
        p.b = operand(t);
    p.elements = narrow(elements(node.output));
    emit_elementwise(p, x, t, out);
}

} // namespace latdyn::cuda::graphs
