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

// Of rows that each stand for themselves or are represented by an earlier one: representatives and labels.
inline DedupResult labelled(const std::vector<int32_t>& represented_by) {
    DedupResult result;
    const auto rows = static_cast<int32_t>(represented_by.size());
    result.labels.resize(represented_by.size());
    for (int32_t i = 0; i < rows; i++) {
        // A representative is the first of its rows, so its label is there when the others ask for it.
        if (represented_by[i] == i) {
            result.labels[i] = static_cast<int32_t>(result.representatives.size());
            result.representatives.push_back(i);
        } else {
            result.labels[i] = result.labels[represented_by[i]];
        }
    }
    return result;
}

// points [rows, columns]. Memory O(rows · columns + kept · columns), never rows × rows. The result does not
// depend on the number of threads. `finished` (may be null) counts the rows that have met the representatives
// before them; components then look at those once more.
DedupResult dedup(const float* points, int64_t rows, int64_t columns, const DedupOptions& options,
                  const std::atomic<bool>* abort, std::atomic<int64_t>* finished = nullptr);

} // namespace latdyn
