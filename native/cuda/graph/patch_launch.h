// Starts a window by patches with one tile or another.
#pragma once

#include "patch.h"

namespace latdyn::cuda {

template <class Number, class Tile>
__global__ void __launch_bounds__(Tile::threads, 256 / Tile::threads) patch_window(PatchTask task) {
    if constexpr (Tile::here)
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
};

template <class Number> Patches<Number> patches_of(const WindowTask& window, const WindowShape& shape) {
    Patches<Number> patches{};
    patches.task.window = window;
    patches.task.top = shape.top;
    patches.task.left = shape.left;
    patches.task.taps = shape.kernel_h * shape.kernel_w;
    patches.rows = window.rows;
    patches.kernel_h = shape.kernel_h;
    patches.dilation_h = shape.dilation_h;
    patches.dilation_w = shape.dilation_w;
    return patches;
}

} // namespace latdyn::cuda
