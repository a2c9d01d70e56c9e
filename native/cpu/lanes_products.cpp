// Convolutions, matrix products and attention.
#include "lanes_compiler.h"

#include <array>

namespace latdyn::lanes {

namespace {

// Along one axis: which kernel index meets which input index, per output index.
using AxisTaps = std::vector<std::vector<std::array<int64_t, 2>>>;

AxisTaps convolution_taps(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t pad,
                          int64_t dilation) {
    AxisTaps taps(out);
    for (int64_t o = 0; o < out; o++)
        for (int64_t k = 0; k < kernel; k++) {
            const int64_t i = o * stride - pad + k * dilation;
            if (i >= 0 && i < in)
                taps[o].push_back({k, i});
        }
    return taps;
}

AxisTaps transposed_taps(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t pad,
                         int64_t dilation) {
    AxisTaps taps(out);
    for (int64_t o = 0; o < out; o++)
        for (int64_t k = kernel - 1; k >= 0; k--) {
            const int64_t scaled = o + pad - k * dilation;
            if (scaled >= 0 && scaled % stride == 0 && scaled / stride < in)
                taps[o].push_back({k, scaled / stride});
        }
    return taps;
}

} // namespace

void Compiler::emit_gather(const Node& node, int x, int out, std::shared_ptr<GatherTables> tables,
                           int64_t columns, int64_t channels, int64_t groups, int64_t x_per_group,
                           std::function<float(int64_t column, int64_t channel)> weight) {
    tables->bias.assign(channels, 0.0f);
    if (node.inputs.size() == 3)
        tables->bias = graph.values[node.inputs[2]].constant;
    weight_bytes += static_cast<size_t>(columns * channels + channels) * sizeof(float);
    packers.push_back([this, tables, columns, channels, groups, x_per_group, weight = std::move(weight)] {
        const int64_t widest = info.tile_rows == 16 ? kernels.widest_block_16 : kernels.widest_block_32;
        const int64_t per_group = channels / groups;
        for (int64_t group = 0; group < groups; group++)
            for (int64_t first = 0; first < per_group;) {
                int64_t width = widest;
                while (width > per_group - first)
                    width /= 2;
                const int64_t channel = group * per_group + first;
                tables->blocks.push_back(
                    {narrow(channel), narrow(width), narrow(group * x_per_group), tables->weights.size()});
                for (int64_t column = 0; column < columns; column++)
                    for (int64_t c = 0; c < width; c++)
                        tables->weights.push_back(weight(column, channel + c));
                first += width;
            }
    });
    const int residual = node.residual < 0 ? -1 : stored(node.residual, orders[node.output]);
    add_step({x, residual}, out,
             [=, activation = node.activation, elements = narrow(graph.values[node.output].elements()),
              k = kernels.gather](const Arena& a) {
                 k({a[x], a[out], residual < 0 ? nullptr : a[residual], tables->weights.data(),
                    tables->bias.data(), tables->blocks.data(),
                    narrow(static_cast<int64_t>(tables->blocks.size())), tables->runs.data(),
                    narrow(static_cast<int64_t>(tables->runs.size())), tables->taps.data(), activation,
                    elements, a.tile});
             });
}

void Compiler::convolution(const Node& node) {
    const bool transposed = node.op == "convTranspose";
    const Shape &xs = shape(node.inputs[0]), &ys = shape(node.output);
    const auto& weights = graph.values[node.inputs[1]];
    const Shape& ws = weights.shape;
    const auto strides = node.ints("strides"), pads = node.ints("pads"), dilations = node.ints("dilations");
    const int64_t groups = node.integer("groups");
    const auto along = transposed ? transposed_taps : convolution_taps;
    const AxisTaps rows = along(xs[1], ys[1], ws[2], strides[0], pads[0], dilations[0]);
    const AxisTaps columns = along(xs[2], ys[2], ws[3], strides[1], pads[1], dilations[1]);
    const int64_t in_group = xs[0] / groups, out_group = ys[0] / groups;

    auto tables = std::make_shared<GatherTables>();
    // Output columns with the same taps, relative to where they start, are one run.
    std::map<std::vector<int64_t>, std::vector<int64_t>> classes;
    for (int64_t ow = 0; ow < ys[2]; ow++) {
        std::vector<int64_t> signature;
        for (const auto& [k, i] : columns[ow]) {
            signature.push_back(k);
            signature.push_back(i - columns[ow][0][1]);
        }
        classes[signature].push_back(ow);
    }
    for (int64_t oh = 0; oh < ys[1]; oh++)
        for (const auto& [signature, members] : classes) {
            const int tap_begin = static_cast<int>(tables->taps.size());
            const auto& taps_w = columns[members[0]];
            const int64_t x_row = rows[oh].empty() ? 0 : rows[oh][0][1];
            const auto start = [&](int64_t ow) { return columns[ow].empty() ? 0 : columns[ow][0][1]; };
            for (const auto& [kh, ih] : rows[oh])
                for (const auto& [kw, iw] : taps_w) {
                    const Tap tap{narrow(((ih - x_row) * xs[2] + iw - start(members[0])) * xs[0]),
                                  narrow((kh * ws[3] + kw) * in_group), narrow(in_group)};
                    // Taps that follow one another on both sides are one longer reduction.
                    if (static_cast<int>(tables->taps.size()) > tap_begin) {
                        Tap& last = tables->taps.back();
                        if (last.x + last.length == tap.x && last.weight + last.length == tap.weight) {
                            last.length += tap.length;
                            continue;
                        }
                    }
                    tables->taps.push_back(tap);
                }
            const int tap_end = static_cast<int>(tables->taps.size());
            for (size_t m = 0; m < members.size();) {
                const int64_t ow = members[m];
                int64_t step = 1, x_step = 0, count = 1;
                if (m + 1 < members.size()) {
                    step = members[m + 1] - ow;
                    x_step = start(members[m + 1]) - start(ow);
                    while (m + count < members.size() && members[m + count] == ow + count * step &&
                           start(members[m + count]) == start(ow) + count * x_step)
                        count++;
                }
                tables->runs.push_back({narrow((oh * ys[2] + ow) * ys[0]), narrow(step * ys[0]),
                                        narrow((x_row * xs[2] + start(ow)) * xs[0]), narrow(x_step * xs[0]),
                                        narrow(count), tap_begin, tap_end});
                m += count;
            }
        }
    const auto* w = &weights.constant;
    const int64_t area = ws[2] * ws[3];
    auto weight = [=](int64_t column, int64_t channel) {
        const int64_t tap = column / in_group, ic = column % in_group;
        if (!transposed)
            return (*w)[(channel * in_group + ic) * area + tap];
        const int64_t group = channel / out_group;
        return (*w)[((group * in_group + ic) * out_group + channel % out_group) * area + tap];
    };
    const int x = stored(node.inputs[0], Order::channels_last);
    emit_gather(node, x, result(node), tables, area * in_group, ys[0], groups, in_group, weight);
}

void Compiler::linear(const Node& node) {
    const auto& weights = graph.values[node.inputs[1]];
    const int64_t in = weights.shape[1], out = weights.shape[0];
    auto tables = std::make_shared<GatherTables>();
    tables->taps.push_back({0, 0, narrow(in)});
    tables->runs.push_back(
        {0, narrow(out), 0, narrow(in), narrow(graph.values[node.output].elements() / out), 0, 1});
    const auto* w = &weights.constant;
    const int x = stored(node.inputs[0], Order::row_major);
    orders[node.output] = Order::row_major;
    emit_gather(node, x, result(node), tables, in, out, 1, in,
                [=](int64_t column, int64_t channel) { return (*w)[channel * in + column]; });
}

void Compiler::product(const Node& node) {
    const Shape as = shape(node.inputs[0]), bs = shape(node.inputs[1]), ys = shape(node.output);
    const int64_t m = ys[ys.size() - 2], n = ys.back(), inner = as.back();
    const Shape batch(ys.begin(), ys.end() - 2);
    Indices a_offset = broadcast_index(Shape(as.begin(), as.end() - 2), batch);
    Indices b_offset = broadcast_index(Shape(bs.begin(), bs.end() - 2), batch);
    for (int32_t& v : a_offset)
        v *= narrow(m * inner);
    for (int32_t& v : b_offset)
        v *= narrow(inner * n);
    const int a = stored(node.inputs[0], Order::row_major), b = stored(node.inputs[1], Order::row_major);
    orders[node.output] = Order::row_major;
    const int out = result(node);
    add_step({a, b}, out,
             [=, a_offset = std::move(a_offset), b_offset = std::move(b_offset), activation = node.activation,
              k = kernels.matmul](const Arena& arena) {
                 k({arena[a], arena[b], arena[out], a_offset.data(), b_offset.data(),
                    narrow(static_cast<int64_t>(a_offset.size())), narrow(m), narrow(inner), narrow(n),
                    narrow(inner), 1, narrow(n), 1, activation, arena.tile});
             });
}

void Compiler::attention(const Node& node) {
    const Shape &qs = shape(node.inputs[0]), &vs = shape(node.inputs[2]);
    const Rows q_rows = rows_of(node.inputs[0]), v_rows = rows_of(node.inputs[2]);
    const int32_t targets = narrow(qs[qs.size() - 2]), sources = narrow(vs[vs.size() - 2]);
    const int32_t batch = q_rows.outer / targets;
    std::vector<float> bias;
    Indices bias_offset;
    int32_t bias_row = 0, bias_column = 0;
    if (node.inputs.size() == 4) {
        bias = graph.values[node.inputs[3]].constant;
        Shape bs = shape(node.inputs[3]);
        bs.insert(bs.begin(), qs.size() - bs.size(), 1);
        const int64_t rows = bs[bs.size() - 2], columns = bs.back();
        bias_column = columns > 1 ? 1 : 0;
        bias_row = rows > 1 ? narrow(columns) : 0;
        bias_offset = broadcast_index(Shape(bs.begin(), bs.end() - 2), Shape(qs.begin(), qs.end() - 2));
        for (int32_t& offset : bias_offset)
            offset *= narrow(rows * columns);
    }
    const int q = stored(node.inputs[0], Order::row_major), k = stored(node.inputs[1], Order::row_major),
              v = stored(node.inputs[2], Order::row_major);
    const int out = result(node);
    add_step({q, k, v}, out,
             [=, bias = std::move(bias), bias_offset = std::move(bias_offset),
              scale = static_cast<float>(node.number("scale")), kernel = kernels.attention](const Arena& a) {
                 kernel({a[q], a[k], a[v], a[out], bias.empty() ? nullptr : bias.data(), bias_offset.data(),
                         bias_row, bias_column, batch, targets, sources, q_rows.size, v_rows.size, scale,
                         a.tile});
             });
}

} // namespace latdyn::lanes
