// Convolutions by themselves and inside a whole f: what share of the card's matrix rate they reach.
//
// conv-3x3: 64 → 64 channels with bias and ReLU over maps of the sizes that TAEF2's f spends its time on,
// weights packed beforehand. f of a model: plan.run() on resident rows, every operator of it; `flops` are
// those of its products and convolutions.
#include "graph/products.h"
#include "graph_file.h"
#include "kernels.h"
#include "measure.h"
#include "plan.h"

#include <algorithm>
#include <filesystem>
#include <memory>

namespace latdyn::bench {

namespace {

struct Named {
    cuda::Precision precision;
    const char* name;
};
constexpr Named precisions[] = {
    {cuda::Precision::float32, "float32"}, {cuda::Precision::tf32, "tf32"}, {cuda::Precision::bf16, "bf16"}};

cuda::Buffer<float> resident_noise(int64_t rows, int64_t columns, uint64_t seed) {
    std::vector<float> data(static_cast<size_t>(rows * columns));
    cuda::noise(seed, 0, rows, columns, 1, data.data());
    return cuda::Buffer<float>(std::span<const float>(data));
}

void window(const Options& options, int32_t side, int64_t rows) {
    cuda::WindowShape shape;
    shape.height = shape.width = shape.out_height = shape.out_width = side;
    shape.channels = shape.out_channels = 64;
    shape.kernel_h = shape.kernel_w = 3;
    shape.top = shape.left = 1;
    std::vector<float> weights(64 * 64 * 9), bias(64);
    cuda::noise(1, 0, 64, 64 * 9, 0.05f, weights.data());
    cuda::noise(2, 0, 1, 64, 0.1f, bias.data());
    const int64_t elements = int64_t{side} * side * 64;
    const cuda::Buffer<float> x = resident_noise(rows, elements, 3);
    cuda::Buffer<float> y(rows * elements);
    const auto convolve = [&](const Named& one, const std::string& instruction) {
        const cuda::Window window(shape, weights, bias, {ActivationKind::relu, 0, 0}, one.precision);
        const double positions = static_cast<double>(rows) * side * side;
        measure_enqueued(options,
                         {"conv-3x3", by({rows, side, side}) + ", 64 channels", 2 * positions * 64 * 64 * 9,
                          4 * (2 * positions * 64 + 64 * 64 * 9), one.name,
                          member("variant", instruction.empty() ? one.name : one.name + (" " + instruction))},
                         [&] { window.run(x.get(), nullptr, y.get(), rows); });
    };
    convolve(precisions[0], "");
    with_each_instruction([&](const char* instruction) {
        for (const Named& one : {precisions[1], precisions[2]})
            convolve(one, instruction);
    });
}

void whole_map(const Options& options, const GraphFile& file, int64_t wanted) {
    for (const Named& one : precisions) {
        const std::string name = "f-" + file.name;
        attempt(name, one.name, [&] {
            const std::unique_ptr<cuda::DevicePlan> plan = cuda::compile_plan(file.graph, one.precision);
            const int64_t k = file.k(), of_row = plan->info.row_bytes + 8 * k;
            const int64_t rows = std::clamp<int64_t>(cuda::free_memory() / 2 / of_row, 1, wanted);
            const cuda::Buffer<float> x = resident_noise(rows, k, 4);
            cuda::Buffer<float> y(rows * k);
            cuda::Buffer<unsigned char> arena(rows * plan->info.row_bytes);
            const double n = static_cast<double>(rows);
            measure_enqueued(options,
                             {name, by({rows, k}), n * plan->info.flops_per_row,
                              8 * n * static_cast<double>(k) + static_cast<double>(plan->info.weight_bytes),
                              one.name,
                              member("variant", one.name) + member("launches", plan->info.launches) +
                                  member("rowBytes", static_cast<double>(plan->info.row_bytes))},
                             [&] { plan->run(x.get(), y.get(), rows, arena.get()); });
        });
    }
}

} // namespace

void run_convolutions(const Options& options) {
    if (options.small) {
        window(options, 6, 2);
    } else {
        window(options, 64, 256);
        window(options, 256, 16);
    }
    // Rows that fill the card, of latents 32 × 8 × 8 and 32 × 32 × 32.
    const struct {
        const char* name;
        int64_t rows;
    } models[] = {{"taef2-8", 256}, {"taef2-32", 16}};
    for (const auto& [name, rows] : models) {
        const std::string path = options.graphs + "/" + name + ".bin";
        if (options.small)
            continue;
        if (!std::filesystem::exists(path)) {
            say_failed(std::string("f-") + name, "", "skipped: there is no " + path);
            continue;
        }
        whole_map(options, read_graph_file(path), rows);
    }
}

} // namespace latdyn::bench
