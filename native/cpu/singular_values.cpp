// Singular values through the Gram matrix of the smaller side: Eigen's symmetric eigenvalues of a matrix that
// is at most min(rows, columns) wide, instead of a decomposition of the whole. Squaring costs half the digits
// of the smallest values, and the floats that come in do not carry them.
#include "latdyn/singular_values.h"

#include "gram.h"
#include "latdyn/error.h"

#include <Eigen/Eigenvalues>

#include <cmath>

namespace latdyn {

SingularValuesResult singular_values(const float* data, int64_t rows, int64_t columns,
                                     const SingularValuesOptions& options, JobCounters& counters) {
    if (rows == 0)
        throw Error("there are no rows");
    const RowView view{data, rows, columns};
    std::vector<double> squares(rows);
    squared_lengths(view, 0, rows, squares.data());
    check_finite(view, squares, "");

    SingularValuesResult result;
    DoubleRows x = double_rows(view);
    if (options.centred)
        x.rowwise() -= x.colwise().mean().eval();
    // Scaled so that no square overflows or vanishes.
    const double scale = x.cwiseAbs().maxCoeff();
    const int64_t count = std::min(rows, columns);
    if (scale == 0) {
        result.values.assign(count, 0);
        return result;
    }
    x /= scale;
    Eigen::MatrixXd gram;
    if (!lower_gram(x, rows <= columns, options.threads, &counters.abort, gram)) {
        result.aborted = true;
        return result;
    }
    // Reads the lower triangle alone.
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(gram, Eigen::EigenvaluesOnly);
    if (solver.info() != Eigen::Success)
        throw Error("the eigenvalues of the Gram matrix did not converge");
    counters.finished = count;
    result.values.resize(count);
    for (int64_t i = 0; i < count; i++)
        result.values[i] = scale * std::sqrt(std::max(0.0, solver.eigenvalues()[count - 1 - i]));
    return result;
}

} // namespace latdyn
