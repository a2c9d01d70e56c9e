// The two phases of an iteration on the device, a fast map and then a strict one.
#include "iteration_cases.h"

#include <span>

using namespace latdyn;
using namespace latdyn::test;

namespace {

// The two phases for one row after the other, as the comment of iterate() tells them.
IterationResult in_two_phases(const Map& fast, const Map& strict, const Matrix& initial,
                              const IterateOptions& options) {
    IterationResult result(initial, options);
    const int64_t k = initial.columns;
    std::vector<float> z(static_cast<size_t>(k)), next(z), anchor(z);
    const auto step = [&](const Map& map) {
        map_on_host(map, z.data(), 1, next.data());
        StepSquares squares{};
        for (int64_t e = 0; e < k; e++) {
            const float s = next[e] - z[e], b = next[e] - anchor[e];
            squares.step += double(s) * s;
            squares.norm += double(next[e]) * next[e];
            squares.back += double(b) * b;
        }
        result.evaluations++;
        return squares;
    };
    for (int64_t row = 0; row < initial.rows; row++) {
        std::copy_n(initial.row(row), k, z.begin());
        double norm = 0;
        for (float v : z)
            norm += double(v) * v;
        const auto traced = std::lower_bound(options.trace_rows.begin(), options.trace_rows.end(), row);
        std::vector<float>* trace = traced != options.trace_rows.end() && *traced == row
                                        ? &result.traces[traced - options.trace_rows.begin()]
                                        : nullptr;
        const auto keep = [&](const StepSquares& squares) {
            if (trace)
                trace->push_back(static_cast<float>(squares.step));
        };
        Slot slot = start_slot(options, row, norm);
        anchor = z;
        double smallest = INFINITY;
        for (int32_t without = 0; slot.iterations < options.max_iterations - 1 && without < 16;) {
            const StepSquares squares = step(fast);
            const Verdict verdict = judge_step(options, slot, squares);
            if (verdict.status == Status::non_finite || verdict.status == Status::diverged) {
                slot.iterations--;
                break;
            }
            keep(squares);
            z = next;
            if (verdict.moves_anchor)
                anchor = z;
            without = squares.step < smallest ? 0 : without + 1;
            smallest = std::min(smallest, squares.step);
            if (verdict.status != Status::unfinished)
                break;
        }
        const int32_t iterations = slot.iterations;
        slot = start_slot(options, row, norm);
        slot.iterations = iterations;
        anchor = z;
        for (Status status = Status::unfinished; status == Status::unfinished;) {
            const StepSquares squares = step(strict);
            const Verdict verdict = judge_step(options, slot, squares);
            keep(squares);
            z = next;
            if (verdict.moves_anchor)
                anchor = z;
            status = verdict.status;
            result.residual[row] = static_cast<float>(squares.step);
            result.status[row] = static_cast<uint8_t>(status);
            result.period[row] = status == Status::cycle ? static_cast<uint8_t>(slot.candidate) : 0;
        }
        result.iterations[row] = slot.iterations;
        std::copy(z.begin(), z.end(), result.endpoints.begin() + row * k);
    }
    return result;
}

void two_phases() {
    IterateOptions options = defaults();
    options.trace_rows = {0, 1, 7, 20};
    const auto both = [&](const std::string& what, const Map& fast, const Map& strict, const Matrix& x) {
        const IterationResult expected = in_two_phases(fast, strict, x, options);
        for (int kinds = 0; kinds < 4; kinds++) {
            const Plans plans{map_plan(fast, 8, kinds & 1), map_plan(strict, 6, kinds & 2)};
            std::vector<IterationResult> all;
            in_every_order([&](const char* order) {
                all.push_back(on_device(plans, x, options));
                check_equal(what + ", kinds " + std::to_string(kinds) + ", " + order, all.back(), expected,
                            strict.k);
            });
            CHECK(all[0].same(all[1]), "%s: repeated runs differ", what.c_str());
        }
    };
    const auto rough = [](Map map) {
        map.digits = 11;
        return map;
    };
    const Matrix x = with_speeds(21, 5, 11);
    for (Criterion criterion : {Criterion::residual, Criterion::relative, Criterion::error_bound})
        for (double tolerance : {1e-5, 1e-9}) {
            options.criterion = criterion;
            options.tolerance = tolerance;
            const Map map{Kind::approach_by_row, 5, 0.9f};
            both("rounded", rough(map), map, x);
        }
    options.criterion = Criterion::residual;
    options.tolerance = 1e-6;
    for (int period : {2, 5})
        both("turns", rough(turning(5, period)), turning(5, period), x);
    both("growth", rough({Kind::grow, 5, 3}), {Kind::grow, 5, 3}, x);
    // What the fast map alone does is undone.
    both("fast overflow", {Kind::grow, 5, 1e30f}, {Kind::approach, 5, 0.5f}, x);
    both("fast NaN", {Kind::break_off, 5, 0.2f}, {Kind::approach, 5, 0.5f}, x);
    both("fast cycle", turning(5, 3), {Kind::approach, 5, 0.5f}, x);
    both("strict NaN", {Kind::approach, 5, 0.5f}, {Kind::break_off, 5, 0.2f}, x);
    for (int32_t most : {2, 3, 20}) {
        options.max_iterations = most;
        both("few steps", rough({Kind::approach, 5, 0.99f}), {Kind::approach, 5, 0.99f}, x);
    }
    options.max_iterations = 1;
    const Map map{Kind::approach, 5, 0.9f};
    check_equal("one step", on_device({map_plan(rough(map), 8), map_plan(map, 8)}, x, options),
                on_cpu(map, x, options), 5);
    options = defaults();
    options.trace_rows = {0, 70, 149};
    const Map speeds{Kind::approach_by_row, 20, 0.9f};
    const Matrix many = with_speeds(150, 20, 16);
    check_equal("many rows", on_device({map_plan(rough(speeds), 100), map_plan(speeds, 100)}, many, options),
                in_two_phases(rough(speeds), speeds, many, options), 20);
}

} // namespace

int main() {
    return test_on_device("cuda_iteration_phases", two_phases);
}
