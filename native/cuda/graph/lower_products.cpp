// Convolutions, linear layers and products of activations.
#include "compiler.h"

#include <algorithm>

namespace latdyn::cuda::graphs {

void Compiler::window(const Node& node, const WindowShape& shape, const std::vector<float>& weights,
                      const std::vector<float>& bias, int x, int out) {
    const int residual = node.residual < 0 ? -1 : stored(node.residual, orders[node.output]);
    plan->windows.push_back(std::make_unique<Window>(shape, weights, bias, node.activation, precision));
    const Window* w = plan->windows.back().get();
    weight_bytes += w->weight_bytes();
    add_step(
        {x, residual, out},
        [=](const Run& run) { w->run(run[x], residual < 0 ? nullptr : run[residual], run[out], run.rows); },
        w->launches());
}

std::vector<float> Compiler::bias_of(const Node& node) const {
    return node.inputs.size() == 3 ? graph.values[node.inputs[2]].constant : std::vector<float>();
}

void Compiler::convolution(const Node& node) {
    const Shape &xs = shape(node.inputs[0]), &ys = shape(node.output), &ws = shape(node.inputs[1]);
    const auto strides = node.ints("strides"), pads = node.ints("pads"), dilations = node.ints("dilations");
    WindowShape s;
    s.channels = narrow(xs[0]), s.height = narrow(xs[1]), s.width = narrow(xs[2]);
    s.out_channels = narrow(ys[0]), s.out_height = narrow(ys[1]), s.out_width = narrow(ys[2]);
    s.groups = narrow(node.integer("groups"));
    s.kernel_h = narrow(ws[2]), s.kernel_w = narrow(ws[3]);
    s.stride_h = narrow(strides[0]), s.stride_w = narrow(strides[1]);
    s.dilation_h = narrow(dilations[0]), s.dilation_w = narrow(dilations[1]);
    s.top = narrow(pads[0]), s.left = narrow(pads[1]);
    s.transposed = node.op == "convTranspose";
    const int x = dense(node.inputs[0], Order::channels_last);
    window(node, s, graph.values[node.inputs[1]].constant, bias_of(node), x, result(node));
}

int Compiler::image_of_output(const Node& node) const {
    const auto& first = readers[node.output];
    if (node.output == graph.output || first.size() != 1 || first[0].node->op != "reshape")
        return -1;
    const int image = first[0].node->output;
    const auto& second = readers[image];
    const bool convolved = std::all_of(second.begin(), second.end(), [](const Reader& r) {
        return r.input == 0 && (r.node->op == "conv" || r.node->op == "convTranspose");
    });
    return order_matters(shape(image)) && image != graph.output && convolved ? image : -1;
}

int Compiler::image_of_input(const Node& node) const {
    int value = node.inputs[0];
    for (auto it = shape_of.find(value); it != shape_of.end(); it = shape_of.find(value)) {
        if (is_stored(value, Order::row_major))
            return -1;
        value = it->second;
    }
    const bool only = is_stored(value, Order::channels_last) && !is_stored(value, Order::row_major);
    return only && !is_constant(value) ? value : -1;
}

// Where a layer's one vector is an image under another shape, the weights follow the image's order, and
// nothing is moved.
void Compiler::linear(const Node& node) {
    const Value& weights = graph.values[node.inputs[1]];
    const int64_t outputs = weights.shape[0], inputs = weights.shape[1];
    WindowShape s;
    s.height = s.out_height = narrow(elements(node.output) / outputs);
    s.channels = narrow(inputs), s.out_channels = narrow(outputs);
    const bool one = s.height == 1;
    const int from = one ? image_of_input(node) : -1;
    const int to = one && node.residual < 0 ? image_of_output(node) : -1;
    const auto placed = [&](int image, int64_t e) {
        return image < 0 ? e : place(shape(image), Order::channels_last, e);
    };
    const std::vector<float> bias = bias_of(node);
    std::vector<float> w(weights.constant.size()), b(bias.size());
    for (int64_t o = 0; o < outputs; o++) {
        const int64_t row = placed(to, o);
        for (int64_t i = 0; i < inputs; i++)
            w[row * inputs + placed(from, i)] = weights.constant[o * inputs + i];
        if (!bias.empty())
            b[row] = bias[o];
    }
    const int x = from < 0 ? dense(node.inputs[0], Order::row_major) : stored(from, Order::channels_last);
    const int out = to < 0 ? result(node) : add_storage(outputs);
    if (to >= 0)
        storage_of[{to, Order::channels_last}] = out;
    window(node, s, w, b, x, out);
}

void Compiler::matmul(const Node& node) {
    const Shape &as = shape(node.inputs[0]), &bs = shape(node.inputs[1]), &ys = shape(node.output);
    const int a = stored(node.inputs[0], Order::row_major), b = stored(node.inputs[1], Order::row_major);
    const int out = result(node);
    MatmulShape s;
    s.m = ys[ys.size() - 2], s.n = ys.back(), s.inner = as.back();
    s.a_row = row_of(a), s.b_row = row_of(b);
    const Shape batch(ys.begin(), ys.end() - 2);
    s.a_offset = broadcast_index(Shape(as.begin(), as.end() - 2), batch);
    s.b_offset = broadcast_index(Shape(bs.begin(), bs.end() - 2), batch);
    for (int32_t& offset : s.a_offset)
        offset *= narrow(s.m * s.inner);
    for (int32_t& offset : s.b_offset)
        offset *= narrow(s.inner * s.n);
    plan->matmuls.push_back(std::make_unique<Matmul>(s, node.activation, precision));
    const Matmul* m = plan->matmuls.back().get();
    weight_bytes += m->table_bytes();
    add_step({a, b, out}, [=](const Run& run) { m->run(run[a], run[b], run[out], run.rows); });
}

} // namespace latdyn::cuda::graphs
