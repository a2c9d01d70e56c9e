// N(0, scale²) from Philox4x32-10, keyed by (seed, row, column): an element is the same whatever the batch,
// the thread count, the device or the shard.
#pragma once

#include <cstdint>

namespace latdyn {

// out [rows, columns]; row i of out is row first_row + i of the stream.
void noise(uint64_t seed, int64_t first_row, int64_t rows, int64_t columns, float scale, float* out);

} // namespace latdyn
