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

#define LATDYN_CUDA_API_VERSION 3

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
    /* Called between launches; null: never. finished counts rows, evaluations (of plans) applications of f to
     * a row. 0 ends the job. */
    int32_t (*go_on)(void* context, int64_t finished, int64_t evaluations);
    /* Called where something is done otherwise than asked (smaller blocks); null: never. */
    void (*note)(void* context, const char* sentence);
    void* context;
    /* Where a sentence goes, ended by 0. */
    char* message;
    int64_t message_size;
} latdyn_cuda_job;

/* ---- plans: latdyn::Graph, field by field (latdyn/graph.h) ---- */

typedef struct {
    const int64_t* shape;
    int32_t rank;
    /* Elements of a constant; null: none. */
    const float* constant;
} latdyn_cuda_value;

typedef struct {
    const char* key;
    const double* numbers;
    int64_t count;
} latdyn_cuda_attribute;

typedef struct {
    const char* op;
    const char* name;
    const int32_t* inputs;
    int32_t input_count, output;
    const latdyn_cuda_attribute* attributes;
    int32_t attribute_count;
    /* ActivationKind of latdyn/activation.h. */
    int32_t activation;
    float alpha, beta;
    /* -1: none. */
    int32_t residual;
} latdyn_cuda_node;

typedef struct {
    const latdyn_cuda_value* values;
    int32_t value_count;
    const latdyn_cuda_node* nodes;
    int32_t node_count;
    int32_t input, output;
} latdyn_cuda_graph;

/* How products are computed. */
enum { LATDYN_CUDA_FLOAT32 = 0, LATDYN_CUDA_TF32 = 1, LATDYN_CUDA_BF16 = 2 };

typedef struct {
    int64_t input_elements, output_elements;
    /* On the device, of all its precisions; and of one row of a run. */
    int64_t weight_bytes, row_bytes;
    double flops_per_row;
    /* Of a run in float32. */
    int32_t launches;
    /* 0: launches of kernels; 1: one launch that keeps a row in shared memory. */
    int32_t fused;
    /* Why; ended by 0. */
    char reason[512];
} latdyn_cuda_plan_info;

/* A map on one device. Any number of jobs may run it at the same time; their `device` is not looked at. */
typedef struct latdyn_cuda_plan latdyn_cuda_plan;

/* Finite points that lie on one device. Any number of jobs may read them at the same time; their `device` is
 * not looked at. */
typedef struct latdyn_cuda_points latdyn_cuda_points;

typedef struct {
    int64_t rows, columns;
    /* On the device. */
    int64_t bytes;
} latdyn_cuda_points_info;

typedef struct {
    double tolerance;
    int32_t max_iterations;
    /* Criterion of latdyn/judge.h. */
    int32_t criterion;
    double divergence_ratio;
    /* Rows whose residuals are kept, ascending. */
    const int32_t* trace_rows;
    int32_t trace_count;
    /* Called with residuals of traced row `index` in order, any number of times. */
    void (*trace)(void* context, int32_t index, const float* residuals, int64_t count);
    void* context;
} latdyn_cuda_iterate_options;

typedef struct {
    int32_t steps;
    const int32_t* store_steps;
    int32_t store_count;
    const int32_t* curve_rows;
    int32_t curve_count;
    /* Called once a curve that is complete: residual [steps], norm [steps + 1], distance [steps + 1] or null.
     */
    void (*curve)(void* context, int32_t index, const float* residual, const float* norm,
                  const float* distance);
    void* context;
} latdyn_cuda_walk_options;

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
    /* See latdyn/dedup.h; rule: DedupRule. representatives has room for `rows`; kept of them count. */
    int32_t (*dedup)(const latdyn_cuda_job* job, const float* points, int64_t rows, int64_t columns,
                     int32_t rule, double threshold, double distance, int32_t* labels,
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

    /*
     * A plan of `graph` on the job's device. `fast`: the precision that iterate() begins in,
     * LATDYN_CUDA_FLOAT32 for none; everything else is computed in float32. What is in `graph` is not needed
     * afterwards.
     */
    int32_t (*make_plan)(const latdyn_cuda_job* job, const latdyn_cuda_graph* graph, int32_t fast,
                         latdyn_cuda_plan** plan, latdyn_cuda_plan_info* info);
    /* No job may be running it. */
    void (*free_plan)(latdyn_cuda_plan* plan);
    /* See apply() of native/cuda/iteration.h: input [rows, input_elements], output [rows, output_elements].
     */
    int32_t (*apply)(const latdyn_cuda_job* job, const latdyn_cuda_plan* plan, const float* input,
                     int64_t rows, float* output);
    /*
     * See iterate() there: initial and endpoints [rows, k], the others [rows]. Where aborted they hold what
     * was done. `converged`, where it is not null: the endpoints of the rows that converged, in their order,
     * which stay on the device until they are freed, also where aborted; null where there is no memory for
     * that, which is noted, and with every other status.
     */
    int32_t (*iterate)(const latdyn_cuda_job* job, const latdyn_cuda_plan* plan, const float* initial,
                       int64_t rows, const latdyn_cuda_iterate_options* options, float* endpoints,
                       int32_t* iterations, float* residual, uint8_t* status, uint8_t* period,
                       int64_t* evaluations, latdyn_cuda_points** converged,
                       latdyn_cuda_points_info* converged_info);
    /* See walk() there: stored [rows, store_count, k]; score [rows], not written without attractors. */
    int32_t (*walk)(const latdyn_cuda_job* job, const latdyn_cuda_plan* plan, const float* initial,
                    int64_t rows, const float* attractors, int64_t attractor_count,
                    const latdyn_cuda_walk_options* options, double* score, float* stored);

    /* As dedup. */
    int32_t (*dedup_points)(const latdyn_cuda_job* job, const latdyn_cuda_points* points, int32_t rule,
                            double threshold, double distance, int32_t* labels, int32_t* representatives,
                            int64_t* kept);
    /* No job may be reading them. */
    void (*free_points)(latdyn_cuda_points* points);
} latdyn_cuda_functions;

typedef const latdyn_cuda_functions* (*latdyn_cuda_api_function)(int32_t version);

#ifdef __cplusplus
}
#endif

#endif
