// Nearest neighbours against the definition written out, pair by pair in double, on all instruction sets and
// with several numbers of threads.
#include "latdyn/nearest.h"

#include "check.h"
#include "latdyn/error.h"
#include "nearest_cases.h"
#include "nearest_with.h"
#include "points.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

using namespace latdyn;
using namespace latdyn::test;

namespace {

const char* metric_name(Metric metric) {
    return metric == Metric::cosine ? "cosine" : "euclidean";
}

// In the order that rows.h sums in, so that equal means the same bits.
template <class Term> double sum_of(int64_t k, Term term) {
    double sums[8] = {};
    for (int64_t l = 0; l < k; l++)
        sums[l % 8] += term(l);
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

double plain_dot(const float* x, const float* y, int64_t k) {
    return sum_of(k, [&](int64_t l) { return double(x[l]) * double(y[l]); });
}

// What is higher wins: the cosine, or minus the squared distance.
double similarity(const float* x, const float* y, int64_t k, Metric metric) {
    if (metric == Metric::euclidean)
        return -sum_of(k, [&](int64_t l) {
            const double d = double(x[l]) - double(y[l]);
            return d * d;
        });
    const double a = plain_dot(x, x, k), b = plain_dot(y, y, k);
    if (a == 0 || b == 0)
        return a == b ? 1 : 0;
    return std::clamp(plain_dot(x, y, k) / std::sqrt(a * b), -1.0, 1.0);
}

Nearest plain(const Matrix& of, const Matrix& among, Metric metric) {
    Nearest result;
    for (int64_t i = 0; i < of.rows; i++) {
        int32_t index = 0;
        double best = -std::numeric_limits<double>::infinity();
        for (int64_t j = 0; j < among.rows; j++) {
            const double s = similarity(of.row(i), among.row(j), of.columns, metric);
            if (s > best)
                best = s, index = static_cast<int32_t>(j);
        }
        result.index.push_back(index);
        result.value.push_back(metric == Metric::euclidean ? std::sqrt(-best) : best);
    }
    return result;
}

NearestResult search(Isa isa, const Matrix& a, const Matrix& b, Metric metric, int threads) {
    JobCounters counters;
    NearestResult result = nearest_with(isa, a.data.data(), a.rows, b.data.data(), b.rows, a.columns,
                                        {metric, threads}, counters);
    CHECK(counters.finished == std::max(a.rows, b.rows), "%lld rows finished",
          static_cast<long long>(counters.finished));
    return result;
}

void expect(const char* what, const Matrix& a, const Matrix& b, Metric metric, const Nearest& of_a,
            const Nearest& of_b) {
    for (Isa isa : {Isa::portable, Isa::avx2, Isa::avx512}) {
        if (!isa_available(isa))
            continue;
        for (int threads : {1, 3}) {
            const NearestResult found = search(isa, a, b, metric, threads);
            const auto same = [](const Nearest& x, const Nearest& y) {
                return x.index == y.index && x.value == y.value;
            };
            CHECK(same(found.of_a, of_a) && same(found.of_b, of_b) && !found.aborted,
                  "%s [%lld, %lld, %lld], %s, %s, %d threads", what, static_cast<long long>(a.rows),
                  static_cast<long long>(b.rows), static_cast<long long>(a.columns), metric_name(metric),
                  isa_name(isa), threads);
        }
    }
}

void compare(const char* what, const Matrix& a, const Matrix& b) {
    for (Metric metric : {Metric::cosine, Metric::euclidean})
        expect(what, a, b, metric, plain(a, b, metric), plain(b, a, metric));
}

void known() {
    const Matrix a(2, {1, 0, 0, 2, -3, 0}), b(2, {0, 5, 4, 0});
    expect("axes", a, b, Metric::cosine, {{1, 0, 0}, {1, 1, 0}}, {{1, 0}, {1, 1}});
    expect("axes", a, b, Metric::euclidean, {{1, 0, 0}, {3, 3, std::sqrt(34.0)}}, {{1, 0}, {3, 3}});
    expect("one row each", Matrix(1, {2.5f}), Matrix(1, {-1}), Metric::euclidean, {{0}, {3.5}}, {{0}, {3.5}});
    expect("one row each", Matrix(1, {2.5f}), Matrix(1, {-1}), Metric::cosine, {{0}, {-1}}, {{0}, {-1}});
    // Of equals the first; a zero vector has cosine 0 with all others and 1 with its like.
    expect("ties", Matrix(1, {1, 1}), Matrix(1, {3, 1, 1}), Metric::euclidean, {{1, 1}, {0, 0}},
           {{0, 0, 0}, {2, 0, 0}});
    const Matrix zeros(2, {0, 0, 1, 1, 0, 0}), axes(2, {-1, 0, 0, -1});
    expect("zeros against none", zeros, axes, Metric::cosine, {{0, 0, 0}, {0, -1 / std::sqrt(2.0), 0}},
           {{0, 0}, {0, 0}});
    expect("zeros against zeros", zeros, Matrix(2, {-1, -1, 0, 0, 0, 0}), Metric::cosine,
           {{1, 1, 1}, {1, 0, 1}}, {{0, 0, 0}, {0, 1, 1}});
    expect("all zeros", Matrix(3, 4), Matrix(5, 4), Metric::euclidean, {{0, 0, 0}, {0, 0, 0}},
           {{0, 0, 0, 0, 0}, {0, 0, 0, 0, 0}});
}

void random_sets() {
    uint64_t seed = 100;
    for (int64_t columns : {1, 2, 3, 16, 33, 300, 515})
        for (int64_t rows : {1, 2, 47, 300, 700}) {
            compare("gaussian", gaussian(rows, columns, seed), gaussian(rows / 2 + 3, columns, seed + 1));
            compare("clusters", clustered(rows, columns, 9, 0.01f, seed, seed + 2),
                    clustered(310, columns, 9, 0.01f, seed, seed + 3));
            seed += 4;
        }
    compare("large", gaussian(2500, 20, 1), gaussian(1700, 20, 2));
}

void symmetry() {
    const Matrix a = clustered(900, 24, 40, 0.2f, 5, 6), b = clustered(400, 24, 40, 0.2f, 5, 7);
    for (Metric metric : {Metric::cosine, Metric::euclidean}) {
        const NearestResult ab = search(widest_isa(), a, b, metric, 2);
        const NearestResult ba = search(widest_isa(), b, a, metric, 2);
        CHECK(ab.of_a.index == ba.of_b.index && ab.of_a.value == ba.of_b.value &&
                  ab.of_b.index == ba.of_a.index && ab.of_b.value == ba.of_a.value,
              "%s depends on which set comes first", metric_name(metric));
        const NearestResult self = search(widest_isa(), a, a, metric, 2);
        for (int64_t i = 0; i < a.rows; i++)
            CHECK(self.of_a.index[i] == i && self.of_b.index[i] == i, "row %lld is not nearest to itself",
                  static_cast<long long>(i));
    }
}

std::string message_of(const Matrix& a, const Matrix& b) {
    JobCounters counters;
    try {
        nearest(a.data.data(), a.rows, b.data.data(), b.rows, a.columns, {}, counters);
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

void abuse() {
    Matrix a = gaussian(2000, 3, 95);
    const Matrix b = gaussian(30, 3, 96), none(0, 3);
    CHECK(message_of(none, b) == "a has no rows, expected at least one", "%s", message_of(none, b).c_str());
    CHECK(message_of(b, none) == "b has no rows, expected at least one", "%s", message_of(b, none).c_str());
    JobCounters counters;
    counters.abort = true;
    const NearestResult result =
        nearest(a.data.data(), a.rows, b.data.data(), b.rows, a.columns, {}, counters);
    CHECK(result.aborted && result.of_a.index.empty() && result.of_b.value.empty(), "abort is ignored");
    a.row(1321)[1] = std::numeric_limits<float>::quiet_NaN();
    CHECK(message_of(a, b) == "a: row 1321 holds NaN in column 1, expected finite numbers", "%s",
          message_of(a, b).c_str());
    a.row(7)[2] = -std::numeric_limits<float>::infinity();
    CHECK(message_of(b, a) == "b: row 7 holds infinity in column 2, expected finite numbers", "%s",
          message_of(b, a).c_str());
}

} // namespace

int main() {
    known();
    random_sets();
    near_ties({5, 64, 300}, 250, 300, compare);
    lengths({1, 7, 130}, 200, 300, compare);
    symmetry();
    abuse();
    return test::finish("nearest");
}
