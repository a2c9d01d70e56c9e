// Compiled once per instruction set: see CMakeLists.txt.
//
// Two comparisons a pair, in both directions: 8 bytes read from L2 for every 16 of which hardly any are hits.
#include "nearest_kernels.h"
#include "simd.h"

namespace latdyn::LATDYN_ISA {

static inline bool any(I mask) {
    typedef int64_t Halves __attribute__((vector_size(W * 4)));
    const Halves halves = (Halves)mask;
    int64_t bits = 0;
    for (int i = 0; i < W / 2; i++)
        bits |= halves[i];
    return bits != 0;
}

static int64_t next_candidate(const float* scores, const float* column_bounds, int64_t from, int64_t to,
                              float row_bound) {
    constexpr int64_t step = 8 * W;
    const F row = splat(row_bound);
    while (from < to) {
        if (from % step == 0 && from + step <= to) {
            I found = {};
            for (int i = 0; i < 8; i++) {
                const F score = load(scores + from + i * W), column = load(column_bounds + from + i * W);
                found |= score <= (row > column ? row : column);
            }
            if (!any(found)) {
                from += step;
                continue;
            }
        }
        const int64_t next = (from / step + 1) * step;
        for (const int64_t end = next < to ? next : to; from < end; from++)
            if (scores[from] <= row_bound || scores[from] <= column_bounds[from])
                return from;
    }
    return to;
}

} // namespace latdyn::LATDYN_ISA

namespace latdyn {

#define LATDYN_PASTE_(a, b) a##b
#define LATDYN_PASTE(a, b) LATDYN_PASTE_(a, b)

extern const NearestKernels LATDYN_PASTE(LATDYN_ISA, _nearest_kernels) = {
    .next_candidate = LATDYN_ISA::next_candidate,
};

} // namespace latdyn
