// What runs on the device, by the names and with the results of native/cpu: rows in, results out, everything
// between them resident. Indices are the CPU's exactly; values too where double sums have one order there,
// else to 1e-12. Throw Error for what the caller gave, DeviceError for what the device did; an aborted job
// (Job) has the empty result with `aborted` of the CPU's.
//
// use_device() comes first, on the same thread.
#pragma once

#include "latdyn/dedup.h"
#include "latdyn/knn.h"
#include "latdyn/nearest.h"
#include "latdyn/omp.h"
#include "runtime.h"

#include <cstdint>

namespace latdyn::cuda {

struct DeviceRows;

// noise.cu. The same bits as latdyn::noise.
void noise(uint64_t seed, int64_t first_row, int64_t rows, int64_t columns, float scale, float* out);

// nearest.cu. Memory 8·(a_rows + b_rows)·columns bytes and a list of candidates.
NearestResult nearest(const float* a, int64_t a_rows, const float* b, int64_t b_rows, int64_t columns,
                      Metric metric, const Job& job);

// knn.cu. Memory 8·(reference_rows + block)·columns + 12·reference_rows·block bytes.
KnnResult knn_score(const float* reference, int64_t reference_rows, const float* queries, int64_t query_rows,
                    int64_t columns, int64_t neighbours, KnnRule rule, bool normalise, const Job& job);

// dedup.cu, and components.cu for the rule of that name.
DedupResult dedup(const float* points, int64_t rows, int64_t columns, DedupRule rule, double threshold,
                  double distance, const Job& job);
// The same of finite rows that are on the device.
DedupResult dedup(const DeviceRows& points, DedupRule rule, double threshold, double distance,
                  const Job& job);

// trajectory.cu. score [rows]; NaN for a path that a point of is not finite. False where aborted.
bool score_paths(const float* paths, int64_t rows, int64_t points, int64_t columns, const float* attractors,
                 int64_t attractor_count, double* score, const Job& job);

// omp.cu
OmpResult omp(const float* dictionary, int64_t atoms, const float* signals, int64_t signal_count,
              int64_t dimension, const std::vector<int32_t>& sparsities, const Job& job);

} // namespace latdyn::cuda
