// Products in float32, one rounding a multiply-add.
//
// Launch: a block of 128 or 256 threads for 128 rows (positions of the output) × 64, 32, 16 or 8 channels of
// it; a thread has 8 × 4, 4 × 4 or 4 × 2 sums. Three stages of 16 columns, 43 KiB of shared memory for the
// widest tile. FLOPs 2·rows·columns·k of a tile, against (rows + columns)·k·4 bytes, of which neighbouring
// taps find most in L1, 21 a byte for the widest. A warp of 8 × 4 sums a thread loads 12 × 16 bytes a lane
// for 128 multiply-adds, of which each line serves several lanes: 12 clocks of shared memory beside 32 of
// the arithmetic. The limit is the rate of multiply-adds; narrow tiles are limited by L1.
#include "product_tasks.h"

namespace latdyn::cuda {

namespace {

// Threads are Down × Across; a thread has the rows lane + i·(lanes down) of its warp's part.
template <int RowSums, int ColumnSums, int Down, int Across> struct Float32Tile {
    static constexpr int threads = Down * Across;
    static constexpr int rows = RowSums * Down, columns = ColumnSums * Across;
    static constexpr int stages = 3;
    // Rows that are read at the same time lie in different banks.
    static constexpr int left_stride = depth + 4;
    static constexpr int right_stride = columns, right_floats = depth * columns;
    static constexpr int lanes_across = Across < 4 ? Across : 4, lanes_down = 32 / lanes_across;
    static_assert(Down % lanes_down == 0 && Across % lanes_across == 0);

    struct Sums {
        float of[RowSums][ColumnSums];
    };
    // What a thread loads at once.
    struct alignas(ColumnSums * sizeof(float)) Line {
        float of[ColumnSums];
    };
    static __device__ int first_row() {
        const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
        return warp / (Across / lanes_across) * (lanes_down * RowSums) + lane / lanes_across;
    }
    static __device__ int first_column() {
        const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
        return (warp % (Across / lanes_across) * lanes_across + lane % lanes_across) * ColumnSums;
    }
    static __device__ void clear(Sums& sums) {
#pragma unroll
        for (int m = 0; m < RowSums; m++)
#pragma unroll
            for (int n = 0; n < ColumnSums; n++)
                sums.of[m][n] = 0;
    }
    using Left = const float*;
    static __device__ Left load_left(const float* left) {
        return left + first_row() * left_stride;
    }
    static __device__ void multiply(Left left, const float* right, Sums& sums) {
        right += first_column();
#pragma unroll
        for (int k = 0; k < depth; k += 4) {
            float a[RowSums][4];
#pragma unroll
            for (int m = 0; m < RowSums; m++) {
                const float4 v = *reinterpret_cast<const float4*>(left + m * lanes_down * left_stride + k);
                a[m][0] = v.x, a[m][1] = v.y, a[m][2] = v.z, a[m][3] = v.w;
            }
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const Line b = *reinterpret_cast<const Line*>(right + (k + j) * right_stride);
#pragma unroll
                for (int m = 0; m < RowSums; m++)
#pragma unroll
                    for (int n = 0; n < ColumnSums; n++)
                        sums.of[m][n] = fmaf(a[m][j], b.of[n], sums.of[m][n]);
            }
        }
    }
    static __device__ void publish() {}
    static __device__ void finish(Left, Sums&) {}
    static __device__ void store(const Sums& sums, float* to) {
        to += first_row() * sums_stride<Float32Tile> + first_column();
#pragma unroll
        for (int m = 0; m < RowSums; m++)
#pragma unroll
            for (int n = 0; n < ColumnSums; n++)
                to[m * lanes_down * sums_stride<Float32Tile> + n] = sums.of[m][n];
    }
};

template <class Tile> __global__ void __launch_bounds__(Tile::threads) float32_window(WindowTask task) {
    compute_tile<Tile>(task);
}
template <class Tile> __global__ void __launch_bounds__(Tile::threads) float32_matmul(MatmulTask task) {
    compute_tile<Tile>(task);
}

using Columns64 = Float32Tile<8, 4, 16, 16>;
using Columns32 = Float32Tile<8, 4, 16, 8>;
using Columns16 = Float32Tile<4, 4, 32, 4>;
using Columns8 = Float32Tile<4, 2, 32, 4>;

} // namespace

void launch_float32(const WindowTask& task, int columns, int64_t most_rows) {
    const auto start = [&](auto tile) {
        using Tile = decltype(tile);
        launch_window<Tile>(float32_window<Tile>, task, most_rows);
    };
    if (columns == 64)
        start(Columns64{});
    else if (columns == 32)
        start(Columns32{});
    else if (columns == 16)
        start(Columns16{});
    else
        start(Columns8{});
}

void launch_float32(MatmulTask task, int columns, int64_t rows) {
    if (columns > 16)
        launch_matmul<Columns64>(float32_matmul<Columns64>, task, rows);
    else
        launch_matmul<Columns16>(float32_matmul<Columns16>, task, rows);
}

} // namespace latdyn::cuda
