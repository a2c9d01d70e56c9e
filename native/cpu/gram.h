// Xᵀ·X or X·Xᵀ in double, for what Eigen does next.
#pragma once

#include "rows.h"

#include <Eigen/Core>

#include <algorithm>

namespace latdyn {

// Rows in double, as Eigen takes them.
using DoubleRows = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

inline DoubleRows double_rows(RowView rows) {
    using Floats = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    return Eigen::Map<const Floats>(rows.data, rows.count, rows.columns).cast<double>();
}

// The lower triangle of X·Xᵀ (of_rows) or Xᵀ·X, in blocks of its rows; what is above the diagonal's blocks is
// not set. False where aborted. The order of every sum is fixed, whatever the number of threads.
inline bool lower_gram(const DoubleRows& x, bool of_rows, int threads, const std::atomic<bool>* abort,
                       Eigen::MatrixXd& gram) {
    constexpr Eigen::Index block = 64;
    const Eigen::Index n = of_rows ? x.rows() : x.cols();
    gram.resize(n, n);
    // The long rows at the bottom first, so that no thread is left with one at the end.
    const int64_t tasks = (n + block - 1) / block;
    return run_tasks(threads, tasks, abort, [&](int64_t task, int) {
        const Eigen::Index first = (tasks - 1 - task) * block;
        const Eigen::Index count = std::min(block, n - first);
        const Eigen::Index width = first + count;
        if (of_rows)
            gram.block(first, 0, count, width).noalias() =
                x.middleRows(first, count) * x.topRows(width).transpose();
        else
            gram.block(first, 0, count, width).noalias() =
                x.middleCols(first, count).transpose() * x.leftCols(width);
    });
}

} // namespace latdyn
