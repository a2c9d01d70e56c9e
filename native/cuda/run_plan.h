// How many rows a plan is given at once, and how long it runs until the host looks again.
#pragma once

#include "latdyn/error.h"
#include "plan.h"

#include <algorithm>

namespace latdyn::cuda {

// What a run should have to do for each multiprocessor, so that the gaps between its launches (a microsecond
// or two each) do not count: at 3e11 operations a second, which products in float32 reach, a millisecond.
constexpr double efficient_operations = 4e8;
constexpr int64_t most_rows_at_once = int64_t{1} << 18;

inline int64_t efficient_rows(const DevicePlanInfo& info) {
    const double operations = efficient_operations * multiprocessors();
    const double rows = operations / std::max(info.flops_per_row, 1.0);
    return std::clamp<int64_t>(static_cast<int64_t>(std::min(rows, 1e9)), 1, most_rows_at_once);
}

// Rows whose run takes as long as that of a single one: launches, and no work to speak of.
inline int64_t idle_rows(const DevicePlanInfo& info) {
    return std::max<int64_t>(1, efficient_rows(info) / 512);
}

// Runs of `rows` rows that take about 50 ms, at the rate above or at 3 µs a launch.
inline int32_t steps_a_check(const DevicePlanInfo& info, int64_t rows) {
    const double at_rate = 50 * efficient_operations * multiprocessors() /
                           std::max(info.flops_per_row * static_cast<double>(rows), 1.0);
    const double by_launches = 50e-3 / (3e-6 * (info.launches + 3));
    return static_cast<int32_t>(std::clamp(std::min(at_rate, by_launches), 1.0, 4096.0));
}

// Memory of a run, aligned as plans want it.
class Arena {
  public:
    Arena() = default;
    explicit Arena(int64_t bytes) : memory(bytes + alignment) {}

    unsigned char* get() const {
        const auto at = reinterpret_cast<uintptr_t>(memory.get());
        return memory.get() + (alignment - at % alignment) % alignment;
    }

  private:
    static constexpr int64_t alignment = 256;
    Buffer<unsigned char> memory;
};

// Throws Error where the plan's output is not of the size of its input.
inline void check_square(const DevicePlanInfo& info) {
    if (info.input_elements != info.output_elements)
        throw Error("the map takes " + std::to_string(info.input_elements) + " elements and gives " +
                    std::to_string(info.output_elements) + ": it cannot be iterated");
}

} // namespace latdyn::cuda
