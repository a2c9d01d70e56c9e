// The construction is in philox.h. Compile with -ffp-contract=off: see there.
#include "latdyn/noise.h"

#include "latdyn/error.h"
#include "latdyn/philox.h"

#include <algorithm>
#include <string>

namespace latdyn {

void noise(uint64_t seed, int64_t first_row, int64_t rows, int64_t columns, float scale, float* out) {
    // The counter holds column / 4 in 32 bits.
    if (columns > int64_t{1} << 34)
        throw Error("noise: " + std::to_string(columns) + " columns, expected at most 17179869184");
    for (int64_t i = 0; i < rows; i++) {
        const uint64_t row = static_cast<uint64_t>(first_row) + static_cast<uint64_t>(i);
        float* to = out + i * columns;
        for (int64_t j = 0; j < columns; j += 4) {
            float normals[4];
            philox_normals(seed, row, static_cast<uint32_t>(j / 4), scale, normals);
            std::copy_n(normals, std::min<int64_t>(4, columns - j), to + j);
        }
    }
}

} // namespace latdyn
