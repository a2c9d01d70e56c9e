// Mahalanobis distance to a cloud of points, with a covariance that is shrunk until it can be inverted.
#pragma once

#include "latdyn/iterate.h"

#include <cstdint>
#include <vector>

namespace latdyn {

struct MahalanobisResult {
    // [queries]: sqrt((x − m) C⁻¹ (x − m)ᵀ).
    std::vector<double> distance;
    // Share of the scaled identity in C, 0 … 1.
    double shrinkage = 0;
    // C has no inverse in double, which takes rows so few or so regular that s is zero; there are no
    // distances.
    bool singular = false;
    bool aborted = false;
};

// reference [reference_rows, columns], queries [query_rows, columns]. m is the mean of the reference,
// C = (1 − s)·S + s·(tr S / columns)·I with S its covariance (divided by the count) and s as Ledoit and Wolf
// ("A well-conditioned estimator for large-dimensional covariance matrices", 2004) choose it, in double
// throughout. Memory 8·columns·(columns + reference_rows + block) bytes. Throws Error where there are fewer
// than two reference rows, they are all equal, or an element is not finite. counters.finished counts queries.
MahalanobisResult mahalanobis(const float* reference, int64_t reference_rows, const float* queries,
                              int64_t query_rows, int64_t columns, int threads, JobCounters& counters);

} // namespace latdyn
