// What deduplication reads off a product, built once per instruction set. Plain structs and pointers
// only: these are shared with sources compiled for wider processors (see simd.h).
#pragma once

#include "latdyn/isa.h"

#include <stdint.h>

namespace latdyn {

struct DedupKernels {
    // The first j in [from, to) with scores[j] >= bound, or `to`. scores is aligned for a register.
    int64_t (*next_at_least)(const float* scores, int64_t from, int64_t to, float bound);
    // From cosines, each wrong by at most `error`, to upper bounds of −distance²:
    // a² + b² − 2ab·(cos + error), a = norm, b = norms[j]. In place.
    void (*distance_scores)(float* scores, int64_t count, double norm, const double* norms, double error);
};

#if defined(__x86_64__)
extern const DedupKernels avx512_dedup_kernels;
extern const DedupKernels avx2_dedup_kernels;
#endif
extern const DedupKernels portable_dedup_kernels;

const DedupKernels& dedup_kernels_of(Isa isa);

} // namespace latdyn
