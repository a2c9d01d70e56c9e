// The loop z[t+1] = f(z[t]) over many points at once. Slots of a tile are refilled as points finish, so no
// point waits for another and the tile is full until the queue is empty.
#pragma once

#include "latdyn/judge.h"
#include "latdyn/plan.h"

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

namespace latdyn {

struct IterateOptions : JudgeOptions {
    // Rows whose residual is recorded at every step, ascending.
    std::vector<int32_t> trace_rows;
    int threads = 1;
};

// Where results go; each has as many rows as there are points.
struct IterateOutput {
    float* endpoints;
    int32_t* iterations;
    float* residual;
    uint8_t* status;
    uint8_t* period;
    // One per trace row.
    std::vector<std::vector<float>>* traces;
};

// Written by the workers, read by whoever watches.
struct JobCounters {
    std::atomic<bool> abort{false};
    std::atomic<int64_t> finished{0};
    std::atomic<int64_t> evaluations{0};
};

// initial [rows, k]. A row's result is the same bits whatever the number of threads, the other rows and its
// place among them. Returns once every point is finished or, after `abort`, within one tile step.
void iterate(const Plan& plan, const float* initial, int64_t rows, const IterateOptions& options,
             const IterateOutput& output, JobCounters& counters);

// output[i] = plan(input[i]) for every row, once.
void apply(const Plan& plan, const float* input, int64_t rows, float* output, int threads,
           JobCounters& counters);

} // namespace latdyn
