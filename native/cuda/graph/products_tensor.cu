// Products on tensor cores: TF32, or bf16, with sums in float32. Activations are float32 in memory and are
// rounded when a warp takes them from shared memory; weights were rounded when they were packed.
//
// An instruction multiplies 16 rows with 8 columns. Which of the matrices' columns its own are is free as
// long as both sides agree: a lane's are the four that lie side by side at 4·(lane % 4), so that one load of
// 16 bytes gives a lane its part of 8 rows × 16 columns, for two instructions of TF32 or one of bf16. Rows of
// 16 columns lie without gaps: eight lanes that load together read two rows, 128 bytes, all banks once.
//
// Launch: 128 threads, 4 warps on top of one another, each 64 or 32 rows × all columns of the tile (64, 32,
// 16 or 8). Four stages of 16 columns; the large tile takes 80 KiB + 6 KiB of shared memory, two of them are
// on a multiprocessor. FLOPs 2·rows·columns·k against (rows + columns)·k·4 bytes. For the large tile a stage
// is 524,288 FLOPs; a warp loads 8 × 512 bytes on the left and as many on the right for 64 instructions of
// TF32. So per stage and block 32 KiB leave shared memory and 20 KiB arrive: 416 clocks at 128 bytes each,
// where the gathered half passes L1 once more on its way. At the rate of the tensor cores of sm_80 (1,024
// FLOPs a clock) that is 512 clocks, and arithmetic is the limit; of sm_90 256 at most, and shared memory is.
#include "product_tasks.h"

namespace latdyn::cuda {

namespace {

__device__ inline int lane_of() {
    return static_cast<int>(threadIdx.x) % 32;
}

// Four columns side by side of a row of the left matrix, for both halves of an instruction's rows.
struct Tf32 {
    static constexpr int weight_floats = 16;

    struct Left {
        float4 of[2];
    };
    struct Right {
        float4 of;
    };
    static __device__ Left left(float4 upper, float4 lower) {
        return {{{to_tf32(upper.x), to_tf32(lower.x), to_tf32(upper.y), to_tf32(lower.y)},
                 {to_tf32(upper.z), to_tf32(lower.z), to_tf32(upper.w), to_tf32(lower.w)}}};
    }
    // From a row of packed weights, which are rounded, and from what is not.
    static __device__ Right packed(const float* row) {
        return {*reinterpret_cast<const float4*>(row + lane_of() % 4 * 4)};
    }
    static __device__ Right right(float4 v) {
        return {{to_tf32(v.x), to_tf32(v.y), to_tf32(v.z), to_tf32(v.w)}};
    }
    static __device__ void multiply(float (&sum)[4], const Left& a, const Right& b) {
        multiply_add(sum, a.of[0], b.of.x, b.of.y);
        multiply_add(sum, a.of[1], b.of.z, b.of.w);
    }
};

struct Bf16 {
    static constexpr int weight_floats = 8;

    struct Left {
        uint32_t of[4];
    };
    struct alignas(8) Right {
        uint32_t of[2];
    };
    static __device__ Left left(float4 upper, float4 lower) {
        return {{to_bf16_pair(upper.x, upper.y), to_bf16_pair(lower.x, lower.y),
                 to_bf16_pair(upper.z, upper.w), to_bf16_pair(lower.z, lower.w)}};
    }
    static __device__ Right packed(const float* row) {
        return *reinterpret_cast<const Right*>(row + lane_of() % 4 * 2);
    }
    static __device__ Right right(float4 v) { return {{to_bf16_pair(v.x, v.y), to_bf16_pair(v.z, v.w)}}; }
    static __device__ void multiply(float (&sum)[4], const Left& a, const Right& b) {
        multiply_add(sum, a.of, b.of[0], b.of[1]);
    }
};

// Warps have 16·RowBlocks × 8·ColumnBlocks of the tile. Packed: the right matrix is weights, a row of `depth`
// elements for each column; else it lies as it is, a row of floats for each k.
template <class Number, int RowBlocks, int ColumnBlocks, bool Packed> struct TensorTile {
    static constexpr int warps = 4, threads = 32 * warps;
    static constexpr int rows = warps * 16 * RowBlocks, columns = 8 * ColumnBlocks;
    static constexpr int stages = 4;
    static constexpr int left_stride = depth;
    static constexpr int right_stride = columns + 4;
    static constexpr int right_floats = Packed ? columns * Number::weight_floats : depth * right_stride;

    // In the 16 × 8 block a lane has (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1): g = lane / 4, t =
    // lane % 4.
    struct Sums {
        float of[RowBlocks][ColumnBlocks][4];
    };
    static __device__ int first_row() { return static_cast<int>(threadIdx.x) / 32 * 16 * RowBlocks; }

    static __device__ void clear(Sums& sums) {
#pragma unroll
        for (int m = 0; m < RowBlocks; m++)
#pragma unroll
            for (int n = 0; n < ColumnBlocks; n++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    sums.of[m][n][e] = 0;
    }
    static __device__ typename Number::Right load_right(const float* right, int n) {
        const int column = n * 8 + lane_of() / 4;
        if constexpr (Packed) {
            return Number::packed(right + column * Number::weight_floats);
        } else {
            const float* from = right + lane_of() % 4 * 4 * right_stride + column;
            return Number::right(
                {from[0], from[right_stride], from[2 * right_stride], from[3 * right_stride]});
        }
    }
    static __device__ void multiply(const float* left, const float* right, Sums& sums) {
        typename Number::Left a[RowBlocks];
        left += (first_row() + lane_of() / 4) * left_stride + lane_of() % 4 * 4;
#pragma unroll
        for (int m = 0; m < RowBlocks; m++) {
            const float* from = left + m * 16 * left_stride;
            a[m] = Number::left(*reinterpret_cast<const float4*>(from),
                                *reinterpret_cast<const float4*>(from + 8 * left_stride));
        }
#pragma unroll
        for (int n = 0; n < ColumnBlocks; n++) {
            const typename Number::Right b = load_right(right, n);
#pragma unroll
            for (int m = 0; m < RowBlocks; m++)
                Number::multiply(sums.of[m][n], a[m], b);
        }
    }
    static __device__ void store(const Sums& sums, float* to) {
        constexpr int stride = sums_stride<TensorTile>;
        to += (first_row() + lane_of() / 4) * stride + lane_of() % 4 * 2;
#pragma unroll
        for (int m = 0; m < RowBlocks; m++)
#pragma unroll
            for (int n = 0; n < ColumnBlocks; n++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    to[(m * 16 + e / 2 * 8) * stride + n * 8 + e % 2] = sums.of[m][n][e];
    }
};

// A multiprocessor has registers for two large tiles, three of half their height.
template <class Tile>
__global__ void __launch_bounds__(Tile::threads, Tile::rows == 256 ? 2 : 3) tensor_window(WindowTask task) {
    compute_tile<Tile>(task);
}
template <class Tile> __global__ void __launch_bounds__(Tile::threads, 3) tensor_matmul(MatmulTask task) {
    compute_tile<Tile>(task);
}

// Tiles from which on there is enough work for a device with the large ones.
constexpr int64_t many_tiles = 264;

template <class Number> void start(const WindowTask& task, int columns, int64_t most_rows) {
    const auto with = [&](auto tile) {
        using Tile = decltype(tile);
        launch_window<Tile>(tensor_window<Tile>, task, most_rows);
    };
    const int64_t large_tiles = (most_rows + 255) / 256 * task.class_count * task.groups * task.column_tiles;
    if (columns == 64 && large_tiles >= many_tiles)
        with(TensorTile<Number, 4, 8, true>{});
    else if (columns == 64)
        with(TensorTile<Number, 2, 8, true>{});
    else if (columns == 32)
        with(TensorTile<Number, 2, 4, true>{});
    else if (columns == 16)
        with(TensorTile<Number, 2, 2, true>{});
    else
        with(TensorTile<Number, 2, 1, true>{});
}

template <class Number> void start(const MatmulTask& task, int columns, int64_t rows) {
    using Wide = TensorTile<Number, 2, 8, false>;
    using Narrow = TensorTile<Number, 2, 2, false>;
    if (columns > 16)
        launch_matmul<Wide>(tensor_matmul<Wide>, task, rows);
    else
        launch_matmul<Narrow>(tensor_matmul<Narrow>, task, rows);
}

} // namespace

void launch_tensor(const WindowTask& task, int columns, int64_t most_rows, Precision precision) {
    if (precision == Precision::bf16)
        start<Bf16>(task, columns, most_rows);
    else
        start<Tf32>(task, columns, most_rows);
}

void launch_tensor(MatmulTask task, int columns, int64_t rows, Precision precision) {
    if (precision == Precision::bf16)
        start<Bf16>(task, columns, rows);
    else
        start<Tf32>(task, columns, rows);
}

} // namespace latdyn::cuda
