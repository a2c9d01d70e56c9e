// What every step makes of a point: the criteria, the rules, the order in which they are asked, and what is
// kept of a point that is done. Whoever computes f drives this: the native loop on the lanes of a tile
// (iterate.cpp), the batches of other engines on rows (batch_iteration.cpp).
#pragma once

#include "latdyn/iterate.h"

#include <algorithm>
#include <cmath>

namespace latdyn {

constexpr int longest_period = 16;
// A return after one period and one after two: extrapolated to its limit, what separates them must be this
// small a part of the step, or the point is an alternation that is still converging.
constexpr double largest_drift = 0.1;

// One point on its way.
struct Slot {
    int64_t row = -1;
    int32_t iterations = 0;
    double norm_limit = 0;
    double previous_residual = 0;
    int32_t anchor_age = 0;
    int32_t candidate = 0;
    double candidate_distance = 0;
    std::vector<float>* trace = nullptr;
};

// Squared lengths after a step: of the step, of the new point, and of the way from the anchor to it.
struct StepSquares {
    double step, norm, back;
};

struct Verdict {
    // `unfinished` while the point goes on.
    Status status;
    // The new point becomes the anchor: what later ones are compared with.
    bool moves_anchor = false;
};

class PointJudge {
  public:
    PointJudge(const IterateOptions& options, const IterateOutput& output)
        : options(options), output(output) {}

    // Point `row` before its first step, `norm` its squared length; it is its own anchor.
    Slot start(int64_t row, double norm) const {
        Slot slot;
        slot.row = row;
        slot.norm_limit = options.divergence_ratio * options.divergence_ratio * std::max(1.0, norm);
        slot.previous_residual = 0; // no rate yet: the first one comes out infinite
        const auto found = std::lower_bound(options.trace_rows.begin(), options.trace_rows.end(), row);
        if (found != options.trace_rows.end() && *found == row)
            slot.trace = &(*output.traces)[found - options.trace_rows.begin()];
        return slot;
    }

    Verdict judge(Slot& slot, const StepSquares& squares) const {
        slot.iterations++;
        if (slot.trace)
            slot.trace->push_back(static_cast<float>(squares.step));
        if (!std::isfinite(squares.norm))
            return {Status::non_finite};
        if (converged(squares.step, slot.previous_residual, squares.norm))
            return {Status::converged};
        slot.previous_residual = squares.step;
        if (squares.norm > slot.norm_limit)
            return {Status::diverged};
        const Verdict verdict = look_for_cycle(slot, squares);
        if (verdict.status == Status::unfinished && slot.iterations >= options.max_iterations)
            return {Status::max_iterations};
        return verdict;
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

    bool converged(double residual, double previous, double norm) const {
        switch (options.criterion) {
        case Criterion::residual:
            return residual < options.tolerance;
        case Criterion::relative:
            return residual <= options.tolerance * norm;
        case Criterion::error_bound:
            break;
        }
        if (residual == 0)
            return true;
        const double rate = std::sqrt(residual / previous);
        if (!(rate < 1))
            return false;
        const double bound = std::sqrt(residual) * rate / (1 - rate);
        return bound * bound < options.tolerance;
    }

    Verdict look_for_cycle(Slot& slot, const StepSquares& squares) const {
        const double limit =
            options.criterion == Criterion::relative ? options.tolerance * squares.norm : options.tolerance;
        const int age = ++slot.anchor_age;
        if (slot.candidate == 0) {
            if (age >= 2 && squares.back < limit) {
                slot.candidate = age;
                slot.candidate_distance = std::sqrt(squares.back);
            } else if (age >= longest_period) {
                return move_anchor(slot);
            }
            return {Status::unfinished};
        }
        if (age < 2 * slot.candidate)
            return {Status::unfinished};
        const double drift = extrapolated_drift(slot.candidate_distance, std::sqrt(squares.back));
        if (squares.back < limit && drift < largest_drift * std::sqrt(squares.step))
            return {Status::cycle};
        return move_anchor(slot);
    }

    static Verdict move_anchor(Slot& slot) {
        slot.anchor_age = 0;
        slot.candidate = 0;
        return {Status::unfinished, true};
    }

    // Distance to the limit of a geometric approach that was `one` away from its anchor after one period and
    // `two` after two; infinite where it does not approach.
    static double extrapolated_drift(double one, double two) {
        if (two <= one)
            return one;
        if (one == 0)
            return two;
        const double ratio = (two - one) / one;
        return ratio < 1 ? one / (1 - ratio) : INFINITY;
    }
};

} // namespace latdyn
