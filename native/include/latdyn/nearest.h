// Nearest neighbours of two sets in both directions at once: what similarity, memorization and coverage are
// made of.
#pragma once

#include "latdyn/iterate.h"

#include <cstdint>
#include <vector>

namespace latdyn {

enum class Metric { cosine, euclidean };

struct NearestOptions {
    Metric metric = Metric::cosine;
    int threads = 1;
};

// Per row of one set, its nearest row of the other, the lowest of equals, and their cosine or Euclidean
// distance. Both are those of double arithmetic on the floats given.
struct Nearest {
    std::vector<int32_t> index;
    std::vector<double> value;
};

struct NearestResult {
    Nearest of_a, of_b;
    bool aborted = false;
};

// a [a_rows, columns], b [b_rows, columns]. The cosine of a zero vector is 0 with any other, and 1 with a
// zero vector. Memory beside the sets: 4·columns·min(a_rows, b_rows) bytes, 20·threads·min(a_rows, b_rows),
// and blocks of 192·(columns + 512) floats a thread; never a_rows × b_rows. The result does not depend on the
// number of threads. counters.finished counts rows of the larger set. Throws Error where a set is empty, or a
// row is not finite (named).
NearestResult nearest(const float* a, int64_t a_rows, const float* b, int64_t b_rows, int64_t columns,
                      const NearestOptions& options, JobCounters& counters);

} // namespace latdyn
