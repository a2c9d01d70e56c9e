// Greedy deduplication, exactly as dedup.cpp does it (components.cu begins with it): in row order a row joins
// the representative of the best score in double that is beyond the limit, the first of equals, or becomes
// one.
//
// A block of rows meets, on tensor cores (pairs.h), the representatives there are, and the rows of the block
// that found none (the only ones that can become new representatives) meet the block. Pairs that may be
// beyond the limit are scored in double. Those of two rows that found none make a matrix of bits, from which
// one block of threads reads off in row order who becomes a representative; the others then take the best
// there is.
//
// Launches of a block of B rows with C kept ones, F of which find none: candidate_pairs (pairs.cu) twice,
// 2·B·(C + F)·k FLOPs; score_pairs on the candidates; mark_edges, a thread a candidate; choose, one block of
// 1,024 threads, F²/8 bytes of bits read once and F/32 steps of three barriers; take_accepted, a thread a
// candidate. Five short copies to the host order them. With C·k large the limit is mma.sync; with small k the
// F/32 steps and the copies are, some hundred microseconds a block, so blocks are as large as the rows that
// find none allow.
#include "kernels.h"

#include "bounds.h"
#include "components.h"
#include "device.h"
#include "latdyn/error.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

namespace latdyn::cuda {

namespace {

constexpr unsigned threads = 256;
constexpr unsigned choosers = 1024;
constexpr int64_t smallest_block = 1024, largest_block = 16384;
// A list that fits two tiles on each side: blocks shrink to this before they fail.
constexpr int64_t least_block = 128;

__global__ void mark_edges(const Candidate* found, const Key* keys, int64_t count, Key limit,
                           const int32_t* place_of, uint32_t* edges, int64_t words) {
    const int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x;
    if (i >= count || keys[i] >= limit)
        return;
    const int32_t row = place_of[found[i].left], column = place_of[found[i].right];
    // Only rows that found none have a place.
    if (row >= 0 && column >= 0)
        atomicOr(&edges[row * words + column / 32], 1u << column % 32);
}

// Bit f of `accepted`: no accepted row before f has an edge to it. 32 rows at a time: a warp for each looks
// at those before the 32, one lane after the other at those among them.
__global__ void choose(const uint32_t* edges, int64_t count, int64_t words, uint32_t* accepted) {
    uint32_t* before = reinterpret_cast<uint32_t*>(shared_memory());
    uint32_t* within = before + words;
    uint32_t* beaten = within + 32;
    const int64_t warp = threadIdx.x / 32;
    const int lane = static_cast<int>(threadIdx.x % 32);
    for (int64_t word = 0; word < words; word++) {
        const int64_t row = word * 32 + warp;
        bool hit = row >= count;
        if (row < count) {
            const uint32_t* own = edges + row * words;
            for (int64_t w = lane; w < word; w += 32)
                hit = hit || (own[w] & before[w]) != 0;
        }
        hit = __any_sync(whole_warp, hit);
        if (lane == 0) {
            within[warp] = row < count ? edges[row * words + word] : 0;
            beaten[warp] = hit;
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            uint32_t taken = 0;
            for (int i = 0; i < 32; i++)
                if (!beaten[i] && (within[i] & taken) == 0)
                    taken |= 1u << i;
            before[word] = taken;
            accepted[word] = taken;
        }
        __syncthreads();
    }
}

__device__ inline bool is_accepted(const uint32_t* accepted, const int32_t* place_of, int32_t row) {
    const int32_t place = place_of[row];
    return place >= 0 && (accepted[place / 32] >> place % 32 & 1);
}

// The best score with an accepted row, then the lowest row that has it.
__global__ void take_accepted(const Candidate* found, const Key* keys, int64_t count,
                              const uint32_t* accepted, const int32_t* place_of, Key limit, Key* best,
                              int32_t* index, bool lowest) {
    const int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x;
    if (i >= count || keys[i] >= limit)
        return;
    const Candidate pair = found[i];
    if (!is_accepted(accepted, place_of, pair.right))
        return;
    if (!lowest)
        atomicMin(&best[pair.left], keys[i]);
    else if (keys[i] == best[pair.left])
        atomicMin(reinterpret_cast<unsigned*>(&index[pair.left]), static_cast<unsigned>(pair.right));
}

// Rows whose score has improved forget whom they had joined.
__global__ void forget_joined(const int32_t* rows, int64_t count, const Key* best, Key* before,
                              int32_t* index) {
    const int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x;
    if (i >= count)
        return;
    const int32_t row = rows[i];
    if (best[row] == before[row])
        return;
    before[row] = best[row];
    index[row] = -1;
}

__global__ void start_rows(const int32_t* rows, int64_t count, Key limit, uint32_t bound, Key* best,
                           Key* before, int32_t* index, uint32_t* bounds) {
    const int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x;
    if (i >= count)
        return;
    const int32_t row = rows[i];
    best[row] = before[row] = limit;
    index[row] = -1;
    bounds[row] = bound;
}

__global__ void set_places(const int32_t* rows, int64_t count, int32_t* place_of, bool none) {
    const int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x;
    if (i < count)
        place_of[rows[i]] = none ? -1 : static_cast<int32_t>(i);
}

int64_t blocks_for(int64_t count) {
    return (count + threads - 1) / threads;
}

// Rows packed in order of arrival.
class Panels {
  public:
    Panels(const DeviceRows& points, const Change& change) : points(points), change(change) {}

    int64_t size() const { return count; }
    const Buffer<int32_t>& rows() const { return which; }
    void clear() { count = 0; }
    void append(std::span<const int32_t> more) {
        const int64_t before = count;
        reserve(count + static_cast<int64_t>(more.size()));
        which.set(more, before);
        count += static_cast<int64_t>(more.size());
        // The last panel may have been partly filled: it is packed again.
        pack(points.data.get(), points.columns, which.get(), count, change, packed.get(), before / tile_rows);
    }
    PairSide side(const RowBounds* bounds, uint32_t* best) const {
        return {packed.get(), which.get(), count, bounds, best};
    }

  private:
    const DeviceRows& points;
    const Change change;
    Buffer<float> packed;
    Buffer<int32_t> which;
    int64_t count = 0, capacity = 0;

    void reserve(int64_t wanted) {
        if (wanted <= capacity)
            return;
        const int64_t grown = panels_of(std::max(wanted, std::min(2 * capacity, points.count))) * tile_rows;
        Buffer<float> larger(packed_size(grown, points.columns));
        Buffer<int32_t> rows(grown);
        if (count > 0) {
            copy(larger.get(), packed.get(),
                 static_cast<size_t>(packed_size(count, points.columns)) * sizeof(float));
            copy(rows.get(), which.get(), static_cast<size_t>(count) * sizeof(int32_t));
            synchronize();
        }
        packed = std::move(larger);
        which = std::move(rows);
        capacity = grown;
    }
};

struct Rule {
    bool euclidean;
    // Of a score (minus a cosine, or a distance), and of its bounds: what is not below it does not join.
    double limit;
    float bound;
};

class Greedy {
  public:
    Greedy(const DeviceRows& points, const Rule& rule, const Change& change, Buffer<RowBounds> row_bounds,
           const Job& job)
        : points(points), rule(rule), job(job), limit(ordered_of(rule.limit)), bounds(std::move(row_bounds)),
          best(points.count, rule.limit), best_bound(points.count), place_of(points.count),
          kept(points, change), fresh(points, change), block_rows(points, change), candidates(job) {
        place_of.fill_bytes(0xff);
    }

    // By row, of the listed ones (ascending), the row that represents it; empty where aborted.
    std::vector<int32_t> run(const std::vector<int32_t>& listed) {
        const int64_t total = static_cast<int64_t>(listed.size());
        std::vector<int32_t> joined(static_cast<size_t>(points.count), -1);
        int64_t size = smallest_block;
        for (int64_t begin = 0; begin < total;) {
            if (!job.go_on(begin))
                return {};
            const int64_t count = std::min(size, total - begin);
            const std::span<const int32_t> rows(listed.data() + begin, static_cast<size_t>(count));
            const Outcome outcome = block(rows);
            if (outcome == Outcome::aborted)
                return {};
            if (outcome == Outcome::too_many) {
                if (count <= least_block)
                    throw DeviceError(Failure::out_of_memory,
                                      "CUDA: no room for the candidates of a block of " +
                                          std::to_string(count) + " rows");
                size = std::max(least_block, count / 2);
                continue;
            }
            begin += count;
            // As on the CPU: large blocks where few rows are left over, or where the kept ones cost more
            // anyway.
            const bool grow = 4 * fresh.size() <= count || kept.size() >= 2 * count;
            size = std::clamp(grow ? 2 * size : size / 2, least_block, largest_block);
        }
        const std::vector<int32_t> index = best.index.read();
        for (int32_t row : listed)
            joined[row] = index[row] >= 0 ? index[row] : row;
        return joined;
    }

    // By row, after run(): the score with which it joined; of representatives the limit.
    std::vector<double> scores() const { return best.scores(); }

  private:
    enum class Outcome { done, aborted, too_many };

    const DeviceRows& points;
    const Rule rule;
    const Job& job;
    const Key limit;
    const Buffer<RowBounds> bounds;
    Best best;
    Buffer<uint32_t> best_bound;
    // Among the rows of the block that found none; −1 for all others.
    Buffer<int32_t> place_of;
    // Representatives of earlier blocks; rows of this block that joined none of them; all of them.
    Panels kept, fresh, block_rows;
    Candidates candidates;

    PairTask task(const Panels& right) const {
        PairTask task{};
        task.left = block_rows.side(bounds.get(), best_bound.get());
        task.right = right.side(bounds.get(), nullptr);
        task.stages = stages_of(points.columns);
        task.score = rule.euclidean ? Score::distance : Score::cosine;
        return task;
    }
    Scored scored(Best* left) {
        return {points, points, rule.euclidean ? Exact::distance : Exact::cosine, left, nullptr};
    }

    Outcome block(std::span<const int32_t> rows) {
        const int64_t count = static_cast<int64_t>(rows.size());
        block_rows.clear();
        block_rows.append(rows);
        const int32_t* block_ids = block_rows.rows().get();
        launch("start_rows", start_rows, blocks_for(count), threads, 0, block_ids, count, limit,
               ordered_of(rule.bound), best.key.get(), best.before.get(), best.index.get(), best_bound.get());

        if (kept.size() > 0) {
            PairTask with_kept = task(kept);
            with_kept.improve = true;
            if (!for_candidates(job, candidates, with_kept, rows[0],
                                [&] { score_candidates(candidates, with_kept, scored(&best)); }))
                return Outcome::aborted;
        }
        const std::vector<int32_t> found_none = without_any(rows);
        fresh.clear();
        if (found_none.empty())
            return Outcome::done;
        fresh.append(found_none);
        const int64_t some = fresh.size(), words = (some + 31) / 32;

        PairTask within = task(fresh);
        within.earlier = true;
        if (!candidates.collect(within, 0, tiles_of(within)))
            return Outcome::too_many;
        score_candidates(candidates, within, scored(nullptr));

        const int64_t listed = candidates.count();
        const int32_t* fresh_ids = fresh.rows().get();
        Buffer<uint32_t> edges(some * words), accepted(words);
        edges.fill_bytes(0);
        launch("set_places", set_places, blocks_for(some), threads, 0, fresh_ids, some, place_of.get(),
               false);
        if (listed > 0)
            launch("mark_edges", mark_edges, blocks_for(listed), threads, 0, candidates.list(),
                   candidates.keys(), listed, limit, place_of.get(), edges.get(), words);
        launch("choose", choose, 1, choosers, static_cast<size_t>(words + 64) * sizeof(uint32_t), edges.get(),
               some, words, accepted.get());
        if (listed > 0) {
            const auto take = [&](bool lowest) {
                launch("take_accepted", take_accepted, blocks_for(listed), threads, 0, candidates.list(),
                       candidates.keys(), listed, accepted.get(), place_of.get(), limit, best.key.get(),
                       best.index.get(), lowest);
            };
            take(false);
            launch("forget_joined", forget_joined, blocks_for(count), threads, 0, block_ids, count,
                   best.key.get(), best.before.get(), best.index.get());
            take(true);
        }
        launch("set_places", set_places, blocks_for(some), threads, 0, fresh_ids, some, place_of.get(), true);

        const std::vector<uint32_t> chosen = accepted.read();
        std::vector<int32_t> representatives;
        for (int64_t i = 0; i < some; i++)
            if (chosen[i / 32] >> i % 32 & 1)
                representatives.push_back(found_none[i]);
        kept.append(representatives);
        return Outcome::done;
    }

    // The rows that joined no kept representative.
    std::vector<int32_t> without_any(std::span<const int32_t> rows) {
        const std::vector<int32_t> index = best.index.read(rows.front(), rows.back() - rows.front() + 1);
        std::vector<int32_t> found_none;
        for (int32_t row : rows)
            if (index[row - rows.front()] < 0)
                found_none.push_back(row);
        return found_none;
    }
};

void check_rule(double threshold, double distance) {
    if (std::isnan(threshold))
        throw Error("threshold is NaN, expected a number");
    if (!(distance >= 0))
        throw Error("distance is " + std::to_string(distance) + ", expected at least 0");
}

} // namespace

DedupResult dedup(const DeviceRows& points, DedupRule rule_name, double threshold, double distance,
                  const Job& job) {
    check_rule(threshold, distance);
    const bool euclidean = rule_name == DedupRule::euclidean;
    const int64_t rows = points.count, columns = points.columns;
    job.stage(Stage::resident);
    // The cosine of a zero vector has no value: such rows are set aside and equal to one another.
    std::vector<int32_t> listed;
    int32_t first_zero = -1;
    for (int32_t i = 0; i < rows; i++) {
        if (euclidean || points.host_squares[i] > 0)
            listed.push_back(i);
        else if (first_zero < 0)
            first_zero = i;
    }
    DedupResult result;
    std::vector<int32_t> represented_by(static_cast<size_t>(rows), first_zero);
    if (!listed.empty()) {
        Rule rule{euclidean, euclidean ? distance : -threshold, 0};
        Buffer<RowBounds> bounds_of_rows;
        Buffer<float> centre;
        Buffer<double> scales;
        Change change;
        if (euclidean) {
            centre = centre_of(&points, nullptr);
            const std::vector<double> squares = centred_squares(points, centre.get());
            const DistanceBounds bounds(columns, tf32_product_error(columns),
                                        *std::max_element(squares.begin(), squares.end()));
            bounds_of_rows =
                Buffer<RowBounds>(std::span<const RowBounds>(distance_rows(bounds, columns, squares)));
            rule.bound = bounds.limit(distance * distance);
            change = {centre.get(), nullptr, bounds.scale()};
        } else {
            bounds_of_rows = cosine_rows(rows, columns);
            rule.bound = std::nextafter(static_cast<float>(rule.limit), 2.0f);
            scales = unit_scales(points);
            change = {nullptr, scales.get(), 1};
        }
        std::vector<int32_t> joined;
        std::vector<double> scores;
        {
            Greedy greedy(points, rule, change, std::move(bounds_of_rows), job);
            joined = greedy.run(listed);
            if (rule_name == DedupRule::components)
                scores = greedy.scores();
        }
        if (rule_name == DedupRule::components && !joined.empty())
            joined = connected_rows(points, {listed, joined, scores}, rule.limit, job);
        job.stage(Stage::computed);
        if (joined.empty()) {
            result.aborted = true;
            return result;
        }
        for (int32_t row : listed)
            represented_by[row] = joined[row];
    }
    return labelled(represented_by);
}

DedupResult dedup(const float* data, int64_t rows, int64_t columns, DedupRule rule, double threshold,
                  double distance, const Job& job) {
    check_rule(threshold, distance);
    return dedup(finite_rows(data, rows, columns, ""), rule, threshold, distance, job);
}

} // namespace latdyn::cuda
