// f of many rows, once: blocks of rows go over the bus, through the plan and back. Besides what the plan does
// it moves 4 bytes an element of input and output over the bus, which limits it for small plans.
#include "iteration.h"

#include "run_plan.h"

namespace latdyn::cuda {

namespace {

struct Block {
    Buffer<float> input, output;
    Arena arena;
};

} // namespace

bool apply(const DevicePlan& plan, const float* input, int64_t rows, float* output, const Job& job) {
    const int64_t in = plan.info.input_elements, out = plan.info.output_elements;
    if (rows == 0)
        return true;
    const int64_t row_bytes = 4 * (in + out) + plan.info.row_bytes;
    const int64_t wanted = std::min({rows, efficient_rows(plan.info), job.room() / row_bytes});
    const auto [block, size] = make_fitting(job, "rows", std::max<int64_t>(1, wanted), 1, [&](int64_t count) {
        return Block{Buffer<float>(count * in), Buffer<float>(count * out),
                     Arena(count * plan.info.row_bytes)};
    });
    for (int64_t first = 0; first < rows; first += size) {
        if (!job.go_on(first, first))
            return false;
        const int64_t count = std::min(size, rows - first);
        upload(block.input.get(), input + first * in, static_cast<size_t>(count * in) * sizeof(float));
        plan.run(block.input.get(), block.output.get(), count, block.arena.get());
        download(output + first * out, block.output.get(), static_cast<size_t>(count * out) * sizeof(float));
    }
    job.go_on(rows, rows);
    return true;
}

} // namespace latdyn::cuda
