// The iteration on the device against the CPU's, with maps whose ends are known.
#include "iteration_cases.h"

#include "graphs.h"

using namespace latdyn;
using namespace latdyn::test;

namespace {

void known() {
    // Half the way to 0.5 with every step: from 1.5, |step|² = 4⁻ᵗ, which is below 1e-6 at the tenth.
    const Matrix initial(1, {1.5f, 0.5f});
    std::vector<cuda::Stage> stages;
    cuda::Job job;
    job.stage = [&](cuda::Stage stage) { stages.push_back(stage); };
    const IterationResult found =
        on_device({nullptr, map_plan({Kind::approach, 1, 0.5f}, 8)}, initial, {}, job);
    CHECK(stages == std::vector<cuda::Stage>({cuda::Stage::resident, cuda::Stage::computed}), "%zu stages",
          stages.size());
    CHECK(found.done && found.iterations[0] == 10 && found.iterations[1] == 1 && found.status[0] == 0 &&
              found.status[1] == 0 && found.endpoints[0] == 0.5f + 0x1p-10f && found.endpoints[1] == 0.5f &&
              found.residual[0] == 0x1p-20f && found.residual[1] == 0 && found.evaluations == 11,
          "%d steps to %.9g, residual %.9g, %lld evaluations", found.iterations[0], found.endpoints[0],
          found.residual[0], static_cast<long long>(found.evaluations));
    const Matrix point(4, {1, 0, 0, 1});
    for (int period = 2; period <= 16; period++) {
        const IterationResult cycle = on_device({nullptr, map_plan(turning(4, period), 8)}, point, {});
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
        const IterationResult first = on_device(plans(64), x, options);
        for (int64_t batch : {1, 5, 16})
            CHECK(on_device(plans(batch), x, options).same(first), "a batch of %lld has other results",
                  static_cast<long long>(batch));
        const IterationResult other = on_device(plans(8), reversed, options);
        bool same = true;
        for (int64_t i = 0; i < 40; i++)
            same = same && other.residual[39 - i] == first.residual[i] &&
                   other.iterations[39 - i] == first.iterations[i] &&
                   std::memcmp(&other.endpoints[(39 - i) * k], &first.endpoints[i * k], k * 4) == 0;
        CHECK(same, "a row has other results at another place");
    }
}

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
    IterationResult expected(initial, options);
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
        const IterationResult found = on_device(plans, initial, options);
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
        graphs();
    });
}
