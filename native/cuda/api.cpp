// The C face of the kernels.
#include "api.h"

#include "kernels.h"

#include <algorithm>
#include <cstring>

namespace latdyn::cuda {

namespace {

int32_t api_devices(const latdyn_cuda_job* given, latdyn_cuda_device* out, int32_t room, int32_t* count) {
    return guarded(given, [&](const Job&) {
        const std::vector<DeviceInfo> found = devices();
        *count = static_cast<int32_t>(found.size());
        for (int32_t i = 0; i < std::min(room, *count); i++) {
            latdyn_cuda_device& to = out[i];
            std::memset(&to, 0, sizeof to);
            std::memcpy(to.name, found[i].name.data(), std::min(found[i].name.size(), sizeof to.name - 1));
            to.memory = found[i].memory;
            to.major = found[i].major;
            to.minor = found[i].minor;
            to.multiprocessors = found[i].multiprocessors;
            to.driver = found[i].driver;
        }
        return true;
    });
}

int32_t api_noise(const latdyn_cuda_job* given, uint64_t seed, int64_t first_row, int64_t rows,
                  int64_t columns, float scale, float* out) {
    return on_device(given, [&](const Job&) {
        noise(seed, first_row, rows, columns, scale, out);
        return true;
    });
}

int32_t api_nearest(const latdyn_cuda_job* given, const float* a, int64_t a_rows, const float* b,
                    int64_t b_rows, int64_t columns, int32_t euclidean, int32_t* a_index, double* a_value,
                    int32_t* b_index, double* b_value) {
    return on_device(given, [&](const Job& job) {
        const Metric metric = euclidean ? Metric::euclidean : Metric::cosine;
        const NearestResult found = nearest(a, a_rows, b, b_rows, columns, metric, job);
        std::copy(found.of_a.index.begin(), found.of_a.index.end(), a_index);
        std::copy(found.of_a.value.begin(), found.of_a.value.end(), a_value);
        std::copy(found.of_b.index.begin(), found.of_b.index.end(), b_index);
        std::copy(found.of_b.value.begin(), found.of_b.value.end(), b_value);
        return !found.aborted;
    });
}

int32_t api_knn(const latdyn_cuda_job* given, const float* reference, int64_t reference_rows,
                const float* queries, int64_t query_rows, int64_t columns, int64_t neighbours,
                int32_t last_only, int32_t normalise, double* score, int64_t* used) {
    return on_device(given, [&](const Job& job) {
        const KnnResult found = knn_score(reference, reference_rows, queries, query_rows, columns, neighbours,
                                          last_only ? KnnRule::kth : KnnRule::mean, normalise != 0, job);
        std::copy(found.score.begin(), found.score.end(), score);
        *used = found.neighbours;
        return !found.aborted;
    });
}

int32_t api_score_paths(const latdyn_cuda_job* given, const float* paths, int64_t rows, int64_t points,
                        int64_t columns, const float* attractors, int64_t attractor_count, double* score) {
    return on_device(given, [&](const Job& job) {
        return score_paths(paths, rows, points, columns, attractors, attractor_count, score, job);
    });
}

int32_t api_omp(const latdyn_cuda_job* given, const float* dictionary, int64_t atoms, const float* signals,
                int64_t signal_count, int64_t dimension, const int32_t* sparsities, int32_t sparsity_count,
                int32_t* support, float* coefficients, double* residual_norm, double* mean_squared_error,
                int64_t* early_stops) {
    return on_device(given, [&](const Job& job) {
        const std::vector<int32_t> wanted(sparsities, sparsities + sparsity_count);
        const OmpResult found = omp(dictionary, atoms, signals, signal_count, dimension, wanted, job);
        for (const OmpSelection& selection : found.by_sparsity) {
            support = std::copy(selection.support.begin(), selection.support.end(), support);
            coefficients =
                std::copy(selection.coefficients.begin(), selection.coefficients.end(), coefficients);
            residual_norm =
                std::copy(selection.residual_norm.begin(), selection.residual_norm.end(), residual_norm);
            *mean_squared_error++ = selection.mean_squared_error;
            *early_stops++ = selection.early_stops;
        }
        return !found.aborted;
    });
}

constexpr latdyn_cuda_functions functions = {
    LATDYN_CUDA_API_VERSION,
    api_devices,
    api_noise,
    api_nearest,
    api_knn,
    api_dedup,
    api_score_paths,
    api_omp,
    api_make_plan,
    api_free_plan,
    api_apply,
    api_iterate,
    api_walk,
    api_dedup_points,
    api_free_points,
};

} // namespace

} // namespace latdyn::cuda

extern "C" __attribute__((visibility("default"))) const latdyn_cuda_functions*
latdyn_cuda_api(int32_t version) {
    return version == LATDYN_CUDA_API_VERSION ? &latdyn::cuda::functions : nullptr;
}
