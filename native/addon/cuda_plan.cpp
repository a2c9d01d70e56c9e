#include "cuda_plan.h"

#include "latdyn/error.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace latdyn::addon {

namespace {

// `graph` as the plain structs of the library's face; valid as long as it is.
class PlainGraph {
  public:
    explicit PlainGraph(const Graph& graph) {
        for (const Value& value : graph.values)
            values.push_back({value.shape.data(), static_cast<int32_t>(value.shape.size()),
                              value.is_constant ? value.constant.data() : nullptr});
        // Nodes point into this list, so it does not grow while they are made.
        size_t count = 0;
        for (const Node& node : graph.nodes)
            count += node.attributes.size();
        attributes.reserve(count);
        for (const Node& node : graph.nodes) {
            const size_t first = attributes.size();
            for (const auto& [key, numbers] : node.attributes)
                attributes.push_back({key.c_str(), numbers.data(), static_cast<int64_t>(numbers.size())});
            nodes.push_back({node.op.c_str(), node.name.c_str(), node.inputs.data(),
                             static_cast<int32_t>(node.inputs.size()), node.output, attributes.data() + first,
                             static_cast<int32_t>(attributes.size() - first),
                             static_cast<int32_t>(node.activation.kind), node.activation.alpha,
                             node.activation.beta, node.residual});
        }
        whole = {values.data(), static_cast<int32_t>(values.size()),
                 nodes.data(),  static_cast<int32_t>(nodes.size()),
                 graph.input,   graph.output};
    }
    PlainGraph(const PlainGraph&) = delete;

    latdyn_cuda_graph whole;

  private:
    std::vector<latdyn_cuda_value> values;
    std::vector<latdyn_cuda_attribute> attributes;
    std::vector<latdyn_cuda_node> nodes;
};

void append_trace(void* context, int32_t index, const float* residuals, int64_t count) {
    std::vector<float>& trace = (*static_cast<const IterateOutput*>(context)->traces)[index];
    trace.insert(trace.end(), residuals, residuals + count);
}

// Where the curves of a walk go, and how long they are.
struct Curves {
    std::vector<Curve>& curves;
    int32_t steps;
};

void take_curve(void* context, int32_t index, const float* residual, const float* norm,
                const float* distance) {
    const auto& [curves, steps] = *static_cast<const Curves*>(context);
    Curve& curve = curves[index];
    curve.residual.assign(residual, residual + steps);
    curve.norm.assign(norm, norm + steps + 1);
    if (distance != nullptr)
        curve.distance.assign(distance, distance + steps + 1);
}

} // namespace

CudaPlan::CudaPlan(int index, int32_t fast, const Graph& graph)
    : index(index), fast(fast), functions(cuda_functions()) {
    // Whoever hands over a constant of too few elements would have them read beyond their end.
    graph.validate();
    const PlainGraph plain(graph);
    JobCounters counters;
    run_on_cuda(index, counters, [&](const auto& cuda, const latdyn_cuda_job* job) {
        return cuda.make_plan(job, &plain.whole, fast, &plan, &info);
    });
}

CudaPlan::~CudaPlan() {
    functions.free_plan(plan);
}

void apply(const CudaPlan& plan, const float* input, int64_t rows, float* output, int,
           JobCounters& counters) {
    run_on_cuda(plan.index, counters, [&](const auto& cuda, const latdyn_cuda_job* job) {
        return cuda.apply(job, plan.plan, input, rows, output);
    });
}

std::shared_ptr<const CudaPoints> iterate(const CudaPlan& plan, const float* initial, int64_t rows,
                                          const IterateOptions& options, const IterateOutput& output,
                                          JobCounters& counters, bool keep) {
    IterateOutput where = output;
    const latdyn_cuda_iterate_options given{options.tolerance,
                                            options.max_iterations,
                                            static_cast<int32_t>(options.criterion),
                                            options.divergence_ratio,
                                            options.trace_rows.data(),
                                            static_cast<int32_t>(options.trace_rows.size()),
                                            append_trace,
                                            &where};
    // What is not begun before an abort is not finished.
    std::fill_n(output.status, rows, static_cast<uint8_t>(Status::unfinished));
    int64_t evaluations = 0;
    std::shared_ptr<const CudaPoints> kept;
    run_on_cuda(plan.index, counters, [&](const auto& cuda, const latdyn_cuda_job* job) {
        latdyn_cuda_points* points = nullptr;
        latdyn_cuda_points_info info{};
        const int32_t status = cuda.iterate(job, plan.plan, initial, rows, &given, output.endpoints,
                                            output.iterations, output.residual, output.status, output.period,
                                            &evaluations, keep ? &points : nullptr, &info);
        if (points != nullptr)
            kept = std::make_shared<const CudaPoints>(cuda, plan.index, points, info);
        return status;
    });
    counters.evaluations = evaluations;
    return kept;
}

void trajectory(const CudaPlan& plan, const float* initial, int64_t rows, const AttractorSet& attractors,
                const TrajectoryOptions& options, const TrajectoryOutput& output, JobCounters& counters) {
    // Paths that an abort cuts short have no score.
    if (output.score != nullptr)
        std::fill_n(output.score, rows, std::numeric_limits<double>::quiet_NaN());
    Curves curves{*output.curves, options.steps};
    const latdyn_cuda_walk_options given{options.steps,
                                         options.store_steps.data(),
                                         static_cast<int32_t>(options.store_steps.size()),
                                         options.curve_rows.data(),
                                         static_cast<int32_t>(options.curve_rows.size()),
                                         take_curve,
                                         &curves};
    run_on_cuda(plan.index, counters, [&](const auto& cuda, const latdyn_cuda_job* job) {
        return cuda.walk(job, plan.plan, initial, rows, attractors.data, attractors.count, &given,
                         output.score, output.stored);
    });
}

} // namespace latdyn::addon
