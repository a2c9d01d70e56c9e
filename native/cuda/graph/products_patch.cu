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
#include "patch_launch.h"

namespace latdyn::cuda {

namespace {

template <class Number> bool start(const WindowTask& window, const WindowShape& shape, int columns) {
    Patches<Number> patches = patches_of<Number>(window, shape);
    switch (columns) {
    case 128:
        return patches.template either<TensorTile<Number, 4, 8, 2, true>, TensorTile<Number, 2, 8, 2, true>>(
            shape);
    case 64:
        return patches.template either<TensorTile<Number, 4, 8, 1, true>, TensorTile<Number, 2, 8, 1, true>>(
            shape);
    case 32:
        return patches.template either<TensorTile<Number, 4, 4, 1, true>, TensorTile<Number, 2, 4, 1, true>>(
            shape);
    case 16:
        return patches.template only<TensorTile<Number, 2, 2, 1, true>>(shape);
    default:
        return patches.template only<TensorTile<Number, 2, 1, 1, true>>(shape);
    }
}

} // namespace

bool launch_patches(const WindowTask& task, const WindowShape& shape, int columns, Precision precision) {
    if (precision == Precision::float32)
        return false;
    return precision == Precision::bf16 ? start<Bf16>(task, shape, columns)
                                        : start<Tf32>(task, shape, columns);
}

} // namespace latdyn::cuda
