// The trajectory score of stored paths: the mean over a path's points of the distance to the nearest
// attractor.
//
// Every point looks for its nearest attractor as in nearest.cu, one way: 2·P·A·k FLOPs on tensor cores for P
// points and A attractors, then some candidates a point in double. Paths come in blocks, so what is resident
// are the attractors and one block of points. Limited by mma.sync where A is large; where it is small, by 8·k
// bytes a point, read to pack it and written packed, and by the 4·k bytes a point that come over the bus.
// path_means: a thread a path, 8 bytes a point.
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

__global__ void path_means(const Key* squared, int64_t paths, int64_t points, double* score) {
    const int64_t path = int64_t{blockIdx.x} * threads + threadIdx.x;
    if (path >= paths)
        return;
    double sum = 0;
    for (int64_t t = 0; t < points; t++)
        sum += exact::sqrt(from_ordered(squared[path * points + t]));
    score[path] = sum / static_cast<double>(points);
}

// Bytes of the points of a block.
constexpr int64_t block_bytes = int64_t{256} << 20;

} // namespace

bool score_paths(const float* paths, int64_t rows, int64_t points, int64_t columns, const float* attractors,
                 int64_t attractor_count, double* score, const Job& job) {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    if (attractor_count < 1)
        throw Error("attractors has no rows, expected at least one");
    const DeviceRows known = finite_rows(attractors, attractor_count, columns, "attractors");
    std::fill_n(score, rows, nan);
    Candidates candidates(job);
    // A block holds its points twice, and some words a point.
    const int64_t path_bytes = points * (columns + 8) * 8;
    int64_t size =
        std::clamp<int64_t>(std::min(block_bytes, job.room()) / path_bytes, 1, std::max<int64_t>(rows, 1));
    for (int64_t first = 0; first < rows;) {
        if (!job.go_on(first))
            return false;
        const int64_t count = std::min(size, rows - first);
        const float* from = paths + first * points * columns;
        try {
            const DeviceRows walked = any_rows(from, count * points, columns, "a block of paths");
            const Bounded bounded = bounded_distances(walked, known, from, attractors);
            PairTask task{};
            task.left = bounded.left.side();
            task.right = bounded.right.side();
            task.right.best = nullptr;
            task.stages = stages_of(columns);
            task.score = Score::distance;
            task.improve = true;
            Best best(count * points, std::numeric_limits<double>::infinity());
            const Scored scored{walked, known, Exact::squared_distance, &best, nullptr};
            if (!for_candidates(job, candidates, task, first,
                                [&] { score_candidates(candidates, task, scored); }))
                return false;
            const Buffer<double> means(count);
            launch("path_means", path_means, (count + threads - 1) / threads, threads, 0, best.key.get(),
                   count, points, means.get());
            const std::vector<double> found = means.read();
            for (int64_t i = 0; i < count; i++) {
                const auto squares = walked.host_squares.begin() + i * points;
                const bool finite =
                    std::all_of(squares, squares + points, [](double s) { return std::isfinite(s); });
                score[first + i] = finite ? found[i] : nan;
            }
            first += count;
        } catch (const DeviceError& error) {
            if (error.failure != Failure::out_of_memory || count == 1)
                throw;
            size = count / 2;
            job.note("out of device memory: blocks of " + std::to_string(size) + " paths instead of " +
                     std::to_string(count));
        }
    }
    return true;
}

} // namespace latdyn::cuda
