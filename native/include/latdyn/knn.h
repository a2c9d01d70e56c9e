// Scores from the K nearest rows of a reference set: how far a query is from what is known.
#pragma once

#include "latdyn/iterate.h"

#include <cstdint>
#include <vector>

namespace latdyn {

// Of the distances to the K nearest rows: their mean, or the last, the K-th.
enum class KnnRule { mean, kth };

struct KnnOptions {
    // K, at least 1. Above the number of rows in the reference: all of them.
    int64_t neighbours = 1;
    KnnRule rule = KnnRule::mean;
    // Every row divided by its length first; a zero vector stays one.
    bool normalise = false;
    int threads = 1;
};

struct KnnResult {
    // Per query; a row that was not reached before the abort has NaN.
    std::vector<double> score;
    // K as it was used.
    int64_t neighbours = 0;
    bool aborted = false;
};

// reference [reference_rows, columns], queries [query_rows, columns]. Distances are Euclidean, in double from
// the floats given, and no neighbour is missed. Memory beside the sets: 4·columns·reference_rows bytes, and a
// thread has blocks of 32 MiB, or of 12 queries (20 bytes times twice K + 10,240) where that is more; never
// reference_rows × query_rows. The result does not depend on the number of threads. counters.finished counts
// queries. Throws Error where the reference is empty, or a row is not finite (named).
KnnResult knn_score(const float* reference, int64_t reference_rows, const float* queries, int64_t query_rows,
                    int64_t columns, const KnnOptions& options, JobCounters& counters);

} // namespace latdyn
