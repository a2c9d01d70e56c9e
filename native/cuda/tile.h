// A tile of a matrix product on tensor cores: 128 rows of one packed matrix with 128 of another.
//
// Packed rows lie in stages of 32 columns, each of 128 rows of 128 bytes, swizzled as warpgroup.h has it
// (Packed in device_rows.h): wgmma reads them as they are, and the lanes of a warp, which for mma.sync want
// four floats of each of eight rows, find them in 32 different banks. A stage of a panel is 16 KiB in one
// piece.
//
// Launch: 256 threads, one block on a multiprocessor. 64 accumulators a thread, and 64 that take them over
// every `stretch` columns. FLOPs 2·128·128·k against 2·128·k·4 bytes from L2: 32 a byte.
//   wgmma (sm_90): two warpgroups, 64 rows × all columns each, four stages of both panels in 128 KiB of
//   shared
//     memory: two are multiplied, two are on their way. A stage is 1,048,576 FLOPs, 512 clocks of the
//     tensor cores; 48 KiB leave shared memory for them and 32 KiB arrive: 640 clocks at 128 bytes each. So
//     the limit is shared memory, at 80 % of the cores' rate.
//   mma.sync (others): 8 warps as 2 × 4, each 64 × 32, three stages in 96 KiB. A warp loads 6 × 512 bytes
//   from shared memory for 16
//     instructions of 2,048 FLOPs, 10.7 FLOPs a byte, so shared memory and the cores of sm_80 are about
//     equally busy: the limit is the rate of mma.sync.
#pragma once

#include "device.h"
#include "layout.h"
#include "tf32.h"
#include "warpgroup.h"

namespace latdyn::cuda {

constexpr int tile_threads = 256;
template <bool Warpgroups> constexpr int tile_stages = Warpgroups ? 4 : 3;
template <bool Warpgroups>
constexpr size_t tile_shared = size_t{tile_stages<Warpgroups>} * 2 * panel_floats * sizeof(float);
static_assert(stretch % tile_depth == 0);

// Accumulators of a thread: [m][n] is the 16 × 8 block at row 16m and column 8n of its warp's part; in it the
// thread has (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
using Accumulators = float[4][4][4];

struct TilePlace {
    int row, column;
};
// Where element e of block (m, n) of this thread is in the tile.
__device__ inline TilePlace tile_place(int m, int n, int e) {
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    return {warp / 4 * 64 + m * 16 + lane / 4 + e / 2 * 8, warp % 4 * 32 + n * 8 + lane % 4 * 2 + e % 2};
}

__device__ inline void copy_stage(const float* left, const float* right, int64_t stage, float* to) {
    const float* from_left = left + stage * panel_floats;
    const float* from_right = right + stage * panel_floats;
#pragma unroll
    for (int i = 0; i < panel_floats / 4 / tile_threads; i++) {
        const int at = (i * tile_threads + static_cast<int>(threadIdx.x)) * 4;
        copy_async(to + at, from_left + at);
        copy_async(to + panel_floats + at, from_right + at);
    }
}

// part += the warp's 64 × 32 of a stage, by mma.sync.
__device__ inline void multiply_stage(const float* stage, Accumulators& part) {
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    const float* left = stage + (warp / 4 * 64 + lane / 4) * tile_depth;
    const float* right = stage + panel_floats + (warp % 4 * 32 + lane / 4) * tile_depth;
#pragma unroll
    for (int step = 0; step < tile_depth / 8; step++) {
        // Rows of a lane are alike modulo 8, so their swizzle is one.
        const int near = swizzled_place(lane / 4, step * 8 + lane % 4) - lane / 4 * tile_depth;
        const int far = swizzled_place(lane / 4, step * 8 + lane % 4 + 4) - lane / 4 * tile_depth;
        float4 a[4];
        float b[4][2];
#pragma unroll
        for (int m = 0; m < 4; m++) {
            const float* upper = left + m * 16 * tile_depth;
            const float* lower = upper + 8 * tile_depth;
            a[m] = {upper[near], lower[near], upper[far], lower[far]};
        }
#pragma unroll
        for (int n = 0; n < 4; n++) {
            b[n][0] = right[n * 8 * tile_depth + near];
            b[n][1] = right[n * 8 * tile_depth + far];
        }
#pragma unroll
        for (int m = 0; m < 4; m++)
#pragma unroll
            for (int n = 0; n < 4; n++)
                multiply_add(part[m][n], a[m], b[n][0], b[n][1]);
    }
}

// The stages of two panels on their way through shared memory, in their order.
template <bool Warpgroups> struct Stages {
    const float *left, *right;
    int64_t count;
    float* shared;

    static constexpr int ahead = 2, places = tile_stages<Warpgroups>;

    __device__ float* place(int64_t stage) const { return shared + stage % places * 2 * panel_floats; }
    __device__ void copy(int64_t stage) const {
        if (stage < count)
            copy_stage(left, right, stage, place(stage));
        commit_copies();
    }
    __device__ void begin() const {
#pragma unroll
        for (int s = 0; s < ahead; s++)
            copy(s);
    }
    // Where the next stage is, once it is there. Where it was is used again from the next call on, by
    // warpgroups from the next but one.
    __device__ const float* next(int64_t stage) const {
        wait_copies<ahead - 1>();
        if constexpr (Warpgroups)
            warpgroup_publish();
        // By now what lay where stage + 2 goes has been used by everybody.
        __syncthreads();
        copy(stage + ahead);
        return place(stage);
    }
    __device__ void end() const {
        wait_copies<0>();
        __syncthreads();
    }
};

template <class Change> __device__ inline void for_accumulators(Change change) {
#pragma unroll
    for (int m = 0; m < 4; m++)
#pragma unroll
        for (int n = 0; n < 4; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                change(m, n, e);
}

__device__ inline void multiply_by_warps(const float* left, const float* right, int64_t stages, float* shared,
                                         Accumulators& out) {
    Accumulators part;
    for_accumulators([&](int m, int n, int e) { out[m][n][e] = part[m][n][e] = 0; });
    const Stages<false> on_their_way{left, right, stages, shared};
    on_their_way.begin();
    for (int64_t s = 0; s < stages; s++) {
        multiply_stage(on_their_way.next(s), part);
        if ((s + 1) % (stretch / tile_depth) == 0 || s + 1 == stages)
            for_accumulators([&](int m, int n, int e) {
                out[m][n][e] += part[m][n][e];
                part[m][n][e] = 0;
            });
    }
    on_their_way.end();
}

// The same by wgmma. Its sums go to where tile_place() has them by way of shared memory.
__device__ inline void multiply_by_warpgroups(const float* left, const float* right, int64_t stages,
                                              float* shared, Accumulators& out) {
    constexpr int count = tile_rows * tile_rows / tile_threads;
    // Rows of sums in shared memory lie in other banks than their neighbours.
    constexpr int stride = tile_rows + 4;
    const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
    const int group = thread / warpgroup_threads;
    float part[count], total[count];
#pragma unroll
    for (int i = 0; i < count; i++)
        total[i] = part[i] = 0;
    const Stages<true> on_their_way{left, right, stages, shared};
    on_their_way.begin();
    for (int64_t first = 0; first < stages; first += stretch / tile_depth) {
        const int64_t rest = stages - first;
        const int64_t end = first + (rest < stretch / tile_depth ? rest : stretch / tile_depth);
        for (int64_t s = first; s < end; s++) {
            const float* stage = on_their_way.next(s);
            const uint64_t a = swizzled_operand(shared_address(stage + group * 64 * tile_depth));
            const uint64_t b = swizzled_operand(shared_address(stage + panel_floats));
            warpgroup_begin();
#pragma unroll
            for (int step = 0; step < tile_depth / 8; step++)
                // 32 bytes further in every row, counted in 16.
                warpgroup_multiply<tile_rows>(part, a + step * 2, b + step * 2, s > first || step > 0);
            warpgroup_commit();
            // That of the stage before is done.
            warpgroup_wait_but<1>();
        }
        warpgroup_wait(part);
#pragma unroll
        for (int i = 0; i < count; i++)
            total[i] += part[i];
    }
    on_their_way.end();
    float* to = shared + (group * 64 + thread / 32 % 4 * 16 + lane / 4) * stride + lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < tile_rows / 8; n++)
#pragma unroll
        for (int half = 0; half < 2; half++)
            *reinterpret_cast<float2*>(to + half * 8 * stride + n * 8) = {total[4 * n + 2 * half],
                                                                          total[4 * n + 2 * half + 1]};
    __syncthreads();
    for_accumulators([&](int m, int n, int e) {
        const TilePlace place = tile_place(m, n, e);
        out[m][n][e] = shared[place.row * stride + place.column];
    });
    __syncthreads();
}

// out = the products of the rows of two panels, each [stages, panel_floats]. Shared memory is free
// afterwards.
template <bool Warpgroups>
__device__ inline void tile_product(const float* left, const float* right, int64_t stages, float* shared,
                                    Accumulators& out) {
    if constexpr (Warpgroups)
        multiply_by_warpgroups(left, right, stages, shared, out);
    else
        multiply_by_warps(left, right, stages, shared, out);
}

} // namespace latdyn::cuda
