// Deduplication against the definitions written out, row by row in double, on all instruction sets and with
// several numbers of threads.
#include "latdyn/dedup.h"

#include "check.h"
#include "dedup_with.h"
#include "latdyn/error.h"
#include "latdyn/noise.h"
#include "rows.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

using namespace latdyn;

namespace {

struct Matrix {
    int64_t rows, columns;
    std::vector<float> data;

    Matrix(int64_t rows, int64_t columns) : rows(rows), columns(columns), data(rows * columns) {}
    Matrix(int64_t columns, std::initializer_list<float> values)
        : rows(static_cast<int64_t>(values.size()) / columns), columns(columns), data(values) {}
    float* row(int64_t i) { return data.data() + i * columns; }
    const float* row(int64_t i) const { return data.data() + i * columns; }
};

// ---- the definitions ----

double plain_dot(const Matrix& x, int64_t i, int64_t j) {
    double sum = 0;
    for (int64_t l = 0; l < x.columns; l++)
        sum += double(x.row(i)[l]) * double(x.row(j)[l]);
    return sum;
}

// Similarity: what is highest wins, above the limit only.
double similarity(const Matrix& x, int64_t i, int64_t j, DedupRule rule) {
    if (rule == DedupRule::euclidean) {
        double sum = 0;
        for (int64_t l = 0; l < x.columns; l++) {
            const double d = double(x.row(i)[l]) - double(x.row(j)[l]);
            sum += d * d;
        }
        return -std::sqrt(sum);
    }
    const double a = plain_dot(x, i, i), b = plain_dot(x, j, j);
    // Zero vectors are equal to one another only, whatever the threshold.
    if (a == 0 || b == 0)
        return a == b ? std::numeric_limits<double>::infinity() : -std::numeric_limits<double>::infinity();
    return std::min(1.0, plain_dot(x, i, j) / std::sqrt(a * b));
}

DedupResult plain_greedy(const Matrix& x, DedupRule rule, double limit) {
    DedupResult result;
    for (int64_t i = 0; i < x.rows; i++) {
        int32_t label = -1;
        double best = limit;
        for (size_t r = 0; r < result.representatives.size(); r++) {
            const double s = similarity(x, i, result.representatives[r], rule);
            if (s > best)
                best = s, label = static_cast<int32_t>(r);
        }
        if (label < 0) {
            label = static_cast<int32_t>(result.representatives.size());
            result.representatives.push_back(static_cast<int32_t>(i));
        }
        result.labels.push_back(label);
    }
    return result;
}

DedupResult plain_components(const Matrix& x, double limit) {
    DedupResult result;
    result.labels.assign(x.rows, -1);
    for (int64_t i = 0; i < x.rows; i++) {
        if (result.labels[i] >= 0)
            continue;
        const int32_t label = static_cast<int32_t>(result.representatives.size());
        result.representatives.push_back(static_cast<int32_t>(i));
        result.labels[i] = label;
        std::vector<int64_t> frontier = {i};
        while (!frontier.empty()) {
            const int64_t from = frontier.back();
            frontier.pop_back();
            for (int64_t j = 0; j < x.rows; j++)
                if (result.labels[j] < 0 && similarity(x, from, j, DedupRule::components) > limit) {
                    result.labels[j] = label;
                    frontier.push_back(j);
                }
        }
    }
    return result;
}

DedupResult plain(const Matrix& x, const DedupOptions& options) {
    if (options.rule == DedupRule::components)
        return plain_components(x, options.threshold);
    const double limit =
        options.rule == DedupRule::euclidean ? -double(options.distance) : double(options.threshold);
    return plain_greedy(x, options.rule, limit);
}

// ---- the comparison ----

const char* rule_name(DedupRule rule) {
    return rule == DedupRule::greedy ? "greedy" : rule == DedupRule::components ? "components" : "euclidean";
}

void expect(const char* what, const Matrix& x, const DedupOptions& options, const DedupResult& expected) {
    for (Isa isa : {Isa::portable, Isa::avx2, Isa::avx512}) {
        if (!isa_available(isa))
            continue;
        for (int threads : {1, 3}) {
            DedupOptions with = options;
            with.threads = threads;
            const DedupResult found = dedup_with(isa, x.data.data(), x.rows, x.columns, with, nullptr);
            CHECK(found.representatives == expected.representatives && found.labels == expected.labels &&
                      !found.aborted,
                  "%s [%lld, %lld], %s, threshold %.9g, distance %.9g, %s, %d threads: %zu representatives, "
                  "expected %zu",
                  what, static_cast<long long>(x.rows), static_cast<long long>(x.columns),
                  rule_name(options.rule), double(options.threshold), double(options.distance), isa_name(isa),
                  threads, found.representatives.size(), expected.representatives.size());
        }
    }
}

void compare(const char* what, const Matrix& x, const DedupOptions& options) {
    expect(what, x, options, plain(x, options));
}

DedupOptions cosine(float threshold, DedupRule rule = DedupRule::greedy) {
    DedupOptions options;
    options.rule = rule;
    options.threshold = threshold;
    return options;
}
DedupOptions euclidean(float distance) {
    DedupOptions options;
    options.rule = DedupRule::euclidean;
    options.distance = distance;
    return options;
}

// ---- data ----

Matrix gaussian(int64_t rows, int64_t columns, uint64_t seed) {
    Matrix x(rows, columns);
    noise(seed, 0, rows, columns, 1, x.data.data());
    return x;
}

// Whole numbers in [0, bound) that depend on (seed, i).
uint64_t pick(uint64_t seed, uint64_t i, uint64_t bound) {
    uint64_t h = (seed * 0x9e3779b97f4a7c15 + i + 1) * 0xbf58476d1ce4e5b9;
    h = (h ^ (h >> 29)) * 0x94d049bb133111eb;
    return (h ^ (h >> 32)) % bound;
}

// Rows around `clusters` Gaussian centres, at a relative distance that differs from row to row.
Matrix clustered(int64_t rows, int64_t columns, int64_t clusters, float spread, uint64_t seed) {
    const Matrix centres = gaussian(clusters, columns, seed);
    Matrix x = gaussian(rows, columns, seed + 1);
    for (int64_t i = 0; i < rows; i++) {
        const float* centre = centres.row(pick(seed, i, clusters));
        const float size = spread * static_cast<float>(1 + pick(seed + 2, i, 4)) / 4;
        for (int64_t l = 0; l < columns; l++)
            x.row(i)[l] = centre[l] + size * x.row(i)[l];
    }
    return x;
}

// ---- known answers ----

void known() {
    const auto answer = [](std::vector<int32_t> representatives, std::vector<int32_t> labels) {
        return DedupResult{std::move(representatives), std::move(labels), false};
    };
    const DedupRule both[] = {DedupRule::greedy, DedupRule::components};

    for (DedupRule rule : both) {
        expect("no rows", Matrix(0, 4), cosine(0.99f, rule), answer({}, {}));
        expect("one row", Matrix(3, {1, 2, 3}), cosine(0.99f, rule), answer({0}, {0}));
        expect("one zero row", Matrix(3, {0, 0, 0}), cosine(0.99f, rule), answer({0}, {0}));
        // k = 1: only the sign is left.
        expect("numbers", Matrix(1, {2, -1, 5, -7, 0, 1e-30f, 0}), cosine(0.99f, rule),
               answer({0, 1, 4}, {0, 1, 0, 1, 2, 0, 2}));
        expect("zeros between", Matrix(2, {0, 0, 1, 0, 0, 0, 2, 0, 0, 1}), cosine(0.99f, rule),
               answer({0, 1, 4}, {0, 1, 0, 1, 2}));
        // A zero vector has no cosine: it stays apart at a threshold that everything else passes.
        expect("zero, low threshold", Matrix(2, {1, 0, 0, 0, -1, 0, 0, 1}), cosine(-2, rule),
               answer({0, 1}, {0, 1, 0, 0}));
        // cos = 0.5 exactly is not above 0.5.
        expect("strictly", Matrix(4, {1, 1, 1, 1, 2, 0, 0, 0}), cosine(0.5f, rule), answer({0, 1}, {0, 1}));
        expect("just above", Matrix(4, {1, 1, 1, 1, 2, 0, 0, 0}), cosine(std::nextafter(0.5f, 0.0f), rule),
               answer({0}, {0, 0}));
        // Nothing is above 1, not even a row's copy.
        expect("threshold 1", Matrix(2, {1, 2, 1, 2}), cosine(1, rule), answer({0, 1}, {0, 1}));
        // The far ends of float: squares that underflow and overflow in float.
        expect("tiny and huge", Matrix(2, {1e-38f, 2e-38f, 1e38f, 2e38f, 2e38f, -1e38f, 1e-45f, 0}),
               cosine(0.9f, rule), answer({0, 2, 3}, {0, 0, 1, 2}));
    }

    // Between two representatives the more similar wins, though it came later; of equals, the first.
    expect("most similar", Matrix(2, {1, 0, 0, 1, 1, 2, 1, 1}), cosine(0.4f), answer({0, 1}, {0, 1, 1, 0}));
    // Row 1 is no representative, so row 2, close to row 1 alone, opens a cluster: angles 0°, 20°, 40°, limit
    // 30°.
    const Matrix chain(2, {1, 0, std::cos(0.349f), std::sin(0.349f), std::cos(0.698f), std::sin(0.698f)});
    expect("chain", chain, cosine(std::cos(0.5236f)), answer({0, 2}, {0, 0, 1}));
    expect("chain", chain, cosine(std::cos(0.5236f), DedupRule::components), answer({0}, {0, 0, 0}));

    expect("no rows", Matrix(0, 4), euclidean(1), answer({}, {}));
    expect("numbers", Matrix(1, {0, 1, 0.5f, 2, 0.25f}), euclidean(1), answer({0, 1, 3}, {0, 1, 0, 2, 0}));
    expect("strictly", Matrix(2, {0, 0, 3, 4}), euclidean(5), answer({0, 1}, {0, 1}));
    expect("just below", Matrix(2, {0, 0, 3, 4}), euclidean(std::nextafter(5.0f, 6.0f)), answer({0}, {0, 0}));
    expect("distance 0", Matrix(2, {1, 2, 1, 2}), euclidean(0), answer({0, 1}, {0, 1}));
    expect("far", Matrix(1, {3e38f, -3e38f, 2.9e38f}), euclidean(1e38f), answer({0, 1}, {0, 1, 0}));
    expect("infinite distance", Matrix(1, {3e38f, -3e38f, 1}),
           euclidean(std::numeric_limits<float>::infinity()), answer({0}, {0, 0, 0}));
    expect("denormal", Matrix(1, {1e-42f, 3e-42f, 2.9e-42f}), euclidean(1e-42f), answer({0, 1}, {0, 1, 1}));
}

// ---- the definitions on many sets ----

void random_sets() {
    uint64_t seed = 100;
    for (int64_t columns : {1, 2, 3, 16, 33, 300, 515})
        for (int64_t rows : {2, 47, 300, 700}) {
            const Matrix x = clustered(rows, columns, 1 + rows / 20, 0.1f, seed++);
            for (float threshold : {-0.5f, 0.0f, 0.9f, 0.99f, 0.9999f})
                for (DedupRule rule : {DedupRule::greedy, DedupRule::components})
                    compare("clusters", x, cosine(threshold, rule));
            for (float distance : {0.01f, 0.3f, 3.0f})
                compare("clusters", x, euclidean(distance));
        }
}

// Enough rows for blocks of every size, few kept and all kept.
void large_sets() {
    compare("all unique", gaussian(5000, 24, 7), cosine(0.95f));
    compare("all unique", gaussian(3000, 24, 7), cosine(0.95f, DedupRule::components));
    compare("all unique", gaussian(3000, 24, 7), euclidean(0.5f));
    compare("few kept", clustered(20000, 16, 40, 0.02f, 8), cosine(0.99f));
    compare("few kept", clustered(6000, 16, 40, 0.02f, 8), cosine(0.99f, DedupRule::components));
    compare("few kept", clustered(20000, 16, 40, 0.002f, 8), euclidean(0.01f));
    compare("many kept", clustered(6000, 12, 1500, 0.15f, 9), cosine(0.99f));

    Matrix same(9000, 5);
    for (int64_t i = 0; i < same.rows; i++)
        for (int64_t l = 0; l < 5; l++)
            same.row(i)[l] = static_cast<float>(l) - 1.7f;
    for (DedupRule rule : {DedupRule::greedy, DedupRule::components})
        expect("all equal", same, cosine(0.99f, rule), {{0}, std::vector<int32_t>(9000, 0), false});
    expect("all equal", same, euclidean(1e-6f), {{0}, std::vector<int32_t>(9000, 0), false});
}

// Rows whose cosine with row 0 is the threshold, give or take what rounding to float leaves (1e-8 and less):
// below the error of the float product, so that only double tells them apart.
void near_threshold() {
    for (int64_t columns : {4, 64, 700}) {
        const float threshold = 0.99f;
        Matrix x = gaussian(600, columns, 20 + columns);
        double norm = std::sqrt(plain_dot(x, 0, 0));
        for (int64_t i = 1; i < x.rows; i++) {
            // Row i less its part along row 0, at the angle of the threshold to row 0.
            const double along = plain_dot(x, 0, i) / (norm * norm);
            std::vector<double> side(columns);
            double length = 0;
            for (int64_t l = 0; l < columns; l++) {
                side[l] = x.row(i)[l] - along * x.row(0)[l];
                length += side[l] * side[l];
            }
            length = std::sqrt(length);
            const double sine = std::sqrt(1 - double(threshold) * double(threshold));
            for (int64_t l = 0; l < columns; l++)
                x.row(i)[l] = static_cast<float>(threshold * x.row(0)[l] / norm + sine * side[l] / length);
        }
        const DedupResult expected = plain(x, cosine(threshold));
        int64_t joined = 0;
        for (int64_t i = 1; i < x.rows; i++)
            joined += similarity(x, 0, i, DedupRule::greedy) > threshold;
        CHECK(joined > 100 && joined < 500,
              "%lld of 599 rows are above the threshold: the set does not test the edge",
              static_cast<long long>(joined));
        expect("near the threshold", x, cosine(threshold), expected);
        compare("near the threshold", x, cosine(threshold, DedupRule::components));
    }
}

// Rows as close to one representative as to another, but for rounding to float.
// Four rows on a great circle, x, p, q, y: p is of x's cluster, q of y's, and p·q alone joins those. All
// elements of a row have one of two values, so that every sum rounds the same way all along: in double, x and
// p are at the angle 0, and so are q and y, where 6.8e-7 is true. The angle of x and y, which has no such
// error, is then further above the limit than 1e-6 and two radii of 0.
void rounded_radii() {
    constexpr int64_t k = 60000;
    constexpr float start = 16248568 * 0x1p-23f, step = 0x1p-23f;
    constexpr float radius = 11 * step, apart = 5610 * step;
    Matrix rows(4, k);
    const float along[] = {0, 2 * radius + apart, radius, radius + apart};
    for (int64_t i = 0; i < 4; i++)
        for (int64_t l = 0; l < k; l++)
            rows.row(i)[l] = start + (l % 8 < 4 ? along[i] : -along[i]);
    const auto joins = [&](int64_t i, int64_t j) {
        const double squares = dot(rows.row(i), rows.row(i), k) * dot(rows.row(j), rows.row(j), k);
        return dot(rows.row(i), rows.row(j), k) / std::sqrt(squares) > double(1 - 0x1p-24f);
    };
    CHECK(joins(0, 2) && joins(1, 3) && joins(2, 3) && !joins(0, 1) && !joins(0, 3) && !joins(1, 2),
          "the rows are not what they should be");
    DedupResult expected;
    expected.labels = {0, 0, 0, 0};
    expected.representatives = {0};
    expect("rounded radii", rows, cosine(1 - 0x1p-24f, DedupRule::components), expected);
}

void near_ties() {
    for (int64_t columns : {8, 300}) {
        Matrix x = gaussian(500, columns, 40 + columns);
        for (int64_t i = 2; i < x.rows; i++)
            for (int64_t l = 0; l < columns; l++) {
                const float even = x.row(0)[l] + x.row(1)[l];
                x.row(i)[l] = even + 1e-7f * static_cast<float>(pick(columns, i * columns + l, 5)) * even;
            }
        compare("near ties", x, cosine(0.1f));
        compare("near ties", x, euclidean(1000));
        // Of many nearly equal rows every one is the best, as far as float can tell.
        Matrix y = gaussian(400, columns, 50 + columns);
        for (int64_t i = 1; i < y.rows; i++)
            for (int64_t l = 0; l < columns; l++)
                y.row(i)[l] = y.row(0)[l] + 1e-4f * y.row(i)[l];
        for (float threshold : {1 - 1e-7f, 1 - 1e-6f})
            for (DedupRule rule : {DedupRule::greedy, DedupRule::components})
                compare("nearly equal", y, cosine(threshold, rule));
    }
}

// Far from the origin |x − y|² is a small difference of large squares.
void cancellation() {
    Matrix x = clustered(800, 40, 60, 0.01f, 61);
    for (float& v : x.data)
        v += 1000;
    for (float distance : {0.01f, 0.05f, 0.2f})
        compare("far from the origin", x, euclidean(distance));
}

// ---- properties ----

// Cosine rules do not see the length of a row; a power of two does not change its bits.
void scaling() {
    Matrix x = clustered(900, 30, 50, 0.1f, 71);
    for (float threshold : {0.5f, 0.98f, 0.995f})
        for (DedupRule rule : {DedupRule::greedy, DedupRule::components}) {
            const DedupResult expected = plain(x, cosine(threshold, rule));
            Matrix scaled = x;
            for (int64_t i = 0; i < x.rows; i++)
                for (int64_t l = 0; l < x.columns; l++)
                    scaled.row(i)[l] = std::ldexp(x.row(i)[l], static_cast<int>(pick(3, i, 180)) - 90);
            expect("scaled", scaled, cosine(threshold, rule), expected);
        }
}

// Components are a property of the set, not of its order.
void permutation() {
    const Matrix x = clustered(1500, 6, 60, 0.08f, 81);
    std::vector<int64_t> order(x.rows);
    std::iota(order.begin(), order.end(), 0);
    for (int64_t i = x.rows - 1; i > 0; i--)
        std::swap(order[i], order[pick(82, i, i + 1)]);
    Matrix shuffled(x.rows, x.columns);
    for (int64_t i = 0; i < x.rows; i++)
        std::copy_n(x.row(order[i]), x.columns, shuffled.row(i));
    const DedupOptions options = cosine(0.99f, DedupRule::components);
    const DedupResult a = dedup(x.data.data(), x.rows, x.columns, options, nullptr);
    const DedupResult b = dedup(shuffled.data.data(), x.rows, x.columns, options, nullptr);
    CHECK(a.representatives.size() == b.representatives.size(), "%zu components, shuffled %zu",
          a.representatives.size(), b.representatives.size());
    std::vector<int32_t> image(a.representatives.size(), -1);
    for (int64_t i = 0; i < x.rows; i++) {
        int32_t& to = image[a.labels[order[i]]];
        if (to < 0)
            to = b.labels[i];
        CHECK(to == b.labels[i], "row %lld changes its component", static_cast<long long>(i));
    }
}

void threads() {
    const Matrix x = clustered(4000, 20, 300, 0.12f, 91);
    for (DedupRule rule : {DedupRule::greedy, DedupRule::components, DedupRule::euclidean}) {
        DedupOptions options = cosine(0.99f, rule);
        options.distance = 0.5f;
        const DedupResult one = dedup(x.data.data(), x.rows, x.columns, options, nullptr);
        for (int threads : {2, 7, 64}) {
            options.threads = threads;
            const DedupResult many = dedup(x.data.data(), x.rows, x.columns, options, nullptr);
            CHECK(many.representatives == one.representatives && many.labels == one.labels,
                  "%s differs with %d threads", rule_name(rule), threads);
        }
    }
}

// ---- abuse ----

std::string message_of(const Matrix& x, const DedupOptions& options) {
    try {
        dedup(x.data.data(), x.rows, x.columns, options, nullptr);
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

void abuse() {
    for (DedupRule rule : {DedupRule::greedy, DedupRule::components, DedupRule::euclidean}) {
        Matrix x = gaussian(5000, 3, 95);
        const DedupOptions options = cosine(0.99f, rule);
        x.row(4321)[1] = std::numeric_limits<float>::quiet_NaN();
        const std::string nan = message_of(x, options);
        CHECK(nan == "row 4321 holds NaN in column 1, expected finite numbers", "%s", nan.c_str());
        x.row(17)[2] = -std::numeric_limits<float>::infinity();
        const std::string infinite = message_of(x, options);
        CHECK(infinite == "row 17 holds infinity in column 2, expected finite numbers", "%s",
              infinite.c_str());
    }
    const Matrix x = gaussian(500, 8, 96);
    CHECK(message_of(x, cosine(std::numeric_limits<float>::quiet_NaN())) ==
              "threshold is NaN, expected a number",
          "-");
    CHECK(message_of(x, euclidean(-1)) != "no error", "a negative distance passes");
    CHECK(message_of(x, euclidean(std::numeric_limits<float>::quiet_NaN())) != "no error",
          "a NaN distance passes");

    const std::atomic<bool> abort = true;
    for (DedupRule rule : {DedupRule::greedy, DedupRule::components, DedupRule::euclidean}) {
        const DedupResult result = dedup(x.data.data(), x.rows, x.columns, cosine(0.99f, rule), &abort);
        CHECK(result.aborted && result.labels.empty() && result.representatives.empty(), "%s ignores abort",
              rule_name(rule));
    }
}

} // namespace

int main() {
    known();
    random_sets();
    large_sets();
    near_threshold();
    rounded_radii();
    near_ties();
    cancellation();
    scaling();
    permutation();
    threads();
    abuse();
    return test::finish("dedup");
}
