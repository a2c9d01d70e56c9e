// Row vectors and what decides about them: sums in double whose order no instruction set changes, so that a
// cosine or a distance has the same bits on every machine.
#pragma once

#include "workers.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace latdyn {

// count × columns floats, row-major, that belong to somebody else.
struct RowView {
    const float* data = nullptr;
    int64_t count = 0;
    int64_t columns = 0;

    const float* operator[](int64_t i) const { return data + i * columns; }
};

// Eight sums side by side; the products of floats are exact.
double dot(const float* x, const float* y, int64_t k);
double squared_distance(const float* x, const float* y, int64_t k);

// Bound on the error of an angle, the arc cosine of x·y / √(|x|²·|y|²), all three by dot(). With u = 2⁻⁵³, a
// sum of k products is off by at most (k/8 + 4)·u·|x|·|y|; those of |x|² and |y|² count half each below the
// root; product, root and quotient round once: δ = (2·(k/8 + 4) + 3)·u of a cosine. An arc cosine is steepest
// at its ends: arccos(1 − δ) = 2·arcsin(√(δ/2)) <= 1.01·√(2δ), and 2⁻⁵⁰ is for its own rounding.
double angle_error(int64_t k);

// |x|² of rows [first, end) to `squares`.
void squared_lengths(RowView rows, int64_t first, int64_t end, double* squares);
// Throws Error, which names `what` (may be empty), the row and the column, where a squared length says that
// an element is not finite.
void check_finite(RowView rows, const std::vector<double>& squares, const std::string& what);

// |x|² of every row. Throws Error, which names `what`, where there are 2³¹ rows or more, or an element is not
// finite. Of no use where `abort` stopped it.
std::vector<double> finite_squares(RowView rows, const std::string& what, int threads,
                                   const std::atomic<bool>* abort);

// Runs work(task, thread) for every task on up to `threads` threads; the first exception is thrown again.
// False where `abort` (may be null) stopped it.
template <class Work> bool run_tasks(int threads, int64_t tasks, const std::atomic<bool>* abort, Work work) {
    const auto aborted = [abort] { return abort != nullptr && abort->load(std::memory_order_relaxed); };
    std::atomic<int64_t> next = 0;
    run_workers(static_cast<int>(std::clamp<int64_t>(tasks, 1, std::max(threads, 1))), [&](int thread) {
        for (int64_t task = next++; task < tasks && !aborted(); task = next++)
            work(task, thread);
    });
    return !aborted();
}

} // namespace latdyn
