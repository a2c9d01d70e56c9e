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

} // namespace latdyn::cuda::fused
