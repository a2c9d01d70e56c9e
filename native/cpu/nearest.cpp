// Nearest neighbours both ways, in one pass over the pairs. Compile with -ffp-contract=off: see rows.h.
//
// What decides is the score of a pair in double, the smaller the better: minus the cosine, or |x − y|². A
// fast float product gives a score that is certainly not above it (cosine_error, DistanceBounds). Only where
// that reaches the best score so far of the pair's row or column is the pair scored in double; of a random
// pair of sets that is about log(rows) times a row and a column. Nothing but the double scores decides, and
// of equal ones the index, so blocks and threads do not change the result.
//
// The larger set is taken in chunks, shared by the threads, which meet the smaller one, packed once, group by
// group: 2·chunk·group·k FLOPs, then the scores of the block are read from L2. Each thread keeps the best of
// the columns for itself; they are put together at the end.
#include "latdyn/nearest.h"

#include "distance_bounds.h"
#include "latdyn/error.h"
#include "memory.h"
#include "nearest_kernels.h"
#include "nearest_with.h"
#include "product.h"
#include "rows.h"

#include <cmath>
#include <limits>

namespace latdyn {

namespace {

// Rows of the larger set a thread takes at a time (fewer where there would be too few chunks for the
// threads), and rows of the smaller one it meets at a time: 384 KiB of scores.
constexpr int64_t largest_chunk = 192, smallest_chunk = 48;
constexpr int64_t group = 512;
constexpr float infinity = std::numeric_limits<float>::infinity();

struct Set {
    RowView rows;
    std::vector<double> squares;

    double square(int64_t i) const { return squares[i]; }
    double longest() const { return *std::max_element(squares.begin(), squares.end()); }
};

// The best so far of every row of a set.
struct Best {
    std::vector<double> score;
    std::vector<int32_t> index;

    explicit Best(int64_t count)
        : score(static_cast<size_t>(count), std::numeric_limits<double>::infinity()),
          index(static_cast<size_t>(count), -1) {}

    bool take(int64_t i, double candidate, int32_t other) {
        if (!(candidate < score[i] || (candidate == score[i] && other < index[i])))
            return false;
        score[i] = candidate;
        index[i] = other;
        return true;
    }
};

// Scores of pairs, in double and as float bounds.
class Rule {
  public:
    Rule(Metric metric, const Set& left, const Set& right)
        : cosine(metric == Metric::cosine), left(left), right(right), error(cosine_error(left.rows.columns)),
          distances(left.rows.columns, product_error(left.rows.columns),
                    std::max(left.longest(), right.longest())) {}

    // √(x²·x²) is x² exactly: equal rows have cosine 1.
    double score(int64_t i, int64_t j) const {
        const int64_t k = left.rows.columns;
        if (!cosine)
            return squared_distance(left.rows[i], right.rows[j], k);
        const double squares = left.square(i) * right.square(j);
        if (squares == 0)
            return left.square(i) == right.square(j) ? -1.0 : 0.0;
        return std::clamp(-dot(left.rows[i], right.rows[j], k) / std::sqrt(squares), -1.0, 1.0);
    }
    double value(double score) const {
        // 0 − score, not −score: a cosine of zero has no sign.
        return cosine ? 0 - score : std::sqrt(score);
    }

    // What rows are multiplied by before their product, which then is minus their cosine, or their dot
    // product under the common scale.
    double left_scale(int64_t i) const {
        return cosine ? (left.square(i) > 0 ? -1 / std::sqrt(left.square(i)) : 0) : distances.scale();
    }
    double right_scale(int64_t j) const {
        return cosine ? (right.square(j) > 0 ? 1 / std::sqrt(right.square(j)) : 0) : distances.scale();
    }
    float right_square(int64_t j) const { return cosine ? 0 : distances.square(right.square(j)); }
    float right_length(int64_t j) const { return cosine ? 0 : distances.length(right.square(j)); }

    // From products of row i with rows of the right to float scores.
    void finish_scores(const DistanceKernels& kernels, float* products, int64_t count, int64_t i,
                       const float* squares, const float* lengths) const {
        if (!cosine)
            kernels.bounds(products, count, distances.row(left.square(i)), squares, lengths);
    }

    // A float score above this belongs to a pair that is worse than `best`.
    float bound(double best) const {
        return cosine ? static_cast<float>(best + error) : distances.limit(best);
    }

  private:
    const bool cosine;
    const Set &left, &right;
    const double error;
    const DistanceBounds distances;
};

// A row of zeros has the same cosine with every row but other zeros: nothing has to be searched.
void settle_zeros(const Set& of, const Set& other, Best& best) {
    const auto zero = std::find(other.squares.begin(), other.squares.end(), 0.0);
    const bool found = zero != other.squares.end();
    for (int64_t i = 0; i < of.rows.count; i++)
        if (of.square(i) == 0)
            best.take(i, found ? -1 : 0, found ? static_cast<int32_t>(zero - other.squares.begin()) : 0);
}

class Search {
  public:
    Search(Isa isa, Metric metric, const Set& left, const Set& right, int threads, JobCounters& counters)
        : product(product_kernels_of(isa)), distance(distance_kernels_of(isa)), scan(nearest_kernels_of(isa)),
          metric(metric), left(left), right(right), rule(metric, left, right), threads(threads),
          counters(counters), k(left.rows.columns), of_left(left.rows.count), of_right(right.rows.count) {}

    // False where aborted.
    bool run() {
        if (metric == Metric::cosine) {
            settle_zeros(left, right, of_left);
            settle_zeros(right, left, of_right);
        }
        if (!pack_right())
            return false;
        const int64_t share = left.rows.count / (4 * int64_t{threads});
        const int64_t chunk = std::clamp(round_up(share, smallest_chunk), smallest_chunk, largest_chunk);
        const int64_t tasks = (left.rows.count + chunk - 1) / chunk;
        std::vector<Worker> workers(static_cast<size_t>(threads));
        if (!run_tasks(threads, tasks, &counters.abort, [&](int64_t task, int thread) {
                meet(workers[thread], task * chunk, std::min(chunk, left.rows.count - task * chunk));
            }))
            return false;
        for (const Worker& worker : workers)
            if (worker.best)
                for (int64_t j = 0; j < right.rows.count; j++)
                    of_right.take(j, worker.best->score[j], worker.best->index[j]);
        return true;
    }

    Nearest take_left() { return result(of_left); }
    Nearest take_right() { return result(of_right); }

  private:
    struct Worker {
        AlignedFloats tiles, scores;
        // Per column: what it has found, and the score above which nothing is of use to it.
        std::unique_ptr<Best> best;
        AlignedFloats bounds;
    };

    const ProductKernels& product;
    const DistanceKernels& distance;
    const NearestKernels& scan;
    const Metric metric;
    const Set &left, &right;
    const Rule rule;
    const int threads;
    JobCounters& counters;
    const int64_t k;
    Best of_left, of_right;
    AlignedFloats panels, squares, lengths;

    bool pack_right() {
        const int64_t padded = round_up(right.rows.count, product_panels);
        panels = aligned_floats(static_cast<size_t>(padded * k));
        squares = aligned_floats(static_cast<size_t>(padded));
        lengths = aligned_floats(static_cast<size_t>(padded));
        return run_tasks(threads, padded / product_panels, &counters.abort, [&](int64_t task, int) {
            const int64_t first = task * product_panels;
            const int64_t end = std::min(first + product_panels, right.rows.count);
            pack_rows(
                first, end - first, k, [&](int64_t j) { return right.rows[j]; },
                [&](int64_t j) { return rule.right_scale(j); }, panels.get() + first * k, product.panel);
            for (int64_t j = first; j < end; j++) {
                squares[j] = rule.right_square(j);
                lengths[j] = rule.right_length(j);
            }
        });
    }

    // Rows [first, first + count) of the left with everything on the right.
    void meet(Worker& worker, int64_t first, int64_t count) {
        if (!worker.best)
            prepare(worker);
        const int64_t tiles = (count + product.tile - 1) / product.tile;
        pack_rows(
            first, count, k, [&](int64_t i) { return left.rows[i]; },
            [&](int64_t i) { return rule.left_scale(i); }, worker.tiles.get(), product.tile);
        for (int64_t begin = 0; begin < right.rows.count; begin += group) {
            if (counters.abort.load(std::memory_order_relaxed))
                return;
            const int64_t width = std::min(group, right.rows.count - begin);
            product.dots(worker.tiles.get(), tiles, panels.get() + begin * k,
                         round_up(width, product.panel) / product.panel, k, worker.scores.get(), group);
            for (int64_t m = 0; m < count; m++) {
                float* scores = worker.scores.get() + m * group;
                rule.finish_scores(distance, scores, width, first + m, squares.get() + begin,
                                   lengths.get() + begin);
                improve(worker, first + m, scores, begin, width);
            }
        }
        counters.finished.fetch_add(count, std::memory_order_relaxed);
    }

    void prepare(Worker& worker) {
        worker.tiles = aligned_floats(static_cast<size_t>(largest_chunk * k));
        worker.scores = aligned_floats(static_cast<size_t>(largest_chunk * group));
        worker.best = std::make_unique<Best>(of_right);
        worker.bounds = aligned_floats(static_cast<size_t>(right.rows.count));
        for (int64_t j = 0; j < right.rows.count; j++)
            worker.bounds[j] = start_bound(right.square(j));
    }

    float start_bound(double square) const {
        return metric == Metric::cosine && square == 0 ? -infinity : infinity;
    }

    void improve(Worker& worker, int64_t i, const float* scores, int64_t begin, int64_t width) {
        const bool settled = metric == Metric::cosine && left.square(i) == 0;
        float bound = settled ? -infinity : rule.bound(of_left.score[i]);
        float* column_bounds = worker.bounds.get() + begin;
        for (int64_t j = scan.next_candidate(scores, column_bounds, 0, width, bound); j < width;
             j = scan.next_candidate(scores, column_bounds, j + 1, width, bound)) {
            const double score = rule.score(i, begin + j);
            if (of_left.take(i, score, static_cast<int32_t>(begin + j)) && !settled)
                bound = rule.bound(score);
            if (worker.best->take(begin + j, score, static_cast<int32_t>(i)))
                column_bounds[j] = rule.bound(score);
        }
    }

    Nearest result(Best& best) const {
        Nearest out;
        out.index = std::move(best.index);
        for (double& score : best.score)
            score = rule.value(score);
        out.value = std::move(best.score);
        return out;
    }
};

Set measured(const char* name, RowView rows, int threads, const std::atomic<bool>& abort) {
    if (rows.count < 1)
        throw Error(std::string(name) + " has no rows, expected at least one");
    return {rows, finite_squares(rows, name, threads, &abort)};
}

} // namespace

const NearestKernels& nearest_kernels_of([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
    if (isa == Isa::avx512)
        return avx512_nearest_kernels;
    if (isa == Isa::avx2)
        return avx2_nearest_kernels;
#endif
    return portable_nearest_kernels;
}

NearestResult nearest_with(Isa isa, const float* a, int64_t a_rows, const float* b, int64_t b_rows,
                           int64_t columns, const NearestOptions& options, JobCounters& counters) {
    const int threads = std::max(options.threads, 1);
    const Set of_a = measured("a", {a, a_rows, columns}, threads, counters.abort);
    const Set of_b = measured("b", {b, b_rows, columns}, threads, counters.abort);
    NearestResult result;
    result.aborted = true;
    if (counters.abort)
        return result;
    const bool swapped = a_rows < b_rows;
    Search search(isa, options.metric, swapped ? of_b : of_a, swapped ? of_a : of_b, threads, counters);
    if (!search.run())
        return result;
    result.of_a = swapped ? search.take_right() : search.take_left();
    result.of_b = swapped ? search.take_left() : search.take_right();
    result.aborted = false;
    return result;
}

NearestResult nearest(const float* a, int64_t a_rows, const float* b, int64_t b_rows, int64_t columns,
                      const NearestOptions& options, JobCounters& counters) {
    return nearest_with(widest_isa(), a, a_rows, b, b_rows, columns, options, counters);
}

} // namespace latdyn
