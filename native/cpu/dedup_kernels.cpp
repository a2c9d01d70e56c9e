// Compiled once per instruction set: see CMakeLists.txt.
#include "dedup_kernels.h"
#include "simd.h"

namespace latdyn::LATDYN_ISA {

static int64_t next_at_least(const float* scores, int64_t from, int64_t to, float bound) {
    constexpr int64_t step = 8 * W;
    while (from < to) {
        if (from % step == 0 && from + step <= to) {
            I found = {};
            for (int i = 0; i < 8; i++)
                found |= load(scores + from + i * W) >= bound;
            if (!any(found)) {
                from += step;
                continue;
            }
        }
        // One register, or what is left of it, at a time.
        const int64_t next = (from / W + 1) * W;
        if (from % W == 0 && next <= to && !any(load(scores + from) >= bound)) {
            from = next;
            continue;
        }
        for (const int64_t end = next < to ? next : to; from < end; from++)
            if (scores[from] >= bound)
                return from;
    }
    return to;
}

static void distance_scores(float* scores, int64_t count, double norm, const double* norms, double error) {
    for (int64_t j = 0; j < count; j++) {
        // The roundings in double are worth less than 2⁻⁵⁰ of a² + b² >= 2ab, that to float 2⁻²⁴ of the
        // result.
        const double squares = (norm * norm + norms[j] * norms[j]) * (1 - 0x1p-45);
        const double score = 2 * norm * norms[j] * (scores[j] + error) - squares;
        scores[j] = static_cast<float>(score + __builtin_fabs(score) * 0x1p-22);
    }
}

} // namespace latdyn::LATDYN_ISA

namespace latdyn {

#define LATDYN_PASTE_(a, b) a##b
#define LATDYN_PASTE(a, b) LATDYN_PASTE_(a, b)

extern const DedupKernels LATDYN_PASTE(LATDYN_ISA, _dedup_kernels) = {
    .next_at_least = LATDYN_ISA::next_at_least,
    .distance_scores = LATDYN_ISA::distance_scores,
};

} // namespace latdyn
