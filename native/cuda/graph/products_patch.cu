// Windows on tensor cores by patches (patch.h): those of four taps and more, whose channels are whole stages.
//
// Launch: as products_tensor.cu: 4 warps on top of one another, 64 or 32 rows × at most 64 columns each. With
// 256 × 64, 3 × 3 taps and 16 × 16 positions a block has 16 KiB of stages, two patches of 20 KiB (bf16: 10)
// and 3 KiB of tables; two blocks are on a multiprocessor.
//
// A stage, one tap of 16 channels, is 524,288 FLOPs: of TF32 512 clocks of the tensor cores of sm_80, 256 at
// best of sm_90's. Out of shared memory come 16 KiB on the left (bf16: 8) and 16 KiB of weights (8), into it
// 4 KiB (2) of weights and, for the next channels, 2.3 KiB: 306 clocks at 128 bytes each for TF32, 152 for
// bf16, whose arithmetic takes half of TF32's. From L2 come 6.3 KiB (4.3), 82 FLOPs a byte. So the limit is
// the rate of mma.sync on sm_80, on sm_90 that and shared memory about equally. What a warp takes of the next
// tap is loaded while it multiplies; the other block of the multiprocessor fills the rest of what it waits.
#include "patch.h"

namespace latdyn::cuda {

namespace {

template <class Number, class Tile>
__global__ void __launch_bounds__(Tile::threads, 256 / Tile::threads) patch_window(PatchTask task) {
    compute_patch<Number, Tile>(task);
}

template <class Number> struct Patches {
    PatchTask task;
    int64_t rows;

    template <class Tile> bool fits(const WindowShape& shape) {
        return choose_patch(shape, Tile::rows, Tile::threads, most_positions<Number, Tile>(), task.patch);
    }
    template <class Tile> int64_t blocks() const {
        const int64_t images = (rows + (1 << task.patch.log_n) - 1) >> task.patch.log_n;
        return images * task.patch.tiles_w * task.patch.tiles_h * task.window.groups *
               task.window.column_tiles;
    }
    template <class Tile> void start() {
        const int32_t kernel_w = task.taps / kernel_h;
        for (int32_t i = 0; i < task.taps; i++) {
            const int32_t w = i % kernel_w * dilation_w;
            task.places[i] = i / kernel_w * dilation_h * task.patch.pitch +
                             w % task.window.step_w * task.patch.plane + w / task.window.step_w;
        }
        launch("window by patches", patch_window<Number, Tile>, checked_grid(blocks<Tile>()), Tile::threads,
               patch_bytes<Number, Tile>(task.patch.positions()), task);
    }
    int32_t kernel_h, dilation_h, dilation_w;

    // With Large where it fits and there are enough blocks, else with Small.
    template <class Large, class Small> bool either(const WindowShape& shape) {
        if (fits<Large>(shape) && enough_for<Large>(blocks<Large>(), 0)) {
            start<Large>();
            return true;
        }
        return only<Small>(shape);
    }
    template <class Tile> bool only(const WindowShape& shape) {
        if (!fits<Tile>(shape))
            return false;
        start<Tile>();
        return true;
    }
    bool run(const WindowShape& shape, int columns) {
        switch (columns) {
        case 128:
            return either<TensorTile<Number, 4, 8, 2, true>, TensorTile<Number, 2, 8, 2, true>>(shape);
        case 64:
            return either<TensorTile<Number, 4, 8, 1, true>, TensorTile<Number, 2, 8, 1, true>>(shape);
        case 32:
            return either<TensorTile<Number, 4, 4, 1, true>, TensorTile<Number, 2, 4, 1, true>>(shape);
        case 16:
            return only<TensorTile<Number, 2, 2, 1, true>>(shape);
        default:
            return only<TensorTile<Number, 2, 1, 1, true>>(shape);
        }
    }
};

template <class Number> bool start(const WindowTask& window, const WindowShape& shape, int columns) {
    Patches<Number> patches{};
    patches.task.window = window;
    patches.task.top = shape.top;
    patches.task.left = shape.left;
    patches.task.taps = shape.kernel_h * shape.kernel_w;
    patches.rows = window.rows;
    patches.kernel_h = shape.kernel_h;
    patches.dilation_h = shape.dilation_h;
    patches.dilation_w = shape.dilation_w;
    return patches.run(shape, columns);
}

} // namespace

bool launch_patches(const WindowTask& task, const WindowShape& shape, int columns, Precision precision) {
    if (precision == Precision::float32)
        return false;
    return precision == Precision::bf16 ? start<Bf16>(task, shape, columns)
                                        : start<Tf32>(task, shape, columns);
}

} // namespace latdyn::cuda
