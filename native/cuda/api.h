// How the functions of latdyn/cuda_api.h end: exceptions become a status and a sentence, here and nowhere
// else.
#pragma once

#include "device_rows.h"
#include "latdyn/cuda_api.h"
#include "latdyn/error.h"
#include "runtime.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>
#include <string>

namespace latdyn::cuda {

inline void say(const latdyn_cuda_job* job, const std::string& sentence) {
    if (job->message == nullptr || job->message_size < 1)
        return;
    const size_t length = std::min(sentence.size(), static_cast<size_t>(job->message_size) - 1);
    std::memcpy(job->message, sentence.data(), length);
    job->message[length] = 0;
}

inline int32_t status_of(Failure failure) {
    switch (failure) {
    case Failure::out_of_memory:
        return LATDYN_CUDA_OUT_OF_MEMORY;
    case Failure::missing:
        return LATDYN_CUDA_NO_DEVICE;
    case Failure::device:
        break;
    }
    return LATDYN_CUDA_DEVICE_FAILED;
}

// Runs body(job), which returns whether it was not aborted.
template <class Body> int32_t guarded(const latdyn_cuda_job* given, Body body) {
    try {
        Job job;
        job.memory = given->memory;
        if (given->go_on)
            job.report = [given](int64_t finished, int64_t evaluations) {
                return given->go_on(given->context, finished, evaluations) != 0;
            };
        if (given->note)
            job.note = [given](const std::string& sentence) {
                given->note(given->context, sentence.c_str());
            };
        if (body(job))
            return LATDYN_CUDA_OK;
        say(given, "aborted");
        return LATDYN_CUDA_ABORTED;
    } catch (const DeviceError& error) {
        say(given, error.what());
        return status_of(error.failure);
    } catch (const Error& error) {
        say(given, error.what());
        return LATDYN_CUDA_INVALID;
    } catch (const std::bad_alloc&) {
        say(given, "out of memory");
        return LATDYN_CUDA_OUT_OF_MEMORY;
    } catch (const std::exception& error) {
        say(given, error.what());
        return LATDYN_CUDA_DEVICE_FAILED;
    }
}

template <class Body> int32_t on_device(const latdyn_cuda_job* given, Body body) {
    return guarded(given, [&](const Job& job) {
        use_device(given->device);
        return body(job);
    });
}

} // namespace latdyn::cuda

// Points that lie on a device.
struct latdyn_cuda_points {
    int device;
    latdyn::cuda::DeviceRows rows;
};

namespace latdyn::cuda {

// api_plans.cpp
int32_t api_make_plan(const latdyn_cuda_job* given, const latdyn_cuda_graph* graph, int32_t fast,
                      latdyn_cuda_plan** plan, latdyn_cuda_plan_info* info);
void api_free_plan(latdyn_cuda_plan* plan);
int32_t api_apply(const latdyn_cuda_job* given, const latdyn_cuda_plan* plan, const float* input,
                  int64_t rows, float* output);
int32_t api_iterate(const latdyn_cuda_job* given, const latdyn_cuda_plan* plan, const float* initial,
                    int64_t rows, const latdyn_cuda_iterate_options* options, float* endpoints,
                    int32_t* iterations, float* residual, uint8_t* status, uint8_t* period,
                    int64_t* evaluations, latdyn_cuda_points** converged,
                    latdyn_cuda_points_info* converged_info);
int32_t api_walk(const latdyn_cuda_job* given, const latdyn_cuda_plan* plan, const float* initial,
                 int64_t rows, const float* attractors, int64_t attractor_count,
                 const latdyn_cuda_walk_options* options, double* score, float* stored);

// api_points.cpp
int32_t api_dedup(const latdyn_cuda_job* given, const float* points, int64_t rows, int64_t columns,
                  int32_t rule, double threshold, double distance, int32_t* labels, int32_t* representatives,
                  int64_t* kept);
int32_t api_dedup_points(const latdyn_cuda_job* given, const latdyn_cuda_points* points, int32_t rule,
                         double threshold, double distance, int32_t* labels, int32_t* representatives,
                         int64_t* kept);
void api_free_points(latdyn_cuda_points* points);

} // namespace latdyn::cuda
