// nearest() on the kernels of a given instruction set, which the processor must have. The result is the same
// on all of them; the tests ask each.
#pragma once

#include "latdyn/isa.h"
#include "latdyn/nearest.h"

namespace latdyn {

NearestResult nearest_with(Isa isa, const float* a, int64_t a_rows, const float* b, int64_t b_rows,
                           int64_t columns, const NearestOptions& options, JobCounters& counters);

} // namespace latdyn
