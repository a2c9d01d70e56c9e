// The kernel of a whole iteration: a block holds as many slots as it takes rows, and goes on until they and
// the queue are empty.
//
// Launch: as fused_run, a block for the slots of each; fewer rows a block, down to eight, where there are few
// points or the queue is empty and few are left (FusedPlan::blocks_for). A step is a run (run.h) without its
// input and output in memory: what it adds is 28·k bytes a point from L2 (there and back, and the point, f of
// it and the anchor for the rules) and a warp a slot for iteration_kernels.h, some thousand cycles beside the
// run's ten thousands. Weights that are resident are read once a launch.
#pragma once

#include "iteration_kernels.h"
#include "kernels.h"
#include "walk.h"

#include <algorithm>

namespace latdyn::cuda::fused {

// Steps between two looks at the host's word.
constexpr int look_every = 8;

__device__ inline int first_slot(const Program& program) {
    return static_cast<int>(blockIdx.x << program.rows_log);
}
__device__ inline bool holds_point(const Program& program, const Residence& points, int row) {
    const int place = first_slot(program) + row;
    return place < points.batch && points.slots[place].row >= 0;
}

// A warp a slot.
__device__ inline void advance_points(const Program& program, const Residence& points) {
    for (int row = static_cast<int>(threadIdx.x) / 32; row < 1 << program.rows_log; row += warps)
        if (holds_point(program, points, row)) {
            const int place = first_slot(program) + row;
            advance(Team<32>(), points, place, points.mapped + int64_t{place} * points.k);
        }
}

template <Precision precision>
__global__ void __launch_bounds__(threads, 1)
    fused_iterate(const Program program, const Residence points, const int steps) {
    float* shared = reinterpret_cast<float*>(shared_memory());
    for (int step = 0; step < steps; step++) {
        const int self = static_cast<int>(threadIdx.x);
        const int held =
            __syncthreads_count(self < 1 << program.rows_log && holds_point(program, points, self));
        if (held == 0)
            break;
        // The host's memory is a microsecond or two away.
        if (step % look_every == 0 && __syncthreads_or(self == 0 && *points.stop != 0))
            break;
        if (step == 0)
            load_weights(program, shared);
        if (self == 0)
            atomicAdd(points.evaluations, static_cast<unsigned long long>(held));
        load_rows(program, shared, points.points, first_slot(program), points.batch);
        __syncthreads();
        walk<precision>(program, shared);
        store_rows(program, shared, points.mapped, first_slot(program), points.batch);
        __syncthreads();
        advance_points(program, points);
        __syncthreads();
    }
}

template <Precision precision>
void iterate(const Program& program, const Residence& points, int64_t steps, const Launch& to) {
    launch("fused_iterate", fused_iterate<precision>, to.blocks, static_cast<unsigned>(threads), to.shared,
           program, points, static_cast<int>(std::min<int64_t>(steps, 1 << 24)));
}

} // namespace latdyn::cuda::fused
