// What chooses the next atom of every live signal, L of them with n atoms each, dictionary A × d:
//   residuals   a block of 256 threads a signal: signal less combination in double, 4·n·d bytes (from L2
//               where the chosen atoms are there) and 2·n·d operations; its length by 8 lanes, in the CPU's
//               order. Signals that are done leave here.
//   score_atoms 8 lanes a candidate: its correlation from the Gram matrix, 2·d + 2·n operations; without
//               that matrix the products are computed, n·d operations.
// The others move some bytes a signal or candidate.
#include "omp/pursuits.h"

namespace latdyn::cuda {

namespace {

constexpr unsigned threads = 256;

__device__ inline double coefficient(const Pursuits& p, int64_t s, int64_t i) {
    const int32_t atom = p.chosen[s * p.most + i];
    return exact::mul(p.solution[s * p.padded + i], exact::div(p.signal_lengths[s], p.atom_lengths[atom]));
}

// Writes down what stands, for this sparsity and all larger ones: those write again if they come to more.
__global__ void __launch_bounds__(threads) residuals(Pursuits p, const int32_t* live) {
    double* factors = reinterpret_cast<double*>(shared_memory());
    double* shared_norm = factors + p.most;
    const int64_t s = live[blockIdx.x], n = p.size[s], k = p.columns;
    for (int64_t i = threadIdx.x; i < n; i += threads)
        factors[i] = coefficient(p, s, i);
    __syncthreads();
    const float* x = p.signals + s * k;
    double* r = p.residual + s * k;
    for (int64_t l = threadIdx.x; l < k; l += threads) {
        double rest = x[l];
        for (int64_t i = 0; i < n; i++)
            rest =
                exact::sub(rest, exact::mul(factors[i], double(p.atoms[p.chosen[s * p.most + i] * k + l])));
        r[l] = rest;
    }
    __syncthreads();
    if (threadIdx.x < group_lanes) {
        double sum = 0;
#pragma unroll 8
        for (int64_t l = threadIdx.x; l < k; l += group_lanes)
            sum = exact::add(sum, exact::mul(r[l], r[l]));
        sum = group_total(group_mask(), sum);
        if (threadIdx.x == 0) {
            const double norm = exact::sqrt(sum);
            double absolute = 0;
            for (int64_t i = 0; i < n; i++)
                absolute = exact::add(absolute, fabs(p.solution[s * p.padded + i]));
            const double zero = 4 * static_cast<double>(n + k / 8 + 8) * 0x1p-53 * (1 + absolute);
            const double length = p.signal_lengths[s];
            // Scores are no larger than the residual, up to half the bound.
            const bool done = n == p.most || !(norm > zero / 2 * length);
            p.done[s] = done;
            p.zero[s] = zero;
            const double error = done ? 0 : p.error + zero * length / norm;
            p.bounds[s] = {0, static_cast<float>(error * (1 + 0x1p-20)), 0, 0};
            p.best_bound[s] = 0xff800000u;
            p.best[s] = p.before[s] = ~Key{0};
            p.index[s] = -1;
            *shared_norm = norm;
        }
    }
    __syncthreads();
    const double norm = *shared_norm;
    for (int64_t l = threadIdx.x; l < k; l += threads)
        p.unit_residual[s * k + l] = norm > 0 ? static_cast<float>(r[l] / norm) : 0;
    for (int32_t q = 0; q < p.sparsity_count; q++) {
        if (p.sparsities[q] < n)
            continue;
        float* to = p.coefficients + p.coefficient_begin[q] + s * p.sparsities[q];
        for (int64_t i = threadIdx.x; i < n; i += threads)
            to[i] = static_cast<float>(factors[i]);
        if (threadIdx.x == 0)
            p.norms[q * p.signal_count + s] = norm;
    }
}

// The live signals that are not done, in order: one block of 1,024 threads.
__global__ void leave(const int32_t* live, int64_t count, const int32_t* done, int32_t* still,
                      int32_t* still_count) {
    unsigned* counts = reinterpret_cast<unsigned*>(shared_memory());
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    unsigned total = 0;
    for (int64_t begin = 0; begin < count; begin += blockDim.x) {
        const int64_t i = begin + threadIdx.x;
        const bool stays = i < count && !done[live[i]];
        const unsigned vote = __ballot_sync(whole_warp, stays);
        if (lane == 0)
            counts[warp] = static_cast<unsigned>(__popc(vote));
        __syncthreads();
        unsigned place = total + static_cast<unsigned>(__popc(vote & ((1u << lane) - 1)));
        for (unsigned w = 0; w < blockDim.x / 32; w++) {
            place += w < warp ? counts[w] : 0;
            total += counts[w];
        }
        if (stays)
            still[place] = live[i];
        __syncthreads();
    }
    if (threadIdx.x == 0)
        *still_count = static_cast<int32_t>(total);
}

__global__ void score_atoms(Pursuits p, const Candidate* found, int64_t count, Key* keys) {
    const int64_t c = int64_t{blockIdx.x} * (threads / group_lanes) + threadIdx.x / group_lanes;
    if (c >= count)
        return;
    const unsigned mask = group_mask();
    const int lane = static_cast<int>(threadIdx.x) % group_lanes;
    const int first_lane = static_cast<int>(threadIdx.x) % 32 - lane;
    const int64_t s = found[c].left, atom = found[c].right, n = p.size[s];
    const double* solution = p.solution + s * p.padded;
    double score = initial_of(p, mask, s, atom);
    for (int64_t begin = 0; begin < n; begin += group_lanes) {
        const int64_t own = begin + lane;
        double term = 0;
        if (p.gram && own < n)
            term = exact::mul(solution[own], p.gram[p.chosen[s * p.most + own] * p.atom_count + atom]);
        for (int i = 0; i < group_lanes && begin + i < n; i++) {
            const double next =
                p.gram ? __shfl_sync(mask, term, first_lane + i)
                       : exact::mul(solution[begin + i], computed_gram(p, mask, s, atom, begin + i));
            score = exact::sub(score, next);
        }
    }
    if (lane != 0)
        return;
    keys[c] = ordered(-fabs(score));
    atomicMin(&p.best[s], keys[c]);
}

__global__ void forget_atoms(Pursuits p, const int32_t* live, int64_t count) {
    const int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x;
    if (i >= count)
        return;
    const int64_t s = live[i];
    if (p.best[s] == p.before[s])
        return;
    p.before[s] = p.best[s];
    p.index[s] = -1;
}

__global__ void lowest_atoms(Pursuits p, const Candidate* found, int64_t count, const Key* keys) {
    const int64_t c = int64_t{blockIdx.x} * threads + threadIdx.x;
    if (c < count && keys[c] == p.best[found[c].left])
        atomicMin(reinterpret_cast<unsigned*>(&p.index[found[c].left]),
                  static_cast<unsigned>(found[c].right));
}

int64_t blocks_for(int64_t count, int64_t a_block = threads) {
    return (count + a_block - 1) / a_block;
}

} // namespace

void find_residuals(const Pursuits& p, const int32_t* live, int64_t count) {
    launch("residuals", residuals, count, threads, static_cast<size_t>(p.most + 1) * sizeof(double), p, live);
}

void list_still(const int32_t* live, int64_t count, const int32_t* done, int32_t* still,
                int32_t* still_count) {
    constexpr unsigned leavers = 1024;
    launch("leave", leave, 1, leavers, leavers / 32 * sizeof(unsigned), live, count, done, still,
           still_count);
}

void score_candidates(const Pursuits& p, const int32_t* live, int64_t count, const Candidates& candidates) {
    const int64_t found = candidates.count();
    launch("score_atoms", score_atoms, blocks_for(found, threads / group_lanes), threads, 0, p,
           candidates.list(), found, candidates.keys());
    launch("forget_atoms", forget_atoms, blocks_for(count), threads, 0, p, live, count);
    launch("lowest_atoms", lowest_atoms, blocks_for(found), threads, 0, p, candidates.list(), found,
           candidates.keys());
}

} // namespace latdyn::cuda
