// Compiles a graph to a list of launches over one arena, an operator a launch (and a copy where an operand
// lies in another order than it is wanted in). Everything that a launch needs beside activations is made and
// uploaded here.
//
// Values lie in the orders of row_order.h. Movement is an index list, made as for the CPU, in which as_axes()
// finds extents and strides again: a list itself goes to the device only where there are none.
#include "compiler.h"

#include <algorithm>
#include <numeric>
#include <set>

namespace latdyn::cuda {

namespace graphs {

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

std::string describe(const Node& node) {
    return "node \"" + node.name + "\" (" + node.op + ")";
}

Indices all(int64_t n) {
    Indices index(n);
    std::iota(index.begin(), index.end(), 0);
    return index;
}

} // namespace

float* Run::operator[](int storage) const {
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

void GraphPlan::run(const float* input, float* output, int64_t rows, unsigned char* arena) const {
    if (rows == 0)
        return;
    const Run run{storages, input, output, reinterpret_cast<float*>(arena), rows};
    for (const Step& step : steps)
        step(run);
}

std::unique_ptr<DevicePlan> Compiler::compile() {
    orders = choose_orders(graph, row_major_ops);
    readers.resize(graph.values.size());
    for (const Node& node : graph.nodes) {
        for (size_t i = 0; i < node.inputs.size(); i++)
            readers[node.inputs[i]].push_back({&node, static_cast<int>(i)});
        if (node.residual >= 0)
            readers[node.residual].push_back({&node, -1});
    }
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

void Compiler::check(const Node& node) const {
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

// Rounded up so that every storage begins at 16 bytes.
int Compiler::add_storage(int64_t elements) {
    plan->storages.push_back({});
    plan->storages.back().elements = elements;
    lives.push_back({.size = (elements + 3) / 4 * 4});
    return static_cast<int>(plan->storages.size()) - 1;
}

void Compiler::add_step(std::initializer_list<int> touched, Step step, int count) {
    for (int s : touched)
        if (s >= 0 && plan->storages[s].where == Storage::Where::arena)
            lives[s].touch(static_cast<int>(plan->steps.size()));
    plan->steps.push_back(std::move(step));
    launches += count;
}

int Compiler::result(const Node& node) {
    const int storage = add_storage(elements(node.output));
    storage_of[{node.output, channels_last(node.output) ? Order::channels_last : Order::row_major}] = storage;
    return storage;
}

int Compiler::stored(int value, Order order) {
    if (!order_matters(shape(value)))
        order = Order::row_major;
    const auto found = storage_of.find({value, order});
    if (found != storage_of.end())
        return found->second;
    const auto same = shape_of.find(value);
    if (same != shape_of.end() && order == Order::row_major)
        return storage_of[{value, order}] = stored(same->second, order);
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
        const int from = same != shape_of.end() ? stored(value, other) : storage_of.at({value, other});
        emit_move(from, out, std::move(index));
    }
    storage_of[{value, order}] = out;
    return out;
}

int Compiler::dense(int value, Order order) {
    const int storage = stored(value, order);
    if (plan->storages[storage].where != Storage::Where::resident)
        return storage;
    const int out = add_storage(elements(value));
    emit_move(storage, out, all(elements(value)));
    return out;
}

int64_t Compiler::row_of(int storage) const {
    const Storage& s = plan->storages[storage];
    return s.where == Storage::Where::resident ? 0 : s.elements;
}

void Compiler::finish_output() {
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

const int32_t* Compiler::upload_list(const Indices& list) {
    plan->lists.push_back(Buffer<int32_t>(std::span<const int32_t>(list)));
    weight_bytes += static_cast<int64_t>(list.size() * sizeof(int32_t));
    return plan->lists.back().get();
}

Map Compiler::map_of(const Indices& index) {
    Map map;
    // A pad value has no place.
    const bool whole = std::find(index.begin(), index.end(), -1) == index.end();
    if (!whole || !as_axes(index, &map))
        map.list = upload_list(index);
    return map;
}

void Compiler::lower(const Node& node) {
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

} // namespace graphs

std::unique_ptr<DevicePlan> compile_plan(const Graph& graph, Precision precision) {
    return graphs::Compiler(graph, precision).compile();
}

} // namespace latdyn::cuda
