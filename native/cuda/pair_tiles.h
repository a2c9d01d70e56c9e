// Which two panels a block of threads multiplies: for the kernels that look at every pair of a tile.
#pragma once

#include "pairs.h"
#include "tile.h"

#include <algorithm>

namespace latdyn::cuda {

// Tiles go in groups of so many on the left, so that those at work together share panels in L2.
constexpr int64_t group_of_tiles = 16;

struct TileNumber {
    int64_t left, right;
};
__device__ inline TileNumber tile_number(int64_t tile, int64_t left_tiles, int64_t right_tiles) {
    const int64_t group = tile / (group_of_tiles * right_tiles), first = group * group_of_tiles;
    const int64_t size = left_tiles - first < group_of_tiles ? left_tiles - first : group_of_tiles;
    const int64_t rest = tile - first * right_tiles;
    return {first + rest % size, rest / size};
}

__device__ inline int32_t row_at(const PairSide& side, int64_t place) {
    return side.which ? side.which[place] : static_cast<int32_t>(place);
}

// The products of a tile's pairs. Shared memory, tile_shared bytes of it, is free afterwards.
template <bool Warpgroups>
__device__ inline void tile_product(const PairTask& task, const TileNumber& tile, Accumulators& products) {
    tile_product<Warpgroups>(task.left.packed + tile.left * task.stages * panel_floats,
                             task.right.packed + tile.right * task.stages * panel_floats, task.stages,
                             reinterpret_cast<float*>(shared_memory()), products);
}

// Starts one of two kernels that look at a tile each: the first where the device has no warpgroups.
template <class... Parameters, class... Arguments>
void launch_tiles(const char* name, void (*by_warps)(Parameters...), void (*by_warpgroups)(Parameters...),
                  int64_t tiles, Arguments... arguments) {
    if (warpgroups())
        launch(name, by_warpgroups, tiles, tile_threads, tile_shared<true>, arguments...);
    else
        launch(name, by_warps, tiles, tile_threads, tile_shared<false>, arguments...);
}

// So many tiles take some tens of milliseconds.
inline int64_t tiles_of_launch(const PairTask& task) {
    constexpr double operations = 4e12;
    const double of_tile = 2.0 * tile_rows * tile_rows * static_cast<double>(task.stages * tile_depth);
    return std::clamp<int64_t>(static_cast<int64_t>(operations / of_tile), 1, 1 << 20);
}

} // namespace latdyn::cuda
