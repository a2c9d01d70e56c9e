// Scores from the nearest rows on the device against the CPU's, to 1e-12.
#include "latdyn/knn.h"

#include "on_device.h"
#include "points.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace latdyn;
using namespace latdyn::test;

namespace {

cuda::Job job;

void compare(const char* what, const Matrix& reference, const Matrix& queries, int64_t neighbours,
             KnnRule rule, bool normalise) {
    JobCounters counters;
    const KnnResult expected =
        knn_score(reference.data.data(), reference.rows, queries.data.data(), queries.rows, queries.columns,
                  {neighbours, rule, normalise, 2}, counters);
    std::vector<double> first;
    in_every_order([&](const char* order) {
        const KnnResult found =
            cuda::knn_score(reference.data.data(), reference.rows, queries.data.data(), queries.rows,
                            queries.columns, neighbours, rule, normalise, job);
        double worst = 0;
        for (size_t i = 0; i < expected.score.size(); i++) {
            const double difference = std::abs(found.score[i] - expected.score[i]);
            // Rows of unit length are rounded before they are subtracted. (Not so where one of them is NaN.)
            const bool same = difference <= 1e-12 * expected.score[i] + (normalise ? 1e-15 : 0);
            worst = same ? worst : std::max(worst, difference);
        }
        CHECK(worst == 0 && found.neighbours == expected.neighbours &&
                  found.score.size() == expected.score.size(),
              "%s [%lld, %lld, %lld], K = %lld%s%s, %s: scores differ by %g", what,
              static_cast<long long>(reference.rows), static_cast<long long>(queries.rows),
              static_cast<long long>(queries.columns), static_cast<long long>(neighbours),
              rule == KnnRule::kth ? ", the last" : "", normalise ? ", normalised" : "", order, worst);
        CHECK(first.empty() || first == found.score, "%s: scores depend on the order of threads (%s)", what,
              order);
        first = found.score;
    });
}

void compare_all(const char* what, const Matrix& reference, const Matrix& queries,
                 std::initializer_list<int64_t> some) {
    for (int64_t neighbours : some)
        for (KnnRule rule : {KnnRule::mean, KnnRule::kth})
            for (bool normalise : {false, true})
                compare(what, reference, queries, neighbours, rule, normalise);
}

void known() {
    const cuda::Job plain;
    const Matrix line(1, {0, 1, 3, 6, 10}), at(1, {0});
    const auto score = [&](int64_t k, KnnRule rule) {
        return cuda::knn_score(line.data.data(), 5, at.data.data(), 1, 1, k, rule, false, plain).score[0];
    };
    CHECK(score(1, KnnRule::mean) == 0 && score(3, KnnRule::mean) == 4.0 / 3 &&
              score(9, KnnRule::mean) == 4 && score(3, KnnRule::kth) == 3 && score(5, KnnRule::kth) == 10,
          "distances on a line");
}

void abuse() {
    Matrix reference = gaussian(200, 3, 95), queries = gaussian(300, 3, 96);
    const auto run = [&](int64_t rows, int64_t k, const cuda::Job& with) {
        return cuda::knn_score(reference.data.data(), rows, queries.data.data(), queries.rows, 3, k,
                               KnnRule::mean, false, with);
    };
    std::string message = message_of([&] { run(200, 0, {}); });
    CHECK(message == "K is 0, expected at least 1", "%s", message.c_str());
    message = message_of([&] { run(0, 1, {}); });
    CHECK(message == "reference has no rows, expected at least one", "%s", message.c_str());
    cuda::Job small;
    small.memory = 1;
    int64_t calls = 0;
    small.report = [&](int64_t finished, int64_t) {
        calls++;
        return finished < 256;
    };
    const KnnResult stopped = run(200, 5, small);
    CHECK(stopped.aborted && calls == 3 && !std::isnan(stopped.score[255]) && std::isnan(stopped.score[256]),
          "abort after two blocks of queries");
    queries.row(7)[2] = -std::numeric_limits<float>::infinity();
    message = message_of([&] { run(200, 1, {}); });
    CHECK(message == "queries: row 7 holds infinity in column 2, expected finite numbers", "%s",
          message.c_str());
}

void limits() {
#ifdef LATDYN_SIMT
    const Matrix reference = gaussian(150, 6, 1), queries = gaussian(300, 6, 2);
    std::string note;
    job.memory = 100 << 20;
    job.note = [&](const std::string& sentence) { note = sentence; };
    simt::limit_memory(500 << 10);
    compare("little memory", reference, queries, 10, KnnRule::mean, false);
    CHECK(note == "out of device memory: blocks of 128 queries instead of 384", "%s", note.c_str());
    simt::limit_memory(int64_t{1} << 40);
    job = {};
    with_broken_launches({5}, [&] { compare("broken", reference, queries, 10, KnnRule::mean, false); });
#endif
}

} // namespace

int main() {
    return test_on_device("cuda_knn", [] {
        known();
        compare_all("gaussian", gaussian(300, 20, 1), gaussian(20, 20, 2), {1, 299, 1000});
        compare_all("one row", gaussian(1, 5, 3), gaussian(3, 5, 4), {1, 2});
        compare_all("one column", gaussian(140, 1, 5), gaussian(40, 1, 6), {3});
        compare_all("wide", gaussian(130, 300, 7), gaussian(5, 300, 8), {10});
        compare_all("copies", clustered(200, 4, 3, 0, 9, 10), clustered(20, 4, 3, 0, 9, 11), {1, 5, 150});
        compare_all("zeros", Matrix(130, 6), Matrix(3, 6), {1, 100});
        Matrix far = gaussian(150, 6, 12), from = gaussian(20, 6, 13);
        for (Matrix* x : {&far, &from})
            for (float& v : x->data)
                v = 1000 + 1e-2f * v;
        compare_all("far from the origin", far, from, {1, 20});
        if (!on_host) {
            compare_all("large", gaussian(50000, 64, 14), gaussian(3000, 64, 15), {1, 2000});
            compare_all("large and wide", gaussian(5000, 4096, 16), gaussian(500, 4096, 17), {50});
        }
        abuse();
        limits();
    });
}
