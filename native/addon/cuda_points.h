// Points that a job left on a CUDA device, and what is done with them there.
#pragma once

#include "cuda_library.h"
#include "latdyn/dedup.h"

namespace latdyn::addon {

class CudaPoints {
  public:
    // Frees them at the end.
    CudaPoints(const latdyn_cuda_functions& functions, int index, latdyn_cuda_points* points,
               const latdyn_cuda_points_info& info)
        : index(index), info(info), points(points), functions(functions) {}
    ~CudaPoints() { functions.free_points(points); }
    CudaPoints(const CudaPoints&) = delete;

    // Number of the device.
    const int index;
    const latdyn_cuda_points_info info;
    latdyn_cuda_points* const points;

  private:
    const latdyn_cuda_functions& functions;
};

// Of points [rows, columns] on the host, and of those that are there; threads are those of the CPU and of no
// use here.
DedupResult dedup_on_cuda(int device, const float* points, int64_t rows, int64_t columns,
                          const DedupOptions& options, JobCounters& counters);
DedupResult dedup_on_cuda(const CudaPoints& points, const DedupOptions& options, JobCounters& counters);

} // namespace latdyn::addon
