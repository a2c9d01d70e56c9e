// Fused plans take fewer rows a block where there are few: how many, and that a row's bits do not tell.
#include "autoencoder_graphs.h"
#include "fused/compile.h"
#include "iteration.h"
#include "iteration_result.h"
#include "plans.h"
#include "points.h"

#include <algorithm>
#include <cstring>
#include <set>

using namespace latdyn;
using namespace latdyn::test;
using cuda::Precision;

namespace {

constexpr int64_t whole_memory = 227 << 10;
constexpr Precision precisions[] = {Precision::float32, Precision::tf32, Precision::bf16};

std::unique_ptr<cuda::DevicePlan> fused(const Graph& graph, Precision precision, bool streamed = false) {
    std::string reason;
    std::unique_ptr<cuda::DevicePlan> plan;
    // Less and less memory, until weights are read through L2.
    for (int64_t memory = whole_memory; memory > 0; memory -= 1 << 10) {
        plan = cuda::fused::fuse_plan_within(graph, precision, memory, &reason);
        if (!plan || !streamed || reason.find("through L2") != std::string::npos)
            break;
    }
    CHECK(plan && plan->persistent(), "no plan: %s", reason.c_str());
    return plan;
}

void how_many() {
    const auto plan = fused(perceptron(3, 40, 0.5f, 3), Precision::float32);
    const int64_t blocks = plan->resident_points() / 32;
    // As few as leave no block without a multiprocessor: 8 to begin with, then twice as many.
    for (const auto& [rows, expected] : std::vector<std::pair<int64_t, int>>{{1, 8},
                                                                             {8 * blocks, 8},
                                                                             {8 * blocks + 1, 16},
                                                                             {16 * blocks, 16},
                                                                             {16 * blocks + 1, 32},
                                                                             {32 * blocks, 32},
                                                                             {1000 * blocks, 32}}) {
        const int found = cuda::fused::rows_a_block(*plan, rows);
        CHECK(found == expected, "%lld rows in blocks of %d, expected %d", static_cast<long long>(rows),
              found, expected);
    }
    const auto large = fused(convolutional(16, 16, 4, 0.5f, 4), Precision::tf32);
    CHECK(cuda::fused::rows_a_block(*large, 1) == 8 && cuda::fused::rows_a_block(*large, 100000) == 8,
          "a block takes other than the eight rows that fit");
    CHECK(cuda::fused::rows_a_block(*cuda::compile_plan(perceptron(3, 5, 1, 3), Precision::tf32), 10) == 0,
          "kernels have blocks of rows");
}

struct Case {
    const char* name;
    Graph graph;
    // Whether weights come from L2.
    bool streamed;
};

std::vector<Case> cases() {
    return {{"perceptron", perceptron(3, 24, 0.9f, 3), false},
            {"convolutional", convolutional(5, 8, 2, 0.7f, 1), false},
            {"convolutional, streamed", convolutional(5, 16, 2, 0.7f, 1), true},
            {"norms", with_norms(6, 0.9f, 2), false}};
}

void same_bits_in_all() {
    for (const Case& c : cases())
        for (Precision precision : precisions) {
            const auto plan = fused(c.graph, precision, c.streamed);
            // One more than the next smaller blocks take at once, and as many again.
            const int64_t k = plan->info.input_elements, rows = plan->resident_points() / 2 + 3;
            reseed(21);
            const Floats input = rows_of(c.graph, rows), all = on_device(*plan, input, rows);
            std::set<int> sizes{cuda::fused::rows_a_block(*plan, rows)};
            for (int64_t piece = rows / 2; piece > 0; piece /= 2) {
                sizes.insert(cuda::fused::rows_a_block(*plan, piece));
                // The first of them and the last.
                for (int64_t first : {int64_t{0}, rows - piece}) {
                    const Floats some(input.begin() + first * k, input.begin() + (first + piece) * k);
                    CHECK(same_bits(on_device(*plan, some, piece),
                                    Floats(all.begin() + first * k, all.begin() + (first + piece) * k)),
                          "%s, %d: other bits in blocks of %d", c.name, static_cast<int>(precision),
                          cuda::fused::rows_a_block(*plan, piece));
                }
            }
            CHECK((sizes == std::set<int>{8, 16, 32}), "%s, %d: %zu sizes of blocks", c.name,
                  static_cast<int>(precision), sizes.size());
        }
}

// An iteration changes from large blocks to small ones as its points end, and a few of them begin in small
// ones.
void iterations() {
    for (const Case& c : cases())
        for (Precision precision : {Precision::float32, Precision::bf16}) {
            const auto plan = fused(c.graph, precision, c.streamed);
            // A few steps a launch, so that there are many.
            plan->info.flops_per_row = 1e10;
            const int64_t k = plan->info.input_elements, rows = plan->resident_points() + 5;
            const Matrix initial = gaussian(rows, k, 31, 2);
            IterateOptions options;
            options.max_iterations = 25;
            const auto iterated = [&](int64_t first, int64_t count) {
                Matrix some(count, k);
                std::copy_n(initial.row(first), count * k, some.data.begin());
                IterationResult found(some, options);
                found.done = cuda::iterate({nullptr, plan.get()}, some.data.data(), count, options,
                                           found.output(), &found.evaluations, {});
                return found;
            };
            const IterationResult all = iterated(0, rows);
            CHECK(all.done && *std::min_element(all.iterations.begin(), all.iterations.end()) <
                                  *std::max_element(all.iterations.begin(), all.iterations.end()),
                  "%s: all points end at the same time", c.name);
            in_every_order([&](const char* order) {
                for (int64_t count : {int64_t{1}, int64_t{9}, rows / 3}) {
                    const int64_t first = rows - count;
                    const IterationResult some = iterated(first, count);
                    CHECK(
                        std::equal(some.iterations.begin(), some.iterations.end(),
                                   all.iterations.begin() + first) &&
                            std::equal(some.status.begin(), some.status.end(), all.status.begin() + first) &&
                            std::memcmp(some.residual.data(), all.residual.data() + first,
                                        some.residual.size() * sizeof(float)) == 0 &&
                            std::memcmp(some.endpoints.data(), all.endpoints.data() + first * k,
                                        some.endpoints.size() * sizeof(float)) == 0,
                        "%s, %s: %lld points end otherwise in blocks of %d", c.name, order,
                        static_cast<long long>(count), cuda::fused::rows_a_block(*plan, count));
                }
            });
        }
}

} // namespace

int main() {
    return test_on_device("cuda_fused_rows", [] {
        how_many();
        same_bits_in_all();
        iterations();
    });
}
