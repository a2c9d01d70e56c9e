// N(0, scale²) from Philox4x32-10, see philox.h; the arithmetic is that of the CPU, operation for operation.
//
// Launch: a thread for 4 columns of a row, 256 a block. 4 bytes written a number, about 90 double operations
// a number, ten rounds of Philox (40 integer operations) for four. Limited by double arithmetic: its add and
// multiply rate without fusing, half of the nominal one.
#include "kernels.h"

#include "device.h"
#include "latdyn/error.h"

#include <algorithm>

namespace latdyn::cuda {

namespace {

constexpr unsigned threads = 256;

__global__ void normals(uint64_t seed, uint64_t first_row, int64_t rows, int64_t columns, float scale,
                        float* out) {
    const int64_t groups = (columns + 3) / 4;
    const int64_t at = int64_t{blockIdx.x} * threads + threadIdx.x;
    if (at >= rows * groups)
        return;
    const int64_t row = at / groups, group = at % groups;
    float values[4];
    philox_normals(seed, first_row + static_cast<uint64_t>(row), static_cast<uint32_t>(group), scale, values);
    float* to = out + row * columns + group * 4;
    const int64_t some = columns - group * 4;
#pragma unroll
    for (int i = 0; i < 4; i++)
        if (i < some)
            to[i] = values[i];
}

} // namespace

void noise(uint64_t seed, int64_t first_row, int64_t rows, int64_t columns, float scale, float* out) {
    if (columns > int64_t{1} << 34)
        throw Error("noise: " + std::to_string(columns) + " columns, expected at most 17179869184");
    if (rows == 0 || columns == 0)
        return;
    constexpr int64_t block_bytes = int64_t{1} << 30;
    const int64_t wanted = std::clamp<int64_t>(block_bytes / 4 / columns, 1, rows);
    auto [block, size] =
        make_fitting(Job{}, "rows", wanted, 1, [&](int64_t some) { return Buffer<float>(some * columns); });
    for (int64_t first = 0; first < rows; first += size) {
        const int64_t count = std::min(size, rows - first);
        const int64_t work = count * ((columns + 3) / 4);
        launch("normals", normals, (work + threads - 1) / threads, threads, 0, seed,
               static_cast<uint64_t>(first_row) + static_cast<uint64_t>(first), count, columns, scale,
               block.get());
        download(out + first * columns, block.get(), static_cast<size_t>(count * columns) * sizeof(float));
    }
}

} // namespace latdyn::cuda
