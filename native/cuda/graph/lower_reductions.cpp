// Normalisation, pooling, means, and derivatives of them.
#include "compiler.h"

#include <algorithm>

namespace latdyn::cuda::graphs {

void Compiler::norm(const Node& node) {
    const Shape& s = shape(node.output);
    const int64_t n = elements(node.output), groups = norm_groups(node, s), size = n / groups;
    const bool derivative = node.op == "groupNormGrad" || node.op == "layerNormGrad";
    const bool of_channels = node.op == "groupNorm" || node.op == "groupNormGrad";
    const int x = stored(node.inputs[0], orders[node.output]);
    const int t = derivative ? stored(node.inputs[1], orders[node.output]) : -1;
    const int scale = derivative ? -1 : stored(node.inputs[1], Order::row_major);
    const int bias = derivative ? -1 : stored(node.inputs[2], Order::row_major);
    const int out = result(node);
    Norm p{};
    p.x_row = row_of(x);
    p.t_row = t < 0 ? 0 : row_of(t);
    p.epsilon = static_cast<float>(node.number("epsilon"));
    p.activation = node.activation;
    p.elements = narrow(n);
    p.groups = narrow(groups);
    p.points = of_channels ? narrow(n / s[0]) : 1;
    p.group_factors = of_channels ? narrow(s[0] / groups) : 0;
    if (channels_last(node.output)) {
        p.segments = p.points;
        p.length = p.group_step = p.group_factors;
        p.segment_step = narrow(s[0]);
        p.by_position = true;
    } else {
        p.segments = 1;
        p.length = p.group_step = narrow(size);
        p.by_position = !of_channels;
    }
    add_step({x, t, out}, [=](const Run& run) {
        Norm q = p;
        q.x = run[x];
        q.t = t < 0 ? nullptr : run[t];
        q.scale = scale < 0 ? nullptr : run[scale];
        q.bias = bias < 0 ? nullptr : run[bias];
        q.out = run[out];
        q.rows = run.rows;
        cuda::norm(q);
    });
}

Steps Compiler::steps_of(int value) const {
    const Shape& s = shape(value);
    if (channels_last(value))
        return {1, narrow(s[2] * s[0]), narrow(s[0])};
    return {narrow(s[1] * s[2]), narrow(s[2]), 1};
}

void Compiler::pool(const Node& node) {
    static const std::map<std::string, PoolKind> kinds = {{"maxPool", PoolKind::max},
                                                          {"averagePool", PoolKind::average},
                                                          {"maxPoolGrad", PoolKind::max_grad},
                                                          {"maxPoolAdjoint", PoolKind::max_adjoint}};
    const PoolKind kind = kinds.at(node.op);
    const bool adjoint = kind == PoolKind::max_adjoint;
    const int whole = adjoint ? node.output : node.inputs[0];
    const int pooled = adjoint ? node.inputs[1] : node.output;
    const int x = stored(node.inputs[0], orders[whole]);
    const int t = node.inputs.size() == 2 ? stored(node.inputs[1], orders[adjoint ? pooled : whole]) : -1;
    const int out = result(node);
    const auto kernel = node.ints("kernel"), strides = node.ints("strides"), pads = node.ints("pads"),
               dilations = node.ints("dilations");
    Pool p{};
    p.x = operand(x);
    if (t >= 0)
        p.t = operand(t);
    const Shape &xs = shape(whole), &ys = shape(pooled);
    p.channels = narrow(xs[0]), p.height = narrow(xs[1]), p.width = narrow(xs[2]);
    p.out_height = narrow(ys[1]), p.out_width = narrow(ys[2]);
    p.kernel_h = narrow(kernel[0]), p.kernel_w = narrow(kernel[1]);
    p.stride_h = narrow(strides[0]), p.stride_w = narrow(strides[1]);
    p.dilation_h = narrow(dilations[0]), p.dilation_w = narrow(dilations[1]);
    p.top = narrow(pads[0]), p.left = narrow(pads[1]);
    p.bottom = narrow(pads[2]), p.right = narrow(pads[3]);
    p.count_include_pad = kind == PoolKind::average && node.integer("countIncludePad") != 0;
    p.whole = steps_of(whole);
    p.pooled = steps_of(pooled);
    p.channels_last = channels_last(node.output);
    add_launch(p, x, t, out, [kind](const Pool& q) { cuda::pool(kind, q); });
}

void Compiler::mean(const Node& node) {
    const int value = node.inputs[0];
    const Shape& xs = shape(value);
    std::vector<bool> reduced(xs.size());
    for (int64_t axis : node.ints("axes"))
        reduced[axis] = true;
    // Where elements of the kept axes and of the reduced ones are, the others being 0: places add up.
    Indices kept(elements(node.output)), others;
    int64_t e = 0;
    for (int64_t i = 0; i < elements(value); i++) {
        bool at_kept = true, at_reduced = true;
        int64_t rest = i;
        for (size_t axis = xs.size(); axis-- > 0; rest /= xs[axis])
            if (rest % xs[axis] != 0)
                (reduced[axis] ? at_kept : at_reduced) = false;
        if (at_kept)
            kept[place_in(node.output, e++)] = narrow(place_in(value, i));
        if (at_reduced)
            others.push_back(narrow(place_in(value, i)));
    }
    std::sort(others.begin(), others.end());
    const int x = stored(value), out = result(node);
    Mean p{};
    p.x = operand(x);
    p.x.map = map_of(kept);
    p.reduced = map_of(others);
    p.elements = narrow(elements(node.output));
    p.count = narrow(static_cast<int64_t>(others.size()));
    p.side_by_side = others.size() >= 16 && others[1] == 1;
    add_step({x, out}, [=](const Run& run) {
        Mean q = p;
        q.x.data = run[x];
        q.out = run[out];
        q.rows = run.rows;
        cuda::mean(q);
    });
}

} // namespace latdyn::cuda::graphs
