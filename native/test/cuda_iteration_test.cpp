// The iteration on the device against the CPU's, with maps whose ends are known.
#include "iteration.h"

#include "graphs.h"
#include "iteration_result.h"
#include "maps.h"
#include "on_device.h"
#include "points.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

using namespace latdyn;
using namespace latdyn::test;

namespace {

using Result = IterationResult;

Result on_cpu(const Map& map, const Matrix& initial, const IterateOptions& options) {
    return iterated_on_host(initial, options, 64, [&](std::span<const float> points, int64_t rows) {
        std::vector<float> mapped(points.size());
        map_on_host(map, points.data(), rows, mapped.data());
        return mapped;
    });
}

// The two phases for one row after the other, as the comment of iterate() tells them.
Result in_two_phases(const Map& fast, const Map& strict, const Matrix& initial,
                     const IterateOptions& options) {
    Result result(initial, options);
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

struct Plans {
    std::unique_ptr<cuda::DevicePlan> fast, strict;
    cuda::Maps maps() const { return {fast.get(), strict.get()}; }
};

Result on_device(const Plans& plans, const Matrix& initial, const IterateOptions& options,
                 const cuda::Job& job = {}) {
    Result result(initial, options);
    result.done = cuda::iterate(plans.maps(), initial.data.data(), initial.rows, options, result.output(),
                                &result.evaluations, job);
    return result;
}

bool near(float found, float expected) {
    return std::isnan(expected) ? std::isnan(found)
                                : found == expected || std::abs(found - expected) <= 1e-6f * expected;
}

bool near(const std::vector<float>& found, const std::vector<float>& expected) {
    return found.size() == expected.size() && std::equal(found.begin(), found.end(), expected.begin(),
                                                         [](float a, float b) { return near(a, b); });
}

// The same steps, statuses and points; residuals to the rounding of their sums.
void check_equal(const std::string& what, const Result& found, const Result& expected, int64_t k) {
    CHECK(found.done, "%s: not done", what.c_str());
    CHECK(found.evaluations == expected.evaluations, "%s: %lld evaluations, expected %lld", what.c_str(),
          static_cast<long long>(found.evaluations), static_cast<long long>(expected.evaluations));
    for (size_t i = 0; i < expected.status.size(); i++) {
        bool ends = true;
        for (int64_t e = 0; e < k; e++) {
            const float a = found.endpoints[i * k + e], b = expected.endpoints[i * k + e];
            ends = ends && (a == b || (std::isnan(a) && std::isnan(b)));
        }
        CHECK(found.iterations[i] == expected.iterations[i] && found.status[i] == expected.status[i] &&
                  found.period[i] == expected.period[i] && ends &&
                  near(found.residual[i], expected.residual[i]),
              "%s, row %zu: %d steps, status %d, period %d, residual %.9g, endpoint %s; expected %d, %d, %d, "
              "%.9g",
              what.c_str(), i, found.iterations[i], found.status[i], found.period[i], found.residual[i],
              ends ? "equal" : "another", expected.iterations[i], expected.status[i], expected.period[i],
              expected.residual[i]);
    }
    for (size_t i = 0; i < expected.traces.size(); i++)
        CHECK(near(found.traces[i], expected.traces[i]), "%s: trace %zu has %zu steps, expected %zu",
              what.c_str(), i, found.traces[i].size(), expected.traces[i].size());
}

// Runs the map in batches of `batch` in every order, by itself and persistent.
void compare(const std::string& what, const Map& map, const Matrix& initial, const IterateOptions& options,
             int64_t batch) {
    const Result expected = on_cpu(map, initial, options);
    for (bool persistent : {false, true}) {
        const Plans plans{nullptr, map_plan(map, batch, persistent)};
        std::vector<Result> all;
        in_every_order([&](const char* order) {
            all.push_back(on_device(plans, initial, options));
            check_equal(what + (persistent ? ", persistent, " : ", ") + order, all.back(), expected, map.k);
        });
        CHECK(all[0].same(all[1]), "%s: repeated runs differ", what.c_str());
    }
}

Map turning(int64_t k, int period) {
    Map map{Kind::turn, k};
    const double angle = 2 * M_PI / period;
    map.cosine = static_cast<float>(std::cos(angle));
    map.sine = static_cast<float>(std::sin(angle));
    return map;
}

Matrix with_speeds(int64_t rows, int64_t k, uint64_t seed) {
    Matrix x = gaussian(rows, k, seed);
    for (int64_t i = 0; i < rows; i++)
        x.row(i)[k - 1] = static_cast<float>(1 + pick(seed, i, 7));
    return x;
}

IterateOptions defaults() {
    IterateOptions options;
    options.max_iterations = 300;
    return options;
}

void known() {
    // Half the way to 0.5 with every step: from 1.5, |step|² = 4⁻ᵗ, which is below 1e-6 at the tenth.
    const Matrix initial(1, {1.5f, 0.5f});
    std::vector<cuda::Stage> stages;
    cuda::Job job;
    job.stage = [&](cuda::Stage stage) { stages.push_back(stage); };
    const Result found = on_device({nullptr, map_plan({Kind::approach, 1, 0.5f}, 8)}, initial, {}, job);
    CHECK(stages == std::vector<cuda::Stage>({cuda::Stage::resident, cuda::Stage::computed}), "%zu stages",
          stages.size());
    CHECK(found.done && found.iterations[0] == 10 && found.iterations[1] == 1 && found.status[0] == 0 &&
              found.status[1] == 0 && found.endpoints[0] == 0.5f + 0x1p-10f && found.endpoints[1] == 0.5f &&
              found.residual[0] == 0x1p-20f && found.residual[1] == 0 && found.evaluations == 11,
          "%d steps to %.9g, residual %.9g, %lld evaluations", found.iterations[0], found.endpoints[0],
          found.residual[0], static_cast<long long>(found.evaluations));
    const Matrix point(4, {1, 0, 0, 1});
    for (int period = 2; period <= 16; period++) {
        const Result cycle = on_device({nullptr, map_plan(turning(4, period), 8)}, point, {});
        CHECK(cycle.status[0] == static_cast<uint8_t>(Status::cycle) && cycle.period[0] == period,
              "a turn of period %d: status %d, period %d", period, cycle.status[0], cycle.period[0]);
    }
}

void kinds(int64_t k, int64_t rows, int64_t batch) {
    const std::string size = "k = " + std::to_string(k) + ", " + std::to_string(rows) + " rows";
    const Matrix x = gaussian(rows, k, static_cast<uint64_t>(k));
    IterateOptions options = defaults();
    options.trace_rows = {0, static_cast<int32_t>(rows - 1)};
    compare("approach, " + size, {Kind::approach, k, 0.7f}, x, options, batch);
    compare("identity, " + size, {Kind::same, k}, x, options, batch);
    compare("constant, " + size, {Kind::constant, k}, x, options, batch);
    compare("growth, " + size, {Kind::grow, k, 3}, x, options, batch);
    compare("overflow, " + size, {Kind::grow, k, 1e30f}, x, options, batch);
    compare("NaN, " + size, {Kind::break_off, k, 0.1f}, x, options, batch);
    compare("from side to side, " + size, {Kind::alternate, k, 0.9f}, x, options, batch);
    for (int period : {2, 3, 16})
        compare("turn, " + size, turning(k, period), x, options, batch);
    if (k > 1)
        compare("speeds, " + size, {Kind::approach_by_row, k, 0.8f}, with_speeds(rows, k, 3), options, batch);
    options.max_iterations = 60;
    options.tolerance = 1e-12;
    compare("slow, " + size, {Kind::approach, k, 0.999f}, x, options, batch);
}

void criteria() {
    const Matrix x = with_speeds(23, 5, 4);
    for (Criterion criterion : {Criterion::residual, Criterion::relative, Criterion::error_bound})
        for (double tolerance : {1e-3, 1e-8}) {
            IterateOptions options = defaults();
            options.criterion = criterion;
            options.tolerance = tolerance;
            options.trace_rows = {0, 3, 4, 22};
            const std::string what = "criterion " + std::to_string(static_cast<int>(criterion));
            compare(what, {Kind::approach_by_row, 5, 0.9f}, x, options, 4);
            compare(what + ", turn", turning(5, 5), x, options, 8);
        }
}

void shapes() {
    IterateOptions options = defaults();
    const Map map{Kind::approach_by_row, 6, 0.9f};
    compare("no rows", map, Matrix(0, 6), options, 8);
    compare("one row", map, with_speeds(1, 6, 5), options, 8);
    // The batch shrinks from any size.
    for (int64_t batch : {1, 2, 3, 7, 16, 100})
        compare("batches of " + std::to_string(batch), map, with_speeds(41, 6, 6), options, batch);
    for (int32_t most : {1, 2, 3}) {
        options.max_iterations = most;
        compare("at most " + std::to_string(most), map, with_speeds(9, 6, 7), options, 4);
    }
    // A block a point.
    compare("long rows", {Kind::approach_by_row, 2500, 0.6f}, with_speeds(3, 2500, 9), defaults(), 2);
    options = defaults();
    for (int32_t row = 0; row < 41; row++)
        options.trace_rows.push_back(row);
    compare("all traced", map, with_speeds(41, 6, 6), options, 16);
    if (!on_host) {
        options.trace_rows = {5, 70000, 99999};
        compare("many rows", {Kind::approach_by_row, 16, 0.97f}, with_speeds(100000, 16, 8), options, 20000);
        compare("many long rows", {Kind::approach_by_row, 16384, 0.9f}, with_speeds(300, 16384, 9),
                defaults(), 128);
    }
}

// A row's bits do not depend on the batch, its place, or the other rows.
void independence() {
    const int64_t k = 33;
    const Matrix x = with_speeds(40, k, 10);
    Matrix reversed(40, k);
    for (int64_t i = 0; i < 40; i++)
        std::copy_n(x.row(i), k, reversed.row(39 - i));
    const Map map{Kind::approach_by_row, k, 0.9f}, rough{Kind::approach_by_row, k, 0.9f, 1, 0, 11};
    const IterateOptions options = defaults();
    for (bool two : {false, true}) {
        const auto plans = [&](int64_t batch) {
            return Plans{two ? map_plan(rough, batch) : nullptr, map_plan(map, batch)};
        };
        const Result first = on_device(plans(64), x, options);
        for (int64_t batch : {1, 5, 16})
            CHECK(on_device(plans(batch), x, options).same(first), "a batch of %lld has other results",
                  static_cast<long long>(batch));
        const Result other = on_device(plans(8), reversed, options);
        bool same = true;
        for (int64_t i = 0; i < 40; i++)
            same = same && other.residual[39 - i] == first.residual[i] &&
                   other.iterations[39 - i] == first.iterations[i] &&
                   std::memcmp(&other.endpoints[(39 - i) * k], &first.endpoints[i * k], k * 4) == 0;
        CHECK(same, "a row has other results at another place");
    }
}

void two_phases() {
    IterateOptions options = defaults();
    options.trace_rows = {0, 1, 7, 20};
    const auto both = [&](const std::string& what, const Map& fast, const Map& strict, const Matrix& x) {
        const Result expected = in_two_phases(fast, strict, x, options);
        for (int kinds = 0; kinds < 4; kinds++) {
            const Plans plans{map_plan(fast, 8, kinds & 1), map_plan(strict, 6, kinds & 2)};
            std::vector<Result> all;
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
}

void apply_in_blocks() {
    const Map map{Kind::approach, 7, 0.3f};
    for (int64_t rows : {0, 1, 5, 16, 37}) {
        const Matrix x = gaussian(rows, 7, 12);
        Matrix expected(rows, 7), found(rows, 7);
        map_on_host(map, x.data.data(), rows, expected.data.data());
        in_every_order([&](const char* order) {
            std::fill(found.data.begin(), found.data.end(), 0.0f);
            int64_t finished = 0;
            cuda::Job job;
            job.report = [&](int64_t rows_done, int64_t evaluations) {
                CHECK(rows_done >= finished && evaluations == rows_done, "progress goes back");
                finished = rows_done;
                return true;
            };
            const bool done = cuda::apply(*map_plan(map, 8), x.data.data(), rows, found.data.data(), job);
            CHECK(done && finished == rows && found.data == expected.data, "%lld rows, %s",
                  static_cast<long long>(rows), order);
        });
    }
    const Matrix x = gaussian(20, 7, 12);
    Matrix found(20, 7);
    cuda::Job job;
    job.report = [](int64_t finished, int64_t) { return finished < 8; };
    CHECK(!cuda::apply(*map_plan(map, 8), x.data.data(), 20, found.data.data(), job) &&
              found.row(7)[0] != 0 && found.row(8)[0] == 0,
          "abort is ignored");
}

void aborts() {
    const Map map{Kind::approach_by_row, 4, 0.9f}, slow{Kind::approach, 4, 0.9999f};
    const Matrix x = with_speeds(30, 4, 13);
    IterateOptions options = defaults();
    options.trace_rows = {0, 29};
    const Result expected = on_cpu(map, x, options);
    for (bool persistent : {false, true})
        for (bool two : {false, true})
            for (int64_t calls = 0; calls < 90; calls += persistent ? 7 : 1) {
                int64_t made = 0, finished = 0, evaluations = 0;
                cuda::Job job;
                job.report = [&](int64_t rows, int64_t applied) {
                    CHECK(made <= calls, "asked again after it said no");
                    CHECK(rows >= finished && applied >= evaluations && rows <= 30, "progress goes back");
                    finished = rows;
                    evaluations = applied;
                    return made++ < calls;
                };
                const Plans plans{two ? map_plan(map, 8, persistent) : nullptr, map_plan(map, 8, persistent)};
                const Result found = on_device(plans, x, options, job);
                if (found.done)
                    continue;
                int64_t left = 0;
                for (int64_t i = 0; i < 30; i++) {
                    const bool open = found.status[i] == static_cast<uint8_t>(Status::unfinished);
                    left += open;
                    // How far it got: as many steps from where it started.
                    std::vector<float> z(x.row(i), x.row(i) + 4), next(4);
                    float residual = 0;
                    for (int32_t t = 0; t < found.iterations[i]; t++) {
                        map_on_host(map, z.data(), 1, next.data());
                        double step = 0;
                        for (int e = 0; e < 4; e++)
                            step += double(next[e] - z[e]) * (next[e] - z[e]);
                        residual = static_cast<float>(step);
                        z = next;
                    }
                    CHECK(near(found.residual[i], residual), "row %lld after an abort: residual %.9g of %.9g",
                          static_cast<long long>(i), found.residual[i], residual);
                    CHECK(std::equal(z.begin(), z.end(), found.endpoints.begin() + i * 4) &&
                              (two || open || found.iterations[i] == expected.iterations[i]),
                          "row %lld after an abort", static_cast<long long>(i));
                }
                CHECK((left > 0 || persistent) && found.evaluations >= evaluations,
                      "an abort after %lld calls leaves %lld", static_cast<long long>(calls),
                      static_cast<long long>(left));
                for (size_t i : {0, 1}) {
                    const auto row = static_cast<size_t>(options.trace_rows[i]);
                    CHECK(found.traces[i].size() == static_cast<size_t>(found.iterations[row]),
                          "a trace of %zu steps of %d", found.traces[i].size(), found.iterations[row]);
                }
            }
    // Nothing ends by itself here.
    options = defaults();
    options.max_iterations = 1 << 30;
    options.tolerance = 1e-30;
    int calls = 0;
    cuda::Job job;
    job.report = [&](int64_t, int64_t) { return calls++ < 30; };
    const Result found = on_device({nullptr, map_plan(slow, 64)}, x, options, job);
    CHECK(!found.done && found.iterations[0] > 5 && (!on_host || found.iterations[0] < 60) &&
              found.evaluations >= 30 * found.iterations[0],
          "%d steps, %lld evaluations", found.iterations[0], static_cast<long long>(found.evaluations));
}

// Waits for the device where it may only enqueue.
class Waits : public cuda::DevicePlan {
  public:
    explicit Waits(std::unique_ptr<DevicePlan> plan) : plan(std::move(plan)) { info = this->plan->info; }
    void run(const float* input, float* output, int64_t rows, unsigned char* arena) const override {
        plan->run(input, output, rows, arena);
        cuda::synchronize();
    }

  private:
    const std::unique_ptr<DevicePlan> plan;
};

// Plans of graphs, both layouts and a fast precision: where the CPU ends, but for rows that float rounds to
// another side.
void graphs() {
    reseed(5);
    Builder b;
    const int64_t k = 6, hidden = 24, rows = on_host ? 40 : 2000;
    const int x = b.input({k});
    const int h = b.node("linear", {x, b.constant({hidden, k}, 0.7f), b.constant({hidden}, 0.3f)}, {hidden},
                         {}, {ActivationKind::tanh, 0, 0});
    b.node("linear", {h, b.constant({k, hidden}, 0.3f), b.constant({k}, 0.3f)}, {k});
    const Matrix initial = gaussian(rows, k, 17, 2);
    const IterateOptions options = defaults();
    Result expected(initial, options);
    JobCounters counters;
    iterate(*compile(b.graph, {}), initial.data.data(), rows, options, expected.output(), counters);
    std::string reason;
    for (int layouts = 0; layouts < 4; layouts++) {
        const auto plan = [&](bool fused, cuda::Precision precision) {
            return fused ? cuda::fuse_plan(b.graph, precision, &reason)
                         : cuda::compile_plan(b.graph, precision);
        };
        const Plans plans{plan(layouts & 1, cuda::Precision::tf32),
                          plan(layouts & 2, cuda::Precision::float32)};
        if (!plans.fast || !plans.strict) {
            CHECK(false, "%s", reason.c_str());
            continue;
        }
        const Result found = on_device(plans, initial, options);
        int64_t others = 0, converged = 0;
        for (int64_t i = 0; i < rows; i++) {
            double apart = 0;
            for (int64_t e = 0; e < k; e++)
                apart = std::max(apart, std::abs(double(found.endpoints[i * k + e]) -
                                                 double(expected.endpoints[i * k + e])));
            const bool same = found.status[i] == expected.status[i] &&
                              (found.status[i] != static_cast<uint8_t>(Status::converged) || apart < 0.02);
            others += !same;
            converged += found.status[i] == static_cast<uint8_t>(Status::converged);
        }
        CHECK(found.done && others <= rows / 20 && converged >= rows / 2,
              "layouts %d: %lld of %lld rows end elsewhere, %lld converge", layouts,
              static_cast<long long>(others), static_cast<long long>(rows),
              static_cast<long long>(converged));
        CHECK(on_device(plans, initial, options).same(found), "layouts %d: repeated runs differ", layouts);
    }
}

void abuse() {
    const Matrix x = gaussian(3, 4, 14);
    Plans plans{nullptr, map_plan({Kind::approach, 4, 0.5f}, 8)};
    plans.strict->info.output_elements = 5;
    const std::string message = message_of([&] { on_device(plans, x, {}); });
    CHECK(message == "the map takes 4 elements and gives 5: it cannot be iterated", "%s", message.c_str());
    Matrix broken = gaussian(6, 4, 15);
    broken.row(1)[2] = std::numeric_limits<float>::quiet_NaN();
    broken.row(4)[0] = std::numeric_limits<float>::infinity();
    broken.row(5)[0] = std::numeric_limits<float>::max();
    compare("points that are not finite", {Kind::approach, 4, 0.5f}, broken, defaults(), 4);
}

void limits() {
#ifdef LATDYN_SIMT
    const Map map{Kind::approach_by_row, 20, 0.9f}, rough{Kind::approach_by_row, 20, 0.9f, 1, 0, 11};
    const Matrix x = with_speeds(150, 20, 16);
    IterateOptions options = defaults();
    options.trace_rows = {0, 70, 149};
    const Plans plans{map_plan(rough, 100), map_plan(map, 100)};
    const Result expected = on_device(plans, x, options);
    check_equal("two phases", expected, in_two_phases(rough, map, x, options), 20);
    const int64_t before = simt::memory_in_use();
    std::string message = message_of([&] {
        on_device({nullptr, std::make_unique<Waits>(map_plan(map, 100))}, x, options);
    });
    CHECK(message.find("operation not permitted when stream is capturing") != std::string::npos, "%s",
          message.c_str());
    CHECK(on_device(plans, x, options).same(expected), "after a recording that failed");

    // Drivers without conditional nodes.
    simt::offer_conditional_nodes(false);
    CHECK(on_device(plans, x, options).same(expected), "without conditional nodes");
    simt::offer_conditional_nodes(true);

    // 400 steps, 50 to a start: one that comes before the recording, and eight starts.
    IterateOptions many = defaults();
    many.max_iterations = 400;
    many.tolerance = 1e-30;
    const int64_t started = simt::recordings_started();
    on_device({nullptr, map_plan({Kind::approach, 20, 0.9999f}, 150)}, x, many);
    CHECK(simt::recordings_started() - started == 8, "%lld starts",
          static_cast<long long>(simt::recordings_started() - started));

    // Little memory: smaller batches, then blocks of rows.
    bool fewer_points = false, fewer_rows = false;
    cuda::Job job;
    job.note = [&](const std::string& sentence) {
        CHECK(sentence.find("out of device memory: blocks of ") == 0, "%s", sentence.c_str());
        fewer_points = fewer_points || sentence.ends_with("points instead of 100");
        fewer_rows = fewer_rows || sentence.ends_with("rows instead of 150");
    };
    job.memory = 200 << 10;
    for (int64_t room : {80, 60, 40, 30, 20}) {
        simt::limit_memory(before + room * 1024);
        CHECK(on_device(plans, x, options, job).same(expected), "%lld KiB", static_cast<long long>(room));
        CHECK(simt::memory_in_use() == before, "memory is left behind");
    }
    CHECK(fewer_points && fewer_rows, "memory was not short");
    simt::limit_memory(before + 30 * 1024);
    job = {};
    CHECK(on_device(plans, x, options, job).same(expected), "what fits is known before");
    simt::limit_memory(before + 500);
    message = message_of([&] { on_device(plans, x, options); });
    CHECK(message.find("device: CUDA: allocating ") == 0, "%s", message.c_str());
    simt::limit_memory(before + 3000);
    Matrix out(150, 20), mapped(150, 20);
    CHECK(cuda::apply(*plans.strict, x.data.data(), 150, out.data.data(), {}), "little memory");
    map_on_host(map, x.data.data(), 150, mapped.data.data());
    CHECK(out.data == mapped.data, "rows in small blocks");
    simt::limit_memory(int64_t{1} << 40);

    // A launch that fails, wherever it is, ends the job and leaves nothing behind.
    for (bool persistent : {false, true}) {
        const Plans fragile{map_plan(rough, 100, persistent), map_plan(map, 100, persistent)};
        for (int64_t launch = 0;; launch += 1 + launch / 16) {
            simt::fail_launch_after(launch);
            message = message_of([&] { on_device(fragile, x, options); });
            if (message == "no error")
                break;
            CHECK(message.find("illegal memory access") != std::string::npos, "%s", message.c_str());
            CHECK(simt::memory_in_use() == before, "launch %lld: memory is left behind",
                  static_cast<long long>(launch));
        }
        simt::fail_launch_after(-1);
    }
    with_broken_launches({0, 1, 2},
                         [&] { cuda::apply(*map_plan(map, 8), x.data.data(), 150, out.data.data(), {}); });
    CHECK(on_device(plans, x, options).same(expected), "after all that");
#endif
}

} // namespace

int main() {
    return test_on_device("cuda_iteration", [] {
        known();
        for (int64_t k : {1, 2, 5, 33})
            kinds(k, 11, 4);
        kinds(1000, 3, 2);
        criteria();
        shapes();
        independence();
        two_phases();
        apply_in_blocks();
        aborts();
        graphs();
        abuse();
        limits();
    });
}
