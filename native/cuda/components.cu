// Connected components, as dedup.cpp finds them: the greedy pass has joined most rows; what is left are pairs
// of rows from two clusters, and most of those are ruled out by the angle between the clusters.
//
// Rows go in order of their cluster, so a tile of 128 × 128 pairs (tile.h) belongs to few. A tile is looked
// at only where two of its clusters are not of one component yet and may have a pair below the limit: no pair
// is nearer than the representatives are less both radii (the triangle inequality on the sphere). Which
// clusters may is a matrix of bits, made from the products of the representatives. In a tile that is looked
// at, a pair whose bounds are below the limit joins its components there and then; a pair between its bounds
// goes to a list, is scored in double, and joins if that score is below the limit.
//
// Components are trees of rows, each under a lower one, joined by a compare-and-swap of a root: which joins
// come first changes the trees on the way and neither the components nor their roots, the lowest rows.
//
// list_tiles: a thread a tile, up to 64 pairs of clusters each, some bytes from L2 each; nothing beside the
// others. join_tiles: a block of 256 threads and 96 KiB of shared memory a tile, 32,768·k FLOPs on tensor
// cores and 2·k·128·4 bytes from L2; about 10 operations for each of a thread's 64 pairs. Limited by
// mma.sync. join_scored, flatten: a thread a candidate or a row.
#include "components.h"

#include "filled.h"

#include "bounds.h"
#include "pair_tiles.h"
#include "rows.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
#include <optional>
#include <span>

namespace latdyn::cuda {

namespace {

constexpr unsigned threads = 256;
// Beyond so many pairs of clusters, the product of a tile costs less than the look.
constexpr int32_t most_cluster_pairs = 64;
// More clusters have no matrix: their pairs are about as many as the tiles.
constexpr int64_t most_clusters = 16384;

int64_t blocks_for(int64_t count) {
    return (count + threads - 1) / threads;
}

// ---- trees ----

// Entries only ever change to a lower row of the same tree, so whatever is read leads on. Volatile: what
// another multiprocessor has written is to be seen.
__device__ inline int32_t root_of(int32_t* parents, int32_t row) {
    volatile int32_t* at = parents;
    for (;;) {
        const int32_t parent = at[row];
        if (parent == row)
            return row;
        const int32_t above = at[parent];
        // Shortens the path. Nobody else turns this entry back into a root, and every ancestor is as good.
        if (above != parent)
            at[row] = above;
        row = above;
    }
}

__device__ inline void join(int32_t* parents, int32_t a, int32_t b) {
    for (;;) {
        a = root_of(parents, a);
        b = root_of(parents, b);
        if (a == b)
            return;
        const int32_t higher = a > b ? a : b, lower = a > b ? b : a;
        if (atomicCAS(&parents[higher], higher, lower) == higher)
            return;
    }
}

// Every entry becomes its root, if nobody joins meanwhile. Each is written by its own thread alone: another
// one that shortens its path might put an older ancestor where the root is by then.
__global__ void flatten(int32_t* parents, int64_t rows) {
    const int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x;
    if (i >= rows)
        return;
    volatile int32_t* at = parents;
    int32_t root = static_cast<int32_t>(i);
    for (int32_t parent = at[root]; parent != root; parent = at[root])
        root = parent;
    at[i] = root;
}

// ---- clusters ----

struct DeviceClusters {
    // By place, ascending.
    const int32_t* of_place;
    // By cluster, the row.
    const int32_t* representatives;
    // [clusters, words]: bit b of row a, where a pair of rows of a and b may be below the limit. Null: not
    // known.
    const uint32_t* near;
    int64_t words;
};

__global__ void mark_near(const Candidate* found, int64_t count, const int32_t* cluster_of_row,
                          uint32_t* near, int64_t words) {
    const int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x;
    if (i >= count)
        return;
    const int32_t a = cluster_of_row[found[i].left], b = cluster_of_row[found[i].right];
    atomicOr(&near[a * words + b / 32], 1u << b % 32);
    atomicOr(&near[b * words + a / 32], 1u << a % 32);
}

// ---- tiles ----

// Places of the panels on the left and on the right, and what a pair of them means.
struct JoinTask {
    PairTask pairs;
    // Of both sides' places among all: a pair exists where the right one is the lower.
    int64_t left_first, right_first, total;
    int32_t* parents;
    // Bound on the error of a product; what its bounds are held against, rounded outwards.
    float error, may_join, joins;
};

__device__ inline bool may_join(const DeviceClusters& clusters, int32_t* parents, int32_t a, int32_t b) {
    if (clusters.near && !(clusters.near[a * clusters.words + b / 32] >> b % 32 & 1))
        return false;
    return root_of(parents, clusters.representatives[a]) != root_of(parents, clusters.representatives[b]);
}

// Of tiles [first, first + count) those that are to be looked at, in any order.
__global__ void list_tiles(JoinTask task, DeviceClusters clusters, int64_t first, int64_t count,
                           int64_t left_tiles, int64_t right_tiles, int64_t* tiles, unsigned* listed) {
    const int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x;
    if (i >= count)
        return;
    const TileNumber tile = tile_number(first + i, left_tiles, right_tiles);
    const int64_t left = task.left_first + tile.left * tile_rows;
    const int64_t right = task.right_first + tile.right * tile_rows;
    if (right > left)
        return;
    const auto last = [&](int64_t begin) {
        return clusters.of_place[begin + tile_rows < task.total ? begin + tile_rows - 1 : task.total - 1];
    };
    const int32_t a_first = clusters.of_place[left], a_last = last(left);
    const int32_t b_first = clusters.of_place[right], b_last = last(right);
    bool wanted = int64_t{a_last - a_first + 1} * (b_last - b_first + 1) > most_cluster_pairs;
    for (int32_t a = a_first; a <= a_last && !wanted; a++)
        for (int32_t b = b_first; b <= b_last && !wanted; b++)
            wanted = may_join(clusters, task.parents, a, b);
    if (wanted)
        tiles[atomicAdd(listed, 1u)] = first + i;
}

template <bool Warpgroups>
__global__ void __launch_bounds__(tile_threads, 1)
    join_tiles(JoinTask task, const int64_t* tiles, int64_t left_tiles, int64_t right_tiles, Candidate* found,
               unsigned* count, unsigned capacity) {
    if constexpr (Warpgroups && !warpgroups_here)
        return;
    const TileNumber tile = tile_number(tiles[blockIdx.x], left_tiles, right_tiles);
    Accumulators products;
    tile_product<Warpgroups>(task.pairs, tile, products);
    const auto row_of = [](const PairSide& side, int64_t place) {
        return place < side.count ? row_at(side, place) : -1;
    };
    // Roots as they are now: of a pair that has one by then, nothing more is asked.
    int32_t right_row[4][2], right_root[4][2];
#pragma unroll
    for (int n = 0; n < 4; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const int32_t row = row_of(task.pairs.right, tile.right * tile_rows + tile_place(0, n, e).column);
            right_row[n][e] = row;
            right_root[n][e] = row < 0 ? -1 : root_of(task.parents, row);
        }
#pragma unroll
    for (int m = 0; m < 4; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int64_t place = tile.left * tile_rows + tile_place(m, 0, 2 * half).row;
            const int32_t row = row_of(task.pairs.left, place);
            if (row < 0)
                continue;
            const int32_t root = root_of(task.parents, row);
            // Columns before this one come before the row.
            const int64_t columns = task.left_first + place - task.right_first - tile.right * tile_rows;
#pragma unroll
            for (int n = 0; n < 4; n++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    const float score = -products[m][n][2 * half + e];
                    const int32_t other = right_row[n][e];
                    if (score - task.error > task.may_join || other < 0 || right_root[n][e] == root ||
                        tile_place(m, n, e).column >= columns)
                        continue;
                    if (score + task.error < task.joins) {
                        join(task.parents, row, other);
                    } else if (root_of(task.parents, row) != root_of(task.parents, other)) {
                        const unsigned to = atomicAdd(count, 1u);
                        if (to < capacity)
                            found[to] = {row, other, score - task.error, 0};
                    }
                }
        }
}

__global__ void join_scored(const Candidate* found, const Key* keys, int64_t count, Key limit,
                            int32_t* parents) {
    const int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x;
    if (i < count && keys[i] < limit)
        join(parents, found[i].left, found[i].right);
}

// ---- the pass ----

double angle(double score) {
    return std::acos(std::clamp(-score, -1.0, 1.0));
}

class ComponentsPass {
  public:
    ComponentsPass(const DeviceRows& points, const GreedyClusters& given, double limit, const Job& job)
        : points(points), job(job), limit(limit), total(static_cast<int64_t>(given.listed.size())),
          widest(angle(limit)), error(static_cast<float>(tf32_cosine_error(points.columns))),
          cluster_of_row(static_cast<size_t>(points.count), -1), scales(unit_scales(points)),
          bounds(cosine_rows(points.count, points.columns)), counter(1) {
        order(given);
        may_join_bound = std::nextafter(static_cast<float>(limit), 2.0f);
        best = filled(points.count, ordered_of(may_join_bound));
    }

    std::vector<int32_t> run() {
        {
            Candidates candidates(job);
            if (!find_near(candidates) || !join_all(candidates))
                return {};
        }
        launch("flatten", flatten, blocks_for(points.count), threads, 0, parents.get(), points.count);
        std::vector<int32_t> roots = parents.read();
        for (size_t i = 0; i < roots.size(); i++)
            if (cluster_of_row[i] < 0)
                roots[i] = -1;
        return roots;
    }

  private:
    const DeviceRows& points;
    const Job& job;
    const double limit;
    const int64_t total;
    // The angle below which two rows are joined.
    const double widest;
    const float error;
    float may_join_bound = 0;
    // On the host: by cluster the row, and the largest angle between a member and it.
    std::vector<int32_t> representatives, cluster_of_row;
    std::vector<double> radius;
    // By place: rows in order of their cluster, and that.
    Buffer<int32_t> sorted, of_place, device_representatives;
    Buffer<int32_t> parents;
    Buffer<double> scales;
    Buffer<RowBounds> bounds;
    Buffer<uint32_t> best, near;
    Buffer<unsigned> counter;
    int64_t words = 0;

    template <class Element> static Buffer<Element> from(const std::vector<Element>& elements) {
        return Buffer<Element>(std::span<const Element>(elements));
    }

    void order(const GreedyClusters& given) {
        std::vector<int32_t> tree(static_cast<size_t>(points.count));
        std::iota(tree.begin(), tree.end(), 0);
        for (int32_t row : given.listed) {
            // A representative is the first of its rows.
            if (given.joined[row] == row) {
                cluster_of_row[row] = static_cast<int32_t>(representatives.size());
                representatives.push_back(row);
                radius.push_back(0);
                continue;
            }
            const int32_t cluster = cluster_of_row[given.joined[row]];
            cluster_of_row[row] = cluster;
            radius[cluster] = std::max(radius[cluster], angle(given.scores[row]));
            tree[row] = given.joined[row];
        }
        std::vector<int32_t> rows = given.listed, clusters;
        std::stable_sort(rows.begin(), rows.end(),
                         [&](int32_t a, int32_t b) { return cluster_of_row[a] < cluster_of_row[b]; });
        for (int32_t row : rows)
            clusters.push_back(cluster_of_row[row]);
        sorted = from(rows);
        of_place = from(clusters);
        device_representatives = from(representatives);
        parents = from(tree);
    }

    PairTask pairs(PairSide left, PairSide right) const {
        PairTask task{};
        task.left = left;
        task.right = right;
        task.stages = stages_of(points.columns);
        task.score = Score::cosine;
        return task;
    }

    // The matrix of clusters that are near one another; none where it has no room. False where aborted.
    bool find_near(Candidates& candidates) {
        const int64_t count = static_cast<int64_t>(representatives.size());
        const int64_t bits = (count + 31) / 32;
        const int64_t bytes = 4 * (packed_size(count, points.columns) + count * bits + points.count);
        if (count > most_clusters || bytes > job.room() / 4)
            return true;
        // The sum of two radii is at most twice the larger, so what a pair's bound is held against is one
        // number a row. Both radii, and the pair that decides, come from cosines in double.
        const double slack = 1e-6 + 3 * angle_error(points.columns);
        std::vector<uint32_t> reach(static_cast<size_t>(points.count), 0);
        for (int64_t i = 0; i < count; i++) {
            const double farthest = widest + 2 * radius[i] + slack;
            reach[representatives[i]] =
                farthest >= std::numbers::pi
                    ? ordered_of(std::numeric_limits<float>::infinity())
                    : ordered_of(std::nextafter(static_cast<float>(-std::cos(farthest)), 2.0f));
        }
        Buffer<uint32_t> reaches = from(reach);
        const Buffer<int32_t> clusters = from(cluster_of_row);
        Buffer<float> packed(packed_size(count, points.columns));
        pack_rows(device_representatives.get(), count, packed.get());
        near = Buffer<uint32_t>(count * bits);
        near.fill_bytes(0);
        words = bits;
        const PairSide side{packed.get(), device_representatives.get(), count, bounds.get(), reaches.get()};
        PairTask task = pairs(side, side);
        task.earlier = true;
        return for_candidates(job, candidates, task, total, [&] {
            launch("mark_near", mark_near, blocks_for(candidates.count()), threads, 0, candidates.list(),
                   candidates.count(), clusters.get(), near.get(), words);
        });
    }

    void pack_rows(const int32_t* which, int64_t count, float* to) const {
        pack(points.data.get(), points.columns, which, count, {nullptr, scales.get(), 1}, to);
    }

    // All pairs, a block of rows against another at a time; one block where memory suffices. False where
    // aborted.
    bool join_all(Candidates& candidates) {
        const int64_t row_bytes = 4 * packed_size(tile_rows, points.columns) / tile_rows;
        const int64_t all = panels_of(total) * tile_rows, room = job.room() / 2;
        const int64_t wanted =
            all * row_bytes <= room
                ? all
                : std::clamp<int64_t>(room / 2 / row_bytes / tile_rows * tile_rows, tile_rows, all);
        struct Sides {
            Buffer<float> right, left;
        };
        const auto [packed, size] = make_fitting(job, "rows", wanted, tile_rows, [&](int64_t rows) {
            Sides sides{Buffer<float>(packed_size(rows, points.columns)), {}};
            if (rows < total)
                sides.left = Buffer<float>(packed_size(rows, points.columns));
            return sides;
        });
        const auto fill = [&](const Buffer<float>& to, int64_t first) {
            const int64_t count = std::min(size, total - first);
            const int32_t* rows = sorted.get() + first;
            pack_rows(rows, count, to.get());
            return PairSide{to.get(), rows, count, bounds.get(), best.get()};
        };
        for (int64_t right = 0; right < total; right += size) {
            const PairSide of_right = fill(packed.right, right);
            for (int64_t left = right; left < total; left += size)
                if (!join_blocks(candidates, left == right ? of_right : fill(packed.left, left), left,
                                 of_right, right))
                    return false;
        }
        return true;
    }

    bool join_blocks(Candidates& candidates, PairSide of_left, int64_t left, PairSide of_right,
                     int64_t right) {
        const JoinTask task{pairs(of_left, of_right),
                            left,
                            right,
                            total,
                            parents.get(),
                            error,
                            may_join_bound,
                            std::nextafter(static_cast<float>(limit), -2.0f)};
        const DeviceClusters clusters{of_place.get(), device_representatives.get(), near.get(), words};
        const int64_t all = tiles_of(task.pairs), most = std::min(all, tiles_of_launch(task.pairs));
        const int64_t left_tiles = panels_of(of_left.count), right_tiles = panels_of(of_right.count);
        Buffer<int64_t> tiles(most);
        int64_t now = most;
        for (int64_t first = 0; first < all;) {
            if (!job.go_on(total))
                return false;
            const int64_t count = std::min(now, all - first);
            counter.fill_bytes(0);
            launch("flatten", flatten, blocks_for(points.count), threads, 0, parents.get(), points.count);
            launch("list_tiles", list_tiles, blocks_for(count), threads, 0, task, clusters, first, count,
                   left_tiles, right_tiles, tiles.get(), counter.get());
            const int64_t wanted = counter.read()[0];
            if (wanted > 0 && !candidates.collect([&](Candidate* found, unsigned* counted, unsigned room) {
                    launch_tiles("join_tiles", join_tiles<false>, join_tiles<true>, wanted, task, tiles.get(),
                                 left_tiles, right_tiles, found, counted, room);
                })) {
                // What was joined stays joined; a single tile always fits.
                now = std::max<int64_t>(1, count / 2);
                continue;
            }
            if (wanted > 0 && candidates.count() > 0) {
                score_candidates(candidates, task.pairs, {points, points, Exact::cosine, nullptr, nullptr});
                launch("join_scored", join_scored, blocks_for(candidates.count()), threads, 0,
                       candidates.list(), candidates.keys(), candidates.count(), ordered_of(limit),
                       parents.get());
            }
            first += count;
            now = std::min(most, 2 * now);
        }
        return true;
    }
};

} // namespace

std::vector<int32_t> connected_rows(const DeviceRows& points, const GreedyClusters& clusters, double limit,
                                    const Job& job) {
    return ComponentsPass(points, clusters, limit, job).run();
}

} // namespace latdyn::cuda
