// Ledoit and Wolf's covariance, Eigen's Cholesky decomposition of it, and one triangular solve for each block
// of queries: |L⁻¹(x − m)ᵀ| is the distance.
#include "latdyn/mahalanobis.h"

#include "gram.h"
#include "latdyn/error.h"

#include <Eigen/Cholesky>

#include <cmath>
#include <limits>

namespace latdyn {

namespace {

// Queries that are solved for at once.
constexpr int64_t block = 256;

void check(RowView rows, const std::string& what) {
    std::vector<double> squares(rows.count);
    squared_lengths(rows, 0, rows.count, squares.data());
    check_finite(rows, squares, what);
}

// With rows x centred: how much of the scaled identity makes the expected error of the covariance smallest.
// The double sum over pairs of columns of Σ x_i² x_j² is the sum of fourth powers of the lengths.
double ledoit_wolf(const DoubleRows& centred, const Eigen::MatrixXd& covariance) {
    const auto n = static_cast<double>(centred.rows());
    const auto columns = static_cast<double>(centred.cols());
    const double mean = covariance.trace() / columns;
    const double below = covariance.triangularView<Eigen::StrictlyLower>().toDenseMatrix().squaredNorm();
    const double squared = covariance.diagonal().squaredNorm() + 2 * below;
    const double fourth = centred.rowwise().squaredNorm().squaredNorm();
    const double distance = (squared - columns * mean * mean) / columns;
    const double error = (fourth / n - squared) / (columns * n);
    return distance > 0 ? std::clamp(error / distance, 0.0, 1.0) : 0;
}

} // namespace

MahalanobisResult mahalanobis(const float* reference, int64_t reference_rows, const float* queries,
                              int64_t query_rows, int64_t columns, int threads, JobCounters& counters) {
    if (reference_rows < 2)
        throw Error("reference: a covariance needs at least 2 rows, there are " +
                    std::to_string(reference_rows));
    check({reference, reference_rows, columns}, "reference");
    check({queries, query_rows, columns}, "queries");

    MahalanobisResult result;
    DoubleRows centred = double_rows({reference, reference_rows, columns});
    const Eigen::RowVectorXd mean = centred.colwise().mean();
    centred.rowwise() -= mean;
    Eigen::MatrixXd covariance;
    if (!lower_gram(centred, false, threads, &counters.abort, covariance)) {
        result.aborted = true;
        return result;
    }
    covariance /= static_cast<double>(reference_rows);
    const double variance = covariance.trace() / static_cast<double>(columns);
    if (!(variance > 0))
        throw Error("reference: all rows are equal, they have no covariance");
    result.shrinkage = ledoit_wolf(centred, covariance);
    covariance *= 1 - result.shrinkage;
    covariance.diagonal().array() += result.shrinkage * variance;
    const Eigen::LLT<Eigen::MatrixXd, Eigen::Lower> factor(covariance);
    // What rounding leaves of a pivot that should be zero.
    const double least = std::numeric_limits<double>::epsilon() * static_cast<double>(columns);
    const Eigen::VectorXd pivots = factor.matrixLLT().diagonal();
    if (factor.info() != Eigen::Success || pivots.minCoeff() <= std::sqrt(least) * pivots.maxCoeff()) {
        result.singular = true;
        return result;
    }

    result.distance.resize(query_rows);
    const int64_t tasks = (query_rows + block - 1) / block;
    const bool whole = run_tasks(threads, tasks, &counters.abort, [&](int64_t task, int) {
        const int64_t first = task * block;
        const int64_t count = std::min(block, query_rows - first);
        DoubleRows rows = double_rows({queries + first * columns, count, columns});
        rows.rowwise() -= mean;
        const Eigen::MatrixXd solved = factor.matrixL().solve(rows.transpose());
        for (int64_t i = 0; i < count; i++)
            result.distance[first + i] = solved.col(i).norm();
        counters.finished += count;
    });
    if (!whole) {
        result.distance.clear();
        result.aborted = true;
    }
    return result;
}

} // namespace latdyn
