// What an iteration gives, and the loop on the host that it is compared with.
#pragma once

#include "check.h"
#include "latdyn/batch_iteration.h"
#include "points.h"

#include <algorithm>
#include <span>
#include <vector>

namespace latdyn::test {

struct IterationResult {
    std::vector<float> endpoints;
    std::vector<int32_t> iterations;
    std::vector<float> residual;
    std::vector<uint8_t> status, period;
    std::vector<std::vector<float>> traces;
    int64_t evaluations = 0;
    bool done = true;

    IterationResult(const Matrix& initial, const IterateOptions& options)
        : endpoints(initial.data.size()), iterations(static_cast<size_t>(initial.rows)),
          residual(iterations.size()), status(iterations.size()), period(iterations.size()),
          traces(options.trace_rows.size()) {}

    IterateOutput output() {
        return {endpoints.data(), iterations.data(), residual.data(), status.data(), period.data(), &traces};
    }
    bool same(const IterationResult& other) const {
        return same_bits(endpoints, other.endpoints) && same_bits(residual, other.residual) &&
               iterations == other.iterations && status == other.status && period == other.period &&
               std::equal(traces.begin(), traces.end(), other.traces.begin(), other.traces.end(),
                          same_bits<float>) &&
               evaluations == other.evaluations && done == other.done;
    }
};

// map(points, rows) gives f of them. `most` rows at once.
template <class MapRows>
IterationResult iterated_on_host(const Matrix& initial, const IterateOptions& options, int64_t most,
                                 MapRows map) {
    IterationResult result(initial, options);
    BatchIteration iteration(initial.data.data(), initial.rows, initial.columns, options, result.output());
    const int64_t batch = iteration.open(most);
    while (!iteration.points(batch).empty()) {
        const auto points = iteration.points(batch);
        const std::vector<float> mapped = map(points, static_cast<int64_t>(points.size()) / initial.columns);
        iteration.advance(batch, mapped.data());
    }
    result.evaluations = iteration.evaluations();
    iteration.close();
    return result;
}

} // namespace latdyn::test
