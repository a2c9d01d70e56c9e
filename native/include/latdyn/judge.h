// What every step makes of a point: the criteria, the rules, and the order in which they are asked.
// Arithmetic alone, so that the loop on the CPU and the one on the device are judged by the same lines.
#pragma once

#include "latdyn/philox.h"

#include <math.h>
#include <stdint.h>

namespace latdyn {

enum class Status : uint8_t {
    converged = 0,
    max_iterations = 1,
    cycle = 2,
    diverged = 3,
    non_finite = 4,
    unfinished = 255,
};

enum class Criterion : int32_t { residual, relative, error_bound };

struct JudgeOptions {
    double tolerance = 1e-6;
    int32_t max_iterations = 3000;
    Criterion criterion = Criterion::residual;
    double divergence_ratio = 1e4;
};

constexpr int longest_period = 16;
// A return after one period and one after two: extrapolated to its limit, what separates them must be this
// small a part of the step, or the point is an alternation that is still converging.
constexpr double largest_drift = 0.1;

// One point on its way.
struct Slot {
    int64_t row = -1;
    int32_t iterations = 0;
    // Index of the row among those that are traced, or -1.
    int32_t trace = -1;
    double norm_limit = 0;
    double previous_residual = 0;
    int32_t anchor_age = 0;
    int32_t candidate = 0;
    double candidate_distance = 0;
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

namespace judging {

LATDYN_HOST_DEVICE inline bool finite(double v) {
    return v - v == 0;
}

LATDYN_HOST_DEVICE inline bool converged(const JudgeOptions& options, double residual, double previous,
                                         double norm) {
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
    const double rate = sqrt(residual / previous);
    if (!(rate < 1))
        return false;
    const double bound = sqrt(residual) * rate / (1 - rate);
    return bound * bound < options.tolerance;
}

LATDYN_HOST_DEVICE inline Verdict move_anchor(Slot& slot) {
    slot.anchor_age = 0;
    slot.candidate = 0;
    return {Status::unfinished, true};
}

// Distance to the limit of a geometric approach that was `one` away from its anchor after one period and
// `two` after two; infinite where it does not approach.
LATDYN_HOST_DEVICE inline double extrapolated_drift(double one, double two) {
    if (two <= one)
        return one;
    if (one == 0)
        return two;
    const double ratio = (two - one) / one;
    return ratio < 1 ? one / (1 - ratio) : HUGE_VAL;
}

LATDYN_HOST_DEVICE inline Verdict look_for_cycle(const JudgeOptions& options, Slot& slot,
                                                 const StepSquares& squares) {
    const double limit =
        options.criterion == Criterion::relative ? options.tolerance * squares.norm : options.tolerance;
    const int age = ++slot.anchor_age;
    if (slot.candidate == 0) {
        if (age >= 2 && squares.back < limit) {
            slot.candidate = age;
            slot.candidate_distance = sqrt(squares.back);
        } else if (age >= longest_period) {
            return move_anchor(slot);
        }
        return {Status::unfinished};
    }
    if (age < 2 * slot.candidate)
        return {Status::unfinished};
    const double drift = extrapolated_drift(slot.candidate_distance, sqrt(squares.back));
    if (squares.back < limit && drift < largest_drift * sqrt(squares.step))
        return {Status::cycle};
    return move_anchor(slot);
}

} // namespace judging

// Point `row` before its first step, `norm` its squared length; it is its own anchor.
LATDYN_HOST_DEVICE inline Slot start_slot(const JudgeOptions& options, int64_t row, double norm) {
    Slot slot;
    slot.row = row;
    slot.norm_limit = options.divergence_ratio * options.divergence_ratio * (norm > 1 ? norm : 1);
    slot.previous_residual = 0; // no rate yet: the first one comes out infinite
    return slot;
}

LATDYN_HOST_DEVICE inline Verdict judge_step(const JudgeOptions& options, Slot& slot,
                                             const StepSquares& squares) {
    slot.iterations++;
    if (!judging::finite(squares.norm))
        return {Status::non_finite};
    if (judging::converged(options, squares.step, slot.previous_residual, squares.norm))
        return {Status::converged};
    slot.previous_residual = squares.step;
    if (squares.norm > slot.norm_limit)
        return {Status::diverged};
    const Verdict verdict = judging::look_for_cycle(options, slot, squares);
    if (verdict.status == Status::unfinished && slot.iterations >= options.max_iterations)
        return {Status::max_iterations};
    return verdict;
}

} // namespace latdyn
