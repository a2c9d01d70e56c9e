// Softmax, its derivative and top-k masks along the last axis.
//
// A warp takes a sequence, 8 warps a block; lanes read side by side, and what they read comes from L1 in the
// passes after the first. Bytes: 8 an element (12 of the derivative). FLOPs: softmax some 20 an element for
// its exponential; top_k_mask 32 comparisons an element. Limited by memory, top_k_mask by its passes. Sums go
// in one order: lane by lane in float by 32, those in double, then the tree of the warp.
#include "walk.h"

#include <math.h>

namespace latdyn::cuda {

namespace {

constexpr int threads = 256, warps = threads / 32;
constexpr int32_t chunk = 32;

__device__ inline double warp_sum(double sum) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2)
        sum += __shfl_xor_sync(whole_warp, sum, step);
    return sum;
}

// term(i) for the lane's own i < size, added up over the warp.
template <class Term> __device__ inline double sum_over(int32_t size, Term term) {
    double sum = 0;
    for (int32_t first = static_cast<int32_t>(threadIdx.x) % 32; first < size; first += chunk * 32) {
        float some = 0;
#pragma unroll 4
        for (int32_t i = 0; i < chunk; i++) {
            const int32_t own = first + i * 32;
            if (own < size)
                some += term(own);
        }
        sum += some;
    }
    return warp_sum(sum);
}

// body(x, t, out) for each sequence, by a whole warp.
template <class Body> __device__ inline void each_sequence(const Sequences& p, Body body) {
    const int64_t total = p.rows * p.outer;
    for (int64_t at = int64_t{blockIdx.x} * warps + threadIdx.x / 32; at < total;
         at += int64_t{gridDim.x} * warps) {
        const RowElement where = row_element(at, p.outer);
        const int64_t within = int64_t{where.element} * p.size;
        body(p.x.data + where.row * p.x.row + within,
             p.t.data ? p.t.data + where.row * p.t.row + within : nullptr, p.out + at * p.size);
    }
}

__global__ void __launch_bounds__(threads) softmax_lines(Sequences p) {
    const int32_t lane = static_cast<int32_t>(threadIdx.x) % 32;
    each_sequence(p, [&](const float* x, const float*, float* out) {
        float most = -INFINITY;
        // A NaN shows in its own exponential, and so in the sum.
        for (int32_t i = lane; i < p.size; i += 32)
            most = fmaxf(most, x[i]);
#pragma unroll
        for (int step = 16; step > 0; step /= 2)
            most = fmaxf(most, __shfl_xor_sync(whole_warp, most, step));
        const double sum = sum_over(p.size, [&](int32_t i) {
            const float e = expf(x[i] - most);
            out[i] = e;
            return e;
        });
        const float inverse = static_cast<float>(1.0 / sum);
        for (int32_t i = lane; i < p.size; i += 32)
            out[i] *= inverse;
    });
}

__global__ void __launch_bounds__(threads) softmax_slope(Sequences p) {
    const int32_t lane = static_cast<int32_t>(threadIdx.x) % 32;
    each_sequence(p, [&](const float* s, const float* t, float* out) {
        const float along = static_cast<float>(sum_over(p.size, [&](int32_t i) { return s[i] * t[i]; }));
        for (int32_t i = lane; i < p.size; i += 32)
            out[i] = s[i] * (t[i] - along);
    });
}

// Floats as whole numbers of the same order: −0 is 0, NaN more than infinity.
__device__ inline uint32_t rank_of(float x) {
    return x == x ? ordered(x + 0.0f) : 0xffffffffu;
}

// The k-th largest rank bit by bit from the top; then those above it, and of those equal to it the first
// ones.
__global__ void __launch_bounds__(threads) top_k_lines(Sequences p) {
    const int32_t lane = static_cast<int32_t>(threadIdx.x) % 32;
    each_sequence(p, [&](const float* x, const float*, float* out) {
        const auto count_from = [&](uint32_t lowest) {
            unsigned count = 0;
            for (int32_t i = lane; i < p.size; i += 32)
                count += rank_of(x[i]) >= lowest;
            return __reduce_add_sync(whole_warp, count);
        };
        const unsigned k = static_cast<unsigned>(p.k);
        uint32_t threshold = 0;
        for (int bit = 31; bit >= 0; bit--)
            if (count_from(threshold | 1u << bit) >= k)
                threshold |= 1u << bit;
        unsigned left = k - (threshold == 0xffffffffu ? 0 : count_from(threshold + 1));
        for (int32_t first = 0; first < p.size; first += 32) {
            const int32_t i = first + lane;
            const uint32_t rank = i < p.size ? rank_of(x[i]) : 0;
            const bool tied = i < p.size && rank == threshold;
            const unsigned all = __ballot_sync(whole_warp, tied);
            const unsigned before = static_cast<unsigned>(__popc(all & ((1u << lane) - 1)));
            if (i < p.size)
                out[i] = rank > threshold || (tied && before < left) ? 1.0f : 0.0f;
            const unsigned used = static_cast<unsigned>(__popc(all));
            left -= used < left ? used : left;
        }
    });
}

int64_t grid(const Sequences& p) {
    return grid_of((p.rows * p.outer + warps - 1) / warps);
}

} // namespace

void softmax(const Sequences& p) {
    launch("softmax_lines", softmax_lines, grid(p), threads, 0, p);
}

void softmax_grad(const Sequences& p) {
    launch("softmax_slope", softmax_slope, grid(p), threads, 0, p);
}

void top_k_mask(const Sequences& p) {
    launch("top_k_lines", top_k_lines, grid(p), threads, 0, p);
}

} // namespace latdyn::cuda
