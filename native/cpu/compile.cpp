// Which layout runs a graph, and why.
#include "latdyn/error.h"
#include "latdyn/plan.h"

#include <algorithm>
#include <cstdio>

namespace latdyn {

namespace {

std::string kib(size_t bytes) {
    char text[32];
    std::snprintf(text, sizeof text, "%.0f KiB", static_cast<double>(bytes) / 1024);
    return text;
}

// Operators over positions or tokens read every activation several times, so they want the tile in L2. A
// product of one vector with a matrix reads it once per block of outputs, and rows as lanes reads the
// (larger) matrix once per tile.
bool has_positions(const Graph& graph) {
    return std::any_of(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) {
        if (node.op == "linear")
            return graph.values[node.inputs[0]].elements() >= 8 * graph.values[node.inputs[1]].shape[1];
        return node.op == "conv" || node.op == "convTranspose" || node.op == "attention";
    });
}

// What one node must hold at once, at 16 rows: a tile can only be larger. Saves laying out a large model as
// lanes just to see that it does not fit.
size_t least_tile_bytes(const Graph& graph) {
    int64_t most = 0;
    for (const Node& node : graph.nodes) {
        if (node.op == "reshape")
            continue;
        int64_t held = graph.values[node.output].elements();
        for (int in : node.inputs)
            if (!graph.values[in].is_constant)
                held += graph.values[in].elements();
        most = std::max(most, held);
    }
    return static_cast<size_t>(most) * 16 * sizeof(float);
}

} // namespace

std::shared_ptr<const Plan> compile(const Graph& graph, const CompileOptions& options) {
    graph.validate();
    const Isa isa = options.isa < 0 ? widest_isa() : static_cast<Isa>(options.isa);
    if (!isa_available(isa))
        throw Error(std::string("this processor does not have ") + isa_name(isa));
    const bool asked = options.layout >= 0, spatial = has_positions(graph);
    const std::string l2 = ", L2 holds " + kib(l2_bytes());
    std::shared_ptr<Plan> plan;
    std::string why = "as asked";
    if (asked ? options.layout == static_cast<int>(Layout::lanes)
              : !spatial || least_tile_bytes(graph) <= l2_bytes()) {
        plan = compile_lanes(graph, isa);
        why = std::to_string(plan->info.tile_rows) + " rows take " + kib(plan->info.arena_bytes) + l2;
        const bool fits = plan->info.arena_bytes <= l2_bytes();
        if (asked || fits || !spatial) {
            plan->info.reason =
                std::string("rows as lanes") + (asked ? ", as asked: " : ": ") + why +
                (fits || spatial ? "" : "; without positions each value is read once per block");
            return plan;
        }
    } else if (!asked) {
        why = "16 rows take at least " + kib(least_tile_bytes(graph)) + l2;
    }
    plan = compile_onednn(graph, isa);
    plan->info.reason = "oneDNN, one row at a time: " + why;
    return plan;
}

} // namespace latdyn
