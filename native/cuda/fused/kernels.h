// Launches of the fused kernels: one for each precision, float32.cu, tf32.cu and bf16.cu.
#pragma once

#include "iteration.h"
#include "program.h"

namespace latdyn::cuda::fused {

struct Launch {
    int64_t blocks;
    // Bytes.
    size_t shared;
};

template <Precision precision>
void run(const Program& program, const float* input, float* output, int64_t rows, const Launch& launch);

template <Precision precision>
void iterate(const Program& program, const Residence& residence, int64_t steps, const Launch& launch);

} // namespace latdyn::cuda::fused
