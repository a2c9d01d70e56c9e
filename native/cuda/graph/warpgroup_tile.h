// How warpgroups multiply a stage (warpgroup.h): the left matrix from registers, packed weights from where
// they lie in shared memory, while the threads load what comes next.
//
// Each warp's rows are those that it would have with mma.sync; which rows of a product of 64 they are is
// free, since neither they nor the sums are ever in shared memory. Columns are those of tensor_tile.h, and
// packed weights follow them (window_tables.h): pieces of 16 bytes of all channels, piece after piece. Of
// TF32 piece c has the columns c, 4 + c, 8 + c, 12 + c of the stage; of bf16 the pairs at 2c, 4 + 2c, 8 + 2c,
// 12 + 2c.
#pragma once

#include "tensor_tile.h"
#include "warpgroup.h"

namespace latdyn::cuda {

// Warpgroups on top of one another, 64·RowBlocks rows × all columns each.
template <class Number, int RowBlocks, int Columns, int Groups>
struct WarpgroupTile : TensorRows<Number, RowBlocks, 4 * Groups, 1> {
    using Rows = TensorRows<Number, RowBlocks, 4 * Groups, 1>;
    using typename Rows::Left;
    static constexpr bool here = warpgroups_here;
    static constexpr int columns = Columns;
    static constexpr int right_floats =
        columns * Rows::row_fours * static_cast<int>(sizeof(typename Number::Four) / sizeof(float));

    // In columns 8n … 8n + 7 a lane has what it has of mma.sync's block n, at 4n … 4n + 3.
    struct Sums {
        float of[RowBlocks][Columns / 2];
    };
    static __device__ void clear(Sums& sums) {
#pragma unroll
        for (int m = 0; m < RowBlocks; m++)
#pragma unroll
            for (int i = 0; i < Columns / 2; i++)
                sums.of[m][i] = 0;
    }
    static __device__ void publish() {
        warpgroup_publish();
    }
    // Begins: until finish() nothing of it may be changed or looked at.
    static __device__ void multiply(const Left& a, const float* right, Sums& sums) {
        // Two pieces a product.
        constexpr int step = 2 * Columns;
        const uint64_t first = plain_operand(shared_address(right), Columns * 16, 128);
        warpgroup_begin();
#pragma unroll
        for (int i = 0; i < Number::instructions; i++)
#pragma unroll
            for (int m = 0; m < RowBlocks; m++)
                warpgroup_multiply<Columns>(sums.of[m], a.of[m].of[i], first + i * step);
        warpgroup_commit();
    }
    static __device__ void finish(const Left& a, Sums& sums) {
#pragma unroll
        for (int m = 0; m < RowBlocks; m++)
            warpgroup_wait(sums.of[m]);
#pragma unroll
        for (int m = 0; m < RowBlocks; m++)
#pragma unroll
            for (int i = 0; i < Number::instructions; i++)
                keep(a.of[m].of[i]);
    }
    static __device__ void store(const Sums& sums, float* to) {
        constexpr int stride = sums_stride<WarpgroupTile>;
        to += Rows::first_row() * stride + lane_of() % 4 * 2;
#pragma unroll
        for (int m = 0; m < RowBlocks; m++)
#pragma unroll
            for (int n = 0; n < Columns / 8; n++)
#pragma unroll
                for (int half = 0; half < 2; half++)
                    *reinterpret_cast<float2*>(to + (m * 16 + half * 8) * stride + n * 8) = {
                        sums.of[m][4 * n + 2 * half], sums.of[m][4 * n + 2 * half + 1]};
    }
};

} // namespace latdyn::cuda
