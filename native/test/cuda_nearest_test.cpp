// Nearest neighbours of the device against the CPU's: the same indices and the same doubles.
#include "latdyn/nearest.h"

#include "nearest_cases.h"
#include "on_device.h"
#include "points.h"

#include <cmath>
#include <limits>

using namespace latdyn;
using namespace latdyn::test;

namespace {

cuda::Job job;

void compare(const char* what, const Matrix& a, const Matrix& b) {
    for (Metric metric : {Metric::cosine, Metric::euclidean}) {
        JobCounters counters;
        const NearestResult expected =
            nearest(a.data.data(), a.rows, b.data.data(), b.rows, a.columns, {metric, 2}, counters);
        in_every_order([&](const char* order) {
            const NearestResult found =
                cuda::nearest(a.data.data(), a.rows, b.data.data(), b.rows, a.columns, metric, job);
            const auto differences = [](const Nearest& x, const Nearest& y) {
                int64_t count = x.index.size() != y.index.size();
                for (size_t i = 0; i < std::min(x.index.size(), y.index.size()); i++)
                    count += x.index[i] != y.index[i] || x.value[i] != y.value[i];
                return count;
            };
            const int64_t wrong =
                differences(found.of_a, expected.of_a) + differences(found.of_b, expected.of_b);
            CHECK(wrong == 0 && !found.aborted, "%s [%lld, %lld, %lld], %s, %s: %lld rows differ", what,
                  static_cast<long long>(a.rows), static_cast<long long>(b.rows),
                  static_cast<long long>(a.columns), metric == Metric::cosine ? "cosine" : "euclidean", order,
                  static_cast<long long>(wrong));
        });
    }
}

void known() {
    compare("axes", Matrix(2, {1, 0, 0, 2, -3, 0}), Matrix(2, {0, 5, 4, 0}));
    compare("one row each", Matrix(1, {2.5f}), Matrix(1, {-1}));
    compare("ties", Matrix(1, {1, 1}), Matrix(1, {3, 1, 1}));
    const Matrix zeros(2, {0, 0, 1, 1, 0, 0});
    compare("zeros against none", zeros, Matrix(2, {-1, 0, 0, -1}));
    compare("zeros against zeros", zeros, Matrix(2, {-1, -1, 0, 0, 0, 0}));
    compare("all zeros", Matrix(3, 4), Matrix(5, 4));
}

void random_sets() {
    uint64_t seed = 100;
    for (int64_t columns : {1, 2, 16, 33, 300})
        for (int64_t rows : {1, 47, 128, 200}) {
            compare("gaussian", gaussian(rows, columns, seed), gaussian(rows / 2 + 3, columns, seed + 1));
            seed += 2;
        }
    compare("clusters", clustered(300, 20, 9, 0.01f, 1, 2), clustered(150, 20, 9, 0.01f, 1, 3));
    compare("several tiles", gaussian(2100, 8, 4), gaussian(260, 8, 5));
    if (!on_host) {
        compare("large", gaussian(30000, 100, 6), gaussian(20000, 100, 7));
        compare("wide", gaussian(3000, 4096, 8), gaussian(2000, 4096, 9));
    }
}

void abuse() {
    const auto run = [](const Matrix& a, const Matrix& b, const cuda::Job& with) {
        return cuda::nearest(a.data.data(), a.rows, b.data.data(), b.rows, a.columns, Metric::cosine, with);
    };
    Matrix a = gaussian(200, 3, 95);
    const Matrix b = gaussian(30, 3, 96), none(0, 3);
    std::string message = message_of([&] { run(none, b, job); });
    CHECK(message == "a has no rows, expected at least one", "%s", message.c_str());
    cuda::Job stopped;
    stopped.report = [](int64_t, int64_t) { return false; };
    const NearestResult result = run(a, b, stopped);
    CHECK(result.aborted && result.of_a.index.empty() && result.of_b.value.empty(), "abort is ignored");
    a.row(121)[1] = std::numeric_limits<float>::quiet_NaN();
    message = message_of([&] { run(a, b, job); });
    CHECK(message == "a: row 121 holds NaN in column 1, expected finite numbers", "%s", message.c_str());
}

// A list of candidates that is too short, too little memory, and a device that breaks.
void limits() {
#ifdef LATDYN_SIMT
    const Matrix a = clustered(300, 6, 3, 1e-4f, 1, 2), b = clustered(280, 6, 3, 1e-4f, 1, 3);
    cuda::Job tight;
    tight.memory = 1;
    job = tight;
    compare("a list for one tile", a, b);
    job = {};
    std::string note;
    cuda::Job noting;
    noting.memory = 30 << 20;
    noting.note = [&](const std::string& sentence) { note = sentence; };
    simt::limit_memory(4 << 20);
    job = noting;
    compare("little memory", a, b);
    CHECK(note.find("out of device memory: blocks of ") == 0, "%s", note.c_str());
    simt::limit_memory(1000);
    std::string message = message_of([&] { compare("no memory", a, b); });
    CHECK(message.find("device: CUDA: allocating ") == 0, "%s", message.c_str());
    simt::limit_memory(int64_t{1} << 40);
    job = {};
    with_broken_launches({0, 3, 5}, [&] { compare("a broken device", a, b); });
    compare("after all that", a, b);
#endif
}

} // namespace

int main() {
    return test_on_device("cuda_nearest", [] {
        known();
        random_sets();
        near_ties({5, 64}, 140, 130, compare);
        lengths({1, 7, 40}, 100, 130, compare);
        abuse();
        limits();
    });
}
