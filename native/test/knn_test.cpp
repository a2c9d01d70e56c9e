// KNN scores against the definition written out, every distance in double and sorted, on all instruction sets
// and with several numbers of threads.
#include "latdyn/knn.h"

#include "check.h"
#include "knn_with.h"
#include "latdyn/error.h"
#include "points.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

using namespace latdyn;
using namespace latdyn::test;

namespace {

KnnOptions options_of(int64_t k, KnnRule rule = KnnRule::mean, bool normalise = false, int threads = 1) {
    return {k, rule, normalise, threads};
}

std::vector<double> plain(const Matrix& reference, const Matrix& queries, const KnnOptions& options) {
    const auto length = [&](const float* x) {
        double sum = 0;
        for (int64_t l = 0; l < reference.columns; l++)
            sum += double(x[l]) * double(x[l]);
        return std::sqrt(sum);
    };
    const auto scale = [&](const float* x) {
        const double size = options.normalise ? length(x) : 1;
        return size > 0 ? 1 / size : 0;
    };
    const size_t k = static_cast<size_t>(std::min(options.neighbours, reference.rows));
    std::vector<double> scores, distances(static_cast<size_t>(reference.rows));
    for (int64_t q = 0; q < queries.rows; q++) {
        const float* x = queries.row(q);
        const double of_x = scale(x);
        for (int64_t j = 0; j < reference.rows; j++) {
            const float* y = reference.row(j);
            const double of_y = scale(y);
            double sum = 0;
            for (int64_t l = 0; l < reference.columns; l++)
                sum += (x[l] * of_x - y[l] * of_y) * (x[l] * of_x - y[l] * of_y);
            distances[static_cast<size_t>(j)] = std::sqrt(sum);
        }
        std::sort(distances.begin(), distances.end());
        double sum = 0;
        for (size_t i = 0; i < k; i++)
            sum += distances[i];
        scores.push_back(options.rule == KnnRule::kth ? distances[k - 1] : sum / static_cast<double>(k));
    }
    return scores;
}

std::vector<double> score(Isa isa, const Matrix& reference, const Matrix& queries,
                          const KnnOptions& options) {
    JobCounters counters;
    const KnnResult result = knn_score_with(isa, reference.data.data(), reference.rows, queries.data.data(),
                                            queries.rows, reference.columns, options, counters);
    CHECK(!result.aborted && counters.finished == queries.rows &&
              result.neighbours == std::min(options.neighbours, reference.rows),
          "%lld queries finished, K = %lld", static_cast<long long>(counters.finished),
          static_cast<long long>(result.neighbours));
    return result.score;
}

// floor: distances that count as equal, where double itself cannot do better.
void expect(const char* what, const Matrix& reference, const Matrix& queries, const KnnOptions& options,
            const std::vector<double>& expected, double floor = 0) {
    for (Isa isa : {Isa::portable, Isa::avx2, Isa::avx512}) {
        if (!isa_available(isa))
            continue;
        KnnOptions with = options;
        const std::vector<double> one = score(isa, reference, queries, with);
        with.threads = 3;
        CHECK(score(isa, reference, queries, with) == one, "%s depends on threads", what);
        for (size_t q = 0; q < expected.size(); q++)
            CHECK(std::abs(one[q] - expected[q]) <= 1e-12 * expected[q] + floor,
                  "%s [%lld, %lld], K = %lld, %s, %s, query %zu: %.17g, expected %.17g", what,
                  static_cast<long long>(reference.rows), static_cast<long long>(reference.columns),
                  static_cast<long long>(options.neighbours), options.rule == KnnRule::kth ? "kth" : "mean",
                  isa_name(isa), q, one[q], expected[q]);
    }
}

void compare(const char* what, const Matrix& reference, const Matrix& queries, int64_t k, double floor = 0) {
    for (KnnRule rule : {KnnRule::mean, KnnRule::kth})
        for (bool normalise : {false, true}) {
            const KnnOptions options = options_of(k, rule, normalise);
            // A distance of unit vectors below 1e-8 is rounding of the vectors.
            expect(what, reference, queries, options, plain(reference, queries, options),
                   normalise ? std::max(floor, 1e-15) : floor);
        }
}

void known() {
    const Matrix line(1, {0, 1, 2, 10}), at(1, {1.25f, -4});
    expect("line", line, at, options_of(1), {0.25, 4});
    expect("line", line, at, options_of(2), {0.5, 4.5});
    expect("line", line, at, options_of(3, KnnRule::kth), {1.25, 6});
    // K beyond the set is the whole set.
    expect("line", line, at, options_of(4), {(1.25 + 0.25 + 0.75 + 8.75) / 4, (4 + 5 + 6 + 14) / 4.0});
    expect("line", line, at, options_of(1000), {(1.25 + 0.25 + 0.75 + 8.75) / 4, (4 + 5 + 6 + 14) / 4.0});
    expect("line", line, at, options_of(1000, KnnRule::kth), {8.75, 14});
    expect("no queries", line, Matrix(0, 1), options_of(2), {});
    // Unit vectors: opposite ones are 2 apart, a zero vector stays one.
    expect("normalised", Matrix(2, {3, 0, -7, 0, 0, 0}), Matrix(2, {5, 0, 0, 0}),
           options_of(3, KnnRule::mean, true), {1, 2.0 / 3});
    expect("normalised", Matrix(2, {3, 0, -7, 0, 0, 0}), Matrix(2, {5, 0, 0, 0}),
           options_of(2, KnnRule::kth, true), {1, 1});
    expect("copies", Matrix(300, 3), Matrix(2, 3), options_of(7), {0, 0});
}

void random_sets() {
    uint64_t seed = 1;
    for (int64_t columns : {1, 3, 16, 130, 515})
        for (int64_t rows : {1, 50, 700, 1500}) {
            const Matrix reference = clustered(rows, columns, 5, 0.3f, seed, seed + 1);
            const Matrix queries = gaussian(60, columns, seed + 2);
            for (int64_t k : {int64_t{1}, int64_t{7}, rows / 2 + 1, rows - 1, rows})
                if (k > 0)
                    compare("clusters", reference, queries, k);
            seed += 3;
        }
}

// More rows than are held at once, met from near to far and from far to near.
void blocks() {
    const Matrix queries = gaussian(15, 2, 1);
    for (float step : {1.0f, -1.0f}) {
        Matrix reference(45000, 2);
        for (int64_t i = 0; i < reference.rows; i++) {
            const float size = 1 + static_cast<float>(step > 0 ? i : reference.rows - i) / 1000;
            reference.row(i)[0] = size * std::cos(static_cast<float>(i));
            reference.row(i)[1] = size * std::sin(static_cast<float>(i));
        }
        for (int64_t k : {1, 40, 1000, 30000, 44999})
            compare("spiral", reference, queries, k);
    }
}

// Differences that float products cannot see.
void near_ties() {
    for (int64_t columns : {4, 200}) {
        Matrix reference = gaussian(25000, columns, 5, 1e-5f), queries = gaussian(13, columns, 6, 1e-5f);
        for (float& v : reference.data)
            v += 100;
        for (float& v : queries.data)
            v += 100;
        for (int64_t k : {1, 100, 12000})
            compare("far from the origin", reference, queries, k, 1e-12);
    }
    Matrix same(25000, 3);
    for (float& v : same.data)
        v = 0.1f;
    expect("all equal", same, Matrix(3, {0.1f, 0.1f, 1.1f}), options_of(100),
           {std::abs(double(1.1f) - double(0.1f))});
}

void lengths() {
    Matrix reference = gaussian(3000, 6, 7), queries = gaussian(40, 6, 8);
    for (Matrix* x : {&reference, &queries})
        for (int64_t i = 0; i < x->rows; i++)
            for (int64_t l = 0; l < 6; l++)
                x->row(i)[l] = std::ldexp(x->row(i)[l], static_cast<int>(pick(3, i, 270)) - 145);
    for (int64_t k : {1, 30, 1200})
        compare("all lengths", reference, queries, k);
}

std::string message_of(const Matrix& reference, const Matrix& queries, int64_t k) {
    JobCounters counters;
    try {
        knn_score(reference.data.data(), reference.rows, queries.data.data(), queries.rows, reference.columns,
                  options_of(k), counters);
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

void abuse() {
    Matrix x = gaussian(1200, 3, 95);
    CHECK(message_of(Matrix(0, 3), x, 1) == "reference has no rows, expected at least one", "-");
    CHECK(message_of(x, x, 0) == "K is 0, expected at least 1", "%s", message_of(x, x, 0).c_str());
    JobCounters counters;
    counters.abort = true;
    const KnnResult result =
        knn_score(x.data.data(), x.rows, x.data.data(), x.rows, 3, options_of(5), counters);
    CHECK(result.aborted && std::isnan(result.score[0]), "abort is ignored");
    const Matrix good = gaussian(5, 3, 96);
    x.row(1100)[1] = std::numeric_limits<float>::quiet_NaN();
    CHECK(message_of(x, good, 3) == "reference: row 1100 holds NaN in column 1, expected finite numbers",
          "%s", message_of(x, good, 3).c_str());
    CHECK(message_of(good, x, 3) == "queries: row 1100 holds NaN in column 1, expected finite numbers", "%s",
          message_of(good, x, 3).c_str());
}

} // namespace

int main() {
    known();
    random_sets();
    blocks();
    near_ties();
    lengths();
    abuse();
    return test::finish("knn");
}
