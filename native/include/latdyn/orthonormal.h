// A random orthonormal basis: what a dictionary has to beat.
#pragma once

#include "latdyn/iterate.h"

#include <cstdint>
#include <vector>

namespace latdyn {

struct OrthonormalResult {
    // [k, k]: k orthonormal vectors, one after the other; empty where aborted.
    std::vector<double> basis;
    bool aborted = false;
};

// Q of the QR decomposition of the k × k matrix of Philox normals whose row r is row first_row + r of the
// stream (noise.h), by Householder reflections in double: 8/3·k³ operations. Memory 32·k² bytes.
// counters.finished counts vectors twice: once reflected, once made. Returns within one panel of reflections
// after `abort`. The result does not depend on the number of threads.
OrthonormalResult orthonormal_basis(uint64_t seed, int64_t first_row, int64_t k, int threads,
                                    JobCounters& counters);

} // namespace latdyn
