// Deduplication of endpoints into attractors.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

namespace latdyn {

enum class DedupRule { greedy, components, euclidean };

struct DedupOptions {
    DedupRule rule = DedupRule::greedy;
    // Two rows are equal where their cosine is strictly above this (greedy, components).
    double threshold = 0.99;
    // Two rows are equal where their distance is strictly below this (euclidean).
    double distance = 0;
    int threads = 1;
};

struct DedupResult {
    // Row indices of the representatives, ascending.
    std::vector<int32_t> representatives;
    // Per row: index into representatives.
    std::vector<int32_t> labels;
    bool aborted = false;
};

// points [rows, columns]. Memory O(rows · columns + kept · columns), never rows × rows. The result does not
// depend on the number of threads. `finished` (may be null) counts the rows that have met the representatives
// before them; components then look at those once more.
DedupResult dedup(const float* points, int64_t rows, int64_t columns, const DedupOptions& options,
                  const std::atomic<bool>* abort, std::atomic<int64_t>* finished = nullptr);

} // namespace latdyn
