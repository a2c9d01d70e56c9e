// Rows as lanes: compiles a graph to a list of kernel calls over one arena.
//
// Values lie in the orders of row_order.h. Operators that care ask for the order they want and a copy is made
// once where it differs. All other movement (reshape, transpose, pad, resize, concat) is an index list.
#include "lanes/kernels.h"
#include "latdyn/error.h"
#include "latdyn/plan.h"
#include "lifetimes.h"
#include "memory.h"
#include "row_order.h"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <numeric>
#include <set>

namespace latdyn {

namespace {

using namespace lanes;

// An activation's place: `size` elements of `tile` floats, alive from the step that writes it to the last
// that reads it.
using Buffer = Life;

// Where a step's buffers are, for one workspace.
struct Arena {
    float* base;
    const std::vector<Buffer>& buffers;
    int tile;
    float* operator[](int buffer) const { return base + buffers[buffer].offset * tile; }
};

using Step = std::function<void(const Arena&)>;

// Operators whose result is row-major whatever their inputs are.
const std::set<std::string> row_major_ops = {"linear",  "matmul",      "reshape",   "transpose",
                                             "softmax", "softmaxGrad", "attention", "topKMask"};

class LanesWorkspace final : public Workspace {
  public:
    explicit LanesWorkspace(size_t elements, int tile)
        : tile(aligned_floats(elements * tile)), row(aligned_floats(elements)) {}
    const AlignedFloats tile;
    const AlignedFloats row;
};

class LanesPlan final : public Plan {
  public:
    std::unique_ptr<Workspace> make_workspace() const override {
        auto workspace = std::make_unique<LanesWorkspace>(elements, info.tile_rows);
        const Arena arena{workspace->tile.get(), buffers, info.tile_rows};
        workspace->input = arena[input];
        workspace->output = arena[output];
        return workspace;
    }

    void run(Workspace& workspace) const override {
        const Arena arena{static_cast<LanesWorkspace&>(workspace).tile.get(), buffers, info.tile_rows};
        for (const Step& step : steps)
            step(arena);
    }

    void run_lane(Workspace& workspace, int lane) const override {
        const Arena arena{static_cast<LanesWorkspace&>(workspace).row.get(), buffers, 1};
        const int tile = info.tile_rows;
        for (int64_t e = 0; e < info.input_elements; e++)
            arena[input][e] = workspace.input[e * tile + lane];
        for (const Step& step : steps)
            step(arena);
        for (int64_t e = 0; e < info.output_elements; e++)
            workspace.output[e * tile + lane] = arena[output][e];
    }

    std::vector<Step> steps;
    std::vector<Buffer> buffers;
    int64_t elements = 0;
    int input = -1, output = -1;
};

// Everything a gather needs besides activations; shared by the step that runs it.
struct GatherTables {
    std::vector<float> weights, bias;
    std::vector<Block> blocks;
    std::vector<Run> runs;
    std::vector<Tap> taps;
};

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

class Builder {
  public:
    Builder(const Graph& graph, Isa isa) : graph(graph), kernels(kernels_of(isa)), isa(isa) {}

    std::shared_ptr<Plan> build() {
        orders = choose_orders(graph, row_major_ops);
        plan->input = add_buffer(graph.values[graph.input].elements());
        buffer_of[{graph.input, Order::row_major}] = plan->input;
        for (const Node& node : graph.nodes) {
            begin_node(node);
            emit(node);
        }
        finish_output();
        choose_tile();
        // Blocks of output channels depend on the tile, so weights are packed last.
        for (auto& pack : packers)
            pack();
        info.layout = Layout::lanes;
        info.isa = isa;
        info.input_elements = graph.values[graph.input].elements();
        info.output_elements = graph.values[graph.output].elements();
        info.weight_bytes = weight_bytes;
        info.flops_per_row = graph.nominal_flops();
        plan->info = info;
        return plan;
    }

  private:
    const Graph& graph;
    const Kernels& kernels;
    const Isa isa;
    PlanInfo info;
    std::shared_ptr<LanesPlan> plan = std::make_shared<LanesPlan>();
    std::vector<Order> orders;
    std::map<std::pair<int, Order>, int> buffer_of;
    std::vector<std::function<void()>> packers;
    size_t weight_bytes = 0;

    const Shape& shape(int value) const { return graph.values[value].shape; }
    bool is_constant(int value) const { return graph.values[value].is_constant; }

    // ---- orders ----

    bool order_matters(int value) const { return latdyn::order_matters(shape(value)); }
    static int64_t place(const Shape& s, Order order, int64_t e) { return latdyn::place(s, order, e); }
    int64_t place(int value, int64_t e) const { return place(shape(value), orders[value], e); }

    // ---- buffers ----

    // Rounded up so that a tile of one row has whole registers too.
    int add_buffer(int64_t elements) {
        plan->buffers.push_back({.size = (elements + 15) / 16 * 16});
        return static_cast<int>(plan->buffers.size()) - 1;
    }

    void add_step(std::vector<int> reads, int writes, Step step) {
        const int at = static_cast<int>(plan->steps.size());
        for (int b : reads)
            if (b >= 0)
                plan->buffers[b].last = std::max(plan->buffers[b].last, at);
        plan->buffers[writes].touch(at);
        plan->steps.push_back(std::move(step));
    }

    int result(const Node& node) {
        const int buffer = add_buffer(graph.values[node.output].elements());
        buffer_of[{node.output, order_matters(node.output) ? orders[node.output] : Order::row_major}] =
            buffer;
        return buffer;
    }

    // The buffer that holds `value` in `order`, made by a copy (or, for a constant, filled) where there is
    // none.
    int stored(int value, Order order) {
        if (!order_matters(value))
            order = Order::row_major;
        const auto found = buffer_of.find({value, order});
        if (found != buffer_of.end())
            return found->second;
        const int64_t n = graph.values[value].elements();
        const int out = add_buffer(n);
        if (is_constant(value)) {
            Indices to(n);
            for (int64_t e = 0; e < n; e++)
                to[e] = narrow(place(shape(value), order, e));
            emit_fill(out, graph.values[value].constant, std::move(to));
        } else {
            const Order other = order == Order::row_major ? Order::channels_last : Order::row_major;
            const int from = buffer_of.at({value, other});
            Indices index(n);
            for (int64_t e = 0; e < n; e++)
                index[place(shape(value), order, e)] = narrow(place(shape(value), other, e));
            emit_copy(from, out, std::move(index), {}, 0);
        }
        buffer_of[{value, order}] = out;
        return out;
    }
    int stored(int value) { return stored(value, orders[value]); }

    // Constants and copies that a node needs belong to that node alone: keeping them would lengthen lives.
    void begin_node(const Node&) {
        for (auto it = buffer_of.begin(); it != buffer_of.end();)
            it = is_constant(it->first.first) ? buffer_of.erase(it) : std::next(it);
    }

    void finish_output() {
        const int64_t n = graph.values[graph.output].elements();
        const int from = stored(graph.output, Order::row_major);
        if (from == plan->input) {
            plan->output = add_buffer(n);
            emit_copy(from, plan->output, {}, {}, 0);
        } else {
            plan->output = from;
        }
    }

    int64_t place_buffers() {
        // The caller fills one and reads the other between runs.
        for (int b : {plan->input, plan->output}) {
            plan->buffers[b].first = -1;
            plan->buffers[b].last = 1 << 30;
        }
        return place_by_lifetime(plan->buffers);
    }

    void choose_tile() {
        plan->elements = place_buffers();
        const auto bytes = [&](int tile) {
            return static_cast<size_t>(plan->elements) * tile * sizeof(float);
        };
        // 32 rows halve the traffic of weights; beside them half of L2 is left for those weights.
        info.tile_rows = bytes(32) <= l2_bytes() / 2 ? 32 : 16;
        info.arena_bytes = bytes(info.tile_rows) + bytes(1);
        // Measured on convolutional autoencoders: a row by itself costs about a sixth of a tile of 16.
        info.narrow_lanes = info.tile_rows * 3 / 8;
    }

    // ---- steps ----

    void emit_copy(int from, int out, Indices index, Indices to, float value) {
        // Without a list all of it, the rounding included.
        const int64_t n = index.empty() ? plan->buffers[out].size : static_cast<int64_t>(index.size());
        add_step({from}, out,
                 [=, index = std::move(index), to = std::move(to), k = kernels.copy](const Arena& a) {
                     k({a[from], a[out], index.empty() ? nullptr : index.data(),
                        to.empty() ? nullptr : to.data(), value, narrow(n), a.tile});
                 });
    }

    void emit_fill(int out, const std::vector<float>& values, Indices to) {
        add_step({}, out, [out, values, to = std::move(to), k = kernels.fill](const Arena& a) {
            k({values.data(), to.data(), a[out], narrow(static_cast<int64_t>(values.size())), a.tile});
        });
    }

    // `weight(column, channel)` gives the packed matrix; `groups` splits channels and columns' inputs alike.
    void emit_gather(const Node& node, int x, int out, std::shared_ptr<GatherTables> tables, int64_t columns,
                     int64_t channels, int64_t groups, int64_t x_per_group,
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
                    tables->blocks.push_back({narrow(channel), narrow(width), narrow(group * x_per_group),
                                              tables->weights.size()});
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

    void emit(const Node& node) {
        const std::string& op = node.op;
        if (op == "conv" || op == "convTranspose")
            convolution(node);
        else if (op == "linear")
            linear(node);
        else if (op == "matmul")
            product(node);
        else if (op == "add" || op == "sub" || op == "mul" || op == "div" || op == "greater")
            binary(node);
        else if (op == "activate")
            activate(node);
        else if (op == "groupNorm" || op == "layerNorm")
            norm(node);
        else if (op == "softmax")
            softmax(node);
        else if (op == "softmaxGrad")
            softmax_grad(node);
        else if (op == "attention")
            attention(node);
        else if (op == "topKMask")
            top_k_mask(node);
        else if (op == "scatterAdd")
            scatter_add(node);
        else if (op == "maxPool" || op == "averagePool")
            pool(node);
        else if (op == "reduceMean")
            mean(node);
        else if (op == "reshape")
            reshape(node);
        else if (op == "concat")
            concat(node);
        else if (op == "activateGrad")
            activate_grad(node);
        else if (op == "groupNormGrad" || op == "layerNormGrad")
            norm_grad(node);
        else if (op == "maxPoolGrad" || op == "maxPoolAdjoint")
            max_pool_grad(node);
        else
            movement(node);
    }

    void convolution(const Node& node) {
        const bool transposed = node.op == "convTranspose";
        const Shape &xs = shape(node.inputs[0]), &ys = shape(node.output);
        const auto& weights = graph.values[node.inputs[1]];
        const Shape& ws = weights.shape;
        const auto strides = node.ints("strides"), pads = node.ints("pads"),
                   dilations = node.ints("dilations");
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
                                            narrow((x_row * xs[2] + start(ow)) * xs[0]),
                                            narrow(x_step * xs[0]), narrow(count), tap_begin, tap_end});
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

    void linear(const Node& node) {
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

    void product(const Node& node) {
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
                 [=, a_offset = std::move(a_offset), b_offset = std::move(b_offset),
                  activation = node.activation, k = kernels.matmul](const Arena& arena) {
                     k({arena[a], arena[b], arena[out], a_offset.data(), b_offset.data(),
                        narrow(static_cast<int64_t>(a_offset.size())), narrow(m), narrow(inner), narrow(n),
                        narrow(inner), 1, narrow(n), 1, activation, arena.tile});
                 });
    }

    void binary(const Node& node) {
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
                     const auto at = [&](const Operand& o) {
                         return o.buffer < 0 ? nullptr : arena[o.buffer];
                     };
                     const auto list = [](const auto& v) { return v.empty() ? nullptr : v.data(); };
                     k({op, at(a), at(b), list(a.index), list(b.index), list(a.constant), list(b.constant),
                        arena[out], narrow(n), activation, arena.tile});
                 });
    }

    void activate(const Node& node) {
        const int x = stored(node.inputs[0], orders[node.output]);
        const int out = result(node);
        const int32_t n = narrow(graph.values[node.output].elements());
        add_step({x}, out, [=, activation = node.activation, k = kernels.activate](const Arena& a) {
            k({a[x], a[out], n, activation, a.tile});
        });
    }

    // Row-major elements, group after group, each group in storage order so that memory is read forwards.
    Indices grouped_elements(const Node& node) const {
        Indices elements(graph.values[node.output].elements());
        std::iota(elements.begin(), elements.end(), 0);
        const auto per_group =
            static_cast<ptrdiff_t>(elements.size()) / norm_groups(node, shape(node.output));
        for (auto group = elements.begin(); group != elements.end(); group += per_group)
            std::sort(group, group + per_group,
                      [&](int32_t i, int32_t j) { return place(node.output, i) < place(node.output, j); });
        return elements;
    }

    void norm(const Node& node) {
        const int64_t n = graph.values[node.output].elements();
        const int64_t groups = norm_groups(node, shape(node.output)), per_group = n / groups;
        const auto &scale = graph.values[node.inputs[1]].constant,
                   &bias = graph.values[node.inputs[2]].constant;
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

    void activate_grad(const Node& node) {
        const int x = stored(node.inputs[0], orders[node.output]),
                  t = stored(node.inputs[1], orders[node.output]);
        const int out = result(node);
        const int32_t n = narrow(graph.values[node.output].elements());
        add_step({x, t}, out, [=, function = node.activation, k = kernels.activate_grad](const Arena& a) {
            k({a[x], a[t], a[out], n, function, a.tile});
        });
    }

    void norm_grad(const Node& node) {
        const int64_t groups = norm_groups(node, shape(node.output));
        Indices members = grouped_elements(node);
        const int64_t per_group = static_cast<int64_t>(members.size()) / groups;
        for (int32_t& m : members)
            m = narrow(place(node.output, m));
        const int x = stored(node.inputs[0], orders[node.output]),
                  t = stored(node.inputs[1], orders[node.output]);
        const int out = result(node);
        add_step(
            {x, t}, out,
            [=, members = std::move(members), epsilon = static_cast<float>(node.number("epsilon")),
             k = kernels.group_norm_grad](const Arena& a) {
                k({a[x], a[t], a[out], members.data(), narrow(groups), narrow(per_group), epsilon, a.tile});
            });
    }

    // The last axis, and how often it is there.
    struct Rows {
        int32_t outer, size;
    };
    Rows rows_of(int value) const {
        const int64_t size = shape(value).back();
        return {narrow(graph.values[value].elements() / size), narrow(size)};
    }

    void softmax(const Node& node) {
        const int x = stored(node.inputs[0], Order::row_major), out = result(node);
        const Rows rows = rows_of(node.output);
        add_step({x}, out, [=, k = kernels.softmax](const Arena& a) {
            k({a[x], a[out], rows.outer, rows.size, a.tile});
        });
    }

    void softmax_grad(const Node& node) {
        const int s = stored(node.inputs[0], Order::row_major), t = stored(node.inputs[1], Order::row_major);
        const int out = result(node);
        const Rows rows = rows_of(node.output);
        add_step({s, t}, out, [=, k = kernels.softmax_grad](const Arena& a) {
            k({a[s], a[t], a[out], rows.outer, rows.size, a.tile});
        });
    }

    void top_k_mask(const Node& node) {
        const int x = stored(node.inputs[0], Order::row_major), out = result(node);
        const Rows rows = rows_of(node.output);
        add_step({x}, out, [=, count = narrow(node.integer("k")), k = kernels.top_k_mask](const Arena& a) {
            k({a[x], a[out], rows.outer, rows.size, count, a.tile});
        });
    }

    void attention(const Node& node) {
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
                  scale = static_cast<float>(node.number("scale")),
                  kernel = kernels.attention](const Arena& a) {
                     kernel({a[q], a[k], a[v], a[out], bias.empty() ? nullptr : bias.data(),
                             bias_offset.data(), bias_row, bias_column, batch, targets, sources, q_rows.size,
                             v_rows.size, scale, a.tile});
                 });
    }

    // A sum over the picked elements that come from each place: none where nothing was picked.
    void scatter_add(const Node& node) {
        const Shape &us = shape(node.inputs[0]), &ys = shape(node.output);
        const int64_t axis = node.integer("axis"), n = graph.values[node.inputs[0]].elements();
        const auto indices = node.ints("indices");
        const int64_t inner =
            std::accumulate(us.begin() + axis + 1, us.end(), int64_t{1}, std::multiplies<>());
        std::vector<Indices> lists(graph.values[node.output].elements());
        for (int64_t e = 0; e < n; e++) {
            const int64_t outer = e / (us[axis] * inner), along = e / inner % us[axis];
            lists[(outer * ys[axis] + indices[along]) * inner + e % inner].push_back(narrow(e));
        }
        emit_reduce(node, lists, std::vector<float>(lists.size(), 1.0f));
    }

    void max_pool_grad(const Node& node) {
        const bool adjoint = node.op == "maxPoolAdjoint";
        // The tensors that windows are taken of are read in one order, the other is the pooled one's.
        const int whole = adjoint ? node.output : node.inputs[0];
        const int pooled = adjoint ? node.inputs[1] : node.output;
        const Windows windows = windows_of(node, shape(whole), shape(pooled));
        Indices begin{0}, members, window;
        for (size_t w = 0; w < windows.members.size(); w++) {
            for (int32_t m : windows.members[w])
                members.push_back(narrow(place(whole, m)));
            begin.push_back(narrow(static_cast<int64_t>(members.size())));
            window.push_back(narrow(place(pooled, static_cast<int64_t>(w))));
        }
        const int x = stored(node.inputs[0], orders[whole]);
        const int t = stored(node.inputs[1], orders[adjoint ? pooled : whole]);
        const int out = result(node);
        add_step({x, t}, out,
                 [=, begin = std::move(begin), members = std::move(members), window = std::move(window),
                  elements = narrow(graph.values[node.output].elements()),
                  k = adjoint ? kernels.max_pool_adjoint : kernels.max_pool_grad](const Arena& a) {
                     k({a[x], a[t], a[out], begin.data(), members.data(), window.data(),
                        narrow(static_cast<int64_t>(window.size())), elements, a.tile});
                 });
    }

    // `lists[e]`: members of row-major output element e; `scale` empty for the maximum.
    void emit_reduce(const Node& node, const std::vector<Indices>& lists, const std::vector<float>& scale) {
        const int64_t n = static_cast<int64_t>(lists.size());
        std::vector<int64_t> at(n);
        for (int64_t e = 0; e < n; e++)
            at[place(node.output, e)] = e;
        Indices begin{0}, members;
        std::vector<float> scales;
        for (int64_t p = 0; p < n; p++) {
            for (int32_t m : lists[at[p]])
                members.push_back(narrow(place(node.inputs[0], m)));
            begin.push_back(narrow(static_cast<int64_t>(members.size())));
            if (!scale.empty())
                scales.push_back(scale[at[p]]);
        }
        const int x = stored(node.inputs[0]);
        const int out = result(node);
        add_step({x}, out,
                 [=, begin = std::move(begin), members = std::move(members), scales = std::move(scales),
                  k = kernels.reduce](const Arena& a) {
                     k({a[x], a[out], begin.data(), members.data(), scales.empty() ? nullptr : scales.data(),
                        narrow(n), a.tile});
                 });
    }

    struct Windows {
        // Row-major elements of the input, by row-major element of the output.
        std::vector<Indices> members;
        // Taps of each window inside the padded input.
        std::vector<int64_t> padded;
    };

    static Windows windows_of(const Node& node, const Shape& xs, const Shape& ys) {
        const auto kernel = node.ints("kernel"), strides = node.ints("strides"), pads = node.ints("pads"),
                   dilations = node.ints("dilations");
        Windows windows;
        for (int64_t c = 0; c < ys[0]; c++)
            for (int64_t oh = 0; oh < ys[1]; oh++)
                for (int64_t ow = 0; ow < ys[2]; ow++) {
                    Indices list;
                    int64_t window = 0;
                    for (int64_t kh = 0; kh < kernel[0]; kh++)
                        for (int64_t kw = 0; kw < kernel[1]; kw++) {
                            const int64_t h = oh * strides[0] - pads[0] + kh * dilations[0];
                            const int64_t w = ow * strides[1] - pads[1] + kw * dilations[1];
                            // ceil_mode lets a window hang over the padding too: that part is never counted.
                            if (h < xs[1] + pads[2] && w < xs[2] + pads[3])
                                window++;
                            if (h >= 0 && w >= 0 && h < xs[1] && w < xs[2])
                                list.push_back(narrow((c * xs[1] + h) * xs[2] + w));
                        }
                    if (list.empty())
                        throw Error("node \"" + node.name + "\" (" + node.op +
                                    "): a window holds no element");
                    windows.members.push_back(std::move(list));
                    windows.padded.push_back(window);
                }
        return windows;
    }

    void pool(const Node& node) {
        const Windows windows = windows_of(node, shape(node.inputs[0]), shape(node.output));
        const bool padded = node.integer("countIncludePad") != 0;
        std::vector<float> scale;
        if (node.op == "averagePool")
            for (size_t w = 0; w < windows.members.size(); w++)
                scale.push_back(1.0f /
                                static_cast<float>(padded ? windows.padded[w]
                                                          : static_cast<int64_t>(windows.members[w].size())));
        emit_reduce(node, windows.members, scale);
    }

    void mean(const Node& node) {
        const Shape& xs = shape(node.inputs[0]);
        std::vector<bool> reduced(xs.size());
        for (int64_t axis : node.ints("axes"))
            reduced[axis] = true;
        const int64_t n = graph.values[node.inputs[0]].elements(),
                      outs = graph.values[node.output].elements();
        std::vector<Indices> lists(outs);
        for (int64_t e = 0; e < n; e++) {
            int64_t rest = e, at = 0, stride = 1;
            for (size_t axis = xs.size(); axis-- > 0;) {
                if (!reduced[axis]) {
                    at += (rest % xs[axis]) * stride;
                    stride *= xs[axis];
                }
                rest /= xs[axis];
            }
            lists[at].push_back(narrow(e));
        }
        emit_reduce(node, lists, std::vector<float>(outs, static_cast<float>(outs) / static_cast<float>(n)));
    }

    void reshape(const Node& node) {
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

    void concat(const Node& node) {
        const Shape& ys = shape(node.output);
        const int64_t axis = node.integer("axis");
        const int64_t after =
            std::accumulate(ys.begin() + axis + 1, ys.end(), int64_t{1}, std::multiplies<>());
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

    // pad, resizeNearest, transpose, gather: each output element comes from one input element or is a number.
    void movement(const Node& node) {
        const Indices sources = movement_index(node, shape(node.inputs[0]), shape(node.output));
        Indices index(sources.size());
        for (size_t e = 0; e < sources.size(); e++)
            index[place(node.output, static_cast<int64_t>(e))] =
                sources[e] < 0 ? -1 : narrow(place(node.inputs[0], sources[e]));
        const int from = stored(node.inputs[0]);
        const float value = node.op == "pad" ? static_cast<float>(node.number("value")) : 0.0f;
        emit_copy(from, result(node), std::move(index), {}, value);
    }
};

} // namespace

const Kernels& lanes::kernels_of(Isa isa) {
#if defined(__x86_64__)
    if (isa == Isa::avx512)
        return avx512_kernels;
    if (isa == Isa::avx2)
        return avx2_kernels;
#endif
    return portable_kernels;
}

std::shared_ptr<Plan> compile_lanes(const Graph& graph, Isa isa) {
    return Builder(graph, isa).build();
}

} // namespace latdyn
