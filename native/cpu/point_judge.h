// What is kept of a point on the CPU, around the rules of judge.h. Whoever computes f drives this: the native
// loop on the lanes of a tile (iterate.cpp), the batches of other engines on rows (batch_iteration.cpp).
#pragma once

#include "latdyn/iterate.h"

#include <algorithm>

namespace latdyn {

class PointJudge {
  public:
    PointJudge(const IterateOptions& options, const IterateOutput& output)
        : options(options), output(output) {}

    // Point `row` before its first step, `norm` its squared length; it is its own anchor.
    Slot start(int64_t row, double norm) const {
        Slot slot = start_slot(options, row, norm);
        const auto found = std::lower_bound(options.trace_rows.begin(), options.trace_rows.end(), row);
        if (found != options.trace_rows.end() && *found == row)
            slot.trace = static_cast<int32_t>(found - options.trace_rows.begin());
        return slot;
    }

    Verdict judge(Slot& slot, const StepSquares& squares) const {
        if (slot.trace >= 0)
            (*output.traces)[slot.trace].push_back(static_cast<float>(squares.step));
        return judge_step(options, slot, squares);
    }

    // What is kept of a point beside its endpoint; `step` is the square of its last one.
    void record(const Slot& slot, Status status, double step) const {
        output.iterations[slot.row] = slot.iterations;
        output.residual[slot.row] = slot.iterations == 0 ? 0.0f : static_cast<float>(step);
        output.status[slot.row] = static_cast<uint8_t>(status);
        output.period[slot.row] = status == Status::cycle ? static_cast<uint8_t>(slot.candidate) : 0;
    }

  private:
    const IterateOptions& options;
    const IterateOutput& output;
};

} // namespace latdyn
