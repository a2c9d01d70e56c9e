// How far points of paths are from the nearest of some attractors, and what that makes of a path.
#pragma once

#include "pairs.h"

#include <cstdint>

namespace latdyn::cuda {

// What paths are measured against.
class Attractors {
  public:
    // Attractors [count, columns], on the host. Throws Error where there are none, or one is not finite
    // (named).
    Attractors(const Job& job, const float* attractors, int64_t count, int64_t columns);

    // The squared distance of every point to its nearest attractor, as ordered(), to nearest.key; of use
    // where the point is finite. False where `go_on` ends the job.
    bool measure(const DeviceRows& points, const std::function<bool()>& go_on, Best& nearest);
    // Bytes of the device that measure() takes for a point, beside its floats.
    static int64_t bytes_a_point(int64_t columns);

  private:
    const DeviceRows known;
    Candidates candidates;
};

// Some points of every path, point t of path p at p·path_stride + t·point_stride.
struct PathPoints {
    int64_t paths, points, path_stride, point_stride;
    // Of Attractors::measure(), and |z|².
    const Key* nearest;
    const double* squares;
    // By path: the sum of distances so far, and whether a point was not finite.
    double* sum;
    uint8_t* lost;
    // Paths whose distances are kept, ascending, to `distance` [points, kept]; NaN from where they are lost.
    const int32_t* kept_paths;
    int32_t kept;
    float* distance;
};

// Adds the distances of the points, in their order.
void add_distances(const PathPoints& points);

// Of the sum of `points` distances; NaN where the path is lost.
double path_score(double sum, bool lost, int64_t points);

} // namespace latdyn::cuda
