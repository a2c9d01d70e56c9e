// What fuse_plan (plan.h) is made of.
#pragma once

#include "plan.h"

#include <cstdint>
#include <memory>
#include <string>

namespace latdyn::cuda::fused {

// fuse_plan for a device whose blocks may take so much shared memory.
std::unique_ptr<DevicePlan> fuse_plan_within(const Graph& graph, Precision precision, int64_t shared_bytes,
                                             std::string* reason);

// Rows that a block of a fused plan takes where it runs so many; 0 for other plans.
int rows_a_block(const DevicePlan& plan, int64_t rows);

// Bytes that launches of kernels move for a row: every value written and read, and weights once a tile of 128
// rows, as a product of matrices has them.
double kernel_bytes(const Graph& graph);

} // namespace latdyn::cuda::fused
