// Two sets of rows made ready for pairs.h: packed, and with what bounds a pair's score.
#pragma once

#include "distance_bounds.h"
#include "pairs.h"
#include "tf32.h"

namespace latdyn::cuda {

struct BoundedSide {
    Buffer<float> packed;
    Buffer<RowBounds> bounds;
    // Empty where nothing is looked for.
    Buffer<uint32_t> best;
    int64_t count = 0;

    PairSide side() const { return {packed.get(), nullptr, count, bounds.get(), best.get()}; }
};

struct Bounded {
    BoundedSide left, right;
    // Of distances: the power of two, γ and `tiny` of DistanceBounds, and the length of every left row under
    // it.
    double scale = 1, gamma = 0, tiny = 0;
    std::vector<double> left_lengths;
};

// Of unit vectors. Rows of zeros keep no candidates.
Bounded bounded_cosines(const DeviceRows& left, const DeviceRows& right);
// What rows are less before they are bounded; `none`: nothing, and they are divided by their length.
enum class Centre : int { of_both, of_right, none };
// Under one power of two. Rows that are not finite keep no candidates.
Bounded bounded_distances(const DeviceRows& left, const DeviceRows& right, Centre centre);

// Of `count` unit vectors.
Buffer<RowBounds> cosine_rows(int64_t count, int64_t columns);
// Of rows with these squared lengths (before the scale of `bounds`); nothing of those that are not finite.
std::vector<RowBounds> distance_rows(const DistanceBounds& bounds, int64_t columns,
                                     const std::vector<double>& squares);
// What is known of rows before any pair is: +∞ where `open`, else −∞, which no pair is below.
std::vector<uint32_t> open_best(int64_t count, const std::function<bool(int64_t)>& open);

} // namespace latdyn::cuda
