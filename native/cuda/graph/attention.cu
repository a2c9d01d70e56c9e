// Attention without the score matrix: softmax(scale·q·kᵀ + bias)·v, sources in tiles, with the largest score
// and the sum of e^(score − largest) so far; what was added up under a smaller maximum is scaled down.
//
// Launch: a block of 256 threads takes 64 targets of one matrix of one row and 128 columns of v; for each
// tile of 64 sources it forms the scores in registers, 4 × 4 a thread, from stretches of 32 of the depth in
// shared memory, puts their exponentials there, and adds up 4 × 8 products with v a thread. 34 KiB of shared
// memory, whatever the lengths are. FLOPs: 2·targets·sources·(depth·⌈width / 128⌉ + width) a matrix, in
// float32. Bytes: q and the result once, k and v once a block of targets, mostly from L2. Limited by float32
// multiply-adds; wider values than 128 columns pay for their scores again. The order of every sum follows
// from depth and sources.
#include "walk.h"

#include <math.h>

namespace latdyn::cuda {

namespace {

constexpr int threads = 256;
constexpr int targets_tile = 64, sources_tile = 64, depth_tile = 32, width_tile = 128, values_tile = 32;
// Rows of a tile of shared memory; 4 more floats than there are, so that 16-byte stores of neighbours part.
constexpr int score_step = targets_tile + 4;
constexpr int operand_floats = depth_tile * score_step;
// q and k of a stretch of the depth, or v of half a tile of sources, which lie there at other times.
constexpr int stage_floats =
    2 * operand_floats > values_tile* width_tile ? 2 * operand_floats : values_tile* width_tile;
constexpr size_t shared_bytes = (stage_floats + sources_tile * score_step + 2 * targets_tile) * sizeof(float);

// [tile rows, depth_tile] of x → [depth_tile][score_step], 0 where there is nothing: a lane reads a column of
// four rows and writes those side by side, in other banks than its neighbours.
__device__ inline void load_turned(const float* x, int32_t rows, int32_t depth, int32_t first, float* to) {
    const int column = threadIdx.x % depth_tile;
#pragma unroll
    for (int row = threadIdx.x / depth_tile * 4; row < targets_tile; row += threads / depth_tile * 4) {
        float part[4];
#pragma unroll
        for (int i = 0; i < 4; i++)
            part[i] = row + i < rows && first + column < depth ? x[int64_t{row + i} * depth + first + column]
                                                               : 0.0f;
        *reinterpret_cast<float4*>(to + column * score_step + row) =
            make_float4(part[0], part[1], part[2], part[3]);
    }
}

__device__ inline float of(const float4& v, int i) {
    return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

__global__ void __launch_bounds__(threads, 2) attend(Attention p) {
    static_assert(targets_tile == sources_tile && threads == targets_tile * sources_tile / 16);
    float* stage = reinterpret_cast<float*>(shared_memory());
    float* turned_q = stage;
    float* turned_k = stage + operand_floats;
    // Exponentials, [sources][targets].
    float* weights = stage + stage_floats;
    // Of each target so far. The sixteen threads that share a target are lanes of one warp; the first one
    // writes.
    float* largest = weights + sources_tile * score_step;
    float* sum = largest + targets_tile;
    const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    // The first of a warp's eight targets: where there is none of them, the warp loads and does no products.
    const int warp_target = threadIdx.x / 32 * 8;
    const int32_t blocks = (p.targets + targets_tile - 1) / targets_tile;
    const int32_t slices = (p.width + width_tile - 1) / width_tile;
    const int64_t items = p.rows * p.batch * blocks * slices;
    for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
        const RowElement of_slice = row_element(item, slices), of_block = row_element(of_slice.row, blocks),
                         of_matrix = row_element(of_block.row, p.batch);
        const int64_t row = of_matrix.row;
        const int32_t matrix = of_matrix.element, first_target = of_block.element * targets_tile,
                      first_column = of_slice.element * width_tile;
        const int32_t targets =
            p.targets - first_target < targets_tile ? p.targets - first_target : targets_tile;
        const int32_t columns = p.width - first_column < width_tile ? p.width - first_column : width_tile;
        const float* q = p.q.data + row * p.q.row + (int64_t{matrix} * p.targets + first_target) * p.depth;
        const float* k = p.k.data + row * p.k.row + int64_t{matrix} * p.sources * p.depth;
        const float* v = p.v.data + row * p.v.row + int64_t{matrix} * p.sources * p.width + first_column;
        const float* bias =
            p.bias ? p.bias + p.bias_offset[matrix] + int64_t{first_target} * p.bias_row : nullptr;
        float* out = p.out + ((row * p.batch + matrix) * p.targets + first_target) * p.width + first_column;

        float total[4][8];
        __syncwarp();
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (tx == 0) {
                largest[ty * 4 + i] = -INFINITY;
                sum[ty * 4 + i] = 0;
            }
#pragma unroll
            for (int j = 0; j < 8; j++)
                total[i][j] = 0;
        }
        for (int32_t first = 0; first < p.sources; first += sources_tile) {
            const int32_t sources = p.sources - first < sources_tile ? p.sources - first : sources_tile;
            float score[4][4] = {};
            for (int32_t begin = 0; begin < p.depth; begin += depth_tile) {
                __syncthreads();
                load_turned(q, targets, p.depth, begin, turned_q);
                load_turned(k + int64_t{first} * p.depth, sources, p.depth, begin, turned_k);
                __syncthreads();
                const int32_t depth = warp_target >= targets         ? 0
                                      : p.depth - begin < depth_tile ? p.depth - begin
                                                                     : depth_tile;
#pragma unroll 4
                for (int32_t l = 0; l < depth; l++) {
                    const float4 a = *reinterpret_cast<const float4*>(turned_q + l * score_step + ty * 4);
                    const float4 b = *reinterpret_cast<const float4*>(turned_k + l * score_step + tx * 4);
#pragma unroll
                    for (int i = 0; i < 4; i++)
#pragma unroll
                        for (int j = 0; j < 4; j++)
                            score[i][j] += of(a, i) * of(b, j);
                }
            }
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int32_t target = ty * 4 + i;
                const float before = largest[target];
                float most = before;
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    const int32_t source = tx * 4 + j;
                    score[i][j] *= p.scale;
                    if (bias && source < sources && target < targets)
                        score[i][j] +=
                            bias[int64_t{target} * p.bias_row + int64_t{first + source} * p.bias_column];
                    if (source >= sources)
                        score[i][j] = -INFINITY;
                    // A NaN is not the largest, but its own e^NaN makes the sum NaN.
                    most = fmaxf(most, score[i][j]);
                }
                // The sixteen threads of a target.
#pragma unroll
                for (int step = 8; step > 0; step /= 2)
                    most = fmaxf(most, __shfl_xor_sync(whole_warp, most, step));
                // Where all is −∞ so far, −∞ less −∞ would be NaN.
                const float shift = most == -INFINITY ? 0.0f : most;
                const float shrink = expf(before - shift);
                float part = 0;
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    score[i][j] = expf(score[i][j] - shift);
                    part += score[i][j];
                }
#pragma unroll
                for (int step = 8; step > 0; step /= 2)
                    part += __shfl_xor_sync(whole_warp, part, step);
                // All of them have read `largest`: shuffles order no memory.
                __syncwarp();
                if (tx == 0) {
                    sum[target] = sum[target] * shrink + part;
                    largest[target] = most;
                }
#pragma unroll
                for (int j = 0; j < 8; j++)
                    total[i][j] *= shrink;
            }
#pragma unroll
            for (int j = 0; j < 4; j++)
                *reinterpret_cast<float4*>(weights + (tx * 4 + j) * score_step + ty * 4) =
                    make_float4(score[0][j], score[1][j], score[2][j], score[3][j]);
            for (int32_t begin = 0; begin < sources; begin += values_tile) {
                __syncthreads();
                for (int at = threadIdx.x; at < values_tile * width_tile; at += threads) {
                    const int32_t source = begin + at / width_tile, column = at % width_tile;
                    stage[at] = source < sources && column < columns
                                    ? v[int64_t{first + source} * p.width + column]
                                    : 0.0f;
                }
                __syncthreads();
                const int32_t count = warp_target >= targets          ? 0
                                      : sources - begin < values_tile ? sources - begin
                                                                      : values_tile;
#pragma unroll 4
                for (int32_t s = 0; s < count; s++) {
                    const float4 a =
                        *reinterpret_cast<const float4*>(weights + (begin + s) * score_step + ty * 4);
                    const float4 low = *reinterpret_cast<const float4*>(stage + s * width_tile + tx * 4);
                    const float4 high =
                        *reinterpret_cast<const float4*>(stage + s * width_tile + width_tile / 2 + tx * 4);
#pragma unroll
                    for (int i = 0; i < 4; i++)
#pragma unroll
                        for (int j = 0; j < 4; j++) {
                            total[i][j] += of(a, i) * of(low, j);
                            total[i][4 + j] += of(a, i) * of(high, j);
                        }
                }
            }
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int32_t target = ty * 4 + i;
            if (target >= targets)
                continue;
            const float inverse = 1.0f / sum[target];
#pragma unroll
            for (int j = 0; j < 8; j++) {
                const int32_t column = j / 4 * (width_tile / 2) + tx * 4 + j % 4;
                if (column < columns)
                    out[int64_t{target} * p.width + column] = total[i][j] * inverse;
            }
        }
    }
}

} // namespace

void attention(const Attention& p) {
    const int64_t items = p.rows * p.batch * ((p.targets + targets_tile - 1) / targets_tile) *
                          ((p.width + width_tile - 1) / width_tile);
    launch("attend", attend, grid_of(items), threads, shared_bytes, p);
}

} // namespace latdyn::cuda
