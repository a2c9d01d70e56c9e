// Householder's QR in panels. The reflections of a panel, I − τ·v·vᵀ each, come from Eigen; put together they
// are I − V·T·Vᵀ with T upper triangular (Schreiber and Van Loan, "A storage-efficient WY representation for
// products of Householder transformations", 1989), so that nearly all of the work is matrix products, which
// Eigen does too: blocks of columns, shared by the threads.
#include "latdyn/orthonormal.h"

#include "latdyn/noise.h"
#include "rows.h"

#include <Eigen/QR>

#include <utility>

namespace latdyn {

namespace {

using Matrix = Eigen::MatrixXd;

// Reflections that are applied together, and columns that a task applies them to.
constexpr int64_t panel = 32, task_columns = 64;

// I − V·T·Vᵀ of the reflections that zero columns [first, first + V.cols()) below the diagonal.
struct Reflections {
    int64_t first;
    Matrix v, t;
};

class Basis {
  public:
    Basis(int64_t k, int threads, JobCounters& counters) : k(k), threads(threads), counters(counters) {}

    // Reflects a, column after column, to upper triangular form.
    bool reflect(Matrix& a) {
        for (int64_t first = 0; first < k; first += panel) {
            const int64_t width = std::min(panel, k - first);
            made.push_back(reflections_of(a.block(first, first, k - first, width), first));
            if (!apply(made.back(), a, first + width, true))
                return false;
            counters.finished.fetch_add(width, std::memory_order_relaxed);
        }
        return true;
    }

    // Q, from the last reflections to the first: a column is a unit vector as long as only later ones came.
    bool make(Matrix& q) {
        q.setIdentity(k, k);
        while (!made.empty()) {
            if (!apply(made.back(), q, made.back().first, false))
                return false;
            counters.finished.fetch_add(made.back().v.cols(), std::memory_order_relaxed);
            made.pop_back();
        }
        return true;
    }

  private:
    const int64_t k;
    const int threads;
    JobCounters& counters;
    std::vector<Reflections> made;

    static Reflections reflections_of(Matrix columns, int64_t first) {
        const Eigen::Index width = columns.cols();
        const Eigen::HouseholderQR<Eigen::Ref<Matrix>> decomposed(columns);
        const auto& tau = decomposed.hCoeffs();
        Reflections out{first, Matrix(columns.triangularView<Eigen::UnitLower>()),
                        Matrix::Zero(width, width)};
        for (Eigen::Index i = 0; i < width; i++) {
            out.t(i, i) = tau(i);
            const Eigen::VectorXd dots = out.v.leftCols(i).transpose() * out.v.col(i);
            out.t.col(i).head(i) =
                out.t.topLeftCorner(i, i).triangularView<Eigen::Upper>() * (-tau(i) * dots);
        }
        return out;
    }

    // Columns from `begin` on of `to`, less V·T·Vᵀ times them (or its transpose). False where aborted.
    bool apply(const Reflections& by, Matrix& to, int64_t begin, bool transposed) {
        const int64_t tasks = (k - begin + task_columns - 1) / task_columns;
        return run_tasks(threads, tasks, &counters.abort, [&](int64_t task, int) {
            const int64_t at = begin + task * task_columns;
            auto columns = to.block(by.first, at, k - by.first, std::min(task_columns, k - at));
            const Matrix products = by.v.transpose() * columns;
            const Matrix scaled = transposed ? Matrix(by.t.transpose() * products) : Matrix(by.t * products);
            columns.noalias() -= by.v * scaled;
        });
    }
};

} // namespace

OrthonormalResult orthonormal_basis(uint64_t seed, int64_t first_row, int64_t k, int threads,
                                    JobCounters& counters) {
    OrthonormalResult result;
    Matrix a(k, k);
    std::vector<float> normals(static_cast<size_t>(k));
    for (int64_t r = 0; r < k; r++) {
        noise(seed, first_row + r, 1, k, 1, normals.data());
        for (int64_t c = 0; c < k; c++)
            a(r, c) = normals[c];
    }
    Basis basis(k, threads, counters);
    Matrix q;
    // Columns of Q lie one after the other.
    if (basis.reflect(a) && basis.make(q))
        result.basis.assign(q.data(), q.data() + k * k);
    else
        result.aborted = true;
    return result;
}

} // namespace latdyn
