// Iterations on the device of maps whose ends are known: how they are run, and compared with the CPU's.
#pragma once

#include "iteration.h"

#include "iteration_result.h"
#include "maps.h"
#include "on_device.h"
#include "points.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>

namespace latdyn::test {

inline IterationResult on_cpu(const Map& map, const Matrix& initial, const IterateOptions& options) {
    return iterated_on_host(initial, options, 64, [&](std::span<const float> points, int64_t rows) {
        std::vector<float> mapped(points.size());
        map_on_host(map, points.data(), rows, mapped.data());
        return mapped;
    });
}

struct Plans {
    std::unique_ptr<cuda::DevicePlan> fast, strict;
    cuda::Maps maps() const { return {fast.get(), strict.get()}; }
};

inline IterationResult on_device(const Plans& plans, const Matrix& initial, const IterateOptions& options,
                                 const cuda::Job& job = {}) {
    IterationResult result(initial, options);
    result.done = cuda::iterate(plans.maps(), initial.data.data(), initial.rows, options, result.output(),
                                &result.evaluations, job);
    return result;
}

inline bool near(float found, float expected) {
    return std::isnan(expected) ? std::isnan(found)
                                : found == expected || std::abs(found - expected) <= 1e-6f * expected;
}

inline bool near(const std::vector<float>& found, const std::vector<float>& expected) {
    return found.size() == expected.size() && std::equal(found.begin(), found.end(), expected.begin(),
                                                         [](float a, float b) { return near(a, b); });
}

// The same steps, statuses and points; residuals to the rounding of their sums.
inline void check_equal(const std::string& what, const IterationResult& found,
                        const IterationResult& expected, int64_t k) {
    CHECK(found.done, "%s: not done", what.c_str());
    CHECK(found.evaluations == expected.evaluations, "%s: %lld evaluations, expected %lld", what.c_str(),
          static_cast<long long>(found.evaluations), static_cast<long long>(expected.evaluations));
    for (size_t i = 0; i < expected.status.size(); i++) {
        bool ends = true;
        for (int64_t e = 0; e < k; e++) {
            const float a = found.endpoints[i * k + e], b = expected.endpoints[i * k + e];
            ends = ends && (a == b || (std::isnan(a) && std::isnan(b)));
        }
        CHECK(found.iterations[i] == expected.iterations[i] && found.status[i] == expected.status[i] &&
                  found.period[i] == expected.period[i] && ends &&
                  near(found.residual[i], expected.residual[i]),
              "%s, row %zu: %d steps, status %d, period %d, residual %.9g, endpoint %s; expected %d, %d, %d, "
              "%.9g",
              what.c_str(), i, found.iterations[i], found.status[i], found.period[i], found.residual[i],
              ends ? "equal" : "another", expected.iterations[i], expected.status[i], expected.period[i],
              expected.residual[i]);
    }
    for (size_t i = 0; i < expected.traces.size(); i++)
        CHECK(near(found.traces[i], expected.traces[i]), "%s: trace %zu has %zu steps, expected %zu",
              what.c_str(), i, found.traces[i].size(), expected.traces[i].size());
}

// Runs the map in batches of `batch` in every order, by itself and persistent.
inline void compare(const std::string& what, const Map& map, const Matrix& initial,
                    const IterateOptions& options, int64_t batch) {
    const IterationResult expected = on_cpu(map, initial, options);
    for (bool persistent : {false, true}) {
        const Plans plans{nullptr, map_plan(map, batch, persistent)};
        std::vector<IterationResult> all;
        in_every_order([&](const char* order) {
            all.push_back(on_device(plans, initial, options));
            check_equal(what + (persistent ? ", persistent, " : ", ") + order, all.back(), expected, map.k);
        });
        CHECK(all[0].same(all[1]), "%s: repeated runs differ", what.c_str());
    }
}

inline Map turning(int64_t k, int period) {
    Map map{Kind::turn, k};
    const double angle = 2 * M_PI / period;
    map.cosine = static_cast<float>(std::cos(angle));
    map.sine = static_cast<float>(std::sin(angle));
    return map;
}

inline Matrix with_speeds(int64_t rows, int64_t k, uint64_t seed) {
    Matrix x = gaussian(rows, k, seed);
    for (int64_t i = 0; i < rows; i++)
        x.row(i)[k - 1] = static_cast<float>(1 + pick(seed, i, 7));
    return x;
}

inline IterateOptions defaults() {
    IterateOptions options;
    options.max_iterations = 300;
    return options;
}

} // namespace latdyn::test
