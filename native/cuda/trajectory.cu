// The trajectory score: the mean over a path's points of the distance to the nearest attractor.
//
// Every point looks for its nearest attractor as in nearest.cu, one way: 2·P·A·k FLOPs on tensor cores for P
// points and A attractors, then some candidates a point in double. Stored paths come in blocks, so what is
// resident are the attractors and one block of points; walk.cu brings points that are on the device. Limited
// by mma.sync where A is large; where it is small, by 8·k bytes a point, read to pack it and written packed,
// and, for stored paths, by the 4·k bytes a point that come over the bus.
// add_points: a thread a path, 16 bytes a point.
#include "kernels.h"

#include "bounds.h"
#include "device.h"
#include "latdyn/error.h"
#include "path_scores.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace latdyn::cuda {

namespace {

constexpr unsigned threads = 256;

__global__ void add_points(PathPoints points) {
    const int64_t path = int64_t{blockIdx.x} * threads + threadIdx.x;
    if (path >= points.paths)
        return;
    const int32_t place = place_of(points.kept_paths, points.kept, path);
    double sum = points.sum[path];
    bool lost = points.lost[path] != 0;
    for (int64_t t = 0; t < points.points; t++) {
        const int64_t i = path * points.path_stride + t * points.point_stride;
        const double square = points.squares[i], distance = exact::sqrt(from_ordered(points.nearest[i]));
        lost = lost || square - square != 0;
        sum = exact::add(sum, distance);
        if (place >= 0)
            points.distance[t * points.kept + place] =
                lost ? __uint_as_float(0x7fc00000u) : static_cast<float>(distance);
    }
    points.sum[path] = sum;
    points.lost[path] = lost;
}

// Bytes of the points of a block.
constexpr int64_t block_bytes = int64_t{256} << 20;

} // namespace

Attractors::Attractors(const Job& job, const float* attractors, int64_t count, int64_t columns)
    : known([&] {
          if (count < 1)
              throw Error("attractors has no rows, expected at least one");
          return finite_rows(attractors, count, columns, "attractors");
      }()),
      candidates(job) {}

bool Attractors::measure(const DeviceRows& points, const std::function<bool()>& go_on, Best& nearest) {
    const Bounded bounded = bounded_distances(points, known, Centre::of_right);
    PairTask task{};
    task.left = bounded.left.side();
    task.right = bounded.right.side();
    task.right.best = nullptr;
    task.stages = stages_of(points.columns);
    task.score = Score::distance;
    task.improve = true;
    const Scored scored{points, known, Exact::squared_distance, &nearest, nullptr};
    Job within;
    within.report = [&](int64_t, int64_t) { return go_on(); };
    return for_candidates(within, candidates, task, 0, [&] { score_candidates(candidates, task, scored); });
}

int64_t Attractors::bytes_a_point(int64_t columns) {
    // Packed; scales, bounds and bests of BoundedSide; Best.
    return 4 * stages_of(columns) * tile_depth + 8 + static_cast<int64_t>(sizeof(RowBounds)) + 4 + 20;
}

void add_distances(const PathPoints& points) {
    launch("add_points", add_points, (points.paths + threads - 1) / threads, threads, 0, points);
}

double path_score(double sum, bool lost, int64_t points) {
    return lost ? std::numeric_limits<double>::quiet_NaN() : sum / static_cast<double>(points);
}

bool score_paths(const float* paths, int64_t rows, int64_t points, int64_t columns, const float* attractors,
                 int64_t attractor_count, double* score, const Job& job) {
    Attractors against(job, attractors, attractor_count, columns);
    std::fill_n(score, rows, std::numeric_limits<double>::quiet_NaN());
    const int64_t path_bytes = points * (4 * columns + 8 + Attractors::bytes_a_point(columns));
    int64_t size =
        std::clamp<int64_t>(std::min(block_bytes, job.room()) / path_bytes, 1, std::max<int64_t>(rows, 1));
    for (int64_t first = 0; first < rows;) {
        if (!job.go_on(first))
            return false;
        const int64_t count = std::min(size, rows - first);
        const float* from = paths + first * points * columns;
        try {
            const DeviceRows walked = any_rows(from, count * points, columns, "a block of paths");
            Best best(count * points, std::numeric_limits<double>::infinity());
            if (!against.measure(
                    walked, [&] { return job.go_on(first); }, best))
                return false;
            Buffer<double> sum(count);
            Buffer<uint8_t> lost(count);
            sum.fill_bytes(0);
            lost.fill_bytes(0);
            add_distances({count, points, points, 1, best.key.get(), walked.squares.get(), sum.get(),
                           lost.get(), nullptr, 0, nullptr});
            const std::vector<double> sums = sum.read();
            const std::vector<uint8_t> losses = lost.read();
            for (int64_t i = 0; i < count; i++)
                score[first + i] = path_score(sums[i], losses[i] != 0, points);
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
