// Spectra of small square matrices, many at once.
#pragma once

#include "latdyn/iterate.h"

#include <cstdint>
#include <vector>

namespace latdyn {

struct EigenvaluesOptions {
    // Also the last components of the eigenvectors: what the error of a Krylov space's eigenvalues follows
    // from.
    bool last_components = false;
    // Also the largest singular value.
    bool norm = false;
    int threads = 1;
};

// Per matrix, NaN throughout where it holds a value that is not finite.
struct Eigenvalues {
    // [count, k], by falling modulus.
    std::vector<double> real, imaginary;
    // [count, k]: modulus of the last component of each eigenvector of unit length; empty unless asked for.
    std::vector<double> last;
    // [count]; empty unless asked for.
    std::vector<double> norm;
    bool aborted = false;
};

// data [count, k, k], row-major. Throws Error where the iteration does not converge.
Eigenvalues eigenvalues(const double* data, int64_t count, int64_t k, const EigenvaluesOptions& options,
                        JobCounters& counters);

} // namespace latdyn
