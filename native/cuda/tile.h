// A tile of a matrix product on tensor cores: 128 rows of one packed matrix with 128 of another.
//
// Packed rows lie in the order in which lanes want them (Packed in device_rows.h): 16 rows × 8 columns are
// 128 floats, four for each lane, rows g and g + 8 at columns t and t + 4 for lane 4g + t. As left factor
// that is one instruction's operand; as right factor, two instructions' (rows 0…7 and 8…15). One 16-byte load
// from shared memory gives a lane either, without bank conflicts, and a stage of a panel is 16 KiB in one
// piece.
//
// Launch: 256 threads, 8 warps as 2 × 4, each 64 × 32 of the tile: 64 accumulators a thread, and 64 that take
// them over every `stretch` columns. Three stages of 32 columns of both panels, 96 KiB of shared memory;
// copies of the next two are on their way while one is multiplied. FLOPs 2·128·128·k against 2·128·k·4 bytes
// from L2: 32 a byte. A warp loads 6 × 512 bytes from shared memory for 16 instructions of 2,048 FLOPs, 10.7
// FLOPs a byte, so shared memory (128 bytes a clock) and the tensor cores are about equally busy: the limit
// is the rate of mma.sync, below that of wgmma on sm_90.
#pragma once

#include "device.h"
#include "layout.h"
#include "tf32.h"

namespace latdyn::cuda {

constexpr int tile_threads = 256, tile_stages = 3;
constexpr size_t tile_shared = size_t{tile_stages} * 2 * panel_floats * sizeof(float);
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

__device__ inline void multiply_stage(const float* stage, Accumulators& part) {
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    const float4* left = reinterpret_cast<const float4*>(stage) + warp / 4 * 4 * 32 + lane;
    const float4* right = reinterpret_cast<const float4*>(stage + panel_floats) + warp % 4 * 2 * 32 + lane;
#pragma unroll
    for (int step = 0; step < tile_depth / 8; step++) {
        float4 a[4], b[2];
#pragma unroll
        for (int m = 0; m < 4; m++)
            a[m] = left[(step * 8 + m) * 32];
#pragma unroll
        for (int n = 0; n < 2; n++)
            b[n] = right[(step * 8 + n) * 32];
#pragma unroll
        for (int m = 0; m < 4; m++)
#pragma unroll
            for (int n = 0; n < 2; n++) {
                multiply_add(part[m][2 * n], a[m], b[n].x, b[n].z);
                multiply_add(part[m][2 * n + 1], a[m], b[n].y, b[n].w);
            }
    }
}

// out = the products of the rows of two panels, each [stages, panel_floats]. Shared memory is free
// afterwards.
__device__ inline void tile_product(const float* left, const float* right, int64_t stages, float* shared,
                                    Accumulators& out) {
    Accumulators part;
    const auto each = [](auto&& change) {
#pragma unroll
        for (int m = 0; m < 4; m++)
#pragma unroll
            for (int n = 0; n < 4; n++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    change(m, n, e);
    };
    each([&](int m, int n, int e) { out[m][n][e] = part[m][n][e] = 0; });
#pragma unroll
    for (int s = 0; s < tile_stages - 1; s++) {
        if (s < stages)
            copy_stage(left, right, s, shared + s * 2 * panel_floats);
        commit_copies();
    }
    for (int64_t s = 0; s < stages; s++) {
        // Stage s is there, and what lay where stage s + 2 goes has been used by everybody.
        wait_copies<tile_stages - 2>();
        __syncthreads();
        const int64_t next = s + tile_stages - 1;
        if (next < stages)
            copy_stage(left, right, next, shared + next % tile_stages * 2 * panel_floats);
        commit_copies();
        multiply_stage(shared + s % tile_stages * 2 * panel_floats, part);
        if ((s + 1) % (stretch / tile_depth) == 0)
            each([&](int m, int n, int e) {
                out[m][n][e] += part[m][n][e];
                part[m][n][e] = 0;
            });
    }
    each([&](int m, int n, int e) { out[m][n][e] += part[m][n][e]; });
    wait_copies<0>();
    __syncthreads();
}

} // namespace latdyn::cuda
