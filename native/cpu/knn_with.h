// knn_score() on the kernels of a given instruction set, which the processor must have. Scores differ between
// them by roundings in double; the tests ask each.
#pragma once

#include "latdyn/isa.h"
#include "latdyn/knn.h"

namespace latdyn {

KnnResult knn_score_with(Isa isa, const float* reference, int64_t reference_rows, const float* queries,
                         int64_t query_rows, int64_t columns, const KnnOptions& options,
                         JobCounters& counters);

} // namespace latdyn
