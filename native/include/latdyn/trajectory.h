// Paths z0, f(z0), f(f(z0)), … of a fixed length: what they come near to, without keeping them.
#pragma once

#include "latdyn/iterate.h"

#include <cstdint>
#include <vector>

namespace latdyn {

// What paths are measured against.
struct AttractorSet {
    // [count, k]; none: paths are not scored.
    const float* data = nullptr;
    int64_t count = 0;
};

struct TrajectoryOptions {
    // N: applications of f. A path has N + 1 points, both ends included.
    int32_t steps = 0;
    // Steps whose points are kept, ascending, in [0, steps].
    std::vector<int32_t> store_steps;
    // Rows whose curves are kept, ascending.
    std::vector<int32_t> curve_rows;
    int threads = 1;
};

// Of one path: |z[t+1] − z[t]|² [steps], |z[t]| and the distance to the nearest attractor [steps + 1].
// Shorter where the job was aborted.
struct Curve {
    std::vector<float> residual, norm, distance;
};

// Where results go.
struct TrajectoryOutput {
    // [rows]: mean over the path of the Euclidean distance to the nearest attractor. NaN for a path that a
    // point of is not finite, or that was not finished; not written where there are no attractors.
    double* score = nullptr;
    // [rows, store_steps, k]; unfinished paths keep what was there.
    float* stored = nullptr;
    // One per curve row.
    std::vector<Curve>* curves = nullptr;
};

// initial [rows, k]. Every row takes exactly options.steps applications of f. Memory of a thread beside its
// tile: tile_rows · count · 36 bytes, and of all threads count² floats where count is at most 2,048. A row's
// score depends neither on the number of threads nor on the other rows. Returns once all rows are done or,
// after `abort`, within one tile step. Throws Error where the map is not square, or an attractor is not
// finite (named).
void trajectory(const Plan& plan, const float* initial, int64_t rows, const AttractorSet& attractors,
                const TrajectoryOptions& options, const TrajectoryOutput& output, JobCounters& counters);

// The same score for paths that somebody else walked: paths [rows, points, columns], to score [rows].
// counters.finished counts rows.
void score_paths(const float* paths, int64_t rows, int64_t points, int64_t columns,
                 const AttractorSet& attractors, int threads, double* score, JobCounters& counters);

} // namespace latdyn
