// omp() on the kernels of a given instruction set, which the processor must have, and by a given way of
// finding the best atom. The result is the same on all of them; the tests ask each.
#pragma once

#include "latdyn/isa.h"
#include "latdyn/omp.h"

namespace latdyn {

enum class OmpWay {
    // The cheaper one of those that fit the budget.
    cheapest,
    // Correlations from the Gram matrix of the dictionary.
    gram,
    // Correlations of residuals, a product with the dictionary at every step.
    product,
};

OmpResult omp_with(Isa isa, OmpWay way, const float* dictionary, int64_t atoms, const float* signals,
                   int64_t signal_count, int64_t dimension, const OmpOptions& options, JobCounters& counters);

} // namespace latdyn
