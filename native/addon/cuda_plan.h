// A graph compiled for a CUDA device, and the calls that run it there: the counterparts of apply, iterate and
// trajectory of latdyn/, by the same names and with the same arguments.
#pragma once

#include "cuda_points.h"
#include "latdyn/graph.h"
#include "latdyn/iterate.h"
#include "latdyn/trajectory.h"

#include <cstdint>
#include <memory>
#include <string>

namespace latdyn::addon {

class CudaPlan {
  public:
    // On device `index`; `fast`, one of LATDYN_CUDA_FLOAT32, …: what iterations begin in. Throws Error where
    // the graph cannot be run, DeviceFailure where the device cannot.
    CudaPlan(int index, int32_t fast, const Graph& graph);
    ~CudaPlan();
    CudaPlan(const CudaPlan&) = delete;
    CudaPlan& operator=(const CudaPlan&) = delete;

    const int index;
    const int32_t fast;
    latdyn_cuda_plan_info info{};
    latdyn_cuda_plan* plan = nullptr;

  private:
    const latdyn_cuda_functions& functions;
};

// Threads are those of the CPU and of no use here.
void apply(const CudaPlan& plan, const float* input, int64_t rows, float* output, int threads,
           JobCounters& counters);
// Where `keep`: the endpoints of the rows that converged, as they lie on the device; null where there is no
// room.
std::shared_ptr<const CudaPoints> iterate(const CudaPlan& plan, const float* initial, int64_t rows,
                                          const IterateOptions& options, const IterateOutput& output,
                                          JobCounters& counters, bool keep);
void trajectory(const CudaPlan& plan, const float* initial, int64_t rows, const AttractorSet& attractors,
                const TrajectoryOptions& options, const TrajectoryOutput& output, JobCounters& counters);

} // namespace latdyn::addon
