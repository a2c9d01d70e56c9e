// What a step does to a point on the device: for the kernels of iteration.cu, and for plans that run the
// whole iteration in one launch.
//
// Some threads that work on one point together are a team: eight lanes, a warp or a block. All of them call
// these functions with the same arguments, and get the same result.
//
// A step reads 12·k bytes of the team's point (it, f of it, the anchor) and writes 4·k, and takes 6·k
// operations in double. Its sums have an order that follows from k and the size of the team.
#pragma once

#include "device.h"
#include "iteration.h"

namespace latdyn::cuda {

// `Lanes` consecutive threads of a block: 8, 16, 32, or the whole block, which has a multiple of 32.
template <int Lanes> class Team {
  public:
    static_assert(Lanes == 8 || Lanes == 16 || Lanes % 32 == 0);
    static constexpr int lanes = Lanes;
    // Bytes of shared memory that the team needs to itself.
    static constexpr int shared = Lanes > 32 ? (3 * Lanes / 32 + 1) * 8 : 0;

    // `memory` has `shared` bytes, aligned to 8.
    __device__ explicit Team(unsigned char* memory = nullptr) : memory(reinterpret_cast<double*>(memory)) {}

    __device__ int lane() const { return static_cast<int>(threadIdx.x) % Lanes; }

    __device__ void meet() const {
        if constexpr (Lanes > 32)
            __syncthreads();
        else
            __syncwarp(mask());
    }

    // The first lane's value.
    __device__ int64_t of_first(int64_t value) const {
        if constexpr (Lanes > 32) {
            auto* place = reinterpret_cast<int64_t*>(memory + 3 * Lanes / 32);
            __syncthreads();
            if (lane() == 0)
                *place = value;
            __syncthreads();
            return *place;
        } else {
            return __shfl_sync(mask(), value, static_cast<int>(threadIdx.x) % 32 / Lanes * Lanes);
        }
    }

    // The sum over lanes of what each brings.
    __device__ StepSquares total(StepSquares sums) const {
#pragma unroll
        for (int with = (Lanes < 32 ? Lanes : 32) / 2; with > 0; with /= 2) {
            sums.step = exact::add(sums.step, __shfl_xor_sync(mask(), sums.step, with));
            sums.norm = exact::add(sums.norm, __shfl_xor_sync(mask(), sums.norm, with));
            sums.back = exact::add(sums.back, __shfl_xor_sync(mask(), sums.back, with));
        }
        if constexpr (Lanes > 32) {
            __syncthreads();
            if (lane() % 32 == 0) {
                memory[lane() / 32 * 3] = sums.step;
                memory[lane() / 32 * 3 + 1] = sums.norm;
                memory[lane() / 32 * 3 + 2] = sums.back;
            }
            __syncthreads();
            sums = {};
            for (int warp = 0; warp < Lanes / 32; warp++) {
                sums.step = exact::add(sums.step, memory[warp * 3]);
                sums.norm = exact::add(sums.norm, memory[warp * 3 + 1]);
                sums.back = exact::add(sums.back, memory[warp * 3 + 2]);
            }
        }
        return sums;
    }

  private:
    double* memory;

    __device__ unsigned mask() const {
        if constexpr (Lanes >= 32)
            return whole_warp;
        else
            return ((1u << Lanes) - 1) << (threadIdx.x % 32 / Lanes * Lanes);
    }
};

// Differences are rounded to float and summed in double, as on the CPU.
template <class AnyTeam>
__device__ inline StepSquares step_squares(const AnyTeam& team, const float* z, const float* next,
                                           const float* anchor, int64_t k) {
    StepSquares sums{};
#pragma unroll 4
    for (int64_t e = team.lane(); e < k; e += AnyTeam::lanes) {
        const float n = next[e], s = n - z[e], b = n - anchor[e];
        sums.step = add_product(sums.step, s, s);
        sums.norm = add_product(sums.norm, n, n);
        sums.back = add_product(sums.back, b, b);
    }
    return team.total(sums);
}

// Steps that a point of the first phase may take without one that is smaller than all before.
constexpr int32_t longest_patience = 16;

// What a step ends with: the point goes on; or it leaves its slot, at the new point or at the one before.
enum class Leave : int { stays, at_next, at_last };

// Of a first phase: see iterate(). A step that is not kept does not count.
__device__ inline Leave leave_fast(const JudgeOptions& options, Slot& slot, Patience& patience, double step,
                                   Status status) {
    if (status == Status::non_finite || status == Status::diverged) {
        slot.iterations--;
        return Leave::at_last;
    }
    if (step < patience.smallest)
        patience = {step, 0};
    else
        patience.since++;
    return status != Status::unfinished || slot.iterations >= options.max_iterations - 1 ||
                   patience.since >= longest_patience
               ? Leave::at_next
               : Leave::stays;
}

__device__ inline void keep_residual(const Residence& points, const Slot& slot, double step) {
    const int32_t place = points.trace_counts[slot.trace]++;
    if (place < points.trace_room)
        points.traces[int64_t{place} * points.traced + slot.trace] = static_cast<float>(step);
}

// Puts point `row` into the slot; none, and false, where the queue has no such row.
template <class AnyTeam>
__device__ inline bool fill_slot(const AnyTeam& team, const Residence& points, int64_t place, int64_t row) {
    const bool there = row < points.rows;
    if (team.lane() == 0) {
        Slot slot;
        if (there) {
            slot = start_slot(points.options, row, points.norms[row]);
            slot.iterations = points.iterations[row];
            slot.trace = place_of(points.trace_rows, points.traced, row);
        }
        points.slots[place] = slot;
        points.patience[place] = {HUGE_VAL, 0};
    }
    if (there)
        for (int64_t e = team.lane(); e < points.k; e += AnyTeam::lanes) {
            const float v = points.endpoints[row * points.k + e];
            points.points[place * points.k + e] = v;
            points.anchors[place * points.k + e] = v;
        }
    return there;
}

// The point in slot `place` takes the step to `next` [k], which is f of it, anywhere in memory that the team
// sees. Where that ends it, its results are written and the next row of the queue takes the slot. False where
// the slot is empty, or is so now. Ends with a meeting of the team.
template <class AnyTeam>
__device__ inline bool advance(const AnyTeam& team, const Residence& points, int64_t place,
                               const float* next) {
    Slot slot = points.slots[place];
    Patience patience = points.patience[place];
    if (slot.row < 0)
        return false;
    const int64_t k = points.k, row = slot.row;
    float* z = points.points + place * k;
    float* anchor = points.anchors + place * k;
    // All have read what the first lane is going to change.
    team.meet();
    const StepSquares squares = step_squares(team, z, next, anchor, k);
    const double last_step = slot.previous_residual;
    const Verdict verdict = judge_step(points.options, slot, squares);
    const Leave leave = points.fast ? leave_fast(points.options, slot, patience, squares.step, verdict.status)
                        : verdict.status == Status::unfinished ? Leave::stays
                                                               : Leave::at_next;
    const bool first = team.lane() == 0;
    if (first && slot.trace >= 0 && leave != Leave::at_last)
        keep_residual(points, slot, squares.step);
    bool full = true;
    if (leave == Leave::stays) {
        // A lane writes what nobody but it has read.
        for (int64_t e = team.lane(); e < k; e += AnyTeam::lanes) {
            const float v = next[e];
            z[e] = v;
            if (verdict.moves_anchor)
                anchor[e] = v;
        }
        if (first) {
            points.slots[place] = slot;
            points.patience[place] = patience;
        }
    } else {
        const float* end = leave == Leave::at_last ? z : next;
        for (int64_t e = team.lane(); e < k; e += AnyTeam::lanes)
            points.endpoints[row * k + e] = end[e];
        int64_t other = 0;
        if (first) {
            points.iterations[row] = slot.iterations;
            points.residual[row] = static_cast<float>(leave == Leave::at_last ? last_step : squares.step);
            if (!points.fast) {
                points.status[row] = static_cast<uint8_t>(verdict.status);
                points.period[row] =
                    verdict.status == Status::cycle ? static_cast<uint8_t>(slot.candidate) : 0;
            }
            atomicAdd(points.finished, 1ull);
            other = static_cast<int64_t>(atomicAdd(points.next, 1ull));
        }
        full = fill_slot(team, points, place, team.of_first(other));
    }
    team.meet();
    return full;
}

} // namespace latdyn::cuda
