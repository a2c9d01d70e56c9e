// Orthogonal matching pursuit for many signals at once, as omp.cpp does it one by one: what decides is
// computed in double in the order that it is there, so supports are the CPU's exactly.
//
// A step of the live signals, L of them with n atoms each, dictionary A × d:
//   residuals   a block of 256 threads a signal: signal less combination in double, 4·n·d bytes (from L2
//   where the
//               chosen atoms are there) and 2·n·d operations; its length by 8 lanes, in the CPU's order.
//               Signals that are done leave here.
//   pack, candidate_pairs (pairs.cu)
//               unit residuals times dictionary on tensor cores, 2·L·A·d FLOPs; atoms whose |correlation| may
//               be the largest. Limited by mma.sync for L >= 128, by reading the dictionary, 4·A·d bytes,
//               below.
//   score_atoms 8 lanes a candidate: its correlation from the Gram matrix, 2·d + 2·n operations.
//   append      a block of 64 threads a signal: a row of the packed Cholesky factor and the coefficients, two
//               triangular solves of 2·n²/2 operations in steps of 8 rows: limited by the latency of n/4
//               steps.
// Once: the Gram matrix in double where there is room for 8·A² bytes (gram: a block of 256 threads for 32 ×
// 32 products, A²·d operations that fuse, each operand from shared memory: about two thirds of the double
// rate); else the products that a candidate needs are computed when it is scored, n·d operations. Two short
// copies to the host a step: how many signals are live, how many candidates there are.
#include "kernels.h"

#include "bounds.h"
#include "device.h"
#include "latdyn/error.h"
#include "omp_kernels.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>

namespace latdyn::cuda {

namespace {

constexpr unsigned threads = 256;
constexpr unsigned append_threads = 64;
// As in omp.cpp.
constexpr double smallest_pivot = 0x1p-42;

// Where row i of a packed triangle begins; omp_row of omp_kernels.h, which a device cannot call.
__device__ inline int64_t factor_row(int64_t i) {
    return (i / 8 + 1) * (i / 8 * 4 + i % 8) * 8;
}

// ---- the Gram matrix ----

constexpr int gram_tile = 32, gram_depth = 32;

// As two floats hold it, like the CPU's.
__device__ inline double gram_value(double product, double length, double other) {
    const double exact_value = length == 0 || other == 0 ? 0 : exact::div(product, exact::mul(length, other));
    const float high = static_cast<float>(exact_value);
    const float low = static_cast<float>(exact::sub(exact_value, double(high)));
    return exact::add(double(high), double(low));
}

// Products of atoms [32·bi, …) with atoms [32·bj, …), bj <= bi, and their mirror image. A group of 8 lanes
// has 4 × 8 of the tile; lane p sums the products of elements p, p + 8, …
__global__ void __launch_bounds__(threads)
    gram(const float* atoms, int64_t count, int64_t k, const double* lengths, double* out) {
    double(*left)[gram_depth + 1] = reinterpret_cast<double(*)[gram_depth + 1]>(shared_memory());
    double(*right)[gram_depth + 1] = left + gram_tile;
    // Row after row of the lower triangle of tiles.
    int64_t bi = static_cast<int64_t>((exact::sqrt(8.0 * double(blockIdx.x) + 1) - 1) / 2);
    while (bi * (bi + 1) / 2 > int64_t{blockIdx.x})
        bi--;
    while ((bi + 1) * (bi + 2) / 2 <= int64_t{blockIdx.x})
        bi++;
    const int64_t bj = blockIdx.x - bi * (bi + 1) / 2;
    const int lane = static_cast<int>(threadIdx.x) % group_lanes,
              group = static_cast<int>(threadIdx.x) / group_lanes;
    const int row = group / 4 * 4, column = group % 4 * 8;
    double sums[4][8] = {};
    for (int64_t begin = 0; begin < k; begin += gram_depth) {
        __syncthreads();
        for (int at = static_cast<int>(threadIdx.x); at < gram_tile * gram_depth; at += threads) {
            const int r = at / gram_depth, c = at % gram_depth;
            const int64_t i = bi * gram_tile + r, j = bj * gram_tile + r, l = begin + c;
            left[r][c] = i < count && l < k ? double(atoms[i * k + l]) : 0;
            right[r][c] = j < count && l < k ? double(atoms[j * k + l]) : 0;
        }
        __syncthreads();
#pragma unroll
        for (int c = 0; c < gram_depth; c += group_lanes) {
            double x[4], y[8];
#pragma unroll
            for (int m = 0; m < 4; m++)
                x[m] = left[row + m][c + lane];
#pragma unroll
            for (int n = 0; n < 8; n++)
                y[n] = right[column + n][c + lane];
#pragma unroll
            for (int m = 0; m < 4; m++)
#pragma unroll
                for (int n = 0; n < 8; n++)
                    // The product is exact: fusing changes nothing.
                    sums[m][n] += x[m] * y[n];
        }
    }
    const unsigned mask = group_mask();
#pragma unroll
    for (int m = 0; m < 4; m++)
#pragma unroll
        for (int n = 0; n < 8; n++) {
            const double product = group_total(mask, sums[m][n]);
            const int64_t i = bi * gram_tile + row + m, j = bj * gram_tile + column + n;
            if (i < count && j < count && lane == n) {
                const double value = gram_value(product, lengths[i], lengths[j]);
                out[i * count + j] = value;
                out[j * count + i] = value;
            }
        }
}

// ---- signals ----

// The signals of a block, by their place in it.
struct Pursuits {
    const float *signals, *atoms;
    const double *signal_lengths, *atom_lengths;
    // [atoms, atoms]; null where it does not fit.
    const double* gram;
    int64_t atom_count, columns, most, padded, factor_size, words;
    double error;
    // [signals]
    int32_t* size;
    int32_t* done;
    double* zero;
    RowBounds* bounds;
    uint32_t* best_bound;
    Key *best, *before;
    int32_t* index;
    // [signals, most], [signals, padded] twice, [signals, factor_size], [signals, most]
    int32_t* chosen;
    double *solution, *projections, *factor, *inverse;
    // [signals, words]: bit j set where atom j is chosen or never will be.
    uint32_t* excluded;
    // [signals, columns]
    double* residual;
    float* unit_residual;
    // What comes out: for sparsity q, coefficients [signals, sparsities[q]] and norms [signals].
    const int32_t* sparsities;
    const int64_t* coefficient_begin;
    int32_t sparsity_count;
    int64_t signal_count;
    float* coefficients;
    double* norms;
};

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

__device__ inline double initial_of(const Pursuits& p, unsigned mask, int64_t s, int64_t atom) {
    const double product = group_dot(mask, p.signals + s * p.columns, p.atoms + atom * p.columns, p.columns);
    const double length = p.signal_lengths[s], other = p.atom_lengths[atom];
    return length == 0 || other == 0 ? 0 : exact::div(product, exact::mul(length, other));
}

// The product of the atom with chosen atom i, by a group, to all of it.
__device__ inline double computed_gram(const Pursuits& p, unsigned mask, int64_t s, int64_t atom, int64_t i) {
    const int64_t other = p.chosen[s * p.most + i];
    const double product =
        group_dot(mask, p.atoms + atom * p.columns, p.atoms + other * p.columns, p.columns);
    return gram_value(product, p.atom_lengths[atom], p.atom_lengths[other]);
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

int64_t blocks_for(int64_t count, int64_t a_block) {
    return (count + a_block - 1) / a_block;
}

// ---- the host's side ----

struct Setting {
    const DeviceRows& dictionary;
    const DeviceRows& signals;
    const std::vector<int32_t>& sparsities;
    const Job& job;
    int64_t most;
    Buffer<double> atom_lengths, signal_lengths, gram_matrix;
    Buffer<float> packed;
    Buffer<RowBounds> atom_bounds;
    std::vector<uint32_t> never;
};

std::vector<double> lengths_of(const DeviceRows& rows) {
    std::vector<double> lengths;
    for (double square : rows.host_squares)
        lengths.push_back(std::sqrt(square));
    return lengths;
}

template <class Element> Buffer<Element> zeros(int64_t size) {
    Buffer<Element> buffer(size);
    buffer.fill_bytes(0);
    return buffer;
}

// A block of signals at work.
class Block {
  public:
    Block(const Setting& setting, int64_t signals)
        : setting(setting), atoms(setting.dictionary.count), columns(setting.dictionary.columns),
          padded((setting.most + 7) / 8 * 8), words((atoms + 31) / 32), room(signals), size(signals),
          done(signals), live(signals), still(signals), index(signals), chosen(signals * setting.most),
          zero(signals), solution(signals * padded), projections(signals * padded),
          factor(signals * omp_row(setting.most)), inverse(signals * setting.most),
          residual(signals * columns), unit_residual(signals * columns),
          packed(packed_size(signals, columns)), bounds(signals), best_bound(signals),
          excluded(signals * words), best(signals), before(signals), live_count(1),
          sparsities(std::span<const int32_t>(setting.sparsities)) {
        for (int32_t sparsity : setting.sparsities) {
            begins.push_back(total);
            total += signals * sparsity;
        }
        begin_of = Buffer<int64_t>(std::span<const int64_t>(begins));
        coefficients = Buffer<float>(total);
        norms = Buffer<double>(signals * static_cast<int64_t>(begins.size()));
    }

    // Signals [first, first + count). False where the job is to end.
    bool run(int64_t first, int64_t count, Candidates& candidates, OmpResult& result) {
        size.fill_bytes(0);
        done.fill_bytes(0);
        projections.fill_bytes(0);
        coefficients.fill_bytes(0);
        norms.fill_bytes(0);
        std::vector<uint32_t> bits;
        for (int64_t s = 0; s < count; s++)
            bits.insert(bits.end(), setting.never.begin(), setting.never.end());
        excluded.set(bits);
        std::vector<int32_t> all(static_cast<size_t>(count));
        std::iota(all.begin(), all.end(), 0);
        live.set(all);
        const Pursuits p = pursuits(first);
        for (int64_t at_work = count; at_work > 0;) {
            if (!setting.job.go_on(first + count - at_work))
                return false;
            launch("residuals", residuals, at_work, threads,
                   static_cast<size_t>(setting.most + 1) * sizeof(double), p, live.get());
            at_work = without_done(at_work);
            if (at_work == 0)
                break;
            if (!choose(p, at_work, first + count - at_work, candidates))
                return false;
            launch("append", append, at_work, append_threads,
                   static_cast<size_t>(padded + 8 + 8 + 2) * sizeof(double), p, live.get());
            at_work = without_done(at_work);
        }
        record(first, count, result);
        return true;
    }

  private:
    const Setting& setting;
    const int64_t atoms, columns, padded, words, room;
    Buffer<int32_t> size, done, live, still, index, chosen;
    Buffer<double> zero, solution, projections, factor, inverse, residual;
    Buffer<float> unit_residual, packed;
    Buffer<RowBounds> bounds;
    Buffer<uint32_t> best_bound, excluded;
    Buffer<Key> best, before;
    Buffer<int32_t> live_count;
    Buffer<int32_t> sparsities;
    std::vector<int64_t> begins;
    int64_t total = 0;
    Buffer<int64_t> begin_of;
    Buffer<float> coefficients;
    Buffer<double> norms;

    Pursuits pursuits(int64_t first) const {
        Pursuits p{};
        p.signals = setting.signals.data.get() + first * columns;
        p.atoms = setting.dictionary.data.get();
        p.signal_lengths = setting.signal_lengths.get() + first;
        p.atom_lengths = setting.atom_lengths.get();
        p.gram = setting.gram_matrix.get();
        p.atom_count = atoms;
        p.columns = columns;
        p.most = setting.most;
        p.padded = padded;
        p.factor_size = omp_row(setting.most);
        p.words = words;
        p.error = tf32_cosine_error(columns);
        p.size = size.get();
        p.done = done.get();
        p.zero = zero.get();
        p.bounds = bounds.get();
        p.best_bound = best_bound.get();
        p.best = best.get();
        p.before = before.get();
        p.index = index.get();
        p.chosen = chosen.get();
        p.solution = solution.get();
        p.projections = projections.get();
        p.factor = factor.get();
        p.inverse = inverse.get();
        p.excluded = excluded.get();
        p.residual = residual.get();
        p.unit_residual = unit_residual.get();
        p.sparsities = sparsities.get();
        p.coefficient_begin = begin_of.get();
        p.sparsity_count = static_cast<int32_t>(begins.size());
        p.signal_count = room;
        p.coefficients = coefficients.get();
        p.norms = norms.get();
        return p;
    }

    int64_t without_done(int64_t count) {
        constexpr unsigned leavers = 1024;
        launch("leave", leave, 1, leavers, leavers / 32 * sizeof(unsigned), live.get(), count, done.get(),
               still.get(), live_count.get());
        std::swap(live, still);
        return live_count.read()[0];
    }

    bool choose(const Pursuits& p, int64_t count, int64_t finished, Candidates& candidates) {
        pack(unit_residual.get(), columns, live.get(), count, {}, packed.get());
        PairTask task{};
        task.left = {packed.get(), live.get(), count, bounds.get(), best_bound.get()};
        task.right = {setting.packed.get(), nullptr, atoms, setting.atom_bounds.get(), nullptr};
        task.stages = stages_of(columns);
        task.score = Score::size;
        task.improve = true;
        task.excluded = excluded.get();
        task.excluded_words = words;
        Job quiet = setting.job;
        quiet.report = [&](int64_t, int64_t) { return setting.job.go_on(finished); };
        return for_candidates(quiet, candidates, task, finished, [&] {
            const int64_t found = candidates.count();
            launch("score_atoms", score_atoms, blocks_for(found, threads / group_lanes), threads, 0, p,
                   candidates.list(), found, candidates.keys());
            launch("forget_atoms", forget_atoms, blocks_for(count, threads), threads, 0, p, live.get(),
                   count);
            launch("lowest_atoms", lowest_atoms, blocks_for(found, threads), threads, 0, p, candidates.list(),
                   found, candidates.keys());
        });
    }

    void record(int64_t first, int64_t count, OmpResult& result) const {
        const std::vector<int32_t> sizes = size.read(), atoms_chosen = chosen.read();
        for (size_t q = 0; q < begins.size(); q++) {
            OmpSelection& selection = result.by_sparsity[q];
            const int64_t sparsity = selection.sparsity;
            const std::vector<float> own = coefficients.read(begins[q], count * sparsity);
            std::copy(own.begin(), own.end(), selection.coefficients.begin() + first * sparsity);
            const std::vector<double> lengths = norms.read(static_cast<int64_t>(q) * room, count);
            std::copy(lengths.begin(), lengths.end(), selection.residual_norm.begin() + first);
            for (int64_t s = 0; s < count; s++)
                std::copy_n(atoms_chosen.begin() + s * setting.most, std::min<int64_t>(sizes[s], sparsity),
                            selection.support.begin() + (first + s) * sparsity);
        }
    }
};

void check(const std::vector<int32_t>& sparsities, int64_t atoms, int64_t dimension) {
    if (atoms < 1)
        throw Error("the dictionary is empty, expected at least one atom");
    if (dimension < 1)
        throw Error("the dimension is " + std::to_string(dimension) + ", expected at least 1");
    if (sparsities.empty())
        throw Error("no sparsity is given, expected at least one");
    int32_t before = 0;
    for (int32_t sparsity : sparsities) {
        if (sparsity <= before)
            throw Error("sparsity " + std::to_string(sparsity) + " comes after " + std::to_string(before) +
                        ", expected ascending whole numbers of at least 1");
        before = sparsity;
    }
}

// Empty where there is no room for it, or it would cost more than it saves.
Buffer<double> gram_of(const DeviceRows& dictionary, const Buffer<double>& lengths, int64_t signals,
                       int64_t most, const Job& job) {
    const int64_t atoms = dictionary.count;
    // A product that is computed when it is asked for: about two candidates a step.
    const double asked = static_cast<double>(signals) * static_cast<double>(most) * static_cast<double>(most);
    if (8 * atoms * atoms > job.room() / 2 ||
        asked < static_cast<double>(atoms) * static_cast<double>(atoms) / 2)
        return {};
    Buffer<double> out(atoms * atoms);
    const int64_t tiles = blocks_for(atoms, gram_tile);
    launch("gram", gram, tiles * (tiles + 1) / 2, threads, sizeof(double) * 2 * gram_tile * (gram_depth + 1),
           dictionary.data.get(), atoms, dictionary.columns, lengths.get(), out.get());
    return out;
}

} // namespace

OmpResult omp(const float* dictionary_data, int64_t atoms, const float* signal_data, int64_t signal_count,
              int64_t dimension, const std::vector<int32_t>& sparsities, const Job& job) {
    check(sparsities, atoms, dimension);
    const DeviceRows dictionary = finite_rows(dictionary_data, atoms, dimension, "dictionary");
    const DeviceRows signals = finite_rows(signal_data, signal_count, dimension, "signals");
    OmpResult result = nothing_chosen(sparsities, signal_count);
    if (signal_count == 0)
        return result;

    job.stage(Stage::resident);
    // More atoms than these are never independent.
    const int64_t most = std::min({int64_t{sparsities.back()}, atoms, dimension});
    const std::vector<double> lengths = lengths_of(dictionary);
    Setting setting{dictionary, signals, sparsities, job, most, {}, {}, {}, {}, {}, {}};
    setting.atom_lengths = Buffer<double>(std::span<const double>(lengths));
    setting.signal_lengths = Buffer<double>(std::span<const double>(lengths_of(signals)));
    setting.gram_matrix = gram_of(dictionary, setting.atom_lengths, signal_count, most, job);
    setting.packed = Buffer<float>(packed_size(atoms, dimension));
    const Buffer<double> scales(std::span<const double>(unit_scales(dictionary)));
    pack(dictionary.data.get(), dimension, nullptr, atoms, {nullptr, scales.get(), 1}, setting.packed.get());
    setting.atom_bounds = zeros<RowBounds>(atoms);
    setting.never.assign(static_cast<size_t>((atoms + 31) / 32), 0);
    for (int64_t j = 0; j < atoms; j++)
        if (lengths[j] == 0)
            setting.never[j / 32] |= 1u << j % 32;

    // A list of candidates for a step: some a signal.
    Candidates candidates(job, int64_t{1} << 20);
    int64_t wanted = signal_count;
    const int64_t signal_bytes = 8 * (omp_row(most) + 4 * most) + 16 * dimension + atoms / 8;
    wanted = std::clamp<int64_t>(job.room() / signal_bytes, 1, wanted);
    auto [block, size] = make_fitting(job, "signals", wanted, 1,
                                      [&](int64_t some) { return std::make_unique<Block>(setting, some); });
    for (int64_t first = 0; first < signal_count; first += size)
        if (!block->run(first, std::min(size, signal_count - first), candidates, result))
            return {.by_sparsity = {}, .aborted = true};

    job.stage(Stage::computed);
    summarize(result, signal_count, dimension);
    return result;
}

} // namespace latdyn::cuda
