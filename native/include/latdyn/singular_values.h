// Singular values of rows of numbers: how many directions it takes to draw them.
#pragma once

#include "latdyn/iterate.h"

#include <cstdint>
#include <vector>

namespace latdyn {

struct SingularValuesOptions {
    // Subtract the mean row first.
    bool centred = false;
    int threads = 1;
};

struct SingularValuesResult {
    // min(rows, columns) of them, descending.
    std::vector<double> values;
    bool aborted = false;
};

// data [rows, columns]. They are the square roots of the eigenvalues of the Gram matrix of the smaller side,
// formed in double: exact to about 1e-8 of the largest one, which is less than what a change in the last bit
// of the floats does. Memory 16·min(rows, columns)² bytes beside a copy in double. Throws Error where there
// is no row or an element is not finite. An abort takes effect until the Gram matrix stands, not in the
// middle of its eigenvalues. The result does not depend on the number of threads.
SingularValuesResult singular_values(const float* data, int64_t rows, int64_t columns,
                                     const SingularValuesOptions& options, JobCounters& counters);

} // namespace latdyn
