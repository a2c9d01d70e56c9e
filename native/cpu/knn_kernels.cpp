// Compiled once per instruction set: see CMakeLists.txt.
#include "knn_kernels.h"
#include "simd.h"

namespace latdyn::LATDYN_ISA {

typedef float FAnywhere __attribute__((vector_size(W * 4), may_alias, aligned(4)));

static inline F load_anywhere(const float* p) {
    return *reinterpret_cast<const FAnywhere*>(p);
}

static void range(const float* values, int64_t count, float* smallest, float* largest) {
    F low = splat(values[0]), high = low;
    int64_t j = 0;
    for (; j + W <= count; j += W) {
        const F v = load_anywhere(values + j);
        low = select(v < low, v, low);
        high = select(v > high, v, high);
    }
    *smallest = low[0];
    *largest = high[0];
    for (int i = 1; i < W; i++) {
        *smallest = low[i] < *smallest ? low[i] : *smallest;
        *largest = high[i] > *largest ? high[i] : *largest;
    }
    for (; j < count; j++) {
        *smallest = values[j] < *smallest ? values[j] : *smallest;
        *largest = values[j] > *largest ? values[j] : *largest;
    }
}

static void count_at_most(const float* values, int64_t count, const float* limits, int64_t* counts) {
    // A mask of a lane that counts is −1. 2³¹ values of one lane are more than any set has rows.
    I found[4] = {};
    int64_t j = 0;
    for (; j + W <= count; j += W) {
        const F v = load_anywhere(values + j);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            found[i] -= v <= splat(limits[i]);
    }
    for (int i = 0; i < 4; i++) {
        counts[i] = 0;
        for (int lane = 0; lane < W; lane++)
            counts[i] += found[i][lane];
        for (int64_t rest = j; rest < count; rest++)
            counts[i] += values[rest] <= limits[i];
    }
}

static int64_t keep_at_most(const float* values, int64_t count, float limit, int32_t first, float* kept,
                            int32_t* places) {
    // No branch to mispredict: every value is written, and overwritten where it is not kept.
    int64_t n = 0;
    for (int64_t j = 0; j < count; j++) {
        kept[n] = values[j];
        places[n] = first + static_cast<int32_t>(j);
        n += values[j] <= limit;
    }
    return n;
}

} // namespace latdyn::LATDYN_ISA

namespace latdyn {

#define LATDYN_PASTE_(a, b) a##b
#define LATDYN_PASTE(a, b) LATDYN_PASTE_(a, b)

extern const KnnKernels LATDYN_PASTE(LATDYN_ISA, _knn_kernels) = {
    .range = LATDYN_ISA::range,
    .count_at_most = LATDYN_ISA::count_at_most,
    .keep_at_most = LATDYN_ISA::keep_at_most,
};

} // namespace latdyn
