// Compiles a graph to a list of launches over one arena, an operator a launch (and a copy where an operand
// lies in another order than it is wanted in). Everything that a launch needs beside activations is made and
// uploaded here.
//
// Values lie in the orders of row_order.h. Movement is an index list, made as for the CPU, in which as_axes()
// finds extents and strides again: a list itself goes to the device only where there are none.
#include "plan.h"

#include "lifetimes.h"
#include "operators.h"
#include "products.h"
#include "row_order.h"

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <tuple>

namespace latdyn::cuda {

namespace {

// Operators whose result is row-major whatever their inputs are.
const std::set<std::string> row_major_ops = {"linear",    "matmul",     "reshape",      "transpose",
                                             "softmax",   "attention",  "softmaxGrad",  "topKMask",
                                             "layerNorm", "scatterAdd", "layerNormGrad"};
const std::set<std::string> with_activation = {"conv",     "convTranspose", "linear",    "matmul",
                                               "add",      "sub",           "mul",       "div",
                                               "activate", "activateGrad",  "groupNorm", "layerNorm"};
const std::set<std::string> with_residual = {"conv", "convTranspose", "linear"};

// Elements of a row of one value: indices and distances within a stretch of rows stay below 2³¹.
constexpr int64_t most_elements = int64_t{1} << 30;

// Where a value's rows are while a plan runs.
struct Storage {
    enum class Where { arena, input, output, resident };
    Where where = Where::arena;
    int64_t elements = 0;
    // Of a constant, which has one row.
    Buffer<float> constant;
    // Floats of a row before it in the arena.
    int64_t offset = 0;
};

// One run of a plan.
struct Run {
    const std::vector<Storage>& storages;
    const float* input;
    float* output;
    float* arena;
    int64_t rows;

    float* operator[](int storage) const {
        const Storage& s = storages[storage];
        switch (s.where) {
        case Storage::Where::arena:
            return arena + s.offset * rows;
        case Storage::Where::input:
            // No step writes to it; operands have one type.
            return const_cast<float*>(input);
        case Storage::Where::output:
            return output;
        case Storage::Where::resident:
            return s.constant.get();
        }
        return nullptr;
    }
};

using Step = std::function<void(const Run&)>;

class GraphPlan final : public DevicePlan {
  public:
    void run(const float* input, float* output, int64_t rows, unsigned char* arena) const override {
        if (rows == 0)
            return;
        const Run run{storages, input, output, reinterpret_cast<float*>(arena), rows};
        for (const Step& step : steps)
            step(run);
    }

    std::vector<Storage> storages;
    std::vector<Step> steps;
    std::vector<Buffer<int32_t>> lists;
    std::vector<std::unique_ptr<Window>> windows;
    std::vector<std::unique_ptr<Matmul>> matmuls;
};

std::string describe(const Node& node) {
    return "node \"" + node.name + "\" (" + node.op + ")";
}

class Compiler {
  public:
    Compiler(const Graph& graph, Precision precision) : graph(graph), precision(precision) {}

    std::unique_ptr<DevicePlan> compile() {
        orders = choose_orders(graph, row_major_ops);
        const int input = add_storage(graph.values[graph.input].elements());
        plan->storages[input].where = Storage::Where::input;
        storage_of[{graph.input, Order::row_major}] = input;
        for (const Node& node : graph.nodes) {
            check(node);
            lower(node);
        }
        finish_output();
        const int64_t floats = place_by_lifetime(lives);
        for (size_t i = 0; i < lives.size(); i++)
            plan->storages[i].offset = lives[i].offset;
        DevicePlanInfo& info = plan->info;
        info.input_elements = graph.values[graph.input].elements();
        info.output_elements = graph.values[graph.output].elements();
        info.precision = precision;
        info.weight_bytes = weight_bytes;
        info.row_bytes = (floats * static_cast<int64_t>(sizeof(float)) + 255) / 256 * 256;
        info.flops_per_row = graph.nominal_flops();
        info.launches = launches;
        info.layout = "kernels";
        info.reason = std::to_string(launches) + " launches for " + std::to_string(graph.nodes.size()) +
                      " operators, activations in memory";
        return std::move(plan);
    }

  private:
    const Graph& graph;
    const Precision precision;
    std::unique_ptr<GraphPlan> plan = std::make_unique<GraphPlan>();
    std::vector<Order> orders;
    // By storage; only those in the arena are ever touched.
    std::vector<Life> lives;
    std::map<std::pair<int, Order>, int> storage_of;
    int64_t weight_bytes = 0;
    int launches = 0;

    const Shape& shape(int value) const { return graph.values[value].shape; }
    int64_t elements(int value) const { return graph.values[value].elements(); }
    bool is_constant(int value) const { return graph.values[value].is_constant; }

    void check(const Node& node) const {
        if (node.residual >= 0 && !with_residual.count(node.op))
            throw Error(describe(node) + ": adds a residual, which no kernel of it does");
        if (node.activation.kind != ActivationKind::none && !with_activation.count(node.op))
            throw Error(describe(node) + ": has an activation, which no kernel of it does");
        for (const std::vector<int>& values : {node.inputs, std::vector<int>{node.output}})
            for (int value : values)
                if (elements(value) > most_elements)
                    throw Error(describe(node) + ": a value of " + std::to_string(elements(value)) +
                                " elements a row, expected at most " + std::to_string(most_elements));
    }

    // ---- storage ----

    // Whether the value lies channels last, and differs by that from row-major.
    bool channels_last(int value) const {
        return order_matters(shape(value)) && orders[value] == Order::channels_last;
    }
    int64_t place_in(int value, int64_t e) const { return place(shape(value), orders[value], e); }

    // Rounded up so that every storage begins at 16 bytes.
    int add_storage(int64_t elements) {
        plan->storages.push_back({});
        plan->storages.back().elements = elements;
        lives.push_back({.size = (elements + 3) / 4 * 4});
        return static_cast<int>(plan->storages.size()) - 1;
    }

    void add_step(std::initializer_list<int> touched, Step step, int count = 1) {
        for (int s : touched)
            if (s >= 0 && plan->storages[s].where == Storage::Where::arena)
                lives[s].touch(static_cast<int>(plan->steps.size()));
        plan->steps.push_back(std::move(step));
        launches += count;
    }

    int result(const Node& node) {
        const int storage = add_storage(elements(node.output));
        storage_of[{node.output, channels_last(node.output) ? Order::channels_last : Order::row_major}] =
            storage;
        return storage;
    }

    // The storage that holds `value` in `order`, made where there is none: by a copy, or of a constant now.
    int stored(int value, Order order) {
        if (!order_matters(shape(value)))
            order = Order::row_major;
        const auto found = storage_of.find({value, order});
        if (found != storage_of.end())
            return found->second;
        const int64_t n = elements(value);
        const int out = add_storage(n);
        if (is_constant(value)) {
            std::vector<float> placed(n);
            for (int64_t e = 0; e < n; e++)
                placed[place(shape(value), order, e)] = graph.values[value].constant[e];
            Storage& storage = plan->storages[out];
            storage.where = Storage::Where::resident;
            storage.constant = Buffer<float>(std::span<const float>(placed));
            weight_bytes += n * static_cast<int64_t>(sizeof(float));
        } else {
            const Order other = order == Order::row_major ? Order::channels_last : Order::row_major;
            Indices index(n);
            for (int64_t e = 0; e < n; e++)
                index[place(shape(value), order, e)] = narrow(place(shape(value), other, e));
            emit_move(storage_of.at({value, other}), out, std::move(index));
        }
        storage_of[{value, order}] = out;
        return out;
    }
    int stored(int value) { return stored(value, orders[value]); }

    // As stored(), with a row of its own for every row: what products read.
    int dense(int value, Order order) {
        const int storage = stored(value, order);
        if (plan->storages[storage].where != Storage::Where::resident)
            return storage;
        const int out = add_storage(elements(value));
        emit_move(storage, out, all(elements(value)));
        return out;
    }

    static Indices all(int64_t n) {
        Indices index(n);
        std::iota(index.begin(), index.end(), 0);
        return index;
    }

    // Floats from one row to the next.
    int64_t row_of(int storage) const {
        const Storage& s = plan->storages[storage];
        return s.where == Storage::Where::resident ? 0 : s.elements;
    }

    void finish_output() {
        const int from = stored(graph.output, Order::row_major);
        Storage& storage = plan->storages[from];
        if (storage.where == Storage::Where::arena) {
            storage.where = Storage::Where::output;
            lives[from] = {};
            return;
        }
        const int out = add_storage(storage.elements);
        plan->storages[out].where = Storage::Where::output;
        emit_move(from, out, all(plan->storages[out].elements));
    }

    // ---- tables ----

    const int32_t* upload_list(const Indices& list) {
        plan->lists.push_back(Buffer<int32_t>(std::span<const int32_t>(list)));
        weight_bytes += static_cast<int64_t>(list.size() * sizeof(int32_t));
        return plan->lists.back().get();
    }

    Map map_of(const Indices& index) {
        Map map;
        // A pad value has no place.
        const bool whole = std::find(index.begin(), index.end(), -1) == index.end();
        if (!whole || !as_axes(index, &map))
            map.list = upload_list(index);
        return map;
    }

    // An operand of a kernel, its data still to be filled in.
    Operand operand(int storage) const { return {nullptr, row_of(storage), {}}; }

    // ---- movement ----

    // out[i] = from[index[i]], or out[to[i]]; −1 is `value`.
    void emit_move(int from, int out, Indices index, const Indices& to = {}, float value = 0) {
        Move p{};
        p.from = operand(from);
        p.from.map = map_of(index);
        p.to = to.empty() ? Map{} : map_of(to);
        p.out_row = plan->storages[out].elements;
        p.value = value;
        p.elements = narrow(static_cast<int64_t>(index.size()));
        if (const auto turned = as_transpose(p, from, out)) {
            add_step({from, out}, [=](const Run& run) {
                Transpose q = *turned;
                q.x = run[from];
                q.out = run[out];
                q.matrices *= run.rows;
                transpose(q);
            });
            return;
        }
        add_step({from, out}, [=](const Run& run) {
            Move q = p;
            q.from.data = run[from];
            q.out = run[out];
            q.rows = run.rows;
            move(q);
        });
    }

    // A move of whole rows that turns matrices of some size.
    std::optional<Transpose> as_transpose(const Move& p, int from, int out) const {
        constexpr int32_t least = 8;
        const Map& m = p.from.map;
        const bool whole = row_of(from) == p.elements && plan->storages[out].elements == p.elements &&
                           p.to.axes == 0 && !p.to.list && !m.list && m.first == 0;
        if (!whole || m.axes < 2 || m.axes > 3)
            return std::nullopt;
        const int32_t height = m.extent[0].value, width = m.extent[1].value;
        const bool turns =
            m.stride[0] == width && m.stride[1] == 1 && (m.axes == 2 || m.stride[2] == height * width);
        if (!turns || height < least || width < least)
            return std::nullopt;
        return Transpose{nullptr, nullptr, m.axes == 3 ? m.extent[2].value : 1, height, width};
    }

    // Row-major elements keep their place: the same memory under another shape.
    void reshape(const Node& node) {
        storage_of[{node.output, Order::row_major}] = stored(node.inputs[0], Order::row_major);
    }

    void concat(const Node& node) {
        const Shape& ys = shape(node.output);
        const int64_t axis = node.integer("axis");
        const int64_t after =
            std::accumulate(ys.begin() + axis + 1, ys.end(), int64_t{1}, std::multiplies<>());
        std::vector<int> sources;
        for (int value : node.inputs)
            sources.push_back(stored(value));
        const int out = result(node);
        int64_t start = 0;
        for (size_t i = 0; i < node.inputs.size(); i++) {
            const int value = node.inputs[i];
            const int64_t n = elements(value), extent = shape(value)[axis];
            // In the order of the result.
            std::vector<std::pair<int32_t, int32_t>> places(n);
            for (int64_t e = 0; e < n; e++) {
                const int64_t outer = e / (extent * after), along = e / after % extent, inner = e % after;
                places[e] = {
                    narrow(place_in(node.output, (outer * ys[axis] + start + along) * after + inner)),
                    narrow(place_in(value, e))};
            }
            std::sort(places.begin(), places.end());
            Indices from(n), to(n);
            for (int64_t e = 0; e < n; e++)
                std::tie(to[e], from[e]) = places[e];
            emit_move(sources[i], out, std::move(from), to);
            start += extent;
        }
    }

    void movement(const Node& node) {
        const Indices sources = movement_index(node, shape(node.inputs[0]), shape(node.output));
        Indices index(sources.size());
        for (size_t e = 0; e < sources.size(); e++)
            index[place_in(node.output, static_cast<int64_t>(e))] =
                sources[e] < 0 ? -1 : narrow(place_in(node.inputs[0], sources[e]));
        const int from = stored(node.inputs[0]);
        const float value = node.op == "pad" ? static_cast<float>(node.number("value")) : 0.0f;
        emit_move(from, result(node), std::move(index), {}, value);
    }

    void scatter_add(const Node& node) {
        const Shape &us = shape(node.inputs[0]), &ys = shape(node.output);
        const int64_t axis = node.integer("axis");
        const auto indices = node.ints("indices");
        std::vector<Indices> picks(ys[axis]);
        for (size_t i = 0; i < indices.size(); i++)
            picks[indices[i]].push_back(narrow(static_cast<int64_t>(i)));
        Indices begin{0}, members;
        for (const Indices& list : picks) {
            members.insert(members.end(), list.begin(), list.end());
            begin.push_back(narrow(static_cast<int64_t>(members.size())));
        }
        const auto product = [](auto first, auto last) {
            return narrow(std::accumulate(first, last, int64_t{1}, std::multiplies<>()));
        };
        const int u = stored(node.inputs[0], Order::row_major), out = result(node);
        ScatterAdd p{};
        p.u = operand(u);
        p.begin = upload_list(begin);
        p.members = upload_list(members);
        p.outer = product(us.begin(), us.begin() + axis);
        p.picks = narrow(us[axis]);
        p.size = narrow(ys[axis]);
        p.inner = product(us.begin() + axis + 1, us.end());
        add_step({u, out}, [=](const Run& run) {
            ScatterAdd q = p;
            q.u.data = run[u];
            q.out = run[out];
            q.rows = run.rows;
            cuda::scatter_add(q);
        });
    }

    // ---- products ----

    void window(const Node& node, const WindowShape& window_shape, int x) {
        const auto& weights = graph.values[node.inputs[1]].constant;
        const std::vector<float> none;
        const auto& bias = node.inputs.size() == 3 ? graph.values[node.inputs[2]].constant : none;
        const int residual = node.residual < 0 ? -1 : stored(node.residual, orders[node.output]);
        const int out = result(node);
        plan->windows.push_back(
            std::make_unique<Window>(window_shape, weights, bias, node.activation, precision));
        const Window* w = plan->windows.back().get();
        weight_bytes += w->weight_bytes();
        add_step(
            {x, residual, out},
            [=](const Run& run) {
                w->run(run[x], residual < 0 ? nullptr : run[residual], run[out], run.rows);
            },
            w->launches());
    }

    void convolution(const Node& node) {
        const Shape &xs = shape(node.inputs[0]), &ys = shape(node.output), &ws = shape(node.inputs[1]);
        const auto strides = node.ints("strides"), pads = node.ints("pads"),
                   dilations = node.ints("dilations");
        WindowShape s;
        s.channels = narrow(xs[0]), s.height = narrow(xs[1]), s.width = narrow(xs[2]);
        s.out_channels = narrow(ys[0]), s.out_height = narrow(ys[1]), s.out_width = narrow(ys[2]);
        s.groups = narrow(node.integer("groups"));
        s.kernel_h = narrow(ws[2]), s.kernel_w = narrow(ws[3]);
        s.stride_h = narrow(strides[0]), s.stride_w = narrow(strides[1]);
        s.dilation_h = narrow(dilations[0]), s.dilation_w = narrow(dilations[1]);
        s.top = narrow(pads[0]), s.left = narrow(pads[1]);
        s.transposed = node.op == "convTranspose";
        window(node, s, dense(node.inputs[0], Order::channels_last));
    }

    void linear(const Node& node) {
        const Shape& ws = shape(node.inputs[1]);
        WindowShape s;
        s.height = s.out_height = narrow(elements(node.output) / ws[0]);
        s.channels = narrow(ws[1]), s.out_channels = narrow(ws[0]);
        window(node, s, dense(node.inputs[0], Order::row_major));
    }

    void matmul(const Node& node) {
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

    // ---- element by element ----

    void emit_elementwise(Elementwise p, int a, int b, int out) {
        add_step({a, b, out}, [=](const Run& run) {
            Elementwise q = p;
            q.a.data = run[a];
            q.b.data = b < 0 ? nullptr : run[b];
            q.out = run[out];
            q.rows = run.rows;
            elementwise(q);
        });
    }

    void binary(const Node& node) {
        static const std::map<std::string, Combine> kinds = {{"add", Combine::add},
                                                             {"sub", Combine::sub},
                                                             {"mul", Combine::mul},
                                                             {"div", Combine::div},
                                                             {"greater", Combine::greater}};
        const auto broadcast = [&](int value, int storage) {
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
    void activate(const Node& node) {
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

    // ---- norms, pools, means ----

    void norm(const Node& node) {
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

    Steps steps_of(int value) const {
        const Shape& s = shape(value);
        if (channels_last(value))
            return {1, narrow(s[2] * s[0]), narrow(s[0])};
        return {narrow(s[1] * s[2]), narrow(s[2]), 1};
    }

    void pool(const Node& node) {
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
        add_step({x, t, out}, [=](const Run& run) {
            Pool q = p;
            q.x.data = run[x];
            q.t.data = t < 0 ? nullptr : run[t];
            q.out = run[out];
            q.rows = run.rows;
            cuda::pool(kind, q);
        });
    }

    void mean(const Node& node) {
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

    // ---- sequences ----

    void sequences(const Node& node) {
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
        const auto kernel = node.op == "softmax"    ? softmax
                            : node.op == "topKMask" ? top_k_mask
                                                    : softmax_grad;
        add_step({x, t, out}, [=](const Run& run) {
            Sequences q = p;
            q.x.data = run[x];
            q.t.data = t < 0 ? nullptr : run[t];
            q.out = run[out];
            q.rows = run.rows;
            kernel(q);
        });
    }

    void attention(const Node& node) {
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
            Indices offsets =
                broadcast_index(Shape(bs.begin(), bs.end() - 2), Shape(qs.begin(), qs.end() - 2));
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

    void lower(const Node& node) {
        using Lowering = void (Compiler::*)(const Node&);
        static const std::map<std::string, Lowering> lowerings = {
            {"conv", &Compiler::convolution},
            {"convTranspose", &Compiler::convolution},
            {"linear", &Compiler::linear},
            {"matmul", &Compiler::matmul},
            {"add", &Compiler::binary},
            {"sub", &Compiler::binary},
            {"mul", &Compiler::binary},
            {"div", &Compiler::binary},
            {"greater", &Compiler::binary},
            {"activate", &Compiler::activate},
            {"activateGrad", &Compiler::activate},
            {"groupNorm", &Compiler::norm},
            {"groupNormGrad", &Compiler::norm},
            {"layerNorm", &Compiler::norm},
            {"layerNormGrad", &Compiler::norm},
            {"softmax", &Compiler::sequences},
            {"softmaxGrad", &Compiler::sequences},
            {"topKMask", &Compiler::sequences},
            {"attention", &Compiler::attention},
            {"gather", &Compiler::movement},
            {"resizeNearest", &Compiler::movement},
            {"pad", &Compiler::movement},
            {"transpose", &Compiler::movement},
            {"scatterAdd", &Compiler::scatter_add},
            {"reshape", &Compiler::reshape},
            {"concat", &Compiler::concat},
            {"maxPool", &Compiler::pool},
            {"averagePool", &Compiler::pool},
            {"maxPoolGrad", &Compiler::pool},
            {"maxPoolAdjoint", &Compiler::pool},
            {"reduceMean", &Compiler::mean},
        };
        const auto found = lowerings.find(node.op);
        if (found == lowerings.end())
            throw Error(describe(node) + ": no kernel of CUDA does it");
        (this->*found->second)(node);
    }
};

} // namespace

std::unique_ptr<DevicePlan> compile_plan(const Graph& graph, Precision precision) {
    return Compiler(graph, precision).compile();
}

} // namespace latdyn::cuda
