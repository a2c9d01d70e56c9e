// Deduplication in blocks. Compile with -ffp-contract=off: a distance is to be the same on every machine.
//
// What decides is the score of a pair in double: the cosine x·y / √(|x|²·|y|²), or the distance, negative.
// A row joins the representative of the highest score above the rule's limit, the first of equals.
//
// A fast float product of unit vectors finds the few pairs whose score has to be computed. It is off by at
// most ε = cosine_error(k), so a representative whose float cosine + ε does not reach the best score so far
// (or the limit) cannot win, and every other one is scored in double, in ascending order.
//
// A block of rows meets the representatives there are (product, then scores), then the rows of the block that
// found none (the only ones that can become new representatives), and last, in row order, those of them that
// did. Nothing but the double scores decides, so block sizes and threads do not change the result.
#include "latdyn/dedup.h"

#include "dedup_kernels.h"
#include "dedup_with.h"
#include "latdyn/error.h"
#include "memory.h"
#include "product.h"
#include "rows.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <span>

namespace latdyn {

namespace {

using Rows = std::span<const int32_t>;

struct Kernels {
    const ProductKernels& product;
    const DedupKernels& scores;
};

// Rows a worker takes at a time (a multiple of every kernel's tile) and right-hand rows it scores at a time
// (a multiple of every kernel's panel): 96 KiB of scores, which stay in L2.
constexpr int64_t chunk = 96;
constexpr int64_t group = 256;
// Whole chunks, and an even number of them: no thread of two is left waiting for the other's last.
constexpr int64_t smallest_block = 2 * chunk;
constexpr int64_t largest_block = 24 * chunk;
// Where many threads share a block's chunks; its scores take 81 MiB then.
constexpr int64_t largest_shared_block = 48 * chunk;

// The threads of one call, and what each of them needs.
class Team {
  public:
    Team(int threads, const std::atomic<bool>* abort, std::atomic<int64_t>* finished)
        : abort(abort), finished(finished) {
        for (int i = 0; i < std::max(threads, 1); i++)
            scores.push_back(aligned_floats(chunk * group));
    }

    int64_t size() const { return static_cast<int64_t>(scores.size()); }
    bool aborted() const { return abort != nullptr && abort->load(std::memory_order_relaxed); }
    void finish(int64_t rows) const {
        if (finished != nullptr)
            finished->fetch_add(rows, std::memory_order_relaxed);
    }

    // Runs work(task, scores) for every task; `scores` [chunk, group] belongs to the thread. False where
    // aborted.
    bool run(int64_t tasks, const std::function<void(int64_t, float*)>& work) {
        return run_tasks(static_cast<int>(size()), tasks, abort,
                         [&](int64_t task, int thread) { work(task, scores[thread].get()); });
    }

  private:
    const std::atomic<bool>* const abort;
    std::atomic<int64_t>* const finished;
    std::vector<AlignedFloats> scores;
};

class Points {
  public:
    const int64_t rows, columns;

    // Throws Error where an element is not finite. Of no use where the team was aborted.
    Points(const float* data, int64_t rows, int64_t columns, Team& team)
        : rows(rows), columns(columns), data(data), squares(static_cast<size_t>(rows)) {
        constexpr int64_t batch = 4096;
        team.run((rows + batch - 1) / batch, [&](int64_t task, float*) {
            const int64_t end = std::min(rows, (task + 1) * batch);
            squared_lengths({data, rows, columns}, task * batch, end, squares.data());
        });
        if (!team.aborted())
            check_finite({data, rows, columns}, squares, "");
    }

    const float* row(int64_t i) const { return data + i * columns; }
    double norm(int64_t i) const { return std::sqrt(squares[i]); }
    bool zero(int64_t i) const { return squares[i] == 0; }

    // √(x²·x²) is x² exactly: equal rows, and rows that differ by a power of two, have cosine 1.
    double cosine(int64_t i, int64_t j) const {
        return std::min(1.0, dot(row(i), row(j), columns) / std::sqrt(squares[i] * squares[j]));
    }
    double distance(int64_t i, int64_t j) const {
        return std::sqrt(squared_distance(row(i), row(j), columns));
    }

    // Unit vectors in the layout of ProductKernels, groups [first, first + groups) of `which`, to `to`.
    void pack(Rows which, int64_t first, int64_t groups, int64_t width, float* to) const {
        const int64_t end = std::min<int64_t>(static_cast<int64_t>(which.size()), (first + groups) * width);
        pack_rows(
            first * width, end - first * width, columns, [&](int64_t m) { return row(which[m]); },
            [&](int64_t m) { return zero(which[m]) ? 0 : 1 / norm(which[m]); }, to, width);
    }

  private:
    const float* const data;
    std::vector<double> squares;
};

// What makes one row join another.
class Rule {
  public:
    // Only scores above this join.
    const double limit;
    // Bound on the error of a float cosine.
    const double error;

    Rule(const DedupOptions& options, const Points& points, const Kernels& kernels)
        : limit(options.rule == DedupRule::euclidean ? -double(options.distance) : double(options.threshold)),
          error(cosine_error(points.columns)), points(points), kernels(kernels),
          euclidean(options.rule == DedupRule::euclidean) {}

    double score(int64_t i, int64_t j) const {
        return euclidean ? -points.distance(i, j) : points.cosine(i, j);
    }

    // A float score below this belongs to a pair that does not beat `best`. Of a squared distance: what
    // rounding to float takes, among denormals too.
    float bound(double best) const {
        return static_cast<float>(euclidean ? -best * best * (1 + 1e-6) - 1e-40 : best - error);
    }

    // From cosines of row i with rows of the given norms to float scores.
    void finish_scores(float* scores, int64_t count, int64_t i, const double* norms) const {
        if (euclidean)
            kernels.scores.distance_scores(scores, count, points.norm(i), norms, error);
    }

  private:
    const Points& points;
    const Kernels& kernels;
    const bool euclidean;
};

// Rows packed as right-hand factor, in order of arrival; a stretch of `group` of them is one piece of memory,
// so that nothing is moved when more arrive.
class Panels {
  public:
    std::vector<int32_t> rows;
    std::vector<double> norms;

    Panels(const Points& points, int64_t width) : points(points), width(width) {}

    int64_t size() const { return static_cast<int64_t>(rows.size()); }
    // From row `first` on, a multiple of the width, to the end of its stretch.
    const float* from(int64_t first) const {
        return pieces[first / group].get() + first % group * points.columns;
    }

    void clear() {
        rows.clear();
        norms.clear();
    }
    void reserve(int64_t count) {
        while (static_cast<int64_t>(pieces.size()) * group < count)
            pieces.push_back(aligned_floats(static_cast<size_t>(group * points.columns)));
    }
    // False where aborted.
    bool append(Rows more, Team& team) {
        // The last panel may be partly filled: it is packed again, with what is there.
        const int64_t first = size() / width;
        reserve(size() + static_cast<int64_t>(more.size()));
        for (int32_t i : more) {
            rows.push_back(i);
            norms.push_back(points.norm(i));
        }
        return team.run(round_up(size(), width) / width - first, [&](int64_t p, float*) {
            const int64_t at = (first + p) * width;
            points.pack(rows, first + p, 1, width, pieces[at / group].get() + at % group * points.columns);
        });
    }

  private:
    const Points& points;
    const int64_t width;
    std::vector<AlignedFloats> pieces;
};

// A joining row by row, of the rows listed (ascending).
struct Greedy {
    // Row indices, ascending.
    std::vector<int32_t> representatives;
    // Per listed row: index into representatives, and the score with which it joined (a representative: +∞).
    std::vector<int32_t> labels;
    std::vector<double> scores;
    bool aborted = false;
};

class GreedyPass {
  public:
    GreedyPass(const Points& points, const Rule& rule, const Kernels& kernels, Team& team)
        : points(points), rule(rule), kernels(kernels), team(team), kept(points, kernels.product.panel),
          fresh(points, kernels.product.panel) {}

    Greedy run(Rows all) {
        result.labels.assign(all.size(), -1);
        result.scores.assign(all.size(), rule.limit);
        const int64_t total = static_cast<int64_t>(all.size());
        const int64_t largest = std::clamp(team.size() * 3 * chunk, largest_block, largest_shared_block);
        int64_t size = smallest_block;
        for (int64_t begin = 0; begin < total;) {
            const int64_t count = std::min(size, total - begin);
            if (!block(all.subspan(begin, count), begin)) {
                result.aborted = true;
                break;
            }
            begin += count;
            team.finish(count);
            // Scoring a block's rows among themselves is wasted where they join one another: large blocks
            // only where few rows are left over, or where the kept ones cost more anyway.
            const bool grow = 4 * fresh.size() <= count || kept.size() >= 2 * count;
            size = std::clamp(grow ? 2 * size : size / 2, smallest_block, largest);
        }
        result.representatives = std::move(kept.rows);
        return std::move(result);
    }

  private:
    const Points& points;
    const Rule& rule;
    const Kernels& kernels;
    Team& team;
    // Representatives of earlier blocks; rows of this block that joined none of them.
    Panels kept, fresh;
    Greedy result;
    AlignedFloats tiles, square;
    size_t tiles_size = 0, square_size = 0;

    static float* at_least(AlignedFloats& memory, size_t& size, size_t needed) {
        if (needed > size) {
            memory.reset();
            memory = aligned_floats(needed);
            size = needed;
        }
        return memory.get();
    }

    // The rows of `block`, which stand from `begin` on among the listed ones. False where aborted.
    bool block(Rows block, int64_t begin) {
        const int64_t count = static_cast<int64_t>(block.size());
        const int64_t tasks = (count + chunk - 1) / chunk;
        float* packed = at_least(tiles, tiles_size, static_cast<size_t>(tasks * chunk * points.columns));
        const auto packed_chunk = [&](int64_t task) { return packed + task * chunk * points.columns; };
        const int64_t chunk_tiles = chunk / kernels.product.tile;

        if (!team.run(tasks, [&](int64_t task, float* scores) {
                points.pack(block, task * chunk_tiles, chunk_tiles, kernels.product.tile, packed_chunk(task));
                meet_kept(block, begin, task, packed_chunk(task), scores);
            }))
            return false;

        std::vector<int32_t> found_none;
        for (int64_t i = 0; i < count; i++)
            if (result.labels[begin + i] < 0)
                found_none.push_back(static_cast<int32_t>(i));
        std::vector<int32_t> fresh_rows;
        for (int32_t i : found_none)
            fresh_rows.push_back(block[i]);
        fresh.clear();
        if (!fresh.append(fresh_rows, team))
            return false;

        const int64_t width = kernels.product.panel;
        const int64_t stride = round_up(fresh.size(), width);
        float* scores = at_least(square, square_size, static_cast<size_t>(tasks * chunk * stride));
        if (!team.run(tasks, [&](int64_t task, float*) {
                // Only what stands before the chunk's last row can be its representative.
                const int64_t end = std::min(count, (task + 1) * chunk);
                const int64_t before =
                    std::lower_bound(found_none.begin(), found_none.end(), end - 1) - found_none.begin();
                float* to = scores + task * chunk * stride;
                for (int64_t first = 0; first < before; first += group)
                    kernels.product.dots(packed_chunk(task), chunk_tiles, fresh.from(first),
                                         round_up(std::min(group, before - first), width) / width,
                                         points.columns, to + first, stride);
                for (int64_t i = task * chunk; i < end; i++)
                    rule.finish_scores(to + (i - task * chunk) * stride, before, block[i],
                                       fresh.norms.data());
            }))
            return false;

        // In row order; `kept` has grown by the fresh rows that became representatives.
        std::vector<int32_t> label_of_fresh(found_none.size(), -1);
        std::vector<int32_t> accepted;
        int64_t before = 0;
        for (int64_t i = 0; i < count; i++) {
            const float* row_scores = scores + i * stride;
            improve(
                block[i], begin + i, row_scores, before, [&](int64_t j) { return label_of_fresh[j]; },
                fresh.rows);
            if (before < fresh.size() && found_none[before] == i) {
                if (result.labels[begin + i] < 0) {
                    const int32_t label =
                        static_cast<int32_t>(kept.size() + static_cast<int64_t>(accepted.size()));
                    label_of_fresh[before] = label;
                    result.labels[begin + i] = label;
                    result.scores[begin + i] = std::numeric_limits<double>::infinity();
                    accepted.push_back(block[i]);
                }
                before++;
            }
        }
        return kept.append(accepted, team);
    }

    // The rows of one chunk against the kept representatives.
    void meet_kept(Rows block, int64_t begin, int64_t task, const float* packed, float* scores) {
        const int64_t end = std::min(static_cast<int64_t>(block.size()), (task + 1) * chunk);
        for (int64_t first = 0; first < kept.size(); first += group) {
            const int64_t width = std::min(group, kept.size() - first);
            kernels.product.dots(packed, chunk / kernels.product.tile, kept.from(first),
                                 round_up(width, kernels.product.panel) / kernels.product.panel,
                                 points.columns, scores, group);
            for (int64_t i = task * chunk; i < end; i++) {
                float* row_scores = scores + (i - task * chunk) * group;
                rule.finish_scores(row_scores, width, block[i], kept.norms.data() + first);
                improve(
                    block[i], begin + i, row_scores, width,
                    [&](int64_t j) { return static_cast<int32_t>(first + j); },
                    Rows(kept.rows).subspan(first));
            }
        }
    }

    // Lets `row` (the listed row `at`) join the best of the first `count` candidates, where that beats what
    // it has joined so far. label(j) is negative for a candidate that is no representative.
    template <typename Label>
    void improve(int64_t row, int64_t at, const float* scores, int64_t count, Label label, Rows candidates) {
        double& best = result.scores[at];
        float bound = rule.bound(best);
        for (int64_t j = kernels.scores.next_at_least(scores, 0, count, bound); j < count;
             j = kernels.scores.next_at_least(scores, j + 1, count, bound)) {
            if (label(j) < 0)
                continue;
            const double score = rule.score(row, candidates[j]);
            if (score > best) {
                best = score;
                bound = rule.bound(best);
                result.labels[at] = label(j);
            }
        }
    }
};

// Disjoint sets that any number of threads join at once. The root of a set is its lowest member.
class Sets {
  public:
    explicit Sets(int64_t count) : parents(static_cast<size_t>(count)) {
        for (int64_t i = 0; i < count; i++)
            parents[i].store(static_cast<int32_t>(i), std::memory_order_relaxed);
    }

    int32_t root(int32_t i) {
        for (;;) {
            int32_t parent = parents[i].load(std::memory_order_relaxed);
            if (parent == i)
                return i;
            const int32_t above = parents[parent].load(std::memory_order_relaxed);
            // Shortens the path; where another thread was first, its path is as good.
            parents[i].compare_exchange_weak(parent, above, std::memory_order_relaxed);
            i = above;
        }
    }

    void join(int32_t a, int32_t b) {
        for (;;) {
            a = root(a);
            b = root(b);
            if (a == b)
                return;
            if (a < b)
                std::swap(a, b);
            int32_t expected = a;
            if (parents[a].compare_exchange_strong(expected, b, std::memory_order_relaxed))
                return;
        }
    }

  private:
    std::vector<std::atomic<int32_t>> parents;
};

// Connected components of cosine > threshold among the rows listed. The greedy pass comes first: it joins
// most rows at the price of the kept representatives, and then only pairs of rows from different clusters are
// left, of which most are ruled out by the angle between the clusters.
class ComponentsPass {
  public:
    ComponentsPass(const Points& points, const Rule& rule, const Kernels& kernels, Team& team, Rows all,
                   const Greedy& greedy)
        : points(points), rule(rule), kernels(kernels), team(team), greedy(greedy), sets(points.rows),
          radius(greedy.representatives.size(), 0.0), widest(angle(rule.limit)),
          slack(4 * angle_error(points.columns)) {
        for (size_t i = 0; i < all.size(); i++) {
            const int32_t label = greedy.labels[i];
            sets.join(all[i], greedy.representatives[label]);
            radius[label] = std::max(radius[label], angle(greedy.scores[i]));
        }
        // Rows by cluster, so that a chunk of them belongs to few.
        std::vector<int32_t> places(all.size());
        std::iota(places.begin(), places.end(), 0);
        std::stable_sort(places.begin(), places.end(),
                         [&](int32_t a, int32_t b) { return greedy.labels[a] < greedy.labels[b]; });
        for (int32_t place : places) {
            sorted.push_back(all[place]);
            cluster.push_back(greedy.labels[place]);
        }
    }

    // False where aborted. After it, root(i) is the lowest row of row i's component.
    bool run() {
        const int64_t total = static_cast<int64_t>(sorted.size());
        Panels right(points, kernels.product.panel);
        for (int64_t first = 0; first < total; first += largest_block) {
            const int64_t width = std::min(largest_block, total - first);
            right.clear();
            if (!right.append(Rows(sorted).subspan(first, width), team))
                return false;
            // Every pair once: rows of this block and after it against the block.
            const int64_t tasks = (total - first + chunk - 1) / chunk;
            if (!team.run(tasks, [&](int64_t task, float* scores) {
                    meet(first + task * chunk, first, right, scores);
                }))
                return false;
        }
        return true;
    }

    int32_t root(int32_t row) { return sets.root(row); }

  private:
    const Points& points;
    const Rule& rule;
    const Kernels& kernels;
    Team& team;
    const Greedy& greedy;
    Sets sets;
    // Per cluster: the largest angle between a member and the representative.
    std::vector<double> radius;
    // The angle below which two rows are joined.
    const double widest;
    // What four angles can be off by: of the representatives, of both radii, and of the pair that decides.
    const double slack;
    std::vector<int32_t> sorted, cluster;

    static double angle(double cosine) { return std::acos(std::clamp(cosine, -1.0, 1.0)); }

    // One chunk of rows, from `begin` on, against the block packed in `right`, which starts at `first`.
    void meet(int64_t begin, int64_t first, const Panels& right, float* scores) {
        const int64_t end = std::min(begin + chunk, static_cast<int64_t>(sorted.size()));
        const int64_t chunk_tiles = chunk / kernels.product.tile;
        AlignedFloats packed;
        for (int64_t at = 0; at < right.size(); at += group) {
            const int64_t width = std::min(group, right.size() - at);
            if (settled(begin, end, first + at, first + at + width))
                continue;
            if (!packed) {
                packed = aligned_floats(static_cast<size_t>(chunk * points.columns));
                points.pack(Rows(sorted).subspan(begin, end - begin), 0, chunk_tiles, kernels.product.tile,
                            packed.get());
            }
            kernels.product.dots(packed.get(), chunk_tiles, right.from(at),
                                 round_up(width, kernels.product.panel) / kernels.product.panel,
                                 points.columns, scores, group);
            for (int64_t i = begin; i < end; i++)
                join_row(sorted[i], scores + (i - begin) * group, Rows(right.rows).subspan(at, width));
        }
    }

    void join_row(int32_t row, const float* scores, Rows others) {
        const int64_t count = static_cast<int64_t>(others.size());
        const float bound = rule.bound(rule.limit);
        const double certain = rule.limit + rule.error;
        for (int64_t j = kernels.scores.next_at_least(scores, 0, count, bound); j < count;
             j = kernels.scores.next_at_least(scores, j + 1, count, bound)) {
            if (sets.root(row) == sets.root(others[j]))
                continue;
            if (scores[j] > certain || rule.score(row, others[j]) > rule.limit)
                sets.join(row, others[j]);
        }
    }

    // Whether no pair of sorted rows [a_begin, a_end) and [b_begin, b_end) can join two components: by the
    // triangle inequality on the sphere, rows of two clusters are no nearer than the representatives are less
    // both radii.
    bool settled(int64_t a_begin, int64_t a_end, int64_t b_begin, int64_t b_end) {
        // Beyond this many pairs of clusters the product costs less than the look.
        constexpr int64_t most_pairs = 64;
        const int32_t a_first = cluster[a_begin], a_last = cluster[a_end - 1];
        const int32_t b_first = cluster[b_begin], b_last = cluster[b_end - 1];
        if (int64_t{a_last - a_first + 1} * (b_last - b_first + 1) > most_pairs)
            return false;
        for (int32_t a = a_first; a <= a_last; a++)
            for (int32_t b = b_first; b <= b_last; b++) {
                const int32_t x = greedy.representatives[a], y = greedy.representatives[b];
                if (sets.root(x) == sets.root(y))
                    continue;
                if (angle(points.cosine(x, y)) - radius[a] - radius[b] <= widest + slack)
                    return false;
            }
        return true;
    }
};

DedupResult aborted_result() {
    DedupResult result;
    result.aborted = true;
    return result;
}

} // namespace

const DedupKernels& dedup_kernels_of([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
    if (isa == Isa::avx512)
        return avx512_dedup_kernels;
    if (isa == Isa::avx2)
        return avx2_dedup_kernels;
#endif
    return portable_dedup_kernels;
}

DedupResult dedup_with(Isa isa, const float* data, int64_t rows, int64_t columns, const DedupOptions& options,
                       const std::atomic<bool>* abort, std::atomic<int64_t>* finished) {
    if (rows > std::numeric_limits<int32_t>::max())
        throw Error(std::to_string(rows) + " rows, expected at most 2147483647");
    if (std::isnan(options.threshold))
        throw Error("threshold is NaN, expected a number");
    if (!(options.distance >= 0))
        throw Error("distance is " + std::to_string(options.distance) + ", expected at least 0");
    const Kernels kernels{product_kernels_of(isa), dedup_kernels_of(isa)};
    Team team(options.threads, abort, finished);
    const Points points(data, rows, columns, team);
    if (team.aborted())
        return aborted_result();
    const Rule rule(options, points, kernels);

    // The cosine of a zero vector has no value: such rows are set aside and equal to one another.
    std::vector<int32_t> listed;
    int32_t first_zero = -1;
    for (int32_t i = 0; i < rows; i++) {
        if (options.rule == DedupRule::euclidean || !points.zero(i))
            listed.push_back(i);
        else if (first_zero < 0)
            first_zero = i;
    }
    const Greedy greedy = GreedyPass(points, rule, kernels, team).run(listed);
    if (greedy.aborted)
        return aborted_result();

    // Per row, the row that represents it.
    std::vector<int32_t> represented_by(static_cast<size_t>(rows), first_zero);
    if (options.rule == DedupRule::components) {
        ComponentsPass components(points, rule, kernels, team, listed, greedy);
        if (!components.run())
            return aborted_result();
        for (int32_t i : listed)
            represented_by[i] = components.root(i);
    } else {
        for (size_t i = 0; i < listed.size(); i++)
            represented_by[listed[i]] = greedy.representatives[greedy.labels[i]];
    }

    return labelled(represented_by);
}

DedupResult dedup(const float* points, int64_t rows, int64_t columns, const DedupOptions& options,
                  const std::atomic<bool>* abort, std::atomic<int64_t>* finished) {
    return dedup_with(widest_isa(), points, rows, columns, options, abort, finished);
}

} // namespace latdyn
