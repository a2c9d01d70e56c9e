// Deduplication on the device against the CPU's: the same labels and representatives.
#include "latdyn/dedup.h"

#include "on_device.h"
#include "points.h"

#include <cmath>
#include <limits>

using namespace latdyn;
using namespace latdyn::test;

namespace {

cuda::Job job;

void compare(const char* what, const Matrix& x, DedupRule rule, double limit) {
    const bool euclidean = rule == DedupRule::euclidean;
    const double threshold = euclidean ? 0 : limit, distance = euclidean ? limit : 0;
    const DedupResult expected =
        dedup(x.data.data(), x.rows, x.columns, {rule, threshold, distance, 2}, nullptr);
    in_every_order([&](const char* order) {
        const DedupResult found =
            cuda::dedup(x.data.data(), x.rows, x.columns, rule, threshold, distance, job);
        CHECK(found.representatives == expected.representatives && found.labels == expected.labels &&
                  !found.aborted,
              "%s [%lld, %lld], %s %g, %s: %zu kept, expected %zu", what, static_cast<long long>(x.rows),
              static_cast<long long>(x.columns), euclidean ? "distance" : "cosine", limit, order,
              found.representatives.size(), expected.representatives.size());
    });
}

void compare(const char* what, const Matrix& x) {
    for (double threshold : {0.99, 0.5, -1.0, 1.0})
        compare(what, x, DedupRule::greedy, threshold);
    for (double distance : {0.0, 0.05, 1.0, 1e30})
        compare(what, x, DedupRule::euclidean, distance);
}

void known() {
    const Matrix axes(2, {1, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 3});
    const DedupResult found = cuda::dedup(axes.data.data(), 6, 2, DedupRule::greedy, 0.99, 0, {});
    CHECK(found.representatives == std::vector<int32_t>({0, 1, 2}) &&
              found.labels == std::vector<int32_t>({0, 1, 2, 0, 1, 2}),
          "axes and zeros");
    compare("axes and zeros", axes);
    compare("zeros", Matrix(7, 3));
    compare("one row", Matrix(2, {3, 4}));
    compare("no rows", Matrix(0, 4));
    // A row joins the best representative, not the first: 0 and 1 are kept, 2 is nearer to 1.
    compare("the best", Matrix(2, {1, 0, 0.7f, 0.7f, 0.8f, 0.75f, 0.9f, 0.1f}), DedupRule::greedy, 0.8);
    // Two equally good representatives: the first.
    compare("ties", Matrix(2, {1, 1, 1, -1, 1, 0, 2, 0}), DedupRule::greedy, 0.7);
}

void random_sets() {
    compare("gaussian", gaussian(150, 8, 1));
    compare("clusters", clustered(260, 20, 12, 0.02f, 2, 3));
    compare("clusters of all widths", clustered(140, 3, 5, 0.3f, 4, 5));
    compare("copies", clustered(140, 6, 7, 0, 6, 7));
    compare("one column", gaussian(150, 1, 8));
    compare("wide", clustered(140, 300, 4, 0.05f, 9, 10));
    // More than the first block.
    const int64_t rows = on_host ? 1300 : 50000;
    compare("several blocks", clustered(rows, 6, 40, 0.02f, 11, 12), DedupRule::greedy, 0.99);
    compare("several blocks", clustered(rows, 6, 40, 0.02f, 13, 14), DedupRule::euclidean, 0.1);
    compare("few joins", gaussian(1100, 5, 15), DedupRule::greedy, 0.95);
}

// Cosines that TF32 cannot tell from the limit.
void near_ties() {
    Matrix x = gaussian(200, 8, 20);
    for (int64_t i = 1; i < x.rows; i++)
        for (int64_t l = 0; l < x.columns; l++)
            x.row(i)[l] = x.row(0)[l] + 1e-4f * x.row(i)[l];
    for (double threshold : {1 - 1e-7, 1 - 1e-9, 1.0})
        compare("nearly equal", x, DedupRule::greedy, threshold);
    for (float& v : x.data)
        v += 300;
    for (double distance : {1e-4, 3e-4})
        compare("far from the origin", x, DedupRule::euclidean, distance);
}

void abuse() {
    Matrix x = gaussian(200, 3, 95);
    const auto run = [&](DedupRule rule, double threshold, double distance, const cuda::Job& with) {
        return cuda::dedup(x.data.data(), x.rows, x.columns, rule, threshold, distance, with);
    };
    std::string message = message_of([&] { run(DedupRule::components, 0.5, 0, {}); });
    CHECK(message == "the rule components runs on the CPU only", "%s", message.c_str());
    message = message_of([&] { run(DedupRule::greedy, std::nan(""), 0, {}); });
    CHECK(message == "threshold is NaN, expected a number", "%s", message.c_str());
    message = message_of([&] { run(DedupRule::euclidean, 0, -1, {}); });
    CHECK(message == "distance is -1.000000, expected at least 0", "%s", message.c_str());
    cuda::Job stopped;
    stopped.report = [](int64_t, int64_t) { return false; };
    const DedupResult result = run(DedupRule::greedy, 0.9, 0, stopped);
    CHECK(result.aborted && result.labels.empty() && result.representatives.empty(), "abort is ignored");
    x.row(12)[1] = std::numeric_limits<float>::quiet_NaN();
    message = message_of([&] { run(DedupRule::greedy, 0.9, 0, {}); });
    CHECK(message == "row 12 holds NaN in column 1, expected finite numbers", "%s", message.c_str());
}

void limits() {
#ifdef LATDYN_SIMT
    // Every pair of a block is a candidate, and the list holds those of one tile.
    job.memory = 1;
    compare("a short list", clustered(700, 6, 2, 1e-4f, 1, 2), DedupRule::greedy, 0.99);
    job = {};
    simt::limit_memory(5000);
    const std::string message = message_of([&] { compare("no memory", gaussian(200, 8, 3)); });
    CHECK(message.find("device: CUDA: allocating ") == 0, "%s", message.c_str());
    simt::limit_memory(int64_t{1} << 40);
    with_broken_launches({1, 3, 6}, [&] { compare("broken", gaussian(200, 8, 3)); });
#endif
}

} // namespace

int main() {
    if (!has_device())
        return skipped;
    known();
    random_sets();
    near_ties();
    abuse();
    limits();
    return test::finish("cuda_dedup");
}
