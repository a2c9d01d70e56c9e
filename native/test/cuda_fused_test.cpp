// Plans whose run is one launch against the CPU's: every operator on random shapes, small autoencoders in
// three precisions, ragged numbers of rows, rows that do not touch one another, weights beside the
// activations and read through L2, graphs that do not fit, a device that breaks.
#include "autoencoder_graphs.h"
#include "fused/compile.h"
#include "iteration.h"
#include "iteration_result.h"
#include "operator_graphs.h"
#include "plans.h"
#include "points.h"

#include <map>

using namespace latdyn;
using namespace latdyn::test;
using cuda::Precision;

namespace {

constexpr int64_t whole_memory = 227 << 10;

// Against exact products of rounded numbers: sums of some hundred terms of either sign; then what the
// roundings between operators make of it, with some room.
double tolerance(Precision precision) {
    return precision == Precision::float32 ? 3e-6 : precision == Precision::tf32 ? 4e-3 : 4e-2;
}

const char* name_of(Precision precision) {
    return precision == Precision::float32 ? "float32" : precision == Precision::tf32 ? "tf32" : "bf16";
}

std::unique_ptr<cuda::DevicePlan> fused(const Graph& graph, Precision precision, std::string* reason,
                                        int64_t memory = whole_memory) {
    return cuda::fused::fuse_plan_within(graph, precision, memory, reason);
}

// Checks one plan against expected rows; whatever the number of rows and the order of threads is, a row has
// the same bits.
void check_plan(const char* what, const Graph& graph, const cuda::DevicePlan& plan, const Floats& input,
                const Floats& expected, int64_t rows, bool orders) {
    const int64_t in = plan.info.input_elements, out = plan.info.output_elements;
    const std::string text = std::string(name_of(plan.info.precision)) + ": " + describe(graph);
    const Floats found = on_device(plan, input, rows);
    const double error = apart(found, expected);
    CHECK(error <= tolerance(plan.info.precision), "%s: %g of the scale from the CPU's: %s", what, error,
          text.c_str());
    const Floats last(input.end() - in, input.end()), alone(found.end() - out, found.end());
    CHECK(same_bits(on_device(plan, last, 1), alone), "%s: other bits alone: %s", what, text.c_str());
    if (orders)
        in_every_order([&](const char* order) {
            CHECK(same_bits(on_device(plan, input, rows), found), "%s: other bits, %s: %s", what, order,
                  text.c_str());
        });
}

// Numbers of 8 digits, which all three precisions take as they are.
void shorten(Floats& numbers) {
    for (float& v : numbers) {
        uint32_t bits;
        std::memcpy(&bits, &v, sizeof bits);
        bits &= 0xffff0000u;
        std::memcpy(&v, &bits, sizeof v);
    }
}

void every_operator() {
    const int seeds = on_host ? 5 : 60;
    std::map<std::string, int> taken, refused;
    for (const OperatorCase& c : operator_cases())
        for (int seed = 0; seed < seeds; seed++) {
            generator.seed(seed);
            Builder b;
            c.build(b);
            const int64_t rows = between(1, 4);
            Floats input = rows_of(b.graph, rows), expected;
            shorten(input);
            for (Value& value : b.graph.values)
                shorten(value.constant);
            // Little memory: blocks of fewer rows.
            const int64_t memory = pick({16, 40, 227}) << 10;
            for (Precision precision : {Precision::float32, Precision::tf32, Precision::bf16}) {
                std::string reason;
                try {
                    const auto plan = fused(b.graph, precision, &reason, memory);
                    CHECK(!reason.empty(), "%s: no reason", c.name);
                    (plan ? taken : refused)[c.name]++;
                    if (!plan)
                        continue;
                    if (expected.empty())
                        expected = on_cpu(*compile_lanes(b.graph, widest_isa()), input, rows);
                    check_plan(c.name, b.graph, *plan, input, expected, rows, seed < 2);
                } catch (const std::exception& error) {
                    CHECK(false, "%s: %s: %s", c.name, error.what(), describe(b.graph).c_str());
                }
            }
        }
    for (const char* op :
         {"conv", "convTranspose", "linear", "add", "sub", "mul", "div", "activate", "groupNorm", "layerNorm",
          "maxPool", "averagePool", "resizeNearest", "reduceMean", "reshape", "pad", "transpose", "gather"})
        CHECK(taken[op] > 0, "%s: no case was fused", op);
    for (const char* op : {"attention", "softmax", "matmul", "greater", "maxPoolGrad", "topKMask"})
        CHECK(taken[op] == 0 && refused[op] > 0, "%s: %d cases were fused", op, taken[op]);
}

// ---- small autoencoders, latent → latent ----

void autoencoders() {
    struct Case {
        const char* name;
        Graph graph;
        // Whether weights are to lie beside the activations.
        bool resident;
    };
    const std::vector<Case> cases{
        {"convolutional", convolutional(5, 8, 2, 0.5f, 1), true},
        {"convolutional, streamed", convolutional(5, 8, 2, 0.5f, 1), false},
        {"norms", with_norms(6, 0.5f, 2), true},
        {"perceptron", perceptron(3, 40, 0.5f, 3), true},
        {"as mnist-conv-k16", convolutional(16, 16, 4, 0.5f, 4), false},
    };
    for (const Case& c : cases)
        for (Precision precision : {Precision::float32, Precision::tf32, Precision::bf16}) {
            const bool large = c.graph.nominal_flops() > 1e6;
            std::string reason;
            auto plan = fused(c.graph, precision, &reason);
            // Less and less memory, until weights are read through L2.
            for (int64_t memory = whole_memory;
                 plan && !c.resident && reason.find("beside") != std::string::npos;)
                plan = fused(c.graph, precision, &reason, memory -= 1 << 10);
            CHECK(plan != nullptr, "%s: %s", c.name, reason.c_str());
            if (!plan)
                continue;
            CHECK(reason.find(c.resident ? "beside the weights" : "through L2") != std::string::npos &&
                      plan->info.reason == reason && plan->info.layout == "fused" &&
                      plan->info.launches == 1 && plan->info.row_bytes == 0 &&
                      plan->info.flops_per_row == c.graph.nominal_flops() && plan->info.weight_bytes > 0,
                  "%s: %s", c.name, reason.c_str());
            const int64_t block = std::stoi(reason.substr(reason.find("of ") + 3));
            for (int64_t rows : large&& on_host ? std::vector<int64_t>{block + 1}
                                                : std::vector<int64_t>{1, block - 1, block, 2 * block + 1}) {
                generator.seed(7);
                const Floats input = rows_of(c.graph, rows);
                const Floats expected = on_cpu(*compile_lanes(c.graph, widest_isa()), input, rows);
                check_plan(c.name, c.graph, *plan, input, expected, rows, !large && rows > block);
            }
        }
}

// Nothing to compute: what comes in goes out.
void nothing() {
    Builder b;
    const int x = b.input({3, 2, 2});
    b.node("reshape", {x}, {3, 4});
    std::string reason;
    for (const bool reshaped : {true, false}) {
        if (!reshaped) {
            b.graph.nodes.clear();
            b.graph.output = x;
        }
        const auto plan = fused(b.graph, Precision::bf16, &reason);
        const Floats input = rows_of(b.graph, 3);
        CHECK(plan && same_bits(on_device(*plan, input, 3), input), "%s", reason.c_str());
    }
}

// NaN and infinity stay in their row.
void not_finite() {
    const Graph graph = convolutional(5, 8, 2, 0.5f, 1);
    for (Precision precision : {Precision::float32, Precision::tf32, Precision::bf16}) {
        std::string reason;
        const auto plan = fused(graph, precision, &reason);
        generator.seed(8);
        Floats input = rows_of(graph, 4);
        const Floats before = on_device(*plan, input, 4);
        input[5] = std::numeric_limits<float>::quiet_NaN();
        input[2 * 5 + 1] = std::numeric_limits<float>::infinity();
        const Floats after = on_device(*plan, input, 4);
        for (int row : {0, 3})
            CHECK(std::memcmp(&after[row * 5], &before[row * 5], 20) == 0, "row %d has other bits", row);
        for (int row : {1, 2})
            CHECK(!std::isfinite(after[row * 5]), "row %d is %g", row, after[row * 5]);
    }
}

void what_does_not_fit() {
    const auto reason_of = [](const Graph& graph, int64_t memory = whole_memory) {
        std::string reason;
        CHECK(fused(graph, Precision::float32, &reason, memory) == nullptr, "a plan: %s", reason.c_str());
        return reason;
    };
    const Graph graph = convolutional(16, 16, 4, 0.5f, 4);
    std::string reason = reason_of(graph, 150 << 10);
    CHECK(reason == "eight rows need 192 KiB of shared memory, of 150", "%s", reason.c_str());
    reason = reason_of(graph, 64 << 10);
    CHECK(reason ==
              "the result of node \"convTranspose4\" (convTranspose) in eight rows takes 128 KiB of shared "
              "memory, of 64",
          "%s", reason.c_str());
    Builder b;
    b.node("softmax", {b.input({5})}, {5});
    reason = reason_of(b.graph);
    CHECK(reason == "node \"softmax0\" (softmax) is not one of the fused operators", "%s", reason.c_str());
}

void which_is_chosen() {
    const auto chosen = [](const Graph& graph) {
        const auto plan = cuda::plan_for(graph, Precision::tf32);
        CHECK(!plan->info.reason.empty(), "no reason");
        return plan->info.layout + "; " + plan->info.reason;
    };
    std::string what = chosen(convolutional(16, 16, 4, 0.5f, 4));
    CHECK(what == "fused; activations of 8 rows fit in 192 KiB of shared memory; weights are read through L2",
          "%s", what.c_str());
    what = chosen(convolutional(128, 16, 4, 0.5f, 4));
    CHECK(what.starts_with("fused"), "%s", what.c_str());
    // Three products of matrices: the weights are all that there is to move.
    what = chosen(perceptron(500, 600, 0.5f, 3));
    CHECK(what.starts_with("kernels") && what.ends_with("of weights, and 32 KiB by kernels"), "%s",
          what.c_str());
    Builder b;
    b.node("softmax", {b.input({5})}, {5});
    what = chosen(b.graph);
    CHECK(what.starts_with("kernels") && what.ends_with("is not one of the fused operators"), "%s",
          what.c_str());
}

// ---- the iteration ----

// The loop on the host, f by runs of the same plan.
IterationResult by_runs(const cuda::DevicePlan& plan, const Matrix& initial, const IterateOptions& options) {
    return iterated_on_host(initial, options, initial.rows, [&](std::span<const float> points, int64_t rows) {
        return on_device(plan, Floats(points.begin(), points.end()), rows);
    });
}

void compare_ends(const char* what, const IterationResult& found, const IterationResult& expected) {
    CHECK(found.status == expected.status && found.iterations == expected.iterations &&
              found.period == expected.period && found.evaluations == expected.evaluations,
          "%s: other statuses or steps", what);
    CHECK(same_bits(found.endpoints, expected.endpoints), "%s: other endpoints", what);
    // Squares are summed in another order.
    CHECK(apart(found.residual, expected.residual) < 1e-6, "%s: other residuals", what);
    for (size_t i = 0; i < expected.traces.size(); i++)
        CHECK(found.traces[i].size() == expected.traces[i].size() &&
                  apart(found.traces[i], expected.traces[i]) < 1e-6,
              "%s: trace %zu differs", what, i);
}

void iterations() {
    struct Case {
        const char* name;
        Graph graph;
        float scale;
        int32_t max_iterations;
    };
    // One map that contracts, one that has points that run away and others that do not.
    const std::vector<Case> cases{{"contracting", convolutional(5, 8, 2, 0.7f, 1), 1, 40},
                                  {"norms", with_norms(6, 0.9f, 2), 1, 5},
                                  {"perceptron", perceptron(3, 24, 3.0f, 3), 2, 8},
                                  {"running away", convolutional(5, 8, 2, 6.0f, 5), 1, 40}};
    std::map<int, int> statuses;
    for (const Case& c : cases) {
        std::string reason;
        const auto plan = fused(c.graph, Precision::float32, &reason, 48 << 10);
        CHECK(plan && plan->persistent(), "%s: %s", c.name, reason.c_str());
        const int64_t at_once = plan->resident_points();
        const Matrix initial =
            gaussian(2 * at_once + 3, c.graph.values[c.graph.input].elements(), 11, c.scale);
        IterateOptions options;
        options.max_iterations = c.max_iterations;
        options.trace_rows = {0, 1, static_cast<int32_t>(initial.rows) - 1};
        const IterationResult expected = by_runs(*plan, initial, options);
        for (uint8_t status : expected.status)
            statuses[status]++;
        const auto run = [&](const char* what) {
            IterationResult found(initial, options);
            CHECK(cuda::iterate({nullptr, plan.get()}, initial.data.data(), initial.rows, options,
                                found.output(), &found.evaluations, {}),
                  "%s: stopped", what);
            compare_ends(what, found, expected);
        };
        run(c.name);
        // A step or two a launch: what launches leave in the slots is all that there is.
        const double operations = plan->info.flops_per_row;
        plan->info.flops_per_row = 1e12;
        run("few steps a launch");
        plan->info.flops_per_row = operations;
        if (&c == &cases[0])
            in_every_order([&](const char* order) { run(order); });
    }
    for (Status status : {Status::converged, Status::max_iterations, Status::diverged})
        CHECK(statuses[static_cast<int>(status)] > 0, "no point has status %d", static_cast<int>(status));
}

// Points first go with the fast plan; the last step is one in float32.
void two_precisions() {
    const Graph graph = convolutional(5, 8, 2, 0.7f, 1);
    std::string reason;
    const auto strict = fused(graph, Precision::float32, &reason, 48 << 10);
    const Matrix initial = gaussian(40, 5, 12);
    const IterateOptions options;
    const IterationResult expected = by_runs(*strict, initial, options);
    for (Precision precision : {Precision::tf32, Precision::bf16}) {
        const auto fast = fused(graph, precision, &reason, 48 << 10);
        IterationResult found(initial, options);
        cuda::iterate({fast.get(), strict.get()}, initial.data.data(), initial.rows, options, found.output(),
                      &found.evaluations, {});
        CHECK(found.status == expected.status, "%s: other statuses", name_of(precision));
        // Both ends are within a step of √tolerance of the same fixed point.
        CHECK(apart(found.endpoints, expected.endpoints) < 1e-2, "%s: %g from the endpoints in float32",
              name_of(precision), apart(found.endpoints, expected.endpoints));
    }
}

// Ended from outside: what is done stands, what is not says so.
void stopped() {
    const Graph graph = convolutional(5, 8, 2, 0.7f, 1);
    std::string reason;
    const auto plan = fused(graph, Precision::float32, &reason, 48 << 10);
    plan->info.flops_per_row = 1e12;
    const Matrix initial = gaussian(3 * plan->resident_points(), 5, 13);
    IterateOptions options;
    options.tolerance = 1e-12;
    const IterationResult expected = by_runs(*plan, initial, options);
    IterationResult found(initial, options);
    cuda::Job job;
    job.report = [](int64_t finished, int64_t) { return finished == 0; };
    CHECK(!cuda::iterate({nullptr, plan.get()}, initial.data.data(), initial.rows, options, found.output(),
                         &found.evaluations, job),
          "not stopped");
    int done = 0;
    for (int64_t i = 0; i < initial.rows; i++) {
        if (found.status[i] == static_cast<uint8_t>(Status::unfinished))
            continue;
        done++;
        CHECK(found.status[i] == expected.status[i] && found.iterations[i] == expected.iterations[i] &&
                  std::memcmp(&found.endpoints[i * 5], &expected.endpoints[i * 5], 20) == 0,
              "row %lld ended otherwise", static_cast<long long>(i));
    }
    CHECK(done > 0 && done < initial.rows, "%d rows were done", done);
}

#ifdef LATDYN_SIMT
void breaks() {
    const Graph graph = perceptron(3, 24, 0.5f, 3);
    std::string reason;
    const auto plan = fused(graph, Precision::tf32, &reason);
    const Floats input = Floats(30, 1.0f);
    const Floats before = on_device(*plan, input, 10);
    with_broken_launches({0}, [&] { on_device(*plan, input, 10); });
    const Matrix initial = gaussian(20, 3, 14);
    with_broken_launches({0, 1, 2}, [&] {
        IterationResult found(initial, {});
        cuda::iterate({nullptr, plan.get()}, initial.data.data(), initial.rows, {}, found.output(),
                      &found.evaluations, {});
    });
    simt::limit_memory(1 << 10);
    const std::string message = message_of([&] { fused(graph, Precision::tf32, &reason); });
    CHECK(message.find("out of memory") != std::string::npos, "%s", message.c_str());
    simt::limit_memory(std::numeric_limits<int64_t>::max());
    CHECK(same_bits(on_device(*plan, input, 10), before), "other bits after a broken launch");
}
#endif

} // namespace

int main() {
    return test_on_device("cuda_fused", [] {
        every_operator();
        autoencoders();
        nothing();
        not_finite();
        what_does_not_fit();
        which_is_chosen();
        iterations();
        two_precisions();
        stopped();
#ifdef LATDYN_SIMT
        breaks();
#endif
    });
}
