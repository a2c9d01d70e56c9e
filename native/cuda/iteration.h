// What is done with plans: once over rows, until every point is done, or so many steps with a score.
#pragma once

#include "device_rows.h"
#include "latdyn/iterate.h"
#include "latdyn/trajectory.h"
#include "plan.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace latdyn::cuda {

// Of a point in the first phase: its smallest squared step, and how many steps ago that was.
struct Patience {
    double smallest;
    int32_t since;
};

// An iteration as it lies on the device, passed to kernels by value. Everything is indexed by row, but for
// the slots, whose number is the batch: a slot holds a point from when it leaves the queue until it is done.
// What a step does to it is in iteration_kernels.h. Before the first step every slot is filled or empty
// (row −1), and `next` and `finished` say so.
struct Residence {
    JudgeOptions options;
    int64_t rows, k;
    // Whether this is the first phase, in a fast precision: see iterate() below.
    bool fast;

    // [rows]: |z0|².
    const double* norms;
    // [rows, k] and [rows]: where points start and after how many steps (in a second phase, where the first
    // one left them); where they are when they are done.
    float* endpoints;
    int32_t* iterations;
    float* residual;
    uint8_t* status;
    uint8_t* period;

    // [batch]
    Slot* slots;
    Patience* patience;
    // [batch, k]: the points, f of them, and the anchors of the search for cycles.
    float* points;
    float* mapped;
    float* anchors;
    int64_t batch;
    // How many of the slots hold a point, at most, when a launch begins.
    int64_t live;

    // Row that each traced one is, ascending; [trace_room, traced] residuals since the host last read them,
    // and how many. A row makes at most trace_room steps until it does.
    const int32_t* trace_rows;
    int32_t traced;
    int32_t trace_room;
    float* traces;
    int32_t* trace_counts;

    // On the device: the next row of the queue (rows or more where it is empty), rows done, evaluations of f
    // for points that were not done.
    unsigned long long* next;
    unsigned long long* finished;
    unsigned long long* evaluations;
    // In memory of the host that the device reads: not 0 where the job is to end.
    const volatile int32_t* stop;
};

// The plans of one map.
struct Maps {
    // Where products are in a fast precision; null where there is none.
    const DevicePlan* fast = nullptr;
    // In float32.
    const DevicePlan* strict = nullptr;
};

// output[i] = plan(input[i]), arrays on the host. False where aborted. Rows that do not fit at once go in
// blocks.
bool apply(const DevicePlan& plan, const float* input, int64_t rows, float* output, const Job& job);

// As latdyn::iterate, arrays on the host. Every point's last step, the one that its status, residual and
// endpoint come from, is one of `maps.strict`. Where there is a fast map, points first iterate with it until
// it has nothing more to give: until it converges, returns to where it was, leaves the float range or the
// divergence bound (those two from the point before), has taken all steps but one, or has not made its
// smallest step smaller for 16 steps. Results depend on the row alone. *evaluations counts both maps;
// `finished` of the job counts rows whose status stands. False where aborted: rows that are not done are
// `unfinished` and have the endpoint they had reached.
//
// `converged`, where it is not null, gets the endpoints of the rows that converged, in their order, also
// after an abort: they stay on the device. Where memory does not suffice (rows go in blocks, or there is no
// room to put these together) it gets nothing, and the job a sentence.
bool iterate(const Maps& maps, const float* initial, int64_t rows, const IterateOptions& options,
             const IterateOutput& output, int64_t* evaluations, const Job& job,
             std::optional<DeviceRows>* converged = nullptr);

// As latdyn::walk in float32, arrays on the host; scores as score_paths gives them. False where aborted.
bool walk(const DevicePlan& plan, const float* initial, int64_t rows, const float* attractors,
          int64_t attractor_count, const TrajectoryOptions& options, const TrajectoryOutput& output,
          const Job& job);

} // namespace latdyn::cuda
