// Maps with known ends, for tests of what runs plans: on the device, and the same floats on the host.
#pragma once

#include "plan.h"

#include <cstdint>
#include <memory>

namespace latdyn::test {

enum class Kind : int {
    // c + (z − c)·rate, c by column.
    approach,
    // The same with a speed of its own for every row: rateⁿ, n the point's last column, which stays.
    approach_by_row,
    // Pairs of columns turn by an angle.
    turn,
    // c − (z − c)·rate: from side to side.
    alternate,
    grow,
    // Approaches by 0.9 a step, and is NaN where the first column is within `rate` of its end.
    break_off,
    same,
    constant,
};

struct Map {
    Kind kind = Kind::approach;
    int64_t k = 1;
    float rate = 0.5f;
    // Of the angle.
    float cosine = 1, sine = 0;
    // Digits of what comes out; a float has 24.
    int digits = 24;
};

// The point that maps approach, by column.
float end_of(int64_t column);
void map_on_host(const Map& map, const float* z, int64_t rows, float* out);
// A plan that gives the same bits, and that is given about `batch` rows at once; `persistent`: it iterates by
// itself, as many points.
std::unique_ptr<cuda::DevicePlan> map_plan(const Map& map, int64_t batch, bool persistent = false);

} // namespace latdyn::test
