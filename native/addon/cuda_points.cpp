#include "cuda_points.h"

namespace latdyn::addon {

namespace {

// call(functions, job, labels, representatives, kept) of `rows` points.
template <class Call> DedupResult collected(int device, int64_t rows, JobCounters& counters, Call call) {
    DedupResult result;
    result.labels.resize(static_cast<size_t>(rows));
    result.representatives.resize(static_cast<size_t>(rows));
    int64_t kept = 0;
    const bool done = run_on_cuda(device, counters, [&](const auto& cuda, const latdyn_cuda_job* job) {
        return call(cuda, job, result.labels.data(), result.representatives.data(), &kept);
    });
    result.representatives.resize(static_cast<size_t>(kept));
    if (done)
        return result;
    DedupResult aborted;
    aborted.aborted = true;
    return aborted;
}

} // namespace

DedupResult dedup_on_cuda(int device, const float* points, int64_t rows, int64_t columns,
                          const DedupOptions& options, JobCounters& counters) {
    return collected(device, rows, counters, [&](const auto& cuda, const auto* job, auto... out) {
        return cuda.dedup(job, points, rows, columns, static_cast<int32_t>(options.rule), options.threshold,
                          options.distance, out...);
    });
}

DedupResult dedup_on_cuda(const CudaPoints& there, const DedupOptions& options, JobCounters& counters) {
    return collected(there.index, there.info.rows, counters,
                     [&](const auto& cuda, const auto* job, auto... out) {
                         return cuda.dedup_points(job, there.points, static_cast<int32_t>(options.rule),
                                                  options.threshold, options.distance, out...);
                     });
}

} // namespace latdyn::addon
