// A chosen atom joins: a block of 64 threads a signal, a row of the packed Cholesky factor and the
// coefficients. Two triangular solves of 2·n²/2 operations in steps of 8 rows, n atoms chosen: limited by the
// latency of n/4 steps. Reads 8·n² bytes of the factor and writes 8·n.
#include "omp/pursuits.h"

namespace latdyn::cuda {

namespace {

constexpr unsigned append_threads = 64;
// As in omp.cpp.
constexpr double smallest_pivot = 0x1p-42;

// Where row i of a packed triangle begins; omp_row of omp_kernels.h, which a device cannot call.
__device__ inline int64_t factor_row(int64_t i) {
    return (i / 8 + 1) * (i / 8 * 4 + i % 8) * 8;
}

// x·y of doubles by a group, whole groups of 8.
__device__ inline double group_double_dot(unsigned mask, const double* x, const double* y, int64_t count) {
    double sum = 0;
#pragma unroll 4
    for (int64_t l = threadIdx.x % group_lanes; l < count; l += group_lanes)
        sum = exact::add(sum, exact::mul(x[l], y[l]));
    return group_total(mask, sum);
}

// Solves L·x = b in place for the first n rows, b in shared memory with zeros up to a multiple of 8. Eight
// rows at a time, one a group; then the eight unknowns one after the other, a lane of the first group each.
__device__ inline void solve_lower(const double* factor, const double* inverse, int64_t n, double* b,
                                   double* x) {
    const unsigned mask = group_mask();
    const int group = static_cast<int>(threadIdx.x) / group_lanes,
              lane = static_cast<int>(threadIdx.x) % group_lanes;
    for (int64_t first = 0; first < n; first += 8) {
        const int64_t row = first + group;
        if (row < n) {
            const double taken = group_double_dot(mask, factor + factor_row(row), b, first);
            if (lane == 0)
                x[group] = exact::sub(b[row], taken);
        } else if (lane == 0) {
            x[group] = 0;
        }
        __syncthreads();
        if (group == 0) {
            double own = x[lane];
            for (int m = 0; m < 8; m++) {
                const double solved =
                    __shfl_sync(mask, first + m < n ? exact::mul(own, inverse[first + m]) : 0.0, m);
                if (lane == m)
                    own = solved;
                if (lane > m && first + lane < n)
                    own = exact::sub(own, exact::mul(factor[factor_row(first + lane) + first + m], solved));
            }
            if (first + lane < n)
                b[first + lane] = own;
        }
        __syncthreads();
    }
}

// Solves Lᵀ·x = b likewise, from below; what the eight unknowns take from the others is taken one after the
// other.
__device__ inline void solve_upper(const double* factor, const double* inverse, int64_t n, double* b,
                                   double* x) {
    const unsigned mask = group_mask();
    const int group = static_cast<int>(threadIdx.x) / group_lanes,
              lane = static_cast<int>(threadIdx.x) % group_lanes;
    for (int64_t first = (n - 1) / 8 * 8; first >= 0; first -= 8) {
        if (group == 0) {
            double own = first + lane < n ? b[first + lane] : 0;
            for (int m = 7; m >= 0; m--) {
                const double solved =
                    __shfl_sync(mask, first + m < n ? exact::mul(own, inverse[first + m]) : 0.0, m);
                if (lane == m)
                    own = solved;
                if (lane < m && first + m < n)
                    own = exact::sub(own, exact::mul(factor[factor_row(first + m) + first + lane], solved));
            }
            x[lane] = own;
            if (first + lane < n)
                b[first + lane] = own;
        }
        __syncthreads();
        for (int64_t j = threadIdx.x; j < first; j += append_threads) {
            double rest = b[j];
            for (int m = 7; m >= 0; m--)
                if (first + m < n)
                    rest = exact::sub(rest, exact::mul(x[m], factor[factor_row(first + m) + j]));
            b[j] = rest;
        }
        __syncthreads();
    }
}

__global__ void __launch_bounds__(append_threads) append(Pursuits p, const int32_t* live) {
    double* b = reinterpret_cast<double*>(shared_memory());
    double* x = b + p.padded + 8;
    // Of the whole block: the initial correlation and the pivot.
    double* common = x + 8;
    const unsigned mask = group_mask();
    const int lane = static_cast<int>(threadIdx.x) % group_lanes,
              group = static_cast<int>(threadIdx.x) / group_lanes;
    const int64_t s = live[blockIdx.x], n = p.size[s];
    const int32_t atom = p.index[s];
    const double score = atom < 0 ? 0 : fabs(from_ordered(p.best[s]));
    const bool ends = atom < 0 || !(score > p.zero[s]);
    if (ends) {
        if (threadIdx.x == 0)
            p.done[s] = 1;
        return;
    }
    const int64_t end = (n / 8 + 1) * 8;
    for (int64_t i = threadIdx.x; i < end; i += append_threads)
        b[i] = i < n && p.gram ? p.gram[p.chosen[s * p.most + i] * p.atom_count + atom] : 0;
    __syncthreads();
    for (int64_t i = group; !p.gram && i < n; i += append_threads / group_lanes) {
        const double value = computed_gram(p, mask, s, atom, i);
        if (lane == 0)
            b[i] = value;
    }
    if (group == 0) {
        const double initial = initial_of(p, mask, s, atom);
        if (lane == 0)
            common[0] = initial;
    }
    __syncthreads();
    double* factor = p.factor + s * p.factor_size;
    double* inverse = p.inverse + s * p.most;
    double* projections = p.projections + s * p.padded;
    solve_lower(factor, inverse, n, b, x);
    if (group == 0) {
        const double pivot = exact::sub(1, group_double_dot(mask, b, b, end));
        const double known = group_double_dot(mask, b, projections, end < p.padded ? end : p.padded);
        // All have read `projections`, whose next element is written: shuffles order no memory.
        __syncwarp(mask);
        if (lane == 0) {
            common[1] = pivot;
            if (pivot > smallest_pivot) {
                const double diagonal = exact::sqrt(pivot);
                inverse[n] = exact::div(1, diagonal);
                projections[n] = exact::div(exact::sub(common[0], known), diagonal);
            }
        }
    }
    __syncthreads();
    if (!(common[1] > smallest_pivot)) {
        if (threadIdx.x == 0)
            p.done[s] = 1;
        return;
    }
    double* row = factor + factor_row(n);
    for (int64_t i = threadIdx.x; i < end; i += append_threads)
        row[i] = b[i];
    __syncthreads();
    for (int64_t i = threadIdx.x; i < end; i += append_threads)
        b[i] = i <= n ? projections[i] : 0;
    __syncthreads();
    solve_upper(factor, inverse, n + 1, b, x);
    for (int64_t i = threadIdx.x; i <= n; i += append_threads)
        p.solution[s * p.padded + i] = b[i];
    if (threadIdx.x == 0) {
        p.chosen[s * p.most + n] = atom;
        p.excluded[s * p.words + atom / 32] |= 1u << atom % 32;
        p.size[s] = static_cast<int32_t>(n + 1);
    }
}

} // namespace

void append_best(const Pursuits& p, const int32_t* live, int64_t count) {
    launch("append", append, count, append_threads,
           static_cast<size_t>(p.padded + 8 + 8 + 2) * sizeof(double), p, live);
}

} // namespace latdyn::cuda
