// Pairs of rows that may be the best of one of them: found with tensor cores, decided in double.
//
// A pair has a score, the smaller the better: minus a cosine, or a squared distance. From the product of
// packed rows follow bounds low <= score <= high (tf32.h, distance_bounds.h). No pair whose low is above the
// smallest high of its row can be that row's best; every other one goes to a list and is scored in double. So
// of a random set of pairs a few a row are scored, and nothing but the double scores decides. The smallest
// high so far replaces the smallest high of all, which makes the list a little longer and one pass enough.
#pragma once

#include "device_rows.h"

#include <cstdint>
#include <functional>
#include <vector>

namespace latdyn::cuda {

// What the bounds take from a row, by its number: see DistanceBounds. Of cosines: `error` alone, their bound.
struct RowBounds {
    float square, error, length, tiny;
};

struct PairSide {
    // Panels; row which[p] at place p (p itself where `which` is null).
    const float* packed;
    const int32_t* which;
    int64_t count;
    // By row.
    const RowBounds* bounds;
    // By row, as ordered(float): no pair whose low is above it is of use to the row. Null: none is.
    uint32_t* best;
};

// What a product of packed rows stands for: a cosine, the size of one, or x·y of rows under a common scale.
enum class Score : int { cosine, size, distance };

struct Candidate {
    int32_t left, right;
    float low;
    int32_t unused;
};

struct PairTask {
    PairSide left, right;
    int64_t stages;
    Score score;
    // Only pairs whose right row comes before the left one.
    bool earlier;
    // Whether `best` becomes smaller by the pairs that are met.
    bool improve;
    // By left row, `excluded_words` words: bit j set, the pair with row j does not exist. May be null; then
    // places on the right are rows.
    const uint32_t* excluded;
    int64_t excluded_words;
};

// A list of candidates on the device.
class Candidates {
  public:
    // A list that no single tile overflows, larger where there is memory.
    explicit Candidates(const Job& job, int64_t wanted = int64_t{1} << 22);

    int64_t capacity() const { return found.size(); }
    const Candidate* list() const { return found.get(); }
    // Of the last collect().
    int64_t count() const { return counted; }
    // Scores of the candidates, for whoever has them computed.
    Key* keys() const { return scores.get(); }

    // Lists the candidates among tiles [first, first + tiles) of the task. False where they are too many; the
    // smaller `best` of the task stand, so that the next try finds fewer.
    bool collect(const PairTask& task, int64_t first, int64_t tiles);
    // The same of whatever start(list, counter, capacity) launches: a kernel that lists candidates.
    bool collect(const std::function<void(Candidate*, unsigned*, unsigned)>& start);

  private:
    Buffer<Candidate> found;
    Buffer<Key> scores;
    Buffer<unsigned> counter;
    int64_t counted = 0;
};

int64_t tiles_of(const PairTask& task);

// Lists the candidates of all tiles, as many at a time as the list holds, and calls use() for each list.
// False where the job is to end. `finished` counts left rows.
bool for_candidates(const Job& job, Candidates& candidates, const PairTask& task, int64_t finished,
                    const std::function<void()>& use);

// Every pair's lower bound (of distances), or product, to out [left.count, stride]; stride is a multiple of
// tile_rows, and what is beyond right.count is +∞.
void write_pairs(const PairTask& task, float* out, int64_t stride);

// How a pair is scored in double, from the rows as given: with the bits of the CPU's kernels.
enum class Exact : int {
    // −x·y / √(x²·y²), not below −1 and not above 1.
    cosine,
    // |x − y|², and its root.
    squared_distance,
    distance,
};

// The best of each row of one side, by row.
struct Best {
    // ordered(score), and the lowest other row that has it; −1 where there is none.
    Buffer<Key> key, before;
    Buffer<int32_t> index;

    // None so far; of use is what is below `limit`.
    Best(int64_t rows, double limit);
    // Row by row.
    std::vector<double> scores() const;
};

struct Scored {
    const DeviceRows& left;
    const DeviceRows& right;
    Exact exact;
    // Either may be null.
    Best* left_best;
    Best* right_best;
};

// Scores the candidates in double and keeps the best of each row.
void score_candidates(const Candidates& candidates, const PairTask& task, const Scored& scored);

// ordered(v) for the host.
uint32_t ordered_of(float v);
Key ordered_of(double v);
double from_ordered_of(Key key);

} // namespace latdyn::cuda
