// What tests of the device's plans share: a graph's rows through the CPU's plan and through the device's, and
// how far apart they are.
#pragma once

#include "latdyn/plan.h"

#include "graphs.h"
#include "on_device.h"
#include "plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

namespace latdyn::test {

using Floats = std::vector<float>;

inline Floats on_cpu(const Plan& plan, const Floats& input, int64_t rows) {
    const auto workspace = plan.make_workspace();
    const int64_t in = plan.info.input_elements, out = plan.info.output_elements, tile = plan.info.tile_rows;
    Floats output(static_cast<size_t>(rows * out));
    for (int64_t first = 0; first < rows; first += tile) {
        const int64_t some = std::min(tile, rows - first);
        for (int64_t lane = 0; lane < tile; lane++)
            for (int64_t e = 0; e < in; e++)
                workspace->input[e * tile + lane] = input[(first + std::min(lane, some - 1)) * in + e];
        plan.run(*workspace);
        for (int64_t lane = 0; lane < some; lane++)
            for (int64_t e = 0; e < out; e++)
                output[(first + lane) * out + e] = workspace->output[e * tile + lane];
    }
    return output;
}

inline Floats on_device(const cuda::DevicePlan& plan, const Floats& input, int64_t rows) {
    const cuda::Buffer<float> x{std::span<const float>(input)};
    cuda::Buffer<float> y(rows * plan.info.output_elements);
    cuda::Buffer<unsigned char> arena(rows * plan.info.row_bytes);
    y.fill_bytes(0xff);
    arena.fill_bytes(0xff);
    plan.run(x.get(), y.get(), rows, arena.get());
    CHECK(same_bits(x.read(), input), "the input was changed");
    return y.read();
}

inline Floats rows_of(const Graph& graph, int64_t rows) {
    Floats all;
    for (int64_t i = 0; i < rows; i++) {
        const Floats one = random_input(graph);
        all.insert(all.end(), one.begin(), one.end());
    }
    return all;
}

// The largest difference as a share of the largest number; infinite where NaN or infinity meets anything
// else.
inline double apart(const Floats& found, const Floats& expected) {
    double scale = 1e-3, worst = 0;
    for (float v : expected)
        if (std::isfinite(v))
            scale = std::max(scale, std::fabs(double(v)));
    for (size_t i = 0; i < expected.size(); i++) {
        const float x = found[i], y = expected[i];
        if (std::isnan(x) && std::isnan(y))
            continue;
        const double error = x == y ? 0 : std::fabs(double(x) - y) / scale;
        worst = error <= worst ? worst : std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
    }
    return worst;
}

} // namespace latdyn::test
