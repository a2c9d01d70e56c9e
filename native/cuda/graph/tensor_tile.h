// How a block's warps multiply a stage on tensor cores.
//
// An instruction multiplies 16 rows with 8 columns. Which of the matrices' columns its own are is free as
// long as both sides agree: a lane's are the four that lie side by side at 4·(lane % 4), so that one load of
// 16 bytes gives a lane its part of 8 rows × 16 columns, for two instructions of TF32 or one of bf16. Rows of
// 16 columns lie without gaps: eight lanes that load together read two rows, 128 bytes, all banks once.
#pragma once

#include "gather.h"

namespace latdyn::cuda {

__device__ inline int lane_of() {
    return static_cast<int>(threadIdx.x) % 32;
}

// Four: four columns of a row side by side, rounded, which is how weights are packed. Left: those of two rows
// eight apart.
struct Tf32 {
    static constexpr Precision precision = Precision::tf32;

    using Four = float4;
    // Of an instruction, and how many a stage takes.
    struct Left {
        float of[2][4];
    };
    static constexpr int instructions = 2;
    static __device__ Four round(float4 v) {
        return {to_tf32(v.x), to_tf32(v.y), to_tf32(v.z), to_tf32(v.w)};
    }
    static __device__ Left join(const Four& upper, const Four& lower) {
        return {{{upper.x, lower.x, upper.y, lower.y}, {upper.z, lower.z, upper.w, lower.w}}};
    }
    static __device__ void multiply(float (&sum)[4], const Left& a, const Four& b) {
        const auto& [first, second] = a.of;
        multiply_add(sum, float4{first[0], first[1], first[2], first[3]}, b.x, b.y);
        multiply_add(sum, float4{second[0], second[1], second[2], second[3]}, b.z, b.w);
    }
};

struct Bf16 {
    static constexpr Precision precision = Precision::bf16;

    struct alignas(8) Four {
        uint32_t of[2];
    };
    struct Left {
        uint32_t of[1][4];
    };
    static constexpr int instructions = 1;
    static __device__ Four round(float4 v) { return {{to_bf16_pair(v.x, v.y), to_bf16_pair(v.z, v.w)}}; }
    static __device__ Left join(const Four& upper, const Four& lower) {
        return {{{upper.of[0], lower.of[0], upper.of[1], lower.of[1]}}};
    }
    static __device__ void multiply(float (&sum)[4], const Left& a, const Four& b) {
        multiply_add(sum, a.of[0], b.of[0], b.of[1]);
    }
};

// The rows of a tile: WarpsDown warps on top of one another and WarpsAcross side by side, 16·RowBlocks rows
// each.
template <class Number, int RowBlocks, int WarpsDown, int WarpsAcross> struct TensorRows {
    // Whether the device that this is compiled for can.
    static constexpr bool here = true;
    static constexpr int row_blocks = RowBlocks;
    static constexpr int threads = 32 * WarpsDown * WarpsAcross;
    static constexpr int rows = WarpsDown * 16 * RowBlocks;
    static constexpr int stages = 4;
    static constexpr int left_stride = depth;
    // Of a row of packed weights, or of rounded activations.
    static constexpr int row_fours = depth / 4;

    // A lane's rows are first_row() + 16m and that + 8.
    static __device__ int first_row() {
        return static_cast<int>(threadIdx.x) / 32 / WarpsAcross * 16 * RowBlocks + lane_of() / 4;
    }
    // A lane's part of the left matrix.
    struct Left {
        typename Number::Left of[RowBlocks];
    };
    static __device__ Left load_left(const float* left) {
        Left a;
        left += first_row() * left_stride + lane_of() % 4 * 4;
#pragma unroll
        for (int m = 0; m < RowBlocks; m++) {
            const float* from = left + m * 16 * left_stride;
            a.of[m] = Number::join(Number::round(*reinterpret_cast<const float4*>(from)),
                                   Number::round(*reinterpret_cast<const float4*>(from + 8 * left_stride)));
        }
        return a;
    }
};

// By mma.sync: four warps on top of one another and WarpsAcross side by side, each 16·RowBlocks ×
// 8·ColumnBlocks of the tile. Packed: the right matrix is weights, a row of `depth` elements for each column;
// else it lies as it is, a row of floats for each k.
template <class Number, int RowBlocks, int ColumnBlocks, int WarpsAcross, bool Packed>
struct TensorTile : TensorRows<Number, RowBlocks, 4, WarpsAcross> {
    using Rows = TensorRows<Number, RowBlocks, 4, WarpsAcross>;
    using Rows::first_row, Rows::row_fours;
    using typename Rows::Left;
    static constexpr int columns = 8 * ColumnBlocks * WarpsAcross;
    static constexpr int right_stride = columns + 4;
    static constexpr int right_floats =
        Packed ? columns * row_fours * static_cast<int>(sizeof(typename Number::Four) / sizeof(float))
               : depth * right_stride;

    // In the 16 × 8 block a lane has (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1): g = lane / 4, t =
    // lane % 4.
    struct Sums {
        float of[RowBlocks][ColumnBlocks][4];
    };
    struct alignas(8) Pair {
        float of[2];
    };
    // A lane's columns are first_column() + 8n.
    static __device__ int first_column() {
        return static_cast<int>(threadIdx.x) / 32 % WarpsAcross * 8 * ColumnBlocks + lane_of() / 4;
    }
    static __device__ void clear(Sums& sums) {
#pragma unroll
        for (int m = 0; m < RowBlocks; m++)
#pragma unroll
            for (int n = 0; n < ColumnBlocks; n++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    sums.of[m][n][e] = 0;
    }
    static __device__ typename Number::Four load_right(const float* right, int n) {
        const int column = first_column() + n * 8;
        if constexpr (Packed) {
            return reinterpret_cast<const typename Number::Four*>(right)[column * row_fours + lane_of() % 4];
        } else {
            const float* from = right + lane_of() % 4 * 4 * right_stride + column;
            return Number::round(
                {from[0], from[right_stride], from[2 * right_stride], from[3 * right_stride]});
        }
    }
    static __device__ void multiply(const Left& a, const float* right, Sums& sums) {
#pragma unroll
        for (int n = 0; n < ColumnBlocks; n++) {
            const typename Number::Four b = load_right(right, n);
#pragma unroll
            for (int m = 0; m < RowBlocks; m++)
                Number::multiply(sums.of[m][n], a.of[m], b);
        }
    }
    // Products of warps are done when they are begun, and read what their threads have waited for.
    static __device__ void publish() {}
    static __device__ void finish(const Left&, Sums&) {}
    static __device__ void store(const Sums& sums, float* to) {
        constexpr int stride = sums_stride<TensorTile>;
        to += first_row() * stride + first_column() - lane_of() / 4 + lane_of() % 4 * 2;
#pragma unroll
        for (int m = 0; m < RowBlocks; m++)
#pragma unroll
            for (int n = 0; n < ColumnBlocks; n++)
#pragma unroll
                for (int half = 0; half < 2; half++)
                    *reinterpret_cast<Pair*>(to + (m * 16 + half * 8) * stride + n * 8) = {
                        {sums.of[m][n][2 * half], sums.of[m][n][2 * half + 1]}};
    }
};

} // namespace latdyn::cuda
