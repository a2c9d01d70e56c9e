/*
 * The face of liblatdyn_cuda: plain C, so that whoever opens it at run time shares nothing with it but this
 * file. It exports one function, latdyn_cuda_api(version): the table of all others, or null where it is of
 * another version.
 *
 * Arrays are the caller's, on the host, row-major, of the sizes given. A function runs on the calling thread
 * until it is done and returns a status; with every status but LATDYN_CUDA_OK the job's `message` says what
 * was wrong in one sentence, and what was written is of no use. Any number of threads may call at the same
 * time.
 */
#ifndef LATDYN_CUDA_API_H
#define LATDYN_CUDA_API_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LATDYN_CUDA_API_VERSION 1

enum {
    LATDYN_CUDA_OK = 0,
    /* What the caller gave cannot be used. */
    LATDYN_CUDA_INVALID = 1,
    /* Neither the whole nor the smallest block fits the device. */
    LATDYN_CUDA_OUT_OF_MEMORY = 2,
    /* A launch or a copy failed; CUDA can do nothing more in this process. */
    LATDYN_CUDA_DEVICE_FAILED = 3,
    /* No driver, no device of compute capability 8.0 or newer, or none of this number. */
    LATDYN_CUDA_NO_DEVICE = 4,
    /* go_on() returned 0. */
    LATDYN_CUDA_ABORTED = 5
};

typedef struct {
    char name[128];
    /* Bytes. */
    int64_t memory;
    /* Compute capability. */
    int32_t major, minor;
    int32_t multiprocessors;
    /* Of CUDA, as the driver runs it: 1000 times the first number plus 10 times the second. */
    int32_t driver;
} latdyn_cuda_device;

typedef struct {
    /* Which device, from 0. */
    int32_t device;
    /* Most bytes for blocks that can be smaller; 0: three quarters of what is free. */
    int64_t memory;
    /* Called between launches; null: never. finished counts rows. 0 ends the job. */
    int32_t (*go_on)(void* context, int64_t finished);
    /* Called where something is done otherwise than asked (smaller blocks); null: never. */
    void (*note)(void* context, const char* sentence);
    void* context;
    /* Where a sentence goes, ended by 0. */
    char* message;
    int64_t message_size;
} latdyn_cuda_job;

typedef struct {
    int32_t version;
    /* Up to `room` devices to `out`, how many there are to `count`. */
    int32_t (*devices)(const latdyn_cuda_job* job, latdyn_cuda_device* out, int32_t room, int32_t* count);
    /* See latdyn/noise.h. */
    int32_t (*noise)(const latdyn_cuda_job* job, uint64_t seed, int64_t first_row, int64_t rows,
                     int64_t columns, float scale, float* out);
    /* See latdyn/nearest.h; euclidean: 0 or 1. */
    int32_t (*nearest)(const latdyn_cuda_job* job, const float* a, int64_t a_rows, const float* b,
                       int64_t b_rows, int64_t columns, int32_t euclidean, int32_t* a_index, double* a_value,
                       int32_t* b_index, double* b_value);
    /* See latdyn/knn.h; last_only: the K-th distance instead of the mean of K. */
    int32_t (*knn)(const latdyn_cuda_job* job, const float* reference, int64_t reference_rows,
                   const float* queries, int64_t query_rows, int64_t columns, int64_t neighbours,
                   int32_t last_only, int32_t normalise, double* score, int64_t* used);
    /* See latdyn/dedup.h, the rules greedy and euclidean. representatives has room for `rows`; kept of them
     * count. */
    int32_t (*dedup)(const latdyn_cuda_job* job, const float* points, int64_t rows, int64_t columns,
                     int32_t euclidean, double threshold, double distance, int32_t* labels,
                     int32_t* representatives, int64_t* kept);
    /* See score_paths of latdyn/trajectory.h. */
    int32_t (*score_paths)(const latdyn_cuda_job* job, const float* paths, int64_t rows, int64_t points,
                           int64_t columns, const float* attractors, int64_t attractor_count, double* score);
    /*
     * See latdyn/omp.h. For each of the sparsities, one after the other: support and coefficients
     * [signals, sparsity], residual_norm [signals], mean_squared_error and early_stops one number each.
     */
    int32_t (*omp)(const latdyn_cuda_job* job, const float* dictionary, int64_t atoms, const float* signals,
                   int64_t signal_count, int64_t dimension, const int32_t* sparsities, int32_t sparsity_count,
                   int32_t* support, float* coefficients, double* residual_norm, double* mean_squared_error,
                   int64_t* early_stops);
} latdyn_cuda_functions;

typedef const latdyn_cuda_functions* (*latdyn_cuda_api_function)(int32_t version);

#ifdef __cplusplus
}
#endif

#endif
