// Connected components of cosine > threshold: the second half of dedup.cu's rule of that name.
#pragma once

#include "pairs.h"

#include <cstdint>
#include <vector>

namespace latdyn::cuda {

// Rows as the greedy rule leaves them. Everything but `listed` is by row.
struct GreedyClusters {
    // The rows there are, ascending.
    const std::vector<int32_t>& listed;
    // The row that represents each of them, and the score (minus the cosine) with which they joined.
    const std::vector<int32_t>& joined;
    const std::vector<double>& scores;
};

// Per listed row the lowest row that a chain of scores below `limit` connects it with; −1 for all others.
// Empty where aborted.
std::vector<int32_t> connected_rows(const DeviceRows& points, const GreedyClusters& clusters, double limit,
                                    const Job& job);

} // namespace latdyn::cuda
