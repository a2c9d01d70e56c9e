// Softmax, its derivative, top-k masks and attention.
#include "compiler.h"

namespace latdyn::cuda::graphs {

void Compiler::sequences(const Node& node) {
    const int x = stored(node.inputs[0], Order::row_major);
    const int t = node.inputs.size() == 2 ? stored(node.inputs[1], Order::row_major) : -1;
    const int out = result(node);
    Sequences p{};
    p.x = operand(x);
    if (t >= 0)
        p.t = operand(t);
    p.size = narrow(shape(node.output).back());
    p.outer = narrow(elements(node.output) / p.size);
    if (node.op == "topKMask")
        p.k = narrow(node.integer("k"));
    const auto kernel = node.op == "softmax" ? softmax : node.op == "topKMask" ? top_k_mask : softmax_grad;
    add_launch(p, x, t, out, kernel);
}

void Compiler::attention(const Node& node) {
    const Shape &qs = shape(node.inputs[0]), &vs = shape(node.inputs[2]);
    const int q = stored(node.inputs[0], Order::row_major), k = stored(node.inputs[1], Order::row_major),
              v = stored(node.inputs[2], Order::row_major);
    Attention p{};
    p.q = operand(q), p.k = operand(k), p.v = operand(v);
    p.targets = narrow(qs[qs.size() - 2]), p.depth = narrow(qs.back());
    p.sources = narrow(vs[vs.size() - 2]), p.width = narrow(vs.back());
    p.batch = narrow(elements(node.inputs[0]) / qs.back()) / p.targets;
    p.scale = static_cast<float>(node.number("scale"));
    int bias = -1;
    if (node.inputs.size() == 4) {
        bias = stored(node.inputs[3], Order::row_major);
        Shape bs = shape(node.inputs[3]);
        bs.insert(bs.begin(), qs.size() - bs.size(), 1);
        const int64_t rows = bs[bs.size() - 2], columns = bs.back();
        p.bias_column = columns > 1 ? 1 : 0;
        p.bias_row = rows > 1 ? narrow(columns) : 0;
        Indices offsets = broadcast_index(Shape(bs.begin(), bs.end() - 2), Shape(qs.begin(), qs.end() - 2));
        for (int32_t& offset : offsets)
            offset *= narrow(rows * columns);
        p.bias_offset = upload_list(offsets);
    }
    const int out = result(node);
    add_step({q, k, v, out}, [=](const Run& run) {
        Attention a = p;
        a.q.data = run[q];
        a.k.data = run[k];
        a.v.data = run[v];
        a.bias = bias < 0 ? nullptr : run[bias];
        a.out = run[out];
        a.rows = run.rows;
        cuda::attention(a);
    });
}

} // namespace latdyn::cuda::graphs
