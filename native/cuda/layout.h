// How packed rows lie in memory, for both sides: see tile.h.
#pragma once

#include <cstdint>

namespace latdyn::cuda {

// Rows of a panel, and columns of a stage of it.
constexpr int tile_rows = 128, tile_depth = 32;
constexpr int panel_floats = tile_rows * tile_depth;

// A double as a whole number of the same order: ordered() of device.h.
using Key = unsigned long long;

} // namespace latdyn::cuda
