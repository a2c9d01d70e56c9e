// Windows on the tensor cores of sm_90, by warpgroups: TF32, or bf16, with sums in float32. Patches (patch.h)
// where they pay, else a gathered tile (gather.h), as with mma.sync (products_patch.cu, products_tensor.cu);
// weights are packed for it, so a window goes by warpgroups always or never: those of more than 16 outputs.
//
// Launch: a warpgroup, 128 threads, for 256 or 128 rows × 64 or 32 columns, two for 256 × 128. With 256 × 64
// two blocks are on a multiprocessor, so that one multiplies while the other waits for its barrier or takes
// what it sees of the next tap. Shared memory as with mma.sync.
//
// Of 256 × 64 a stage, one tap of 16 channels, is 524,288 FLOPs: 256 clocks of the tensor cores for TF32, 128
// for bf16, twice what mma.sync is known to reach. By patches 16 KiB leave shared memory for the left
// operand (bf16: 8) and 16 KiB (8), four times the stage's weights, for the right one; 6.3 KiB (4.3) arrive:
// 306 clocks (158) at 128 bytes each. So the limit is shared memory. Of 256 × 128 the right operand is 32 KiB
// (16) for twice the FLOPs, so there it is 454 clocks (231) beside 512 (256): the tensor cores.
#include "patch_launch.h"
#include "warpgroup_tile.h"

namespace latdyn::cuda {

namespace {

template <class Tile>
__global__ void __launch_bounds__(Tile::threads, 256 / Tile::threads) warpgroup_window(WindowTask task) {
    if constexpr (Tile::here)
        compute_tile<Tile>(task);
}

template <class Number, int Columns>
void start(const WindowTask& task, const WindowShape& shape, int64_t most_rows) {
    constexpr int groups = Columns == 128 ? 2 : 1;
    using Large = WarpgroupTile<Number, 4 / groups, Columns, groups>;
    using Small = WarpgroupTile<Number, 2, Columns, 1>;
    Patches<Number> patches = patches_of<Number>(task, shape);
    if (patches.template either<Large, Small>(shape))
        return;
    if (enough_for<Large>(window_blocks<Large>(task, most_rows), shared_bytes<Large>()))
        launch_window<Large>(warpgroup_window<Large>, task, most_rows);
    else
        launch_window<Small>(warpgroup_window<Small>, task, most_rows);
}

template <class Number>
void start(const WindowTask& task, const WindowShape& shape, int columns, int64_t most_rows) {
    if (columns == 128)
        start<Number, 128>(task, shape, most_rows);
    else if (columns == 64)
        start<Number, 64>(task, shape, most_rows);
    else
        start<Number, 32>(task, shape, most_rows);
}

} // namespace

void launch_warpgroups(const WindowTask& task, const WindowShape& shape, int columns, int64_t most_rows,
                       Precision precision) {
    if (precision == Precision::bf16)
        start<Bf16>(task, shape, columns, most_rows);
    else
        start<Tf32>(task, shape, columns, most_rows);
}

} // namespace latdyn::cuda
