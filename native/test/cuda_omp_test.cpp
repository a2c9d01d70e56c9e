// Matching pursuit on the device against the CPU's: the same supports, coefficients and norms.
#include "latdyn/omp.h"

#include "on_device.h"
#include "points.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace latdyn;
using namespace latdyn::test;

namespace {

cuda::Job job;

void compare(const char* what, const Matrix& dictionary, const Matrix& signals,
             const std::vector<int32_t>& sparsities) {
    JobCounters counters;
    OmpOptions options;
    options.sparsities = sparsities;
    const OmpResult expected = omp(dictionary.data.data(), dictionary.rows, signals.data.data(), signals.rows,
                                   dictionary.columns, options, counters);
    in_every_order([&](const char* order) {
        const OmpResult found = cuda::omp(dictionary.data.data(), dictionary.rows, signals.data.data(),
                                          signals.rows, dictionary.columns, sparsities, job);
        CHECK(found.by_sparsity.size() == expected.by_sparsity.size() && !found.aborted, "%s, %s", what,
              order);
        for (size_t q = 0; q < found.by_sparsity.size(); q++) {
            const OmpSelection &a = found.by_sparsity[q], &b = expected.by_sparsity[q];
            CHECK(a.support == b.support && a.coefficients == b.coefficients &&
                      a.residual_norm == b.residual_norm && a.mean_squared_error == b.mean_squared_error &&
                      a.early_stops == b.early_stops,
                  "%s [%lld atoms, %lld signals, %lld], sparsity %d, %s: supports %s, coefficients %s, norms "
                  "%s, stops "
                  "%lld, expected %lld",
                  what, static_cast<long long>(dictionary.rows), static_cast<long long>(signals.rows),
                  static_cast<long long>(dictionary.columns), a.sparsity, order,
                  a.support == b.support ? "equal" : "differ",
                  a.coefficients == b.coefficients ? "equal" : "differ",
                  a.residual_norm == b.residual_norm ? "equal" : "differ",
                  static_cast<long long>(a.early_stops), static_cast<long long>(b.early_stops));
        }
    });
}

// Sums of a few atoms.
Matrix sparse_signals(const Matrix& dictionary, int64_t count, int64_t atoms, uint64_t seed) {
    const Matrix factors = gaussian(count, atoms, seed);
    Matrix signals(count, dictionary.columns);
    for (int64_t i = 0; i < count; i++)
        for (int64_t m = 0; m < atoms; m++) {
            const float* atom = dictionary.row(static_cast<int64_t>(pick(seed + m, i, dictionary.rows)));
            for (int64_t l = 0; l < dictionary.columns; l++)
                signals.row(i)[l] += factors.row(i)[m] * atom[l];
        }
    return signals;
}

void known() {
    Matrix axes(4, 4);
    for (int64_t i = 0; i < 4; i++)
        axes.row(i)[i] = static_cast<float>(i + 1);
    const Matrix signals(4, {1, -6, 3, 0.5f, 0, 0, 0, 0, 0, 8, 0, 0});
    const OmpResult found = cuda::omp(axes.data.data(), 4, signals.data.data(), 3, 4, {2, 4}, {});
    CHECK(found.by_sparsity[0].support == std::vector<int32_t>({1, 2, -1, -1, 1, -1}) &&
              found.by_sparsity[0].coefficients == std::vector<float>({-3, 1, 0, 0, 4, 0}) &&
              found.by_sparsity[1].early_stops == 2,
          "axes");
    compare("axes", axes, signals, {1, 2, 3, 4});
}

void random_cases() {
    compare("gaussian", gaussian(150, 33, 1), gaussian(9, 33, 2), {1, 5, 20});
    compare("as many as there are", gaussian(40, 20, 3), gaussian(5, 20, 4), {20, 40});
    compare("fewer atoms than elements", gaussian(9, 50, 5), gaussian(6, 50, 6), {3, 9, 30});
    compare("one atom", gaussian(1, 7, 7), gaussian(3, 7, 8), {1, 2});
    compare("one element", gaussian(5, 1, 9), gaussian(3, 1, 10), {1, 3});
    const Matrix dictionary = gaussian(130, 40, 11);
    compare("sparse signals", dictionary, sparse_signals(dictionary, 12, 4, 12), {2, 4, 12});
    compare("many signals", gaussian(140, 16, 13), gaussian(300, 16, 14), {3});
    // So few steps for so many atoms that the Gram matrix is not made.
    compare("without the Gram matrix", gaussian(400, 24, 15), gaussian(2, 24, 16), {1, 10});
    if (!on_host) {
        compare("large", gaussian(2000, 512, 17), gaussian(200, 512, 18), {10, 60});
        compare("wide", gaussian(1000, 4096, 19), gaussian(300, 4096, 20), {50});
    }
}

void ties() {
    // Copies of one atom, and opposite ones: the first is taken, the others depend on it.
    Matrix dictionary = gaussian(40, 12, 21);
    for (int64_t i = 1; i < 40; i += 3)
        std::copy_n(dictionary.row(0), 12, dictionary.row(i));
    for (int64_t i = 2; i < 40; i += 3)
        for (int64_t l = 0; l < 12; l++)
            dictionary.row(i)[l] = -dictionary.row(i - 2)[l];
    compare("copies", dictionary, gaussian(20, 12, 22), {1, 3, 12});
    // Atoms and signals of length zero.
    Matrix zeros = gaussian(20, 6, 23), signals = gaussian(8, 6, 24);
    std::fill_n(zeros.row(3), 6, 0.0f);
    std::fill_n(zeros.row(19), 6, 0.0f);
    std::fill_n(signals.row(5), 6, 0.0f);
    compare("zeros", zeros, signals, {2, 6});
    compare("only zeros", Matrix(5, 6), signals, {2});
    // Nearly parallel atoms: what TF32 cannot tell apart, and large coefficients.
    Matrix near = gaussian(60, 20, 25);
    for (int64_t i = 1; i < near.rows; i++)
        for (int64_t l = 0; l < 20; l++)
            near.row(i)[l] = near.row(0)[l] + 1e-3f * near.row(i)[l];
    compare("nearly parallel", near, gaussian(10, 20, 26), {5, 20});
    for (float& v : near.data)
        v *= 1e-20f;
    compare("small", near, gaussian(4, 20, 27, 1e20f), {5});
}

void abuse() {
    Matrix dictionary = gaussian(20, 6, 95), signals = gaussian(4, 6, 96);
    const auto run = [&](int64_t atoms, const std::vector<int32_t>& sparsities, const cuda::Job& with) {
        return cuda::omp(dictionary.data.data(), atoms, signals.data.data(), 4, 6, sparsities, with);
    };
    std::string message = message_of([&] { run(0, {1}, {}); });
    CHECK(message == "the dictionary is empty, expected at least one atom", "%s", message.c_str());
    message = message_of([&] { run(20, {3, 2}, {}); });
    CHECK(message == "sparsity 2 comes after 3, expected ascending whole numbers of at least 1", "%s",
          message.c_str());
    cuda::Job stopped;
    stopped.report = [](int64_t, int64_t) { return false; };
    const OmpResult result = run(20, {2}, stopped);
    CHECK(result.aborted && result.by_sparsity.empty(), "abort is ignored");
    signals.row(3)[5] = std::numeric_limits<float>::infinity();
    message = message_of([&] { run(20, {2}, {}); });
    CHECK(message == "signals: row 3 holds infinity in column 5, expected finite numbers", "%s",
          message.c_str());
    compare("no signals", dictionary, Matrix(0, 6), {2});
}

void limits() {
#ifdef LATDYN_SIMT
    const Matrix dictionary = gaussian(60, 30, 31), signals = gaussian(40, 30, 32);
    job.memory = 60000;
    compare("blocks of signals", dictionary, signals, {10});
    job = {};
    std::string note;
    job.note = [&](const std::string& sentence) { note += sentence; };
    job.memory = 4 << 20;
    simt::limit_memory(700 << 10);
    compare("little memory", dictionary, signals, {10});
    CHECK(note.find("out of device memory: blocks of ") == 0, "%s", note.c_str());
    simt::limit_memory(int64_t{1} << 40);
    job = {};
    with_broken_launches({2, 5, 9}, [&] { compare("broken", dictionary, signals, {10}); });
#endif
}

} // namespace

int main() {
    return test_on_device("cuda_omp", [] {
        known();
        random_cases();
        ties();
        abuse();
        limits();
    });
}
