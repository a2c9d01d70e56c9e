// Walks on the device against the CPU's: the same points, scores to 1e-12, curves to the rounding of floats.
#include "latdyn/trajectory.h"

#include "iteration.h"
#include "maps.h"
#include "on_device.h"
#include "points.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace latdyn;
using namespace latdyn::test;

namespace {

// A map as the CPU's walks take it, one row at a time.
class HostPlan : public Plan {
  public:
    explicit HostPlan(const Map& map) : map(map) {
        info.isa = widest_isa();
        info.input_elements = info.output_elements = map.k;
    }
    std::unique_ptr<Workspace> make_workspace() const override { return std::make_unique<Row>(map.k); }
    void run(Workspace& workspace) const override { map_on_host(map, workspace.input, 1, workspace.output); }

  private:
    struct Row : Workspace {
        std::vector<float> in, out;
        explicit Row(int64_t k) : in(static_cast<size_t>(k)), out(in) {
            input = in.data();
            output = out.data();
        }
    };
    const Map map;
};

struct Result {
    std::vector<double> score;
    std::vector<float> stored;
    std::vector<Curve> curves;
    bool done = true;

    Result(const Matrix& initial, const TrajectoryOptions& options)
        : score(static_cast<size_t>(initial.rows), -1),
          stored(initial.data.size() * options.store_steps.size(), -7), curves(options.curve_rows.size()) {}
    TrajectoryOutput output() { return {score.data(), stored.data(), &curves}; }
};

Result on_device(const Map& map, const Matrix& initial, const Matrix& attractors,
                 const TrajectoryOptions& options, int64_t batch, const cuda::Job& job = {}) {
    Result result(initial, options);
    result.done = cuda::walk(*map_plan(map, batch), initial.data.data(), initial.rows, attractors.data.data(),
                             attractors.rows, options, result.output(), job);
    return result;
}

template <class Number> bool near(Number found, Number expected, double error) {
    return std::isnan(expected) ? std::isnan(found)
                                : found == expected || std::abs(found - expected) <= error * expected;
}

bool near(const std::vector<float>& found, const std::vector<float>& expected) {
    return std::equal(found.begin(), found.end(), expected.begin(), expected.end(),
                      [](float a, float b) { return near(a, b, 1e-6); });
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](float x, float y) { return x == y || (std::isnan(x) && std::isnan(y)); });
}

Result on_cpu(const Map& map, const Matrix& initial, const Matrix& attractors,
              const TrajectoryOptions& options) {
    Result result(initial, options);
    JobCounters counters;
    trajectory(HostPlan(map), initial.data.data(), initial.rows, {attractors.data.data(), attractors.rows},
               options, result.output(), counters);
    return result;
}

void check_equal(const std::string& what, const Result& found, const Result& expected) {
    CHECK(found.done, "%s: not done", what.c_str());
    for (size_t i = 0; i < expected.score.size(); i++)
        CHECK(near(found.score[i], expected.score[i], 1e-12), "%s, path %zu: score %.17g, expected %.17g",
              what.c_str(), i, found.score[i], expected.score[i]);
    CHECK(same(found.stored, expected.stored), "%s: other points are stored", what.c_str());
    for (size_t i = 0; i < expected.curves.size(); i++) {
        const Curve &a = found.curves[i], &b = expected.curves[i];
        CHECK(near(a.residual, b.residual) && near(a.norm, b.norm) && near(a.distance, b.distance),
              "%s, curve %zu: %zu residuals, %zu norms, %zu distances, expected %zu, %zu, %zu", what.c_str(),
              i, a.residual.size(), a.norm.size(), a.distance.size(), b.residual.size(), b.norm.size(),
              b.distance.size());
    }
}

void compare(const std::string& what, const Map& map, const Matrix& initial, const Matrix& attractors,
             const TrajectoryOptions& options, int64_t batch) {
    const Result expected = on_cpu(map, initial, attractors, options);
    in_every_order([&](const char* order) {
        check_equal(what + ", " + order, on_device(map, initial, attractors, options, batch), expected);
    });
}

// Points that a map approaches, and others.
Matrix around_ends(int64_t count, int64_t k, uint64_t seed) {
    Matrix x = gaussian(count, k, seed);
    for (int64_t e = 0; e < k; e++)
        x.row(0)[e] = end_of(e);
    return x;
}

TrajectoryOptions steps(int32_t count, std::vector<int32_t> stored = {}, std::vector<int32_t> curves = {}) {
    TrajectoryOptions options;
    options.steps = count;
    options.store_steps = std::move(stored);
    options.curve_rows = std::move(curves);
    return options;
}

void known() {
    // From 8.5 by halves to 0.5: distances 8, 4, 2, 1 to it, of which the first is 1.5 to the attractor
    // at 10.
    const Matrix initial(1, {8.5f}), attractors(1, {10, 0.5f});
    const Result found = on_device({Kind::approach, 1, 0.5f}, initial, attractors, steps(3, {0, 3}, {0}), 4);
    const Curve& curve = found.curves[0];
    CHECK(found.done && found.score[0] == (1.5 + 4 + 2 + 1) / 4 &&
              found.stored == std::vector<float>({8.5f, 1.5f}) &&
              curve.residual == std::vector<float>({16, 4, 1}) &&
              curve.norm == std::vector<float>({8.5f, 4.5f, 2.5f, 1.5f}) &&
              curve.distance == std::vector<float>({1.5f, 4, 2, 1}),
          "score %.17g", found.score[0]);
}

void cases() {
    for (int64_t k : {1, 2, 5, 33}) {
        const Matrix x = gaussian(11, k, static_cast<uint64_t>(k), 2), ends = around_ends(4, k, 20);
        const std::string size = "k = " + std::to_string(k);
        compare("approach, " + size, {Kind::approach, k, 0.7f}, x, ends, steps(9, {0, 4, 9}, {0, 3, 10}), 4);
        compare("NaN, " + size, {Kind::break_off, k, 0.3f}, x, ends, steps(30, {30}, {0, 1, 2}), 11);
        compare("growth, " + size, {Kind::grow, k, 1e12f}, x, ends, steps(5, {5}, {4}), 3);
        compare("no attractors, " + size, {Kind::alternate, k, 0.9f}, x, Matrix(0, k),
                steps(7, {2, 3}, {0, 10}), 4);
        compare("no steps, " + size, {Kind::approach, k, 0.7f}, x, ends, steps(0, {0}, {5}), 4);
    }
    const Matrix wide = gaussian(3, 1000, 21);
    compare("k = 1000", {Kind::approach, 1000, 0.5f}, wide, around_ends(3, 1000, 22), steps(3, {1}, {2}), 2);
    compare("no rows", {Kind::approach, 3, 0.5f}, Matrix(0, 3), around_ends(2, 3, 23), steps(3, {1}), 4);
    compare("one row", {Kind::approach, 3, 0.5f}, gaussian(1, 3, 24), around_ends(2, 3, 23), steps(3, {1}),
            4);
    // More steps than are walked between two looks of the host.
    compare("many steps", {Kind::alternate, 3, 0.99f}, gaussian(5, 3, 25), around_ends(2, 3, 23),
            steps(130, {0, 49, 50, 51, 130}, {1, 4}), 5);
    Matrix broken = gaussian(5, 3, 26);
    broken.row(2)[1] = std::numeric_limits<float>::quiet_NaN();
    compare("a start that is not finite", {Kind::approach, 3, 0.5f}, broken, around_ends(2, 3, 23),
            steps(4, {0, 4}, {1, 2}), 5);
    if (!on_host)
        compare("large", {Kind::approach, 128, 0.9f}, gaussian(5000, 128, 27), around_ends(300, 128, 28),
                steps(100, {100}, {17, 4999}), 2000);
}

// As score_paths gives them for the points that are stored.
void stored_paths() {
    const Map map{Kind::approach, 6, 0.8f};
    const Matrix x = gaussian(9, 6, 29, 3), ends = around_ends(5, 6, 30);
    std::vector<int32_t> all;
    for (int32_t t = 0; t <= 12; t++)
        all.push_back(t);
    const Result walked = on_device(map, x, ends, steps(12, all), 4);
    std::vector<double> score(9);
    const bool done =
        cuda::score_paths(walked.stored.data(), 9, 13, 6, ends.data.data(), ends.rows, score.data(), {});
    CHECK(done && score == walked.score, "a walk and the path that it stores have different scores");
}

void abuse() {
    const Map map{Kind::approach, 4, 0.5f};
    const Matrix x = gaussian(10, 4, 31);
    Matrix ends = around_ends(3, 4, 32);
    Result result(x, steps(5));
    const auto plan = map_plan(map, 4);
    const auto run = [&](const Matrix& against) {
        cuda::walk(*plan, x.data.data(), 10, against.data.data(), against.rows, steps(5), result.output(),
                   {});
    };
    plan->info.output_elements = 3;
    std::string message = message_of([&] { run(ends); });
    CHECK(message == "the map takes 4 elements and gives 3: it cannot be iterated", "%s", message.c_str());
    plan->info.output_elements = 4;
    ends.row(1)[2] = std::numeric_limits<float>::infinity();
    message = message_of([&] { run(ends); });
    CHECK(message == "attractors: row 1 holds infinity in column 2, expected finite numbers", "%s",
          message.c_str());
    for (int calls : {0, 1, 3}) {
        int made = 0;
        cuda::Job job;
        job.report = [&](int64_t, int64_t) { return made++ < calls; };
        const Result found = on_device(map, x, around_ends(3, 4, 32), steps(5), 4, job);
        CHECK(!found.done && std::isnan(found.score[9]) && made == calls + 1, "abort is ignored");
    }
}

void limits() {
#ifdef LATDYN_SIMT
    const Map map{Kind::approach, 20, 0.9f};
    const Matrix x = gaussian(40, 20, 33), ends = around_ends(6, 20, 34);
    const TrajectoryOptions options = steps(25, {0, 25}, {0, 39});
    const Result expected = on_cpu(map, x, ends, options);
    const int64_t before = simt::memory_in_use();
    int64_t notes = 0;
    cuda::Job job;
    job.note = [&](const std::string& sentence) {
        notes++;
        CHECK(sentence.find("out of device memory: blocks of ") == 0, "%s", sentence.c_str());
    };
    job.memory = 1 << 20;
    for (int64_t room : {600, 500, 460}) {
        simt::limit_memory(before + room * 1024);
        check_equal("little memory", on_device(map, x, ends, options, 64, job), expected);
        CHECK(simt::memory_in_use() == before, "memory is left behind");
    }
    CHECK(notes > 0, "memory was not short");
    simt::limit_memory(before + 100 * 1024);
    std::string message = message_of([&] { on_device(map, x, ends, options, 64); });
    CHECK(message.find("device: CUDA: allocating ") == 0, "%s", message.c_str());
    simt::limit_memory(int64_t{1} << 40);
    for (int64_t launch = 0;; launch++) {
        simt::fail_launch_after(launch);
        message = message_of([&] { on_device(map, x, ends, options, 64); });
        if (message == "no error")
            break;
        CHECK(message.find("illegal memory access") != std::string::npos, "%s", message.c_str());
        CHECK(simt::memory_in_use() == before, "memory is left behind");
    }
    simt::fail_launch_after(-1);
    check_equal("after all that", on_device(map, x, ends, options, 64), expected);
#endif
}

} // namespace

int main() {
    return test_on_device("cuda_walk", [] {
        known();
        cases();
        stored_paths();
        abuse();
        limits();
    });
}
