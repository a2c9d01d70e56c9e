// One application of a plan to the lanes that hold a point.
#pragma once

#include "latdyn/plan.h"

namespace latdyn {

// The whole tile, or, where few of its lanes are live, those by themselves.
template <class IsLive> void run_live(const Plan& plan, Workspace& workspace, int64_t live, IsLive is_live) {
    if (live > plan.info.narrow_lanes)
        return plan.run(workspace);
    for (int lane = 0, left = static_cast<int>(live); left > 0; lane++)
        if (is_live(lane)) {
            plan.run_lane(workspace, lane);
            left--;
        }
}

} // namespace latdyn
