// What this machine can do at most: the limit that speeds are given as a share of.
#pragma once

namespace latdyn {

// GFLOP/s of a single-precision matrix product of size × size × size with oneDNN on `threads` threads: the
// best of `repeats` runs after one that is not counted. Throws Error where size, threads or repeats is below
// 1, or size above 16384 (3 GiB).
double measure_gemm(int size, int threads, int repeats);

} // namespace latdyn
