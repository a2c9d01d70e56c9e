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

const char* name_of(DedupRule rule) {
    return rule == DedupRule::euclidean ? "distance" : rule == DedupRule::greedy ? "cosine" : "components";
}

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
              static_cast<long long>(x.columns), name_of(rule), limit, order, found.representatives.size(),
              expected.representatives.size());
    });
}

void compare(const char* what, const Matrix& x) {
    for (double threshold : {0.99, 0.5, -1.0, 1.0})
        compare(what, x, DedupRule::greedy, threshold);
    compare(what, x, DedupRule::components, 0.9);
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
    for (double threshold : {-1.0, 1.0})
        compare("axes and zeros", axes, DedupRule::components, threshold);
    compare("the best", Matrix(2, {1, 0, 0.7f, 0.7f, 0.8f, 0.75f, 0.9f, 0.1f}), DedupRule::greedy, 0.8);
    // Two equally good representatives: the first.
    compare("ties", Matrix(2, {1, 1, 1, -1, 1, 0, 2, 0}), DedupRule::greedy, 0.7);
}

// Unit vectors `step` radians apart on a circle, which row i has at place (i·stride) mod rows: a chain whose
// links are spread over all blocks.
Matrix circle(int64_t rows, double step, int64_t stride) {
    Matrix x(rows, 3);
    for (int64_t i = 0; i < rows; i++) {
        const double angle = step * static_cast<double>(i * stride % rows);
        x.row(i)[0] = static_cast<float>(std::cos(angle));
        x.row(i)[1] = static_cast<float>(std::sin(angle));
        x.row(i)[2] = 0.5f;
    }
    return x;
}

void expect(const char* what, const Matrix& x, double threshold, int64_t components,
            const std::vector<int32_t>& labels) {
    in_every_order([&](const char* order) {
        const DedupResult found =
            cuda::dedup(x.data.data(), x.rows, x.columns, DedupRule::components, threshold, 0, job);
        CHECK(static_cast<int64_t>(found.representatives.size()) == components && found.labels == labels,
              "%s [%lld, %lld], %s: %zu components, expected %lld", what, static_cast<long long>(x.rows),
              static_cast<long long>(x.columns), order, found.representatives.size(),
              static_cast<long long>(components));
    });
}

std::vector<int32_t> ascending(int64_t count) {
    std::vector<int32_t> labels;
    for (int32_t i = 0; i < count; i++)
        labels.push_back(i);
    return labels;
}

void chains() {
    const int64_t rows = on_host ? 320 : 20000;
    const std::vector<int32_t> one(static_cast<size_t>(rows), 0);
    // (Rows are cos and sin on a circle of radius 1 at height 0.5: neighbours' cosine is (cos(step) + 0.25)
    // / 1.25.)
    const double step = 3.0 / static_cast<double>(rows);
    const auto cosine = [](double angle) { return (std::cos(angle) + 0.25) / 1.25; };
    const double links = cosine(1.5 * step), none = cosine(0.5 * step);
    for (int64_t stride : {int64_t{1}, int64_t{147}}) {
        const Matrix x = circle(rows, step, stride);
        expect("a chain", x, links, 1, one);
        expect("a chain without links", x, none, rows, ascending(rows));
    }
    // Two chains side by side, and a link between them in the last row.
    Matrix two(rows + 1, 3);
    std::vector<int32_t> sides;
    const double of_two = 6.0 / static_cast<double>(rows);
    for (int64_t i = 0; i < rows; i++) {
        const double angle = of_two * static_cast<double>(i / 2), side = i % 2 ? -1 : 1;
        two.row(i)[0] = static_cast<float>(side * std::cos(angle / 2));
        two.row(i)[1] = static_cast<float>(side * std::sin(angle / 2));
        two.row(i)[2] = 0.1f;
        sides.push_back(i % 2);
    }
    two.row(rows)[2] = 1;
    sides.push_back(2);
    const double threshold = (std::cos(of_two) + 0.01) / 1.01;
    expect("two chains", two, threshold, 3, sides);
    // The last row is as near to all rows of both.
    const double near_all = 0.1 / std::sqrt(1.01) - 1e-3;
    expect("two chains with a link", two, near_all, 1,
           std::vector<int32_t>(static_cast<size_t>(rows) + 1, 0));
    compare("two chains", two, DedupRule::components, 0.999);
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
    compare("several blocks", clustered(rows, 6, 40, 0.02f, 11, 12), DedupRule::components, 0.99);
    // Wide clusters that touch, and rows that mostly stand alone.
    compare("touching clusters", clustered(600, 4, 30, 0.15f, 16, 17), DedupRule::components, 0.99);
    compare("few joins", gaussian(400, 5, 15), DedupRule::components, 0.95);
    // More clusters than a tile has pairs of them, and zero vectors between.
    Matrix x = clustered(500, 10, 300, 0.05f, 18, 19);
    for (int64_t i = 0; i < x.rows; i += 50)
        for (int64_t l = 0; l < x.columns; l++)
            x.row(i)[l] = 0;
    compare("many clusters and zeros", x, DedupRule::components, 0.97);
}

// Cosines that TF32 cannot tell from the limit.
void near_ties() {
    Matrix x = gaussian(200, 8, 20);
    for (int64_t i = 1; i < x.rows; i++)
        for (int64_t l = 0; l < x.columns; l++)
            x.row(i)[l] = x.row(0)[l] + 1e-4f * x.row(i)[l];
    for (DedupRule rule : {DedupRule::greedy, DedupRule::components})
        for (double threshold : {1 - 1e-7, 1 - 1e-9, 1.0})
            compare("nearly equal", x, rule, threshold);
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
    std::string message = message_of([&] { run(DedupRule::greedy, std::nan(""), 0, {}); });
    CHECK(message == "threshold is NaN, expected a number", "%s", message.c_str());
    message = message_of([&] { run(DedupRule::euclidean, 0, -1, {}); });
    CHECK(message == "distance is -1.000000, expected at least 0", "%s", message.c_str());
    cuda::Job stopped;
    stopped.report = [](int64_t, int64_t) { return false; };
    const DedupResult result = run(DedupRule::greedy, 0.9, 0, stopped);
    CHECK(result.aborted && result.labels.empty() && result.representatives.empty(), "abort is ignored");
    // Components: at every place where the job is asked.
    int asked = 0;
    cuda::Job counting;
    counting.report = [&](int64_t finished, int64_t) {
        CHECK(finished >= 0 && finished <= x.rows, "%lld rows are finished",
              static_cast<long long>(finished));
        asked++;
        return true;
    };
    run(DedupRule::components, 0.9, 0, counting);
    CHECK(asked >= 3, "the job is asked %d times", asked);
    for (int last = 1; last <= asked; last++) {
        cuda::Job ending;
        int left = last;
        ending.report = [&](int64_t, int64_t) { return --left > 0; };
        const DedupResult ended = run(DedupRule::components, 0.9, 0, ending);
        CHECK(ended.aborted && ended.labels.empty(), "abort at place %d of %d is ignored", last, asked);
    }
    x.row(12)[1] = std::numeric_limits<float>::quiet_NaN();
    message = message_of([&] { run(DedupRule::greedy, 0.9, 0, {}); });
    CHECK(message == "row 12 holds NaN in column 1, expected finite numbers", "%s", message.c_str());
}

void limits() {
#ifdef LATDYN_SIMT
    // Every pair of a block is a candidate, and the list holds those of one tile.
    job.memory = 1;
    compare("a short list", clustered(700, 6, 2, 1e-4f, 1, 2), DedupRule::greedy, 0.99);
    // Blocks of one panel, and no matrix of clusters.
    compare("small blocks", clustered(500, 6, 30, 0.05f, 3, 4), DedupRule::components, 0.99);
    compare("small blocks, alone", gaussian(400, 5, 5), DedupRule::components, 0.95);
    job = {};
    // The list overflows: more pairs than one tile has, that only double tells apart.
    Matrix close = gaussian(400, 8, 21);
    for (int64_t i = 1; i < close.rows; i++)
        for (int64_t l = 0; l < close.columns; l++)
            close.row(i)[l] = close.row(0)[l] + 1e-4f * close.row(i)[l];
    job.memory = 1 << 19;
    compare("a list that overflows", close, DedupRule::components, 1 - 1e-9);
    job = {};
    // Rows that do not fit at once, beside a list that took what there was.
    int shrunk = 0;
    job.memory = int64_t{1} << 30;
    job.note = [&](const std::string& sentence) {
        shrunk += sentence.find(" rows instead of ") != std::string::npos;
    };
    simt::limit_memory(2500000);
    compare("blocks that shrink", clustered(3000, 64, 30, 0.05f, 3, 4), DedupRule::components, 0.99);
    CHECK(shrunk > 0, "all rows fit at once: nothing is tested");
    simt::limit_memory(int64_t{1} << 40);
    job = {};
    simt::limit_memory(5000);
    const std::string message = message_of([&] { compare("no memory", gaussian(200, 8, 3)); });
    CHECK(message.find("device: CUDA: allocating ") == 0, "%s", message.c_str());
    simt::limit_memory(int64_t{1} << 40);
    with_broken_launches({1, 3, 6}, [&] { compare("broken", gaussian(200, 8, 3)); });
    // After the greedy pass has run its fifteen.
    with_broken_launches({14, 16, 18, 20, 21},
                         [&] { compare("broken", gaussian(200, 8, 3), DedupRule::components, 0.95); });
#endif
}

} // namespace

int main() {
    return test_on_device("cuda_dedup", [] {
        known();
        chains();
        random_sets();
        near_ties();
        abuse();
        limits();
    });
}
