// Plans whose run is one launch against the CPU's: every operator on random shapes, small autoencoders in
// three precisions, ragged numbers of rows, rows that do not touch one another, weights beside the
// activations and read through L2, graphs that do not fit, a device that breaks.
#include "fused/compile.h"
#include "operator_graphs.h"
#include "plans.h"

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
    for (const auto& [name, count] : refused)
        std::printf("%s: %d refused, %d taken\n", name.c_str(), count, taken[name]);
}

} // namespace

int main() {
    if (!has_device())
        return skipped;
    every_operator();
    return test::finish("cuda_fused");
}
