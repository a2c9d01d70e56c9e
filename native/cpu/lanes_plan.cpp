// Rows as lanes: compiles a graph to a list of kernel calls over one arena.
//
// Values lie in the orders of row_order.h. Operators that care ask for the order they want and a copy is made
// once where it differs. All other movement (reshape, transpose, pad, resize, concat) is an index list.
#include "lanes_compiler.h"
#include "memory.h"

#include <algorithm>
#include <set>

namespace latdyn {

namespace lanes {

namespace {

// Operators whose result is row-major whatever their inputs are.
const std::set<std::string> row_major_ops = {"linear",  "matmul",      "reshape",   "transpose",
                                             "softmax", "softmaxGrad", "attention", "topKMask"};

} // namespace

Program Compiler::compile(PlanInfo& about) {
    orders = choose_orders(graph, row_major_ops);
    program.input = add_buffer(graph.values[graph.input].elements());
    buffer_of[{graph.input, Order::row_major}] = program.input;
    for (const Node& node : graph.nodes) {
        begin_node();
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
    about = info;
    return std::move(program);
}

int Compiler::add_buffer(int64_t elements) {
    program.buffers.push_back({.size = (elements + 15) / 16 * 16});
    return static_cast<int>(program.buffers.size()) - 1;
}

void Compiler::add_step(std::vector<int> reads, int writes, Step step) {
    const int at = static_cast<int>(program.steps.size());
    for (int b : reads)
        if (b >= 0)
            program.buffers[b].last = std::max(program.buffers[b].last, at);
    program.buffers[writes].touch(at);
    program.steps.push_back(std::move(step));
}

int Compiler::result(const Node& node) {
    const int buffer = add_buffer(graph.values[node.output].elements());
    buffer_of[{node.output, order_matters(node.output) ? orders[node.output] : Order::row_major}] = buffer;
    return buffer;
}

int Compiler::stored(int value, Order order) {
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

void Compiler::begin_node() {
    for (auto it = buffer_of.begin(); it != buffer_of.end();)
        it = is_constant(it->first.first) ? buffer_of.erase(it) : std::next(it);
}

void Compiler::finish_output() {
    const int64_t n = graph.values[graph.output].elements();
    const int from = stored(graph.output, Order::row_major);
    if (from == program.input) {
        program.output = add_buffer(n);
        emit_copy(from, program.output, {}, {}, 0);
    } else {
        program.output = from;
    }
}

int64_t Compiler::place_buffers() {
    // The caller fills one and reads the other between runs.
    for (int b : {program.input, program.output}) {
        program.buffers[b].first = -1;
        program.buffers[b].last = 1 << 30;
    }
    return place_by_lifetime(program.buffers);
}

void Compiler::choose_tile() {
    program.elements = place_buffers();
    const auto bytes = [&](int tile) { return static_cast<size_t>(program.elements) * tile * sizeof(float); };
    // 32 rows halve the traffic of weights; beside them half of L2 is left for those weights.
    info.tile_rows = bytes(32) <= l2_bytes() / 2 ? 32 : 16;
    info.arena_bytes = bytes(info.tile_rows) + bytes(1);
    // Measured on convolutional autoencoders: a row by itself costs about a sixth of a tile of 16.
    info.narrow_lanes = info.tile_rows * 3 / 8;
}

void Compiler::emit(const Node& node) {
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

const Kernels& kernels_of(Isa isa) {
#if defined(__x86_64__)
    if (isa == Isa::avx512)
        return avx512_kernels;
    if (isa == Isa::avx2)
        return avx2_kernels;
#endif
    return portable_kernels;
}

} // namespace lanes

namespace {

using lanes::Arena;
using lanes::Program;
using lanes::Step;

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
        auto workspace = std::make_unique<LanesWorkspace>(program.elements, info.tile_rows);
        const Arena arena{workspace->tile.get(), program.buffers, info.tile_rows};
        workspace->input = arena[program.input];
        workspace->output = arena[program.output];
        return workspace;
    }

    void run(Workspace& workspace) const override {
        const Arena arena{static_cast<LanesWorkspace&>(workspace).tile.get(), program.buffers,
                          info.tile_rows};
        for (const Step& step : program.steps)
            step(arena);
    }

    void run_lane(Workspace& workspace, int lane) const override {
        const Arena arena{static_cast<LanesWorkspace&>(workspace).row.get(), program.buffers, 1};
        const int tile = info.tile_rows;
        for (int64_t e = 0; e < info.input_elements; e++)
            arena[program.input][e] = workspace.input[e * tile + lane];
        for (const Step& step : program.steps)
            step(arena);
        for (int64_t e = 0; e < info.output_elements; e++)
            workspace.output[e * tile + lane] = arena[program.output][e];
    }

    Program program;
};

} // namespace

std::shared_ptr<Plan> compile_lanes(const Graph& graph, Isa isa) {
    auto plan = std::make_shared<LanesPlan>();
    plan->program = lanes::Compiler(graph, isa).compile(plan->info);
    return plan;
}

} // namespace latdyn
