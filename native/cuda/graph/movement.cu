// Movement: orders, transposition, padding, resizing, gathering, concatenation; and the sum that gathering's
// transpose is.
//
// move: 256 threads a block, an element a thread, 4 times a stretch; neighbouring threads write neighbouring
// elements wherever the caller's walk is in the result's order. 8 bytes an element, 4 more for each list,
// which stays in L2. transpose_tiles: tiles of 32 × 32 through shared memory (a column of 33 apart, so that
// no bank is asked twice), 256 threads a tile, 8 bytes an element, both sides in whole lines. add_picks: a
// thread an output, 4 bytes a pick and 4 an output. No FLOPs but its additions. Limited by memory.
#include "walk.h"

namespace latdyn::cuda {

namespace {

constexpr int threads = 256, times = 4;
constexpr int32_t block_span = threads * times;

__global__ void __launch_bounds__(threads) move_elements(Move p, Divisor elements) {
    const int64_t total = p.rows * p.elements;
    for (int64_t begin = int64_t{blockIdx.x} * block_span; begin < total;
         begin += int64_t{gridDim.x} * block_span) {
        const RowElement first = row_element(begin, p.elements);
        float value[times];
        RowElement where[times];
#pragma unroll
        for (int i = 0; i < times; i++) {
            const int32_t by = i * threads + static_cast<int32_t>(threadIdx.x);
            if (begin + by >= total)
                continue;
            where[i] = further(first, by, elements);
            const int32_t from = mapped(p.from.map, where[i].element);
            value[i] = from < 0 ? p.value : p.from.data[where[i].row * p.from.row + from];
        }
#pragma unroll
        for (int i = 0; i < times; i++)
            if (begin + i * threads + static_cast<int32_t>(threadIdx.x) < total)
                p.out[where[i].row * p.out_row + mapped(p.to, where[i].element)] = value[i];
    }
}

constexpr int side = 32, tile_step = side + 1;

__global__ void __launch_bounds__(threads) transpose_tiles(Transpose p) {
    float* tile = reinterpret_cast<float*>(shared_memory());
    const int32_t down = (p.height + side - 1) / side, across = (p.width + side - 1) / side;
    const int64_t tiles = p.matrices * down * across;
    const int column = threadIdx.x % side, line = threadIdx.x / side;
    for (int64_t at = blockIdx.x; at < tiles; at += gridDim.x) {
        const int64_t matrix = at / (down * across);
        const int32_t rest = static_cast<int32_t>(at - matrix * (down * across));
        const int32_t top = rest / across * side, left = rest % across * side;
        const float* x = p.x + matrix * p.height * p.width;
        float* out = p.out + matrix * p.height * p.width;
#pragma unroll
        for (int i = 0; i < side; i += threads / side)
            if (top + line + i < p.height && left + column < p.width)
                tile[(line + i) * tile_step + column] = x[int64_t{top + line + i} * p.width + left + column];
        __syncthreads();
#pragma unroll
        for (int i = 0; i < side; i += threads / side)
            if (left + line + i < p.width && top + column < p.height)
                out[int64_t{left + line + i} * p.height + top + column] = tile[column * tile_step + line + i];
        __syncthreads();
    }
}

__global__ void __launch_bounds__(threads) add_picks(ScatterAdd p) {
    const int32_t elements = p.outer * p.size * p.inner;
    const int64_t total = p.rows * elements;
    for (int64_t at = int64_t{blockIdx.x} * threads + threadIdx.x; at < total;
         at += int64_t{gridDim.x} * threads) {
        const RowElement place = row_element(at, elements);
        const int32_t inner = place.element % p.inner, rest = place.element / p.inner;
        const int32_t slot = rest % p.size, outer = rest / p.size;
        const float* u = p.u.data + place.row * p.u.row + int64_t{outer} * p.picks * p.inner + inner;
        float sum = 0;
        for (int32_t m = p.begin[slot]; m < p.begin[slot + 1]; m++)
            sum += u[int64_t{p.members[m]} * p.inner];
        p.out[at] = sum;
    }
}

} // namespace

void move(const Move& p) {
    launch("move_elements", move_elements, grid_of((p.rows * p.elements + block_span - 1) / block_span),
           threads, 0, p, divisor(p.elements));
}

void transpose(const Transpose& p) {
    const int64_t tiles = p.matrices * ((p.height + side - 1) / side) * ((p.width + side - 1) / side);
    launch("transpose_tiles", transpose_tiles, grid_of(tiles), threads, side * tile_step * sizeof(float), p);
}

void scatter_add(const ScatterAdd& p) {
    const int64_t total = p.rows * p.outer * p.size * p.inner;
    launch("add_picks", add_picks, grid_of((total + threads - 1) / threads), threads, 0, p);
}

} // namespace latdyn::cuda
