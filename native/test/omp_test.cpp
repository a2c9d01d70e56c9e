// Matching pursuit against the definition written out in double, and bit against bit: every instruction set,
// both ways of finding the best atom, several numbers of threads, budgets and companies of signals.
#include "latdyn/omp.h"

#include "check.h"
#include "latdyn/error.h"
#include "latdyn/noise.h"
#include "omp_with.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <limits>
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

Matrix gaussian(int64_t rows, int64_t columns, uint64_t seed, float scale = 1) {
    Matrix x(rows, columns);
    noise(seed, 0, rows, columns, scale, x.data.data());
    return x;
}

// ---- the definition ----

using Vector = std::vector<double>;

double dot(const Vector& x, const Vector& y) {
    double sum = 0;
    for (size_t l = 0; l < x.size(); l++)
        sum += x[l] * y[l];
    return sum;
}

struct Plain {
    std::vector<int32_t> support;
    Vector coefficients;
    double residual_norm = 0;
    // The smallest lead of a chosen atom's |correlation| over the next one's, as a share of the signal.
    double narrowest = 1;
};

// Correlations of the residual itself; least squares by Gram-Schmidt, twice for each atom.
Plain plain(const Matrix& dictionary, const float* signal, int64_t sparsity) {
    const int64_t k = dictionary.columns;
    std::vector<Vector> atoms;
    Vector lengths;
    for (int64_t j = 0; j < dictionary.rows; j++) {
        Vector atom(dictionary.row(j), dictionary.row(j) + k);
        const double length = std::sqrt(dot(atom, atom));
        for (double& v : atom)
            v = length > 0 ? v / length : 0;
        atoms.push_back(std::move(atom));
        lengths.push_back(length);
    }
    Plain result;
    Vector residual(signal, signal + k);
    const double size = std::sqrt(dot(residual, residual));
    std::vector<Vector> basis, triangle;
    Vector projections;
    while (static_cast<int64_t>(result.support.size()) < sparsity) {
        int32_t best = -1;
        double largest = 0, next = 0;
        for (int64_t j = 0; j < dictionary.rows; j++) {
            if (lengths[j] == 0 || std::count(result.support.begin(), result.support.end(), j) > 0)
                continue;
            const double correlation = std::abs(dot(atoms[j], residual));
            if (correlation > largest)
                next = largest, largest = correlation, best = static_cast<int32_t>(j);
            else
                next = std::max(next, correlation);
        }
        if (best < 0 || largest <= 1e-13 * size)
            break;
        Vector rest = atoms[best], column(basis.size() + 1, 0.0);
        for (int pass = 0; pass < 2; pass++)
            for (size_t i = 0; i < basis.size(); i++) {
                const double share = dot(basis[i], rest);
                column[i] += share;
                for (int64_t l = 0; l < k; l++)
                    rest[l] -= share * basis[i][l];
            }
        const double length = std::sqrt(dot(rest, rest));
        if (length * length <= 0x1p-42)
            break;
        for (double& v : rest)
            v /= length;
        column.back() = length;
        const double projection = dot(rest, residual);
        for (int64_t l = 0; l < k; l++)
            residual[l] -= projection * rest[l];
        result.support.push_back(best);
        result.narrowest = std::min(result.narrowest, (largest - next) / size);
        basis.push_back(rest);
        triangle.push_back(column);
        projections.push_back(projection);
    }
    result.residual_norm = std::sqrt(dot(residual, residual));
    result.coefficients = projections;
    for (size_t i = projections.size(); i-- > 0;) {
        double& value = result.coefficients[i];
        for (size_t m = i + 1; m < projections.size(); m++)
            value -= triangle[m][i] * result.coefficients[m];
        value /= triangle[i][i];
    }
    for (size_t i = 0; i < projections.size(); i++)
        result.coefficients[i] /= lengths[result.support[i]];
    return result;
}

// ---- the comparison ----

OmpResult run(const Matrix& dictionary, const Matrix& signals, const std::vector<int32_t>& sparsities) {
    JobCounters counters;
    OmpOptions options;
    options.sparsities = sparsities;
    OmpResult result = omp(dictionary.data.data(), dictionary.rows, signals.data.data(), signals.rows,
                           dictionary.columns, options, counters);
    CHECK(counters.finished == signals.rows, "%ld signals counted", long(counters.finished));
    return result;
}

using test::same_bits;

bool same_bits(const OmpResult& a, const OmpResult& b) {
    if (a.by_sparsity.size() != b.by_sparsity.size())
        return false;
    for (size_t s = 0; s < a.by_sparsity.size(); s++) {
        const OmpSelection &x = a.by_sparsity[s], &y = b.by_sparsity[s];
        if (!same_bits(x.support, y.support) || !same_bits(x.coefficients, y.coefficients) ||
            !same_bits(x.residual_norm, y.residual_norm) || x.mean_squared_error != y.mean_squared_error ||
            x.early_stops != y.early_stops)
            return false;
    }
    return true;
}

// Every way to compute it gives the bits of `expected`.
void expect_same_bits(const char* what, const Matrix& dictionary, const Matrix& signals,
                      const std::vector<int32_t>& sparsities, const OmpResult& expected) {
    for (Isa isa : {Isa::portable, Isa::avx2, Isa::avx512})
        for (OmpWay way : {OmpWay::gram, OmpWay::product})
            for (int threads : {1, 3}) {
                if (!isa_available(isa))
                    continue;
                JobCounters counters;
                OmpOptions options;
                options.sparsities = sparsities;
                options.threads = threads;
                const OmpResult found =
                    omp_with(isa, way, dictionary.data.data(), dictionary.rows, signals.data.data(),
                             signals.rows, dictionary.columns, options, counters);
                CHECK(same_bits(found, expected), "%s: other bits with %s, %s, %d threads", what,
                      isa_name(isa), way == OmpWay::gram ? "gram" : "product", threads);
            }
}

// Against the definition. Signals with two atoms within `lead` of one another may have either.
void expect_plain(const char* what, const Matrix& dictionary, const Matrix& signals,
                  const std::vector<int32_t>& sparsities, double tolerance = 1e-6, double lead = 1e-12) {
    const OmpResult found = run(dictionary, signals, sparsities);
    expect_same_bits(what, dictionary, signals, sparsities, found);
    for (const OmpSelection& selection : found.by_sparsity) {
        const int64_t sparsity = selection.sparsity;
        double sum = 0;
        int64_t stops = 0;
        for (int64_t i = 0; i < signals.rows; i++) {
            const Plain expected = plain(dictionary, signals.row(i), sparsity);
            const int64_t size = static_cast<int64_t>(expected.support.size());
            const int32_t* support = selection.support.data() + i * sparsity;
            const float* coefficients = selection.coefficients.data() + i * sparsity;
            sum += selection.residual_norm[i] * selection.residual_norm[i];
            stops += support[sparsity - 1] < 0;
            if (expected.narrowest < lead)
                continue;
            double length = 0, largest = 0;
            for (int64_t l = 0; l < signals.columns; l++)
                length = std::hypot(length, signals.row(i)[l]);
            for (double c : expected.coefficients)
                largest = std::max(largest, std::abs(c));
            for (int64_t m = 0; m < sparsity; m++) {
                CHECK(support[m] == (m < size ? expected.support[m] : -1),
                      "%s: signal %ld, sparsity %ld, place %ld is atom %d", what, long(i), long(sparsity),
                      long(m), support[m]);
                const double c = m < size ? expected.coefficients[m] : 0;
                CHECK(std::abs(coefficients[m] - c) <= tolerance * largest, "%s: %g, expected %g", what,
                      double(coefficients[m]), c);
            }
            CHECK(std::abs(selection.residual_norm[i] - expected.residual_norm) <= tolerance * length,
                  "%s: residual %g, expected %g", what, selection.residual_norm[i], expected.residual_norm);
        }
        const double error = signals.rows == 0 ? 0 : sum / double(signals.rows) / double(signals.columns);
        CHECK(std::abs(selection.mean_squared_error - error) <= 1e-12 * error, "%s: error %g", what,
              selection.mean_squared_error);
        CHECK(selection.early_stops == stops, "%s: %ld early stops, expected %ld", what,
              long(selection.early_stops), long(stops));
    }
}

// ---- known answers ----

void orthonormal() {
    // On the axes the largest elements are chosen, signs and lengths and all.
    Matrix axes(4, 4);
    for (int i = 0; i < 4; i++)
        axes.row(i)[i] = static_cast<float>(1 << i);
    const Matrix signals(4, {0.5f, -8, 3, 1, 0, 0, 0, 0, 0, 5, 0, 0});
    const OmpResult found = run(axes, signals, {1, 3});
    expect_same_bits("axes", axes, signals, {1, 3}, found);
    const OmpSelection &one = found.by_sparsity[0], &three = found.by_sparsity[1];
    CHECK(one.support == (std::vector<int32_t>{1, -1, 1}), "-");
    CHECK(one.coefficients == (std::vector<float>{-4, 0, 2.5f}), "-");
    CHECK(one.early_stops == 1, "%ld", long(one.early_stops));
    CHECK(three.support == (std::vector<int32_t>{1, 2, 3, -1, -1, -1, 1, -1, -1}), "-");
    CHECK(three.coefficients == (std::vector<float>{-4, 0.75f, 0.125f, 0, 0, 0, 2.5f, 0, 0}), "-");
    CHECK(three.early_stops == 2, "%ld", long(three.early_stops));
    CHECK(three.residual_norm == (std::vector<double>{0.5, 0, 0}), "%g", three.residual_norm[0]);
    CHECK(three.mean_squared_error == 0.25 / 12, "%g", three.mean_squared_error);
}

void ties() {
    // Equal atoms, opposite ones and scaled ones: the first of them, and never another of the same line.
    const Matrix dictionary(2, {0, 0, 3, 4, 6, 8, -3, -4, 0, 2, 0, -2});
    const Matrix signals(2, {3, 4, 0, 1, 1, 1});
    const OmpResult found = run(dictionary, signals, {3});
    expect_same_bits("ties", dictionary, signals, {3}, found);
    CHECK(found.by_sparsity[0].support == (std::vector<int32_t>{1, -1, -1, 4, -1, -1, 1, 4, -1}), "-");
    CHECK(found.by_sparsity[0].early_stops == 3, "%ld", long(found.by_sparsity[0].early_stops));
    CHECK(found.by_sparsity[0].coefficients[0] == 1, "%g", found.by_sparsity[0].coefficients[0]);
}

void exhausted() {
    // More atoms wanted than there are dimensions, or atoms, or atoms of any length.
    const Matrix wide = gaussian(40, 5, 1), few = gaussian(3, 20, 2);
    for (const Matrix* dictionary : {&wide, &few}) {
        const Matrix signals = gaussian(7, dictionary->columns, 3);
        const int64_t most = std::min(dictionary->rows, dictionary->columns);
        const OmpResult found = run(*dictionary, signals, {2, 30});
        expect_same_bits("exhausted", *dictionary, signals, {2, 30}, found);
        CHECK(found.by_sparsity[0].early_stops == 0 && found.by_sparsity[1].early_stops == 7, "-");
        for (int64_t i = 0; i < 7; i++)
            for (int64_t m = 0; m < 30; m++)
                CHECK((found.by_sparsity[1].support[i * 30 + m] < 0) == (m >= most), "signal %ld, place %ld",
                      long(i), long(m));
    }
    const OmpResult whole = run(wide, gaussian(7, 5, 3), {5});
    for (double norm : whole.by_sparsity[0].residual_norm)
        CHECK(norm < 1e-12, "%g", norm);
    const OmpResult none = run(Matrix(6, 4), gaussian(2, 4, 4), {1, 2});
    CHECK(none.by_sparsity[1].early_stops == 2 && none.by_sparsity[1].support[0] == -1, "-");
    const OmpResult empty = run(wide, Matrix(0, 5), {1});
    CHECK(empty.by_sparsity[0].support.empty() && empty.by_sparsity[0].mean_squared_error == 0, "-");
}

// ---- against the definition ----

void random_cases() {
    struct Case {
        int64_t atoms, dimension, signals;
        std::vector<int32_t> sparsities;
    };
    for (const Case& c : {Case{1, 1, 3, {1}}, Case{7, 3, 9, {1, 2, 3}}, Case{64, 16, 20, {1, 5, 16}},
                          Case{65, 31, 20, {2, 31}}, Case{130, 100, 53, {1, 8, 40, 99}},
                          Case{600, 67, 20, {20, 60}}, Case{40, 300, 20, {40}}})
        expect_plain("random", gaussian(c.atoms, c.dimension, 10 + c.atoms),
                     gaussian(c.signals, c.dimension, 20 + c.signals), c.sparsities, 1e-6, 1e-11);
}

// Atoms that share most of a direction, as endpoints do; far apart in length.
Matrix correlated(int64_t rows, int64_t columns, uint64_t seed, float spread) {
    const Matrix direction = gaussian(1, columns, seed + 1);
    Matrix x = gaussian(rows, columns, seed, spread);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t l = 0; l < columns; l++)
            x.row(i)[l] = (x.row(i)[l] + direction.data[l]) * std::pow(10.0f, static_cast<float>(i % 9 - 4));
    return x;
}

void correlated_cases() {
    for (float spread : {0.3f, 0.01f, 1e-3f})
        expect_plain("correlated", correlated(200, 48, 31, spread), gaussian(20, 48, 33), {3, 20, 40}, 1e-5,
                     1e-8);
}

void sparse_signals() {
    // Sums of three atoms: what is left then is the rounding of the signal, and is fitted like anything else.
    const Matrix dictionary = gaussian(100, 40, 41);
    Matrix signals(30, 40);
    for (int64_t i = 0; i < signals.rows; i++)
        for (int64_t l = 0; l < 40; l++)
            signals.row(i)[l] =
                5 * dictionary.row(i)[l] - 3 * dictionary.row(i + 20)[l] + dictionary.row(i + 60)[l];
    expect_plain("sparse", dictionary, signals, {1, 3, 6}, 1e-6, 1e-13);
    const OmpSelection three = run(dictionary, signals, {3}).by_sparsity[0];
    for (double norm : three.residual_norm)
        CHECK(norm < 1e-4, "%g", norm);
}

void sizes() {
    // Any size of atom and signal that a float holds, and a float's elements beyond 1e-38.
    for (float scale : {1e-43f, 1e-20f, 1e15f, 1e36f}) {
        Matrix dictionary = gaussian(50, 20, 51), signals = gaussian(10, 20, 52);
        const OmpResult expected = run(dictionary, signals, {4});
        for (float& v : signals.data)
            v *= scale;
        const OmpResult found = run(dictionary, signals, {4});
        if (scale > 1e-40f)
            CHECK(found.by_sparsity[0].support == expected.by_sparsity[0].support, "scale %g", double(scale));
        for (float c : found.by_sparsity[0].coefficients)
            CHECK(std::isfinite(c), "scale %g: %g", double(scale), double(c));
    }
}

// ---- atoms that depend on one another ----

void nearly_parallel() {
    // Every atom three times: as it is, scaled by 3 with its rounding, and moved by `step` of its length.
    for (float step : {0.0f, 1e-7f, 1e-4f, 1e-2f}) {
        const Matrix base = gaussian(24, 12, 61), moves = gaussian(24, 12, 62);
        Matrix dictionary(72, 12);
        for (int64_t i = 0; i < 24; i++)
            for (int64_t l = 0; l < 12; l++) {
                dictionary.row(i)[l] = base.row(i)[l];
                dictionary.row(i + 24)[l] = 3 * base.row(i)[l];
                dictionary.row(i + 48)[l] = base.row(i)[l] + step * moves.row(i)[l];
            }
        const Matrix signals = gaussian(40, 12, 63);
        const OmpResult found = run(dictionary, signals, {4, 12});
        expect_same_bits("nearly parallel", dictionary, signals, {4, 12}, found);
        for (const OmpSelection& selection : found.by_sparsity) {
            for (float c : selection.coefficients)
                CHECK(std::isfinite(c), "%g", double(c));
            for (double norm : selection.residual_norm)
                CHECK(norm >= 0 && norm < 10, "%g", norm);
        }
        const OmpSelection& four = found.by_sparsity[0];
        CHECK(four.early_stops == 0, "%ld early stops at step %g", long(four.early_stops), double(step));
    }
    // Two atoms a rounding apart and a signal that only their difference makes: the growth ends with a flag.
    const float next = std::nextafter(1.0f, 2.0f);
    const Matrix twins(2, {1, 1, 1, next});
    const Matrix signals(2, {1, -1, 2, 2});
    const OmpSelection ended = run(twins, signals, {2}).by_sparsity[0];
    expect_same_bits("twins", twins, signals, {2}, run(twins, signals, {2}));
    CHECK(ended.support[0] == 1 && ended.support[1] == -1, "%d %d", ended.support[0], ended.support[1]);
    CHECK(ended.early_stops == 2, "%ld", long(ended.early_stops));
    // Apart by more than single precision's rounding, they are two atoms.
    const Matrix pair(2, {1, 1, 1, 1.0001f});
    const OmpSelection both = run(pair, signals, {2}).by_sparsity[0];
    CHECK(both.support[0] == 1 && both.support[1] == 0, "%d %d", both.support[0], both.support[1]);
    CHECK(both.residual_norm[0] < 1e-6, "%g", both.residual_norm[0]);
}

void near_ties() {
    // Many atoms within a float's rounding of the best: only double tells them apart.
    const Matrix centre = gaussian(1, 30, 71), moves = gaussian(300, 30, 72), signals = gaussian(5, 30, 73);
    Matrix dictionary(300, 30);
    for (int64_t i = 0; i < 300; i++)
        for (int64_t l = 0; l < 30; l++)
            dictionary.row(i)[l] = centre.data[l] + 2e-6f * moves.row(i)[l];
    expect_plain("near ties", dictionary, signals, {1}, 1e-6, 1e-14);
    expect_plain("near ties", dictionary, signals, {4}, 1e-2, 1e-9);
}

// ---- one pass, any company, any budget ----

void one_pass() {
    const Matrix dictionary = gaussian(90, 50, 81), signals = gaussian(33, 50, 82);
    const OmpResult together = run(dictionary, signals, {1, 2, 7, 30, 50, 60});
    for (const OmpSelection& selection : together.by_sparsity) {
        const OmpResult alone = run(dictionary, signals, {selection.sparsity});
        CHECK(same_bits(alone, {.by_sparsity = {selection}}), "sparsity %d", selection.sparsity);
    }
    for (int64_t i = 0; i < signals.rows; i++) {
        Matrix one(1, 50);
        std::copy_n(signals.row(i), 50, one.row(0));
        const OmpSelection alone = run(dictionary, one, {30}).by_sparsity[0];
        CHECK(std::equal(alone.coefficients.begin(), alone.coefficients.end(),
                         together.by_sparsity[3].coefficients.begin() + i * 30),
              "signal %ld alone", long(i));
    }
}

std::string message_of(const Matrix& dictionary, const Matrix& signals, const OmpOptions& options) {
    JobCounters counters;
    try {
        omp(dictionary.data.data(), dictionary.rows, signals.data.data(), signals.rows, dictionary.columns,
            options, counters);
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

void budgets() {
    const Matrix dictionary = gaussian(700, 40, 91), signals = gaussian(300, 40, 92);
    OmpOptions options;
    options.sparsities = {3, 20};
    options.threads = 4;
    const OmpResult expected = run(dictionary, signals, options.sparsities);
    int64_t refused = 0;
    for (int64_t budget = 1 << 14; budget <= 1 << 26; budget *= 2) {
        options.memory_budget = budget;
        const std::string message = message_of(dictionary, signals, options);
        if (message != "no error") {
            CHECK(message.find("the memory budget is " + std::to_string(budget) +
                               " bytes, expected at least") == 0,
                  "%s", message.c_str());
            refused++;
            continue;
        }
        JobCounters counters;
        CHECK(same_bits(expected,
                        omp(dictionary.data.data(), 700, signals.data.data(), 300, 40, options, counters)),
              "other bits with %ld bytes", long(budget));
    }
    CHECK(refused > 0 && refused < 6, "%ld of 13 budgets refused", long(refused));
}

void abuse() {
    Matrix dictionary = gaussian(20, 6, 95), signals = gaussian(500, 6, 96);
    OmpOptions options;
    for (const std::vector<int32_t>& sparsities : {std::vector<int32_t>{}, std::vector<int32_t>{0},
                                                   std::vector<int32_t>{2, 2}, std::vector<int32_t>{3, 1}}) {
        options.sparsities = sparsities;
        CHECK(message_of(dictionary, signals, options) != "no error", "%zu sparsities pass",
              sparsities.size());
    }
    options.sparsities = {2};
    CHECK(message_of(Matrix(0, 6), signals, options) == "the dictionary is empty, expected at least one atom",
          "-");
    signals.row(444)[2] = std::numeric_limits<float>::infinity();
    const std::string infinite = message_of(dictionary, signals, options);
    CHECK(infinite == "signals: row 444 holds infinity in column 2, expected finite numbers", "%s",
          infinite.c_str());
    dictionary.row(7)[5] = std::numeric_limits<float>::quiet_NaN();
    const std::string nan = message_of(dictionary, signals, options);
    CHECK(nan == "dictionary: row 7 holds NaN in column 5, expected finite numbers", "%s", nan.c_str());

    const Matrix atoms = gaussian(100, 50, 97), some = gaussian(100, 50, 98);
    for (OmpWay way : {OmpWay::gram, OmpWay::product}) {
        JobCounters counters;
        counters.abort = true;
        options.threads = 2;
        const OmpResult result =
            omp_with(widest_isa(), way, atoms.data.data(), 100, some.data.data(), 100, 50, options, counters);
        CHECK(result.aborted && result.by_sparsity.empty(), "abort is ignored");
    }
}

} // namespace

int main() {
    orthonormal();
    ties();
    exhausted();
    random_cases();
    correlated_cases();
    sparse_signals();
    sizes();
    nearly_parallel();
    near_ties();
    one_pass();
    budgets();
    abuse();
    return test::finish("omp");
}
