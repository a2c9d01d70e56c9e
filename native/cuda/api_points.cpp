// The C face of deduplication: of points on the host, and of those that a job left on the device.
#include "api.h"

#include "kernels.h"

#include <algorithm>

namespace latdyn::cuda {

namespace {

// Returns whether it was not aborted.
bool write(const DedupResult& found, int32_t* labels, int32_t* representatives, int64_t* kept) {
    std::copy(found.labels.begin(), found.labels.end(), labels);
    std::copy(found.representatives.begin(), found.representatives.end(), representatives);
    *kept = static_cast<int64_t>(found.representatives.size());
    return !found.aborted;
}

} // namespace

int32_t api_dedup(const latdyn_cuda_job* given, const float* points, int64_t rows, int64_t columns,
                  int32_t rule, double threshold, double distance, int32_t* labels, int32_t* representatives,
                  int64_t* kept) {
    return on_device(given, [&](const Job& job) {
        return write(dedup(points, rows, columns, static_cast<DedupRule>(rule), threshold, distance, job),
                     labels, representatives, kept);
    });
}

int32_t api_dedup_points(const latdyn_cuda_job* given, const latdyn_cuda_points* points, int32_t rule,
                         double threshold, double distance, int32_t* labels, int32_t* representatives,
                         int64_t* kept) {
    return guarded(given, [&](const Job& job) {
        use_device(points->device);
        return write(dedup(points->rows, static_cast<DedupRule>(rule), threshold, distance, job), labels,
                     representatives, kept);
    });
}

void api_free_points(latdyn_cuda_points* points) {
    delete points;
}

} // namespace latdyn::cuda
