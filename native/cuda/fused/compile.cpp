// From a lowered graph to a plan: how many rows a block takes, where values lie in its shared memory, and the
// tables of its operators.
#include "compile.h"

#include "kernels.h"
#include "layout.h"
#include "lifetimes.h"
#include "lower.h"
#include "window.h"

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

namespace latdyn::cuda {

namespace fused {

namespace {

// Of shared memory, every value and every scratch begins at a multiple of these: a line of all banks.
constexpr int64_t line_words = 32;
constexpr int most_rows_log = 5, least_rows_log = 3;

int64_t in_lines(int64_t words) {
    return (words + line_words - 1) / line_words * line_words;
}

int64_t words_of(const Resident& value, int rows) {
    const int64_t elements = int64_t{value.positions} * value.channels * rows;
    return in_lines(value.element == Element::bf16 ? (elements + 1) / 2 : elements);
}

bool is_quick(const Lowered& graph, const Step& step, Precision precision) {
    return is_quick(step.window, precision, step.op, graph.values[static_cast<size_t>(step.y)].element,
                    step.residual >= 0);
}

int64_t scratch_of(const Lowered& graph, const Step& step, Precision precision, int rows) {
    if (step.op.kind == Kind::product)
        return in_lines(part_words(step.window, precision, rows, is_quick(graph, step, precision)));
    return step.op.kind == Kind::normalise ? in_lines(int64_t{2} * step.op.units * rows) : 0;
}

uint32_t reciprocal_of(int32_t divisor) {
    return divisor == 1 ? 0 : static_cast<uint32_t>(((uint64_t{1} << 32) + divisor - 1) / divisor);
}

Place place_of(const Resident& value, int64_t word) {
    Place place;
    place.word = static_cast<int32_t>(word);
    place.positions = value.positions;
    place.channels = value.channels;
    place.reciprocal = reciprocal_of(value.channels);
    place.element = value.element;
    place.chunk_log = value.element == Element::bf16 ? 4 : 3;
    const int chunks = value.channels >> place.chunk_log;
    // Rows are `chunks` chunks apart, and banks four of them: what four rows do not spread by themselves.
    if (value.channels % (1 << place.chunk_log) == 0 && chunks % 2 == 0) {
        place.swap_shift = chunks % 4 == 0 ? 0 : 1;
        place.swap_mask = chunks % 4 == 0 ? 3 : 1;
    }
    return place;
}

// Where values and the scratch of each step lie, in words.
struct Layout {
    std::vector<int64_t> values, scratch;
    int64_t words = 0;
};

Layout lay_out(const Lowered& graph, Precision precision, int rows) {
    std::vector<Life> lives;
    for (const Resident& value : graph.values)
        lives.push_back({words_of(value, rows), value.first, value.last});
    for (size_t i = 0; i < graph.steps.size(); i++)
        lives.push_back(
            {scratch_of(graph, graph.steps[i], precision, rows), static_cast<int>(i), static_cast<int>(i)});
    Layout layout;
    layout.words = place_by_lifetime(lives);
    for (size_t i = 0; i < lives.size(); i++)
        (i < graph.values.size() ? layout.values : layout.scratch).push_back(lives[i].offset);
    return layout;
}

// The operators and their tables for blocks of so many rows.
std::vector<Operator> operators_of(const Lowered& graph, const Layout& layout, Precision precision, int rows,
                                   Tables& tables) {
    std::vector<Operator> operators;
    const auto place = [&](int value) {
        return place_of(graph.values[static_cast<size_t>(value)], layout.values[static_cast<size_t>(value)]);
    };
    const auto append = [](auto& to, const auto& from) {
        if (from.empty())
            return int32_t{-1};
        const int32_t at = static_cast<int32_t>(to.size());
        to.insert(to.end(), from.begin(), from.end());
        return at;
    };
    for (size_t i = 0; i < graph.steps.size(); i++) {
        const Step& step = graph.steps[i];
        Operator op = step.op;
        op.y = place(step.y);
        op.has_x_place = step.x >= 0;
        if (op.has_x_place)
            op.x = place(step.x);
        op.has_b_place = step.b >= 0;
        if (op.has_b_place)
            op.b = place(step.b);
        op.has_residual = step.residual >= 0;
        if (op.has_residual)
            op.residual = place(step.residual);
        op.constant = append(tables.constants, step.constants);
        op.shift = append(tables.constants, step.shifts);
        op.table = append(tables.numbers, step.table);
        op.scratch = static_cast<int32_t>(layout.scratch[i]);
        if (op.kind == Kind::product) {
            op.quick = is_quick(graph, step, precision);
            append_window(step.window, step.weights, precision, rows, op, tables);
        }
        operators.push_back(op);
    }
    return operators;
}

// How many rows a block takes, whether weights lie beside them, and the words of shared memory for both.
struct Choice {
    int rows_log;
    bool resident;
    int64_t words;
};

// A program for blocks of so many rows, and what it points to.
class Blocks {
  public:
    Program program{};
    // Bytes.
    size_t shared;

    Blocks(const Lowered& graph, Precision precision, const Choice& choice)
        : shared(static_cast<size_t>(4 * choice.words)) {
        const int rows = 1 << choice.rows_log;
        const Layout layout = lay_out(graph, precision, rows);
        Tables tables;
        const std::vector<Operator> list = operators_of(graph, layout, precision, rows, tables);
        // Weights are read ahead of their use, past the last one.
        tables.fragments.resize(tables.fragments.size() + size_t{2} * most_tiles * 128);
        operators = Buffer<Operator>(std::span<const Operator>(list));
        numbers = Buffer<int32_t>(std::span<const int32_t>(tables.numbers));
        constants = Buffer<float>(std::span<const float>(tables.constants));
        fragments = Buffer<float>(std::span<const float>(tables.fragments));
        program.operators = operators.get();
        program.count = static_cast<int32_t>(list.size());
        program.rows_log = choice.rows_log;
        program.tables = numbers.get();
        program.constants = constants.get();
        program.fragments = fragments.get();
        program.fragment_words = static_cast<int32_t>(tables.fragments.size());
        program.resident = choice.resident ? static_cast<int32_t>(layout.words) : -1;
        const auto place = [&](int value) {
            return place_of(graph.values[static_cast<size_t>(value)],
                            layout.values[static_cast<size_t>(value)]);
        };
        program.input = place(graph.input);
        program.output = place(graph.output);
        program.input_planar = graph.input_planar;
        program.output_planar = graph.output_planar;
        program.input_reciprocal = reciprocal_of(program.input.positions * program.input.channels);
        program.output_reciprocal = reciprocal_of(program.output.positions * program.output.channels);
    }

    int64_t bytes() const {
        return operators.size() * int64_t{sizeof(Operator)} +
               4 * (numbers.size() + constants.size() + fragments.size());
    }
    // Blocks that so many rows take.
    int64_t of(int64_t rows) const {
        return (rows + (int64_t{1} << program.rows_log) - 1) >> program.rows_log;
    }

  private:
    Buffer<Operator> operators;
    Buffer<int32_t> numbers;
    Buffer<float> constants, fragments;
};

} // namespace

// A step of a block takes the longer the more rows it has, so where few rows leave multiprocessors without a
// block, blocks take fewer of them: as few as still find a multiprocessor each. The order of a sum follows
// from the graph alone, so a row has the same bits in all of them.
class FusedPlan final : public DevicePlan {
  public:
    // `choices`: by falling numbers of rows, at least one.
    FusedPlan(const Lowered& graph, Precision precision, const std::vector<Choice>& choices) {
        for (const Choice& choice : choices)
            sizes.emplace_back(graph, precision, choice);
        const Program& program = sizes[0].program;
        info.precision = precision;
        info.input_elements = int64_t{program.input.positions} * program.input.channels;
        info.output_elements = int64_t{program.output.positions} * program.output.channels;
        for (const Blocks& blocks : sizes)
            info.weight_bytes += blocks.bytes();
        info.launches = 1;
        info.layout = "fused";
    }

    void run(const float* input, float* output, int64_t rows, unsigned char*) const override {
        if (rows == 0)
            return;
        const Blocks& blocks = blocks_for(rows, rows);
        const int64_t groups = blocks.of(rows);
        with_precision([&](auto precision) {
            fused::run<precision.value>(
                blocks.program, input, output, rows,
                {blocks.program.resident >= 0 ? std::min(groups, blocks_at_once) : groups, blocks.shared});
        });
    }

    // Bytes of weights that a row costs: those of a block, shared by its rows; none where they stay.
    double streamed_bytes() const {
        const Program& program = sizes[0].program;
        return program.resident >= 0 ? 0 : 4.0 * program.fragment_words / (1 << program.rows_log);
    }

    bool persistent() const override { return info.input_elements == info.output_elements; }
    int64_t resident_points() const override { return blocks_at_once << sizes[0].program.rows_log; }
    void iterate_resident(const Residence& points, int64_t steps) const override {
        const Blocks& blocks = blocks_for(points.batch, points.live);
        with_precision([&](auto precision) {
            fused::iterate<precision.value>(blocks.program, points, steps,
                                            {blocks.of(points.batch), blocks.shared});
        });
    }

    // For `rows` rows of which no more than `live` are there: a block without one is over at once.
    const Blocks& blocks_for(int64_t rows, int64_t live) const {
        for (auto smallest = sizes.rbegin(); smallest != sizes.rend(); ++smallest)
            if (std::min(live, smallest->of(rows)) <= blocks_at_once)
                return *smallest;
        return sizes[0];
    }

  private:
    std::vector<Blocks> sizes;
    int64_t blocks_at_once = multiprocessors();

    template <class Body> void with_precision(Body body) const {
        switch (info.precision) {
        case Precision::float32:
            return body(std::integral_constant<Precision, Precision::float32>{});
        case Precision::tf32:
            return body(std::integral_constant<Precision, Precision::tf32>{});
        case Precision::bf16:
            return body(std::integral_constant<Precision, Precision::bf16>{});
        }
    }
};

} // namespace fused

namespace {

using namespace fused;

int64_t fragment_words(const Lowered& graph, Precision precision) {
    Tables tables;
    operators_of(graph, lay_out(graph, precision, 1 << least_rows_log), precision, 1 << least_rows_log,
                 tables);
    return in_lines(static_cast<int64_t>(tables.fragments.size()) + 2 * most_tiles * 128);
}

// The most rows that a block takes, and every half of them; none where eight do not fit.
std::vector<Choice> choose(const Lowered& graph, Precision precision, int64_t shared_bytes, int64_t* needed) {
    const int64_t weights = fragment_words(graph, precision);
    std::vector<Choice> choices;
    for (int rows_log = most_rows_log; rows_log >= least_rows_log; rows_log--) {
        const int64_t words = lay_out(graph, precision, 1 << rows_log).words;
        *needed = 4 * words;
        if (4 * words > shared_bytes)
            continue;
        const bool resident = 4 * (words + weights) <= shared_bytes;
        // Half as many rows with their weights at hand are as good.
        if (resident && choices.size() == 1 && !choices[0].resident)
            choices.clear();
        choices.push_back({rows_log, resident, resident ? words + weights : words});
    }
    return choices;
}

// Before anything is made of a graph that is too large: a value that alone does not fit.
void check_values(const Graph& graph, Precision precision, int64_t shared_bytes) {
    const int64_t element = precision == Precision::bf16 ? 2 : 4;
    for (const Node& node : graph.nodes) {
        const int64_t bytes = graph.values[node.output].elements() * element << least_rows_log;
        if (bytes > shared_bytes)
            throw Refused{"the result of node \"" + node.name + "\" (" + node.op + ") in eight rows takes " +
                          std::to_string(bytes / 1024) + " KiB of shared memory, of " +
                          std::to_string(shared_bytes / 1024)};
    }
}

} // namespace

std::unique_ptr<DevicePlan> fused::fuse_plan_within(const Graph& graph, Precision precision,
                                                    int64_t shared_bytes, std::string* reason) {
    graph.validate();
    try {
        check_values(graph, precision, shared_bytes);
        const Lowered lowered = lower(graph, precision);
        int64_t needed = 0;
        const std::vector<Choice> choices = choose(lowered, precision, shared_bytes, &needed);
        if (choices.empty())
            throw Refused{"eight rows need " + std::to_string(needed / 1024) + " KiB of shared memory, of " +
                          std::to_string(shared_bytes / 1024)};
        auto plan = std::make_unique<FusedPlan>(lowered, precision, choices);
        const Choice& most = choices[0];
        plan->info.flops_per_row = graph.nominal_flops();
        plan->info.reason = "activations of " + std::to_string(1 << most.rows_log) + " rows fit in " +
                            std::to_string(4 * most.words / 1024) + " KiB of shared memory" +
                            (most.resident ? " beside the weights" : "; weights are read through L2");
        *reason = plan->info.reason;
        return plan;
    } catch (const Refused& refused) {
        *reason = refused.reason;
        return nullptr;
    }
}

int fused::rows_a_block(const DevicePlan& plan, int64_t rows) {
    const auto* one = dynamic_cast<const FusedPlan*>(&plan);
    return one ? 1 << one->blocks_for(rows, rows).program.rows_log : 0;
}

// Weights come from L2, what kernels move from memory: on sm_90 L2 is said to be 1.2 to 1.7 times as fast.
// (Not measured here; the bench of extraction has both layouts.)
constexpr double l2_advantage = 1.5;

double fused::kernel_bytes(const Graph& graph) {
    double bytes = 0;
    for (const Node& node : graph.nodes) {
        bytes += 2.0 * sizeof(float) * static_cast<double>(graph.values[node.output].elements());
        for (int input : node.inputs)
            if (graph.values[input].is_constant)
                bytes += sizeof(float) * static_cast<double>(graph.values[input].elements()) / tile_rows;
    }
    return bytes;
}

std::unique_ptr<DevicePlan> fuse_plan(const Graph& graph, Precision precision, std::string* reason) {
    return fused::fuse_plan_within(graph, precision, shared_memory_limit(), reason);
}

std::unique_ptr<DevicePlan> plan_for(const Graph& graph, Precision precision) {
    std::string reason;
    std::unique_ptr<DevicePlan> plan = fuse_plan(graph, precision, &reason);
    if (plan) {
        const double streamed = static_cast<const FusedPlan&>(*plan).streamed_bytes(),
                     moved = fused::kernel_bytes(graph);
        if (streamed <= l2_advantage * moved)
            return plan;
        reason = "a row of a fused block costs " + std::to_string(std::lround(streamed / 1024)) +
                 " KiB of weights, and " + std::to_string(std::lround(moved / 1024)) + " KiB by kernels";
    }
    plan = compile_plan(graph, precision);
    plan->info.reason += plan->info.reason.empty() ? reason : ": " + reason;
    return plan;
}

} // namespace latdyn::cuda
