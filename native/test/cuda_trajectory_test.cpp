// Scores of stored paths on the device against the CPU's, to 1e-12.
#include "latdyn/trajectory.h"

#include "on_device.h"
#include "points.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace latdyn;
using namespace latdyn::test;

namespace {

cuda::Job job;

void compare(const char* what, const Matrix& paths, int64_t points, const Matrix& attractors) {
    const int64_t k = attractors.columns, rows = paths.rows / points;
    JobCounters counters;
    std::vector<double> expected(static_cast<size_t>(rows)), found(expected);
    score_paths(paths.data.data(), rows, points, k, {attractors.data.data(), attractors.rows}, 2,
                expected.data(), counters);
    in_every_order([&](const char* order) {
        std::fill(found.begin(), found.end(), -1.0);
        const bool done = cuda::score_paths(paths.data.data(), rows, points, k, attractors.data.data(),
                                            attractors.rows, found.data(), job);
        for (int64_t i = 0; i < rows; i++)
            CHECK(done && (std::isnan(expected[i]) ? std::isnan(found[i])
                                                   : std::abs(found[i] - expected[i]) <= 1e-12 * expected[i]),
                  "%s [%lld, %lld, %lld], %lld attractors, %s, path %lld: %.17g, expected %.17g", what,
                  static_cast<long long>(rows), static_cast<long long>(points), static_cast<long long>(k),
                  static_cast<long long>(attractors.rows), order, static_cast<long long>(i), found[i],
                  expected[i]);
    });
}

// Paths that run into the nearest of some attractors.
Matrix settling(int64_t rows, int64_t points, const Matrix& attractors, uint64_t seed) {
    const Matrix from = gaussian(rows, attractors.columns, seed);
    Matrix paths(rows * points, attractors.columns);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t t = 0; t < points; t++)
            for (int64_t l = 0; l < attractors.columns; l++) {
                const float to = attractors.row(static_cast<int64_t>(pick(seed, i, attractors.rows)))[l];
                paths.row(i * points + t)[l] =
                    to + (from.row(i)[l] - to) * std::ldexp(1.0f, -static_cast<int>(t));
            }
    return paths;
}

void known() {
    const float paths[] = {3, 2, 1, 10, 11, 12}, attractors[] = {0, 10};
    double score[2] = {};
    CHECK(cuda::score_paths(paths, 2, 3, 1, attractors, 2, score, {}) && score[0] == 2 && score[1] == 1,
          "distances on a line: %g, %g", score[0], score[1]);
}

void abuse() {
    Matrix attractors = gaussian(5, 4, 1), paths = gaussian(3 * 20, 4, 2);
    paths.row(7)[1] = std::numeric_limits<float>::quiet_NaN();
    paths.row(59)[3] = std::numeric_limits<float>::infinity();
    compare("not finite", paths, 20, attractors);
    double score[3];
    const auto run = [&](int64_t count, const cuda::Job& with) {
        return cuda::score_paths(paths.data.data(), 3, 20, 4, attractors.data.data(), count, score, with);
    };
    std::string message = message_of([&] { run(0, {}); });
    CHECK(message == "attractors has no rows, expected at least one", "%s", message.c_str());
    cuda::Job stopped;
    stopped.report = [](int64_t, int64_t) { return false; };
    CHECK(!run(5, stopped) && std::isnan(score[0]), "abort is ignored");
    attractors.row(3)[0] = std::numeric_limits<float>::quiet_NaN();
    message = message_of([&] { run(5, {}); });
    CHECK(message == "attractors: row 3 holds NaN in column 0, expected finite numbers", "%s",
          message.c_str());
}

void limits() {
#ifdef LATDYN_SIMT
    const Matrix attractors = gaussian(20, 10, 3);
    const Matrix paths = settling(40, 30, attractors, 4);
    std::string note;
    job.note = [&](const std::string& sentence) { note = sentence; };
    job.memory = 420 << 10;
    simt::limit_memory(560 << 10);
    compare("little memory", paths, 30, attractors);
    CHECK(note.find("out of device memory: blocks of ") == 0, "%s", note.c_str());
    simt::limit_memory(int64_t{1} << 40);
    job = {};
    compare("enough again", paths, 30, attractors);
#endif
}

} // namespace

int main() {
    return test_on_device("cuda_trajectory", [] {
        known();
        for (int64_t k : {1, 5, 32, 130})
            for (int64_t count : {1, 3, 150}) {
                const Matrix attractors = gaussian(count, k, static_cast<uint64_t>(k));
                compare("settling", settling(7, 12, attractors, 5), 12, attractors);
                compare("wandering", gaussian(6 * 5, k, 6), 5, attractors);
            }
        compare("one point", gaussian(9, 4, 7), 1, gaussian(2, 4, 8));
        compare("copies of attractors", gaussian(40, 3, 9), 10, clustered(30, 3, 2, 0, 10, 11));
        if (!on_host) {
            const Matrix attractors = gaussian(300, 128, 12);
            compare("large", settling(2000, 50, attractors, 13), 50, attractors);
        }
        abuse();
        limits();
    });
}
