// Products on tensor cores: TF32, or bf16, with sums in float32. Activations are float32 in memory and are
// rounded when a warp takes them from shared memory; weights were rounded when they were packed.
//
// Launch: 4 warps on top of one another, 128 threads (twice as many for 128 columns); each has 64 or 32 rows
// × at most 64 columns. Four stages of 16 columns: for 256 × 64 that is 80 KiB + 6 KiB of shared memory, two
// such blocks are on a multiprocessor; for 256 × 128 one is. FLOPs 2·rows·columns·k against (rows +
// columns)·k·4 bytes from L1 and L2: 26 FLOPs a byte for 256 × 64, 43 for 256 × 128.
//
// Of 256 × 64, a stage is 524,288 FLOPs of TF32: 512 clocks of the tensor cores of sm_80, 256 at best of
// sm_90's. In it 32 KiB leave shared memory for the warps and 20 KiB arrive: 416 clocks at 128 bytes each,
// more where the gathered part comes from L1. So on sm_80 the limit is arithmetic, on sm_90 shared memory
// and, at 20 KiB a stage, L2. Windows of several taps whose channels are whole stages go by patches instead:
// products_patch.cu. On sm_90 windows of more than 16 outputs go by warpgroups: products_warpgroup.cu.
#include "product_tasks.h"
#include "tensor_tile.h"

namespace latdyn::cuda {

namespace {

// A multiprocessor has registers for 8 warps of 64 rows, 12 or more of 32.
template <class Tile> constexpr int blocks_at_once = (Tile::rows == 256 ? 256 : 384) / Tile::threads;

template <class Tile>
__global__ void __launch_bounds__(Tile::threads, blocks_at_once<Tile>) tensor_window(WindowTask task) {
    compute_tile<Tile>(task);
}
template <class Tile> __global__ void __launch_bounds__(Tile::threads, 2) tensor_matmul(MatmulTask task) {
    compute_tile<Tile>(task);
}

template <class Number> void start(const WindowTask& task, int columns, int64_t most_rows) {
    const auto with = [&](auto tile) {
        using Tile = decltype(tile);
        launch_window<Tile>(tensor_window<Tile>, task, most_rows);
    };
    const auto either = [&](auto large, auto small) {
        using Large = decltype(large);
        if (enough_for<Large>(window_blocks<Large>(task, most_rows), shared_bytes<Large>()))
            with(large);
        else
            with(small);
    };
    if (columns == 128)
        either(TensorTile<Number, 4, 8, 2, true>{}, TensorTile<Number, 2, 8, 2, true>{});
    else if (columns == 64)
        either(TensorTile<Number, 4, 8, 1, true>{}, TensorTile<Number, 2, 8, 1, true>{});
    else if (columns == 32)
        either(TensorTile<Number, 4, 4, 1, true>{}, TensorTile<Number, 2, 4, 1, true>{});
    else if (columns == 16)
        with(TensorTile<Number, 2, 2, 1, true>{});
    else
        with(TensorTile<Number, 2, 1, 1, true>{});
}

template <class Number> void start(const MatmulTask& task, int columns, int64_t rows) {
    using Wide = TensorTile<Number, 2, 8, 1, false>;
    using Narrow = TensorTile<Number, 2, 2, 1, false>;
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
