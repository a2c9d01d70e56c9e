// Scores from the K nearest rows, without sorting and without the matrix of distances.
//
// A chunk of queries meets the reference in blocks. A float product gives a lower bound of every squared
// distance (DistanceBounds); a limit that at least K true distances are below lets the rows go whose bound is
// above it. What is left, K and a few, is measured in double, and the K smallest of that are the answer. So
// the float product decides nothing, and no neighbour is missed.
//
// The limit comes from the K-th smallest bound, and that from counting: how many of n values are at most x
// takes n / 16 instructions, and a few such counts pin it down closely enough (Selection::narrow). Rows are
// measured block by block too, so that one read from memory serves every query of the chunk that kept it.
#include "latdyn/knn.h"

#include "distance_bounds.h"
#include "knn_kernels.h"
#include "knn_with.h"
#include "latdyn/error.h"
#include "memory.h"
#include "product.h"
#include "rows.h"

#include <bit>
#include <cmath>
#include <limits>
#include <string>

namespace latdyn {

namespace {

// Reference rows whose bounds are held at once, and those of one product (a multiple of every panel).
constexpr int64_t block = 10240, group = 512;
// Queries a thread takes at a time: fewer where their candidates would take more memory than this.
constexpr int64_t largest_chunk = 96, smallest_chunk = product_tiles;
constexpr int64_t chunk_bytes = int64_t{32} << 20;
// Reference rows that are measured against a chunk of queries at once stay in L2.
constexpr int64_t measured_bytes = int64_t{256} << 10;

constexpr double infinity = std::numeric_limits<double>::infinity();

// The reference or the queries: rows and what they are multiplied by before anything else.
struct Set {
    RowView rows;
    std::vector<double> squares;
    // 1 / length where rows are normalised; empty where not.
    std::vector<double> scales;

    double scale(int64_t i) const { return scales.empty() ? 1 : scales[i]; }
    // Squared length after scaling.
    double square(int64_t i) const { return scales.empty() ? squares[i] : squares[i] > 0 ? 1 : 0; }
    double longest() const {
        double longest = 0;
        for (int64_t i = 0; i < rows.count; i++)
            longest = std::max(longest, square(i));
        return longest;
    }
};

// One query's candidates, by ascending place in the reference.
class Selection {
  public:
    Selection(const KnnKernels& kernels, const DistanceBounds& distances, int64_t neighbours,
              int64_t capacity)
        : kernels(kernels), distances(distances), k(neighbours), bounds(aligned_floats(capacity + 1)),
          places(static_cast<size_t>(capacity) + 1) {}

    void start(double query_square) {
        square = query_square;
        limit = std::numeric_limits<float>::max();
        held = 0;
    }

    int64_t size() const { return held; }
    const int32_t* candidates() const { return places.data(); }

    // More bounds, of the `count` rows from `first` on.
    void add(const float* more, int64_t count, int64_t first) {
        if (held == 0 && count > k)
            lower_limit(more, count);
        held += kernels.keep_at_most(more, count, limit, static_cast<int32_t>(first), bounds.get() + held,
                                     places.data() + held);
    }

    // Lets go what float can tell is not among the K nearest.
    void narrow() {
        if (held <= k)
            return;
        lower_limit(bounds.get(), held);
        int64_t kept = 0;
        for (int64_t i = 0; i < held; i++) {
            bounds[kept] = bounds[i];
            places[kept] = places[i];
            kept += bounds[i] <= limit;
        }
        held = kept;
    }

    // Keeps the K nearest, given the squared distances of all candidates.
    void keep_nearest(const std::vector<double>& squared) {
        std::vector<double> sorted(squared.begin(), squared.begin() + held);
        std::nth_element(sorted.begin(), sorted.begin() + k - 1, sorted.end());
        const double last = sorted[k - 1];
        int64_t equal = k - std::count_if(sorted.begin(), sorted.end(), [&](double d) { return d < last; });
        int64_t kept = 0;
        for (int64_t i = 0; i < held; i++)
            if (squared[i] < last || (squared[i] == last && equal-- > 0)) {
                bounds[kept] = bounds[i];
                places[kept++] = places[i];
            }
        held = kept;
        limit = std::min(limit, distances.limit(last));
    }

  private:
    const KnnKernels& kernels;
    const DistanceBounds& distances;
    const int64_t k;
    AlignedFloats bounds;
    std::vector<int32_t> places;
    double square = 0;
    // At least K rows are certainly no farther.
    float limit = 0;
    int64_t held = 0;

    void lower_limit(const float* values, int64_t count) {
        limit = std::min(limit, distances.upper(square, about_kth(values, count)));
    }

    // A number that at least K of the values are at most, and not many more. Floats that are not negative
    // are ordered as their bits are, so the search is among whole numbers: five parts a step.
    float about_kth(const float* values, int64_t count) const {
        const int64_t slack = 16 + k / 64;
        float smallest = 0, largest = 0;
        kernels.range(values, count, &smallest, &largest);
        int64_t low = int64_t{std::bit_cast<int32_t>(smallest)} - 1;
        int64_t high = std::bit_cast<int32_t>(largest);
        for (int64_t at_most = count; at_most > k + slack && high - low > 1;) {
            int64_t probes[4], counts[4];
            float limits[4];
            for (int i = 0; i < 4; i++) {
                probes[i] = low + std::max<int64_t>(1, (high - low) * (i + 1) / 5);
                limits[i] = std::bit_cast<float>(static_cast<int32_t>(probes[i]));
            }
            kernels.count_at_most(values, count, limits, counts);
            for (int i = 3; i >= 0 && counts[i] >= k; i--) {
                high = probes[i];
                at_most = counts[i];
            }
            for (int i = 0; i < 4 && counts[i] < k; i++)
                low = probes[i];
        }
        return std::bit_cast<float>(static_cast<int32_t>(high));
    }
};

class Scorer {
  public:
    Scorer(Isa isa, const Set& reference, const Set& queries, const KnnOptions& options,
           JobCounters& counters)
        : product(product_kernels_of(isa)), distance(distance_kernels_of(isa)), kernels(knn_kernels_of(isa)),
          reference(reference), queries(queries), options(options), counters(counters),
          columns(reference.rows.columns), rows(reference.rows.count),
          neighbours(std::min(options.neighbours, rows)),
          distances(columns, options.normalise ? cosine_error(columns) : product_error(columns),
                    std::max(reference.longest(), queries.longest())),
          chunk(chunk_size()) {}

    // False where aborted.
    bool run(double* score) {
        const int threads = std::max(options.threads, 1);
        // With K = N there is nothing to select.
        if (neighbours < rows && !pack(threads))
            return false;
        std::vector<Worker> workers(static_cast<size_t>(threads));
        const int64_t total = queries.rows.count;
        return run_tasks(threads, (total + chunk - 1) / chunk, &counters.abort,
                         [&](int64_t task, int thread) {
                             Worker& worker = workers[thread];
                             if (worker.queries.empty())
                                 prepare(worker);
                             const int64_t first = task * chunk, count = std::min(chunk, total - first);
                             for (int64_t m = 0; m < count; m++)
                                 for (int64_t l = 0; l < columns; l++)
                                     worker.queries[m * columns + l] =
                                         queries.rows[first + m][l] * queries.scale(first + m);
                             const bool done = neighbours < rows ? select(worker, first, count) &&
                                                                       measure(worker, count, score + first)
                                                                 : measure_all(worker, count, score + first);
                             if (done)
                                 counters.finished.fetch_add(count, std::memory_order_relaxed);
                         });
    }

  private:
    struct Worker {
        // [chunk, columns]
        std::vector<double> queries;
        AlignedFloats tiles, bounds;
        std::vector<Selection> selections;
        // Squared distances: of the candidates of each query, or of one block.
        std::vector<std::vector<double>> squared;
        std::vector<int64_t> cursors;
    };

    const ProductKernels& product;
    const DistanceKernels& distance;
    const KnnKernels& kernels;
    const Set &reference, &queries;
    const KnnOptions& options;
    JobCounters& counters;
    const int64_t columns, rows, neighbours;
    const DistanceBounds distances;
    const int64_t chunk;
    AlignedFloats panels, squares, lengths;

    bool aborted() const { return counters.abort.load(std::memory_order_relaxed); }
    int64_t stride() const { return std::min(block, round_up(rows, group)); }
    // Held before a block, and all of the block.
    int64_t capacity() const { return std::min(rows, 2 * neighbours + block); }

    int64_t chunk_size() const {
        const int64_t bytes = 4 * stride() + 16 * capacity();
        const int64_t share =
            round_up(queries.rows.count / (4 * std::max(options.threads, 1)), product_tiles);
        return std::clamp(std::min(share, chunk_bytes / bytes / product_tiles * product_tiles),
                          smallest_chunk, largest_chunk);
    }

    bool pack(int threads) {
        const int64_t padded = round_up(rows, product_panels);
        panels = aligned_floats(static_cast<size_t>(padded * columns));
        squares = aligned_floats(static_cast<size_t>(padded));
        lengths = aligned_floats(static_cast<size_t>(padded));
        return run_tasks(threads, padded / product_panels, &counters.abort, [&](int64_t task, int) {
            const int64_t first = task * product_panels;
            const int64_t end = std::min(first + product_panels, rows);
            pack_rows(
                first, end - first, columns, [&](int64_t j) { return reference.rows[j]; },
                [&](int64_t j) { return reference.scale(j) * distances.scale(); },
                panels.get() + first * columns, product.panel);
            for (int64_t j = first; j < end; j++) {
                squares[j] = distances.square(reference.square(j));
                lengths[j] = distances.length(reference.square(j));
            }
        });
    }

    void prepare(Worker& worker) {
        worker.queries.resize(static_cast<size_t>(chunk * columns));
        worker.squared.resize(static_cast<size_t>(chunk));
        worker.cursors.resize(static_cast<size_t>(chunk));
        if (neighbours == rows)
            return;
        worker.tiles = aligned_floats(static_cast<size_t>(chunk * columns));
        worker.bounds = aligned_floats(static_cast<size_t>(chunk * stride()));
        for (int64_t m = 0; m < chunk; m++)
            worker.selections.emplace_back(kernels, distances, neighbours, capacity());
    }

    // Candidates of queries [first, first + count): all that may be among the K nearest, and few others.
    // False where aborted.
    bool select(Worker& worker, int64_t first, int64_t count) {
        const int64_t tiles = (count + product.tile - 1) / product.tile;
        pack_rows(
            first, count, columns, [&](int64_t i) { return queries.rows[i]; },
            [&](int64_t i) { return queries.scale(i) * distances.scale(); }, worker.tiles.get(),
            product.tile);
        for (int64_t m = 0; m < count; m++)
            worker.selections[m].start(queries.square(first + m));
        for (int64_t begin = 0; begin < rows; begin += block) {
            const int64_t width = std::min(block, rows - begin);
            for (int64_t at = 0; at < width; at += group) {
                if (aborted())
                    return false;
                product.dots(worker.tiles.get(), tiles, panels.get() + (begin + at) * columns,
                             round_up(std::min(group, width - at), product.panel) / product.panel, columns,
                             worker.bounds.get() + at, stride());
            }
            for (int64_t m = 0; m < count; m++) {
                float* bounds = worker.bounds.get() + m * stride();
                Selection& selection = worker.selections[m];
                distance.bounds(bounds, width, distances.row(queries.square(first + m)),
                                squares.get() + begin, lengths.get() + begin);
                selection.add(bounds, width, begin);
                if (selection.size() > 2 * neighbours)
                    selection.narrow();
                // So many are nearly as far that float cannot tell them apart.
                if (selection.size() > 2 * neighbours) {
                    std::vector<double>& squared = worker.squared[m];
                    squared.resize(static_cast<size_t>(selection.size()));
                    distance.squared(worker.queries.data() + m * columns, reference.rows.data, scales(),
                                     columns, selection.candidates(), selection.size(), squared.data());
                    selection.keep_nearest(squared);
                }
            }
        }
        for (int64_t m = 0; m < count; m++)
            worker.selections[m].narrow();
        return true;
    }

    const double* scales() const { return reference.scales.empty() ? nullptr : reference.scales.data(); }
    int64_t measured_rows() const { return std::max<int64_t>(64, measured_bytes / (4 * columns)); }

    // Scores from the candidates, block by block of the reference. False where aborted.
    bool measure(Worker& worker, int64_t count, double* score) {
        for (int64_t m = 0; m < count; m++) {
            worker.squared[m].resize(static_cast<size_t>(worker.selections[m].size()));
            worker.cursors[m] = 0;
        }
        for (int64_t end = measured_rows(); end < rows + measured_rows(); end += measured_rows()) {
            if (aborted())
                return false;
            for (int64_t m = 0; m < count; m++) {
                const Selection& selection = worker.selections[m];
                const int32_t* places = selection.candidates();
                const int64_t from = worker.cursors[m];
                const int64_t to = std::lower_bound(places + from, places + selection.size(), end) - places;
                distance.squared(worker.queries.data() + m * columns, reference.rows.data, scales(), columns,
                                 places + from, to - from, worker.squared[m].data() + from);
                worker.cursors[m] = to;
            }
        }
        for (int64_t m = 0; m < count; m++)
            score[m] = score_of(worker.squared[m]);
        return true;
    }

    // From the squared distances of the candidates, which do not depend on chunks and threads.
    double score_of(const std::vector<double>& squared) const {
        std::vector<double> sorted = squared;
        std::nth_element(sorted.begin(), sorted.begin() + neighbours - 1, sorted.end());
        const double last = sorted[neighbours - 1];
        if (options.rule == KnnRule::kth)
            return std::sqrt(last);
        int64_t nearer = 0;
        const double sum =
            distance.sum_of_roots(squared.data(), static_cast<int64_t>(squared.size()), last, &nearer);
        return (sum + static_cast<double>(neighbours - nearer) * std::sqrt(last)) /
               static_cast<double>(neighbours);
    }

    // K = N: every distance counts. False where aborted.
    bool measure_all(Worker& worker, int64_t count, double* score) {
        std::vector<double> sums(static_cast<size_t>(count)), largest(static_cast<size_t>(count));
        std::vector<double>& squared = worker.squared[0];
        std::vector<int32_t> places;
        for (int64_t begin = 0; begin < rows; begin += measured_rows()) {
            if (aborted())
                return false;
            const int64_t width = std::min(measured_rows(), rows - begin);
            places.resize(static_cast<size_t>(width));
            squared.resize(static_cast<size_t>(width));
            for (int64_t j = 0; j < width; j++)
                places[j] = static_cast<int32_t>(begin + j);
            for (int64_t m = 0; m < count; m++) {
                distance.squared(worker.queries.data() + m * columns, reference.rows.data, scales(), columns,
                                 places.data(), width, squared.data());
                int64_t summed = 0;
                sums[m] += distance.sum_of_roots(squared.data(), width, infinity, &summed);
                largest[m] = std::max(largest[m], *std::max_element(squared.begin(), squared.end()));
            }
        }
        for (int64_t m = 0; m < count; m++)
            score[m] =
                options.rule == KnnRule::kth ? std::sqrt(largest[m]) : sums[m] / static_cast<double>(rows);
        return true;
    }
};

Set measured(const char* name, RowView rows, const KnnOptions& options, const std::atomic<bool>& abort) {
    Set set{rows, finite_squares(rows, name, options.threads, &abort), {}};
    if (options.normalise)
        for (double square : set.squares)
            set.scales.push_back(square > 0 ? 1 / std::sqrt(square) : 0);
    return set;
}

} // namespace

const KnnKernels& knn_kernels_of([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
    if (isa == Isa::avx512)
        return avx512_knn_kernels;
    if (isa == Isa::avx2)
        return avx2_knn_kernels;
#endif
    return portable_knn_kernels;
}

KnnResult knn_score_with(Isa isa, const float* reference, int64_t reference_rows, const float* queries,
                         int64_t query_rows, int64_t columns, const KnnOptions& options,
                         JobCounters& counters) {
    if (options.neighbours < 1)
        throw Error("K is " + std::to_string(options.neighbours) + ", expected at least 1");
    if (reference_rows < 1)
        throw Error("reference has no rows, expected at least one");
    const Set known = measured("reference", {reference, reference_rows, columns}, options, counters.abort);
    const Set asked = measured("queries", {queries, query_rows, columns}, options, counters.abort);
    KnnResult result;
    result.neighbours = std::min(options.neighbours, reference_rows);
    result.score.assign(static_cast<size_t>(query_rows), std::numeric_limits<double>::quiet_NaN());
    result.aborted = counters.abort || !Scorer(isa, known, asked, options, counters).run(result.score.data());
    return result;
}

KnnResult knn_score(const float* reference, int64_t reference_rows, const float* queries, int64_t query_rows,
                    int64_t columns, const KnnOptions& options, JobCounters& counters) {
    return knn_score_with(widest_isa(), reference, reference_rows, queries, query_rows, columns, options,
                          counters);
}

} // namespace latdyn
