// Compiled once per instruction set: see CMakeLists.txt.
//
// Two comparisons a pair, in both directions: 8 bytes read from L2 for every 16 of which hardly any are hits.
#include "nearest_kernels.h"
#include "simd.h"

namespace latdyn::LATDYN_ISA {

static inline I hits(const float* scores, const float* column_bounds, F row) {
    const F column = load(column_bounds);
    return load(scores) <= (row > column ? row : column);
}

static int64_t next_candidate(const float* scores, const float* column_bounds, int64_t from, int64_t to,
                              float row_bound) {
    constexpr int64_t step = 8 * W;
    const F row = splat(row_bound);
    while (from < to) {
        if (from % step == 0 && from + step <= to) {
            I found = {};
            for (int i = 0; i < 8; i++) {
                found |= hits(scores + from + i * W, column_bounds + from + i * W, row);
            }
            if (!any(found)) {
                from += step;
                continue;
            }
        }
        // One register, or what is left of it, at a time.
        const int64_t next = (from / W + 1) * W;
        if (from % W == 0 && next <= to && !any(hits(scores + from, column_bounds + from, row))) {
            from = next;
            continue;
        }
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
