// Eigenvalues by Eigen's QR iteration on the Hessenberg form, the norm from the symmetric eigenvalues of
// AᵀA: squaring costs half the digits of the smallest singular values and none of the largest. One matrix is
// one task; matrices are small (k up to a few hundred, O(k³) each).
#include "latdyn/eigenvalues.h"

#include "latdyn/error.h"
#include "workers.h"

#include <Eigen/Eigenvalues>

#include <atomic>
#include <cmath>
#include <limits>
#include <numeric>

namespace latdyn {

namespace {

using Matrix = Eigen::MatrixXd;
using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

void check(Eigen::ComputationInfo info) {
    if (info != Eigen::Success)
        throw Error("the eigenvalues of a matrix did not converge");
}

// Spectrum of one matrix into row i of the result.
void spectrum(const Matrix& a, const EigenvaluesOptions& options, int64_t i, Eigenvalues& out) {
    const int64_t k = a.rows();
    const Eigen::EigenSolver<Matrix> solver(a, options.last_components);
    check(solver.info());
    const auto& values = solver.eigenvalues();
    std::vector<int64_t> order(k);
    std::iota(order.begin(), order.end(), 0);
    // Conjugate pairs have one modulus and stay together.
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t p, int64_t q) { return std::abs(values[p]) > std::abs(values[q]); });
    Eigen::MatrixXcd vectors;
    if (options.last_components)
        vectors = solver.eigenvectors();
    for (int64_t j = 0; j < k; j++) {
        out.real[i * k + j] = values[order[j]].real();
        out.imaginary[i * k + j] = values[order[j]].imag();
        if (options.last_components)
            out.last[i * k + j] = std::abs(vectors(k - 1, order[j])) / vectors.col(order[j]).norm();
    }
}

// Scaled so that no square overflows or vanishes.
double norm_of(const Matrix& a) {
    const double scale = a.cwiseAbs().maxCoeff();
    if (scale == 0)
        return 0;
    const Matrix scaled = a / scale;
    const Eigen::SelfAdjointEigenSolver<Matrix> solver(scaled.transpose() * scaled, Eigen::EigenvaluesOnly);
    check(solver.info());
    return scale * std::sqrt(std::max(0.0, solver.eigenvalues()[a.rows() - 1]));
}

} // namespace

Eigenvalues eigenvalues(const double* data, int64_t count, int64_t k, const EigenvaluesOptions& options,
                        JobCounters& counters) {
    Eigenvalues out;
    const auto elements = static_cast<size_t>(count * k);
    out.real.assign(elements, nan);
    out.imaginary.assign(elements, nan);
    if (options.last_components)
        out.last.assign(elements, nan);
    if (options.norm)
        out.norm.assign(static_cast<size_t>(count), nan);
    std::atomic<int64_t> next{0};
    run_workers(static_cast<int>(std::min<int64_t>(options.threads, count)), [&](int) {
        for (int64_t i = next++; i < count && !counters.abort; i = next++) {
            const Matrix a = Eigen::Map<const RowMajor>(data + i * k * k, k, k);
            if (a.allFinite()) {
                spectrum(a, options, i, out);
                if (options.norm)
                    out.norm[i] = norm_of(a);
            }
            counters.finished++;
        }
    });
    out.aborted = counters.abort;
    return out;
}

} // namespace latdyn
