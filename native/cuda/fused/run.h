// The kernel of a run: blocks take groups of rows in turn.
//
// Launch: `threads` threads, one block a multiprocessor (its shared memory is full of activations). Bytes: a
// row's input and output, once; weights once a group of rows, from L2, or once a block where they are
// resident. For mnist-conv-k16, 844 KiB of weights (422 as bf16), 3.7 MFLOP a row and groups of 8 rows (16 as
// bf16): 105 KiB from L2 a row (26), 34 FLOPs a byte (137). At 132 multiprocessors that read 64 bytes a clock
// each L2 allows 40 million rows a second and more; tensor cores and shared memory (product.h: about 10 FLOPs
// a byte of it) come to about the same, and the limit is which of them waits less.
#pragma once

#include "kernels.h"
#include "walk.h"

namespace latdyn::cuda::fused {

template <Precision precision>
__global__ void __launch_bounds__(threads, 1)
    fused_run(const Program program, const float* input, float* output, const int64_t rows) {
    float* shared = reinterpret_cast<float*>(shared_memory());
    load_weights(program, shared);
    for (unsigned group = blockIdx.x; int64_t{group} << program.rows_log < rows; group += gridDim.x) {
        load_rows(program, shared, input, int64_t{group} << program.rows_log, rows);
        __syncthreads();
        walk<precision>(program, shared);
        store_rows(program, shared, output, int64_t{group} << program.rows_log, rows);
        // The input's place may be the output's.
        __syncthreads();
    }
}

template <Precision precision>
void run(const Program& program, const float* input, float* output, int64_t rows, const Launch& to) {
    launch("fused_run", fused_run<precision>, to.blocks, static_cast<unsigned>(threads), to.shared, program,
           input, output, rows);
}

} // namespace latdyn::cuda::fused
