// The C face of plans: a graph from plain structs, and what is done with it on the device that it was made
// for.
#include "api.h"

#include "iteration.h"
#include "plan.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

// A map on one device: how it is computed where every digit counts, and how iterations begin.
struct latdyn_cuda_plan {
    int device;
    std::unique_ptr<latdyn::cuda::DevicePlan> strict, fast;
};

namespace latdyn::cuda {

namespace {

// A list from outside: `count` of them at `from`.
template <class Element> std::span<const Element> list(const Element* from, int64_t count, const char* what) {
    if (count < 0 || (count > 0 && from == nullptr))
        throw Error(std::string("a plan\'s ") + what + " are missing");
    return {from, static_cast<size_t>(count)};
}

Value value_of(const latdyn_cuda_value& from) {
    Value value;
    for (int64_t size : list(from.shape, from.rank, "shapes"))
        value.shape.push_back(size);
    if (from.constant == nullptr)
        return value;
    value.is_constant = true;
    // As many as the shape says: validate() refuses shapes that are none.
    int64_t elements = 1;
    for (int64_t size : value.shape)
        if (size < 1 || __builtin_mul_overflow(elements, size, &elements))
            throw Error("a constant\'s shape has a size of " + std::to_string(size));
    value.constant.assign(from.constant, from.constant + elements);
    return value;
}

Node node_of(const latdyn_cuda_node& from) {
    Node node;
    node.op = from.op;
    node.name = from.name;
    const auto inputs = list(from.inputs, from.input_count, "inputs");
    node.inputs.assign(inputs.begin(), inputs.end());
    node.output = from.output;
    for (const latdyn_cuda_attribute& one : list(from.attributes, from.attribute_count, "attributes")) {
        const auto numbers = list(one.numbers, one.count, "numbers");
        node.attributes[one.key].assign(numbers.begin(), numbers.end());
    }
    node.activation = {static_cast<ActivationKind>(from.activation), from.alpha, from.beta};
    node.residual = from.residual;
    return node;
}

// Throws Error where it does not fit together.
Graph graph_of(const latdyn_cuda_graph& from) {
    Graph graph;
    for (const latdyn_cuda_value& value : list(from.values, from.value_count, "values"))
        graph.values.push_back(value_of(value));
    for (const latdyn_cuda_node& node : list(from.nodes, from.node_count, "nodes"))
        graph.nodes.push_back(node_of(node));
    graph.input = from.input;
    graph.output = from.output;
    graph.validate();
    return graph;
}

Precision precision_of(int32_t given) {
    if (given < LATDYN_CUDA_FLOAT32 || given > LATDYN_CUDA_BF16)
        throw Error("precision " + std::to_string(given) + " is not known");
    return static_cast<Precision>(given);
}

void describe(const latdyn_cuda_plan& plan, latdyn_cuda_plan_info& info) {
    const DevicePlanInfo& strict = plan.strict->info;
    std::memset(&info, 0, sizeof info);
    info.input_elements = strict.input_elements;
    info.output_elements = strict.output_elements;
    info.weight_bytes = strict.weight_bytes + (plan.fast ? plan.fast->info.weight_bytes : 0);
    info.row_bytes = strict.row_bytes;
    info.flops_per_row = strict.flops_per_row;
    info.launches = strict.launches;
    info.fused = strict.layout == "fused";
    std::string reason = strict.reason;
    if (plan.fast && plan.fast->info.layout != strict.layout)
        reason += "; iterations begin otherwise (" + plan.fast->info.layout + "): " + plan.fast->info.reason;
    std::memcpy(info.reason, reason.data(), std::min(reason.size(), sizeof info.reason - 1));
}

void check_square(const latdyn_cuda_plan& plan) {
    const auto& [inputs, outputs] =
        std::pair(plan.strict->info.input_elements, plan.strict->info.output_elements);
    if (inputs != outputs)
        throw Error("the map takes " + std::to_string(inputs) + " elements and gives " +
                    std::to_string(outputs) + ", which cannot be iterated");
}

// Runs body(job) on the device that the plan is on.
template <class Body>
int32_t with_plan(const latdyn_cuda_job* given, const latdyn_cuda_plan* plan, Body body) {
    return guarded(given, [&](const Job& job) {
        use_device(plan->device);
        return body(job);
    });
}

} // namespace

int32_t api_make_plan(const latdyn_cuda_job* given, const latdyn_cuda_graph* graph, int32_t fast,
                      latdyn_cuda_plan** plan, latdyn_cuda_plan_info* info) {
    return on_device(given, [&](const Job&) {
        const Precision precision = precision_of(fast);
        const Graph checked = graph_of(*graph);
        auto made = std::make_unique<latdyn_cuda_plan>();
        made->device = given->device;
        made->strict = plan_for(checked, Precision::float32);
        if (precision != Precision::float32)
            made->fast = plan_for(checked, precision);
        describe(*made, *info);
        *plan = made.release();
        return true;
    });
}

void api_free_plan(latdyn_cuda_plan* plan) {
    delete plan;
}

int32_t api_apply(const latdyn_cuda_job* given, const latdyn_cuda_plan* plan, const float* input,
                  int64_t rows, float* output) {
    return with_plan(given, plan,
                     [&](const Job& job) { return apply(*plan->strict, input, rows, output, job); });
}

int32_t api_iterate(const latdyn_cuda_job* given, const latdyn_cuda_plan* plan, const float* initial,
                    int64_t rows, const latdyn_cuda_iterate_options* options, float* endpoints,
                    int32_t* iterations, float* residual, uint8_t* status, uint8_t* period,
                    int64_t* evaluations, latdyn_cuda_points** converged,
                    latdyn_cuda_points_info* converged_info) {
    if (converged)
        *converged = nullptr;
    return with_plan(given, plan, [&](const Job& job) {
        check_square(*plan);
        IterateOptions wanted;
        wanted.tolerance = options->tolerance;
        wanted.max_iterations = options->max_iterations;
        wanted.criterion = static_cast<Criterion>(options->criterion);
        wanted.divergence_ratio = options->divergence_ratio;
        const auto traced = list(options->trace_rows, options->trace_count, "traced rows");
        wanted.trace_rows.assign(traced.begin(), traced.end());
        std::vector<std::vector<float>> traces(traced.size());
        const IterateOutput output{endpoints, iterations, residual, status, period, &traces};
        std::optional<DeviceRows> kept;
        const bool done = iterate({plan->fast.get(), plan->strict.get()}, initial, rows, wanted, output,
                                  evaluations, job, converged ? &kept : nullptr);
        for (size_t i = 0; i < traces.size(); i++)
            options->trace(options->context, static_cast<int32_t>(i), traces[i].data(),
                           static_cast<int64_t>(traces[i].size()));
        if (kept) {
            *converged_info = {kept->count, kept->columns, kept->count * (4 * kept->columns + 8)};
            *converged = new latdyn_cuda_points{plan->device, std::move(*kept)};
        }
        return done;
    });
}

int32_t api_walk(const latdyn_cuda_job* given, const latdyn_cuda_plan* plan, const float* initial,
                 int64_t rows, const float* attractors, int64_t attractor_count,
                 const latdyn_cuda_walk_options* options, double* score, float* stored) {
    return with_plan(given, plan, [&](const Job& job) {
        check_square(*plan);
        TrajectoryOptions wanted;
        wanted.steps = options->steps;
        const auto kept = list(options->store_steps, options->store_count, "stored steps");
        wanted.store_steps.assign(kept.begin(), kept.end());
        const auto drawn = list(options->curve_rows, options->curve_count, "rows with curves");
        wanted.curve_rows.assign(drawn.begin(), drawn.end());
        std::vector<Curve> curves(drawn.size());
        const TrajectoryOutput output{attractor_count > 0 ? score : nullptr, stored, &curves};
        if (!walk(*plan->strict, initial, rows, attractors, attractor_count, wanted, output, job))
            return false;
        for (size_t i = 0; i < curves.size(); i++) {
            const Curve& curve = curves[i];
            options->curve(options->context, static_cast<int32_t>(i), curve.residual.data(),
                           curve.norm.data(), curve.distance.empty() ? nullptr : curve.distance.data());
        }
        return true;
    });
}

} // namespace latdyn::cuda
