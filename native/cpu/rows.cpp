// Compile with -ffp-contract=off: see rows.h.
#include "rows.h"

#include "latdyn/error.h"

#include <cmath>
#include <limits>

namespace latdyn {

double dot(const float* x, const float* y, int64_t k) {
    double sums[8] = {};
    int64_t l = 0;
    for (; l + 8 <= k; l += 8)
        for (int i = 0; i < 8; i++)
            sums[i] += double(x[l + i]) * double(y[l + i]);
    for (int i = 0; l < k; l++, i++)
        sums[i] += double(x[l]) * double(y[l]);
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

double squared_distance(const float* x, const float* y, int64_t k) {
    const auto square = [](double d) { return d * d; };
    double sums[8] = {};
    int64_t l = 0;
    for (; l + 8 <= k; l += 8)
        for (int i = 0; i < 8; i++)
            sums[i] += square(double(x[l + i]) - double(y[l + i]));
    for (int i = 0; l < k; l++, i++)
        sums[i] += square(double(x[l]) - double(y[l]));
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

double angle_error(int64_t k) {
    const double cosine = (2 * (static_cast<double>(k) / 8 + 4) + 3) * 0x1p-53;
    return 1.01 * std::sqrt(2 * cosine) + 0x1p-50;
}

void squared_lengths(RowView rows, int64_t first, int64_t end, double* squares) {
    for (int64_t i = first; i < end; i++)
        squares[i] = dot(rows[i], rows[i], rows.columns);
}

void check_finite(RowView rows, const std::vector<double>& squares, const std::string& what) {
    // Squares of floats do not overflow in double, so a sum that is not finite means an element is not.
    for (int64_t i = 0; i < rows.count; i++) {
        if (std::isfinite(squares[i]))
            continue;
        const float* x = rows[i];
        const int64_t column =
            std::find_if(x, x + rows.columns, [](float v) { return !std::isfinite(v); }) - x;
        throw Error(what + (what.empty() ? "" : ": ") + "row " + std::to_string(i) + " holds " +
                    (std::isnan(x[column]) ? "NaN" : "infinity") + " in column " + std::to_string(column) +
                    ", expected finite numbers");
    }
}

std::vector<double> finite_squares(RowView rows, const std::string& what, int threads,
                                   const std::atomic<bool>* abort) {
    if (rows.count > std::numeric_limits<int32_t>::max())
        throw Error(what + " has " + std::to_string(rows.count) + " rows, expected at most 2147483647");
    std::vector<double> squares(static_cast<size_t>(rows.count));
    constexpr int64_t batch = 1024;
    if (run_tasks(threads, (rows.count + batch - 1) / batch, abort, [&](int64_t task, int) {
            squared_lengths(rows, task * batch, std::min(rows.count, (task + 1) * batch), squares.data());
        }))
        check_finite(rows, squares, what);
    return squares;
}

} // namespace latdyn
