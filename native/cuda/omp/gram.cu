// The Gram matrix of matching pursuit in double: a block of 256 threads for 32 × 32 products, A²·d operations
// that fuse for A atoms of d numbers, each operand from shared memory: about two thirds of the double rate.
// Writes 8·A² bytes.
#include "omp/pursuits.h"

namespace latdyn::cuda {

namespace {

constexpr unsigned threads = 256;
constexpr int gram_tile = 32, gram_depth = 32;

// Products of atoms [32·bi, …) with atoms [32·bj, …), bj <= bi, and their mirror image. A group of 8 lanes
// has 4 × 8 of the tile; lane p sums the products of elements p, p + 8, …
__global__ void __launch_bounds__(threads)
    gram(const float* atoms, int64_t count, int64_t k, const double* lengths, double* out) {
    double(*left)[gram_depth + 1] = reinterpret_cast<double(*)[gram_depth + 1]>(shared_memory());
    double(*right)[gram_depth + 1] = left + gram_tile;
    // Row after row of the lower triangle of tiles.
    int64_t bi = static_cast<int64_t>((exact::sqrt(8.0 * double(blockIdx.x) + 1) - 1) / 2);
    while (bi * (bi + 1) / 2 > int64_t{blockIdx.x})
        bi--;
    while ((bi + 1) * (bi + 2) / 2 <= int64_t{blockIdx.x})
        bi++;
    const int64_t bj = blockIdx.x - bi * (bi + 1) / 2;
    const int lane = static_cast<int>(threadIdx.x) % group_lanes,
              group = static_cast<int>(threadIdx.x) / group_lanes;
    const int row = group / 4 * 4, column = group % 4 * 8;
    double sums[4][8] = {};
    for (int64_t begin = 0; begin < k; begin += gram_depth) {
        __syncthreads();
        for (int at = static_cast<int>(threadIdx.x); at < gram_tile * gram_depth; at += threads) {
            const int r = at / gram_depth, c = at % gram_depth;
            const int64_t i = bi * gram_tile + r, j = bj * gram_tile + r, l = begin + c;
            left[r][c] = i < count && l < k ? double(atoms[i * k + l]) : 0;
            right[r][c] = j < count && l < k ? double(atoms[j * k + l]) : 0;
        }
        __syncthreads();
#pragma unroll
        for (int c = 0; c < gram_depth; c += group_lanes) {
            double x[4], y[8];
#pragma unroll
            for (int m = 0; m < 4; m++)
                x[m] = left[row + m][c + lane];
#pragma unroll
            for (int n = 0; n < 8; n++)
                y[n] = right[column + n][c + lane];
#pragma unroll
            for (int m = 0; m < 4; m++)
#pragma unroll
                for (int n = 0; n < 8; n++)
                    // The product is exact: fusing changes nothing.
                    sums[m][n] += x[m] * y[n];
        }
    }
    const unsigned mask = group_mask();
#pragma unroll
    for (int m = 0; m < 4; m++)
#pragma unroll
        for (int n = 0; n < 8; n++) {
            const double product = group_total(mask, sums[m][n]);
            const int64_t i = bi * gram_tile + row + m, j = bj * gram_tile + column + n;
            if (i < count && j < count && lane == n) {
                const double value = gram_value(product, lengths[i], lengths[j]);
                out[i * count + j] = value;
                // A tile on the diagonal has its own mirror image.
                if (bi != bj)
                    out[j * count + i] = value;
            }
        }
}

} // namespace

void fill_gram(const DeviceRows& atoms, const double* lengths, double* out) {
    const int64_t tiles = (atoms.count + gram_tile - 1) / gram_tile;
    launch("gram", gram, tiles * (tiles + 1) / 2, threads, sizeof(double) * 2 * gram_tile * (gram_depth + 1),
           atoms.data.get(), atoms.count, atoms.columns, lengths, out);
}

} // namespace latdyn::cuda
