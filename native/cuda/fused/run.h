// The kernel of a run: blocks take groups of rows in turn.
//
// Launch: `threads` threads, one block a multiprocessor (registers and shared memory are full). Bytes of
// memory: a row's input and output, once; weights once a group of rows, from L2, or once a block where they
// are resident.
//
// For mnist-conv-k16, of 3.7 MFLOP a row, by the tables of window.cu: a group of 8 rows in TF32 reads 898 KiB
// of weights and tables, 112 KiB a row, 32 FLOPs a byte of L2; it takes 13,002 instructions of 1,024
// multiply-adds (taps in the padding are not computed), 12,970 loads of 256 bytes of activations and 2,610
// loads of 512 bytes of weights. At 128 bytes a clock the loads are 36,000 clocks and the instructions, at
// 1,024 multiply-adds a clock, 13,000: the limit is shared memory and L1, 132 · 8 rows in 36,000 clocks, or
// 50 million rows a second at 1.7 GHz, or L2, which gives 25 bytes a clock to each multiprocessor
// meanwhile, 5.7 TB/s. In bf16 a group is 16 rows, with 495 KiB, 31 KiB a row, 13,002 instructions of twice
// the work, 9,976 loads and 1,954: 28,000 clocks, 130 million rows a second, 18 bytes a clock of L2. In
// float32 multiply-adds are the limit: 416,000 of a warp at 4 a clock, 104,000 clocks for 8 rows.
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
