// Scores from the K nearest rows, exactly, without sorting: a block of queries meets the whole reference on
// tensor cores, which gives a lower bound of every squared distance (pairs.h); the rows whose bound says that
// they may be among the K nearest are measured in double, and the K smallest of those are the answer.
//
// nearest_rows: a block of 256 threads a query. It reads the query's N bounds four or five times (smallest
// and largest, two or three rounds of counting, the collection: 20·N bytes, from L2 where a wave's bounds
// fit), then its K and some rows, 4·k bytes and 3·k double operations each. The product is 2·N·k FLOPs a
// query. With K·k large, as for K = 2,000 and k = 4,096, the measuring is the limit: 3·K·k double operations
// (sums that do not fuse, half of the nominal rate) and 4·K·k bytes, which come from L2 at best.
#include "kernels.h"

#include "bounds.h"
#include "device.h"
#include "latdyn/error.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace latdyn::cuda {

namespace {

constexpr unsigned threads = 256;
constexpr int warps = threads / 32;
constexpr int bins = 2048;

struct Shared {
    unsigned histogram[bins];
    Key ends[2][warps];
    double sums[threads];
    unsigned counts[warps];
    unsigned bin, before;
};

// The smaller, or larger, of what the lanes of a warp hold.
template <class Value> __device__ Value warp_end(Value v, bool largest) {
#pragma unroll
    for (int with = 16; with > 0; with /= 2) {
        const Value other = __shfl_xor_sync(whole_warp, v, with);
        v = (other < v) != largest ? other : v;
    }
    return v;
}

// The k-th smallest (from 1) of load(0) … load(count − 1), whole numbers, to all threads. Counts how many
// fall into each of 2,048 equal parts of the range, goes on in the part that holds it.
template <class Value, class Load>
__device__ Value kth_smallest(Load load, int64_t count, int64_t k, Shared& shared) {
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    Value low = ~Value{0}, high = 0;
    for (int64_t i = threadIdx.x; i < count; i += threads) {
        const Value v = load(i);
        low = v < low ? v : low;
        high = v > high ? v : high;
    }
    low = warp_end(low, false);
    high = warp_end(high, true);
    if (lane == 0) {
        shared.ends[0][warp] = low;
        shared.ends[1][warp] = high;
    }
    __syncthreads();
    for (int w = 0; w < warps; w++) {
        const Value other_low = static_cast<Value>(shared.ends[0][w]),
                    other_high = static_cast<Value>(shared.ends[1][w]);
        low = other_low < low ? other_low : low;
        high = other_high > high ? other_high : high;
    }
    unsigned rank = static_cast<unsigned>(k);
    for (;;) {
        int shift = 0;
        while (((high - low) >> shift) >= bins)
            shift++;
        for (int bin = static_cast<int>(threadIdx.x); bin < bins; bin += threads)
            shared.histogram[bin] = 0;
        __syncthreads();
        for (int64_t i = threadIdx.x; i < count; i += threads) {
            const Value v = load(i);
            if (v >= low && v <= high)
                atomicAdd(&shared.histogram[(v - low) >> shift], 1u);
        }
        __syncthreads();
        if (warp == 0) {
            // Lane after lane, 64 bins each.
            unsigned own = 0;
            for (int b = 0; b < bins / 32; b++)
                own += shared.histogram[lane * (bins / 32) + b];
            unsigned until = own;
            for (int by = 1; by < 32; by *= 2) {
                const unsigned before = __shfl_up_sync(whole_warp, until, by);
                until += lane >= by ? before : 0;
            }
            if (until >= rank && until - own < rank) {
                unsigned before = until - own;
                int bin = lane * (bins / 32);
                while (before + shared.histogram[bin] < rank)
                    before += shared.histogram[bin++];
                shared.bin = static_cast<unsigned>(bin);
                shared.before = before;
            }
        }
        __syncthreads();
        rank -= shared.before;
        low += Value{shared.bin} << shift;
        if (shift == 0)
            return low;
        const Value end = low + (Value{1} << shift) - 1;
        high = end < high ? end : high;
    }
}

struct KnnTask {
    const float *queries, *reference;
    const double *query_scales, *reference_scales;
    // Of the first query of the block.
    int64_t first, rows, columns, stride, neighbours;
    // Lengths of queries under the scale of the bounds.
    const double* lengths;
    double gamma, tiny;
    // [block, stride] and [block, rows].
    float* bounds;
    double* squared;
    bool last_only;
    double* score;
};

// At least every float bound of a row that is no further than some row of bound `bound`: see
// DistanceBounds::upper.
__device__ inline float upper(double x, float bound, double gamma, double tiny) {
    const double y = 2 * x + 1.05 * exact::sqrt(double(bound) + 2 * tiny);
    const double v = bound + 4.1 * gamma * x * y + 0x1p-18 * (x * x + y * y) + 2 * tiny;
    // Two places up, for the cast and for what the sum rounds.
    const float cast = static_cast<float>(v);
    return cast < 0x1p127f ? __uint_as_float(__float_as_uint(cast) + 2) : cast;
}

__global__ void __launch_bounds__(threads) nearest_rows(KnnTask task) {
    Shared& shared = *reinterpret_cast<Shared*>(shared_memory());
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    float* bounds = task.bounds + blockIdx.x * task.stride;
    int32_t* kept = reinterpret_cast<int32_t*>(bounds);
    double* squared = task.squared + blockIdx.x * task.rows;
    const int64_t query = task.first + blockIdx.x;
    const bool all = task.neighbours == task.rows;

    float limit = __uint_as_float(0x7f800000u);
    if (!all) {
        const uint32_t bits =
            kth_smallest<uint32_t>([&](int64_t i) { return uint32_t{__float_as_uint(bounds[i])}; }, task.rows,
                                   task.neighbours, shared);
        limit = upper(task.lengths[query], __uint_as_float(bits), task.gamma, task.tiny);
    }
    // The rows to measure, ascending, to where the bounds were: what is written has been read.
    int64_t count = 0;
    for (int64_t begin = 0; begin < task.rows; begin += threads) {
        const int64_t i = begin + threadIdx.x;
        const bool keep = i < task.rows && bounds[i] <= limit;
        const unsigned vote = __ballot_sync(whole_warp, keep);
        if (lane == 0)
            shared.counts[warp] = static_cast<unsigned>(__popc(vote));
        __syncthreads();
        int64_t place = count + __popc(vote & ((1u << lane) - 1));
        for (int w = 0; w < warps; w++) {
            place += w < warp ? shared.counts[w] : 0;
            count += shared.counts[w];
        }
        if (keep)
            kept[place] = static_cast<int32_t>(i);
        __syncthreads();
    }
    const float* x = task.queries + query * task.columns;
    const double x_scale = task.query_scales ? task.query_scales[query] : 1;
    for (int64_t i = threadIdx.x / group_lanes; i < count; i += threads / group_lanes) {
        const int64_t row = kept[i];
        const double y_scale = task.reference_scales ? task.reference_scales[row] : 1;
        const double square = group_distance(group_mask(), x, x_scale, task.reference + row * task.columns,
                                             y_scale, task.columns);
        if (threadIdx.x % group_lanes == 0)
            squared[i] = square;
    }
    __syncthreads();
    // Squares are not negative, so their bits are in order.
    const Key key =
        kth_smallest<Key>([&](int64_t i) { return static_cast<Key>(__double_as_longlong(squared[i])); },
                          count, task.neighbours, shared);
    const double last = __longlong_as_double(static_cast<long long>(key));
    if (task.last_only) {
        if (threadIdx.x == 0)
            task.score[query] = exact::sqrt(last);
        return;
    }
    double sum = 0;
    unsigned nearer = 0;
    for (int64_t i = threadIdx.x; i < count; i += threads)
        if (squared[i] < last) {
            sum += exact::sqrt(squared[i]);
            nearer++;
        }
    nearer = __reduce_add_sync(whole_warp, nearer);
    if (lane == 0)
        shared.counts[warp] = nearer;
    shared.sums[threadIdx.x] = sum;
    // One order, whatever the order of threads.
    for (unsigned half = threads / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half)
            shared.sums[threadIdx.x] += shared.sums[threadIdx.x + half];
    }
    if (threadIdx.x == 0) {
        int64_t below = 0;
        for (int w = 0; w < warps; w++)
            below += shared.counts[w];
        task.score[query] =
            (shared.sums[0] + static_cast<double>(task.neighbours - below) * exact::sqrt(last)) /
            static_cast<double>(task.neighbours);
    }
}

struct Block {
    Buffer<float> bounds;
    Buffer<double> squared;
};

} // namespace

KnnResult knn_score(const float* reference, int64_t reference_rows, const float* queries, int64_t query_rows,
                    int64_t columns, int64_t neighbours, KnnRule rule, bool normalise, const Job& job) {
    if (neighbours < 1)
        throw Error("K is " + std::to_string(neighbours) + ", expected at least 1");
    if (reference_rows < 1)
        throw Error("reference has no rows, expected at least one");
    const DeviceRows known = finite_rows(reference, reference_rows, columns, "reference");
    const DeviceRows asked = finite_rows(queries, query_rows, columns, "queries");
    KnnResult result;
    result.neighbours = std::min(neighbours, reference_rows);
    result.score.assign(static_cast<size_t>(query_rows), std::numeric_limits<double>::quiet_NaN());
    if (query_rows == 0)
        return result;
    job.stage(Stage::resident);
    const Bounded bounded = bounded_distances(asked, known, normalise ? Centre::none : Centre::of_both);
    Buffer<double> scales[2];
    if (normalise) {
        scales[0] = unit_scales(asked);
        scales[1] = unit_scales(known);
    }
    const Buffer<double> lengths(std::span<const double>(bounded.left_lengths)), score(query_rows);

    const int64_t stride = panels_of(reference_rows) * tile_rows;
    const int64_t row_bytes = 4 * stride + 8 * reference_rows;
    constexpr int64_t largest_block = 8192;
    const int64_t room =
        std::clamp(job.room() / row_bytes / tile_rows * tile_rows, int64_t{tile_rows}, largest_block);
    const int64_t wanted = std::min(room, panels_of(query_rows) * tile_rows);
    const auto [block, rows] = make_fitting(job, "queries", wanted, tile_rows, [&](int64_t some) {
        return Block{Buffer<float>(some * stride), Buffer<double>(some * reference_rows)};
    });
    const int64_t size = rows / tile_rows * tile_rows;
    const int64_t stages = stages_of(columns);
    for (int64_t first = 0; first < query_rows; first += size) {
        if (!job.go_on(first)) {
            result.aborted = true;
            break;
        }
        const int64_t count = std::min(size, query_rows - first);
        PairTask task{};
        task.left = bounded.left.side();
        task.left.packed += first / tile_rows * stages * panel_floats;
        task.left.bounds += first;
        task.left.count = count;
        task.right = bounded.right.side();
        task.stages = stages;
        task.score = Score::distance;
        write_pairs(task, block.bounds.get(), stride);
        launch("nearest_rows", nearest_rows, count, threads, sizeof(Shared),
               KnnTask{asked.data.get(), known.data.get(), scales[0].get(), scales[1].get(), first,
                       reference_rows, columns, stride, result.neighbours, lengths.get(), bounded.gamma,
                       bounded.tiny, block.bounds.get(), block.squared.get(), rule == KnnRule::kth,
                       score.get()});
        const std::vector<double> found = score.read(first, count);
        std::copy(found.begin(), found.end(), result.score.begin() + first);
    }
    job.stage(Stage::computed);
    return result;
}

} // namespace latdyn::cuda
