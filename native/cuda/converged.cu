// Launch shapes: both kernels take 32 rows a block of 256 threads, a group of 8 lanes a row; every warp reads
// the 32 statuses. count_converged writes 4 bytes a block; take_converged 8·k bytes a row that it takes,
// limited by memory. Between them the host adds up the counts of the blocks, an eighth of a byte a row.
#include "converged.h"

#include "device.h"
#include "latdyn/judge.h"

namespace latdyn::cuda {

namespace {

constexpr int rows_a_block = 32;
constexpr unsigned threads = rows_a_block * group_lanes;

// Bit i: whether row i of the block converged. For all lanes of a warp.
__device__ inline unsigned converged_of(const uint8_t* status, int64_t rows) {
    const int64_t row = int64_t{blockIdx.x} * rows_a_block + threadIdx.x % 32;
    return __ballot_sync(whole_warp, row < rows && status[row] == static_cast<uint8_t>(Status::converged));
}

__global__ void count_converged(const uint8_t* status, int64_t rows, int32_t* counts) {
    const unsigned converged = converged_of(status, rows);
    if (threadIdx.x == 0)
        counts[blockIdx.x] = __popc(converged);
}

// Those of a block, one after the other, to rows from first[block] on.
__global__ void take_converged(const float* endpoints, const uint8_t* status, int64_t rows, int64_t k,
                               const int64_t* first, float* out) {
    const unsigned converged = converged_of(status, rows), own = threadIdx.x / group_lanes;
    if ((converged >> own & 1) == 0)
        return;
    const int64_t row = int64_t{blockIdx.x} * rows_a_block + own,
                  place = first[blockIdx.x] + __popc(converged & ((1u << own) - 1));
#pragma unroll 4
    for (int64_t e = threadIdx.x % group_lanes; e < k; e += group_lanes)
        out[place * k + e] = endpoints[row * k + e];
}

} // namespace

DeviceRows converged_rows(Buffer<float> endpoints, const Buffer<uint8_t>& status, int64_t rows, int64_t k) {
    const int64_t blocks = (rows + rows_a_block - 1) / rows_a_block;
    const Buffer<int32_t> counts(blocks);
    launch("count_converged", count_converged, blocks, threads, 0, status.get(), rows, counts.get());
    std::vector<int64_t> first;
    int64_t total = 0;
    for (int32_t count : counts.read()) {
        first.push_back(total);
        total += count;
    }
    if (total == rows)
        return resident_rows(std::move(endpoints), total, k);
    Buffer<float> taken(total * k);
    const Buffer<int64_t> places{std::span<const int64_t>(first)};
    if (total > 0)
        launch("take_converged", take_converged, blocks, threads, 0, endpoints.get(), status.get(), rows, k,
               places.get(), taken.get());
    // Measuring them waits for the copy, before the endpoints go.
    return resident_rows(std::move(taken), total, k);
}

} // namespace latdyn::cuda
