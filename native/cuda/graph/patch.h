// A window by patches: a block takes a rectangle of output positions (of one image, or of several small
// ones), has what all taps of them see in shared memory once, `depth` channels at a time, and multiplies tap
// by tap out of there. Nothing is fetched again for the next tap, and a number is rounded once.
//
// In shared memory: where each position of the patch lies in memory, where the tile's outputs go, stages of
// weights, and two patches: one is multiplied, the other is filled with the next channels through registers,
// a slice beside each tap. Lines of a patch are split by columns modulo the stride, so that neighbouring
// outputs read neighbouring places.
//
// Columns are in the order of gather.h, and so are sums: both give the same bits.
#pragma once

#include "product_tasks.h"
#include "tensor_tile.h"

#include <algorithm>

namespace latdyn::cuda {

// Copies of four floats that a thread has under way beside a tap.
constexpr int patch_slice = 3;
constexpr int largest_window = 64;

// Rectangles of 2^log_w × 2^log_h output positions of each of 2^log_n images; the patch that they see.
struct PatchShape {
    int32_t log_w, log_h, log_n;
    // Lines; places in a line, `plane` for each column modulo the stride.
    int32_t height, pitch, plane;
    int32_t tiles_w, tiles_h;

    __host__ __device__ int32_t positions() const { return (height * pitch) << log_n; }
};

struct PatchTask {
    WindowTask window;
    PatchShape patch;
    int32_t top, left, taps;
    // Of each tap, in places of the patch.
    int32_t places[largest_window];
};

// What follows begins at a multiple of 128 bytes.
__host__ __device__ constexpr int32_t table_places(int32_t positions) {
    return (positions + 31) / 32 * 32;
}
// Shared memory of a block: tables, stages and patches; in place of those two, in the end, the sums.
template <class Number, class Tile> constexpr size_t patch_bytes(int32_t positions) {
    const size_t stages = sizeof(float) * Tile::stages * Tile::right_floats;
    const size_t patches = size_t{2} * positions * Tile::row_fours * sizeof(typename Number::Four);
    const size_t sums = sizeof(float) * Tile::rows * sums_stride<Tile>;
    const size_t tables = Tile::rows * sizeof(int64_t) + table_places(positions) * sizeof(int32_t);
    return tables + (stages + patches > sums ? stages + patches : sums);
}
// Places that there is room for: two blocks of 128 threads are to fit into the 228 KiB of sm_90, or one of
// 256 into the 164 KiB of sm_80; other devices have less.
template <class Number, class Tile> int64_t most_positions() {
    const int64_t room = std::min(int64_t{Tile::threads == 128 ? 112 : 160} << 10, shared_memory_limit());
    const int64_t one = 2 * Tile::row_fours * sizeof(typename Number::Four) + sizeof(int32_t);
    if (static_cast<int64_t>(patch_bytes<Number, Tile>(0)) > room)
        return 0;
    int64_t positions = (room - static_cast<int64_t>(patch_bytes<Number, Tile>(0))) / one;
    // Patches may lie where the sums will.
    while (static_cast<int64_t>(patch_bytes<Number, Tile>(static_cast<int32_t>(positions + 4))) <= room)
        positions += 4;
    return positions;
}

// Which image and output position a row of the tile is.
struct PatchPlace {
    int32_t image, h, w;
};
__device__ inline PatchPlace patch_place(const PatchShape& patch, int row) {
    return {row >> (patch.log_w + patch.log_h), row >> patch.log_w & ((1 << patch.log_h) - 1),
            row & ((1 << patch.log_w) - 1)};
}

template <class Number, class Tile> __device__ inline void compute_patch(const PatchTask& task) {
    using Four = typename Number::Four;
    const WindowTask& window = task.window;
    const PatchShape& patch = task.patch;
    const int thread = static_cast<int>(threadIdx.x);
    const int32_t positions = patch.positions();

    WindowTask::Part part{};
    unsigned block = blockIdx.x;
    part.column_tile = static_cast<int32_t>(block % window.column_tiles);
    block /= window.column_tiles;
    part.group = static_cast<int32_t>(block % window.groups);
    block /= window.groups;
    const int32_t first_w = static_cast<int32_t>(block % patch.tiles_w) << patch.log_w;
    block /= patch.tiles_w;
    const int32_t first_h = static_cast<int32_t>(block % patch.tiles_h) << patch.log_h;
    const int64_t first_image = int64_t{block / patch.tiles_h} << patch.log_n;
    part.first_column = part.column_tile * Tile::columns;
    const int32_t channel_blocks = window.group_channels / depth;
    part.stages = channel_blocks * task.taps;

    int64_t* outputs = reinterpret_cast<int64_t*>(shared_memory());
    int32_t* sources = reinterpret_cast<int32_t*>(outputs + Tile::rows);
    float* stages = reinterpret_cast<float*>(sources + table_places(positions));
    Four* patches = reinterpret_cast<Four*>(stages + Tile::stages * Tile::right_floats);
    for (int i = thread; i < Tile::rows; i += Tile::threads) {
        const PatchPlace at = patch_place(patch, i);
        const int64_t image = first_image + at.image;
        const int32_t h = first_h + at.h, w = first_w + at.w;
        const bool there = image < window.rows && h < window.out_height && w < window.out_width;
        outputs[i] = there ? ((image * window.out_height + h) * window.out_width + w) * window.out_channels +
                                 part.group * window.group_outputs
                           : -1;
    }
    for (int i = thread; i < positions; i += Tile::threads) {
        const int32_t image = i / (patch.height * patch.pitch), in_image = i % (patch.height * patch.pitch);
        const int32_t line = in_image / patch.pitch, place = in_image % patch.pitch;
        const int32_t h = first_h * window.step_h - task.top + line;
        const int32_t w =
            first_w * window.step_w - task.left + place % patch.plane * window.step_w + place / patch.plane;
        const bool there =
            first_image + image < window.rows && h >= 0 && h < window.height && w >= 0 && w < window.width;
        sources[i] = there ? ((image * window.height + h) * window.width + w) * window.channels : -1;
    }
    __syncthreads();

    const float* x = window.x + first_image * window.height * window.width * window.channels +
                     part.group * window.group_channels;
    // Four channels of a position are one copy.
    const int32_t copies = positions * Tile::row_fours;
    const auto load = [&](int32_t copy, int32_t channel_block) {
        const int32_t source = sources[copy / Tile::row_fours];
        if (source < 0)
            return float4{0, 0, 0, 0};
        return *reinterpret_cast<const float4*>(x + source + channel_block * depth +
                                                copy % Tile::row_fours * 4);
    };
    const auto copy_weights = [&](int stage) {
        if (stage < part.stages)
            window.template copy_right<Tile>(part, stage, stages + stage % Tile::stages * Tile::right_floats);
        commit_copies();
    };
#pragma unroll
    for (int s = 0; s < Tile::stages - 1; s++)
        copy_weights(s);
#pragma unroll 4
    for (int32_t copy = thread; copy < copies; copy += Tile::threads)
        patches[copy] = Number::round(load(copy, 0));

    // Where the lane's part of each of its rows begins.
    int32_t starts[Tile::row_blocks][2];
#pragma unroll
    for (int m = 0; m < Tile::row_blocks; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const PatchPlace at = patch_place(patch, Tile::first_row() + m * 16 + half * 8);
            const int32_t line = at.image * patch.height + at.h * window.step_h;
            starts[m][half] = (line * patch.pitch + at.w) * Tile::row_fours + lane_of() % 4;
        }

    const auto see = [&](const Four* from, int32_t tap, typename Tile::Left& a) {
        from += task.places[tap] * Tile::row_fours;
#pragma unroll
        for (int m = 0; m < Tile::row_blocks; m++)
            a.of[m] = Number::join(from[starts[m][0]], from[starts[m][1]]);
    };

    typename Tile::Sums sums;
    Tile::clear(sums);
    typename Tile::Left a;
    int stage = 0;
    for (int32_t channel_block = 0; channel_block < channel_blocks; channel_block++) {
        const Four* current = patches + channel_block % 2 * copies;
        Four* next = patches + (channel_block + 1) % 2 * copies;
        const int32_t wanted = channel_block + 1 < channel_blocks ? copies : 0;
        for (int32_t tap = 0; tap < task.taps; tap++, stage++) {
            // The stage's weights are there, and so is the patch; what they replace is out of use.
            wait_copies<Tile::stages - 2>();
            Tile::publish();
            __syncthreads();
            if (tap == 0)
                see(current, 0, a);
            copy_weights(stage + Tile::stages - 1);
            const int32_t first_copy = tap * patch_slice * Tile::threads + thread;
            float4 slice[patch_slice];
#pragma unroll
            for (int i = 0; i < patch_slice; i++)
                if (first_copy + i * Tile::threads < wanted)
                    slice[i] = load(first_copy + i * Tile::threads, channel_block + 1);
            // What the next tap sees is there already.
            typename Tile::Left after;
            if (tap + 1 < task.taps)
                see(current, tap + 1, after);
            Tile::multiply(a, stages + stage % Tile::stages * Tile::right_floats, sums);
#pragma unroll
            for (int i = 0; i < patch_slice; i++)
                if (first_copy + i * Tile::threads < wanted)
                    next[first_copy + i * Tile::threads] = Number::round(slice[i]);
            Tile::finish(a, sums);
            a = after;
        }
    }
    wait_copies<0>();
    __syncthreads();
    write_tile<Tile>(window, part, sums, stages, outputs);
}

// The rectangles for tiles of so many rows of so many threads, or false where patches do not pay: too few
// taps, channels that are no whole stages, patches that are too large.
inline bool choose_patch(const WindowShape& shape, int rows, int threads, int64_t most_positions,
                         PatchShape& chosen) {
    const int64_t taps = int64_t{shape.kernel_h} * shape.kernel_w;
    if (shape.transposed || taps < 4 || taps > largest_window || shape.channels / shape.groups % depth != 0)
        return false;
    double least = 1e300;
    for (int32_t log_w = 1; 1 << log_w <= rows; log_w++)
        for (int32_t log_h = 0; 1 << (log_w + log_h) <= rows; log_h++) {
            PatchShape one{log_w, log_h, 0, 0, 0, 0, 0, 0};
            while (1 << (log_w + log_h + one.log_n) < rows)
                one.log_n++;
            const int64_t lines = int64_t{(1 << log_h) - 1} * shape.stride_h +
                                  int64_t{shape.kernel_h - 1} * shape.dilation_h + 1;
            const int64_t width = int64_t{(1 << log_w) - 1} * shape.stride_w +
                                  int64_t{shape.kernel_w - 1} * shape.dilation_w + 1;
            const int64_t plane = (width + shape.stride_w - 1) / shape.stride_w;
            const int64_t positions = (lines * plane * shape.stride_w) << one.log_n;
            const int64_t floats = (int64_t{shape.height} * shape.width * shape.channels) << one.log_n;
            // Slices beside all taps are the whole of the next patch.
            if (positions * (depth / 4) > taps * patch_slice * threads || positions > most_positions ||
                floats >= int64_t{1} << 31)
                continue;
            one.height = static_cast<int32_t>(lines);
            one.plane = static_cast<int32_t>(plane);
            one.pitch = one.plane * shape.stride_w;
            one.tiles_w = (shape.out_width + (1 << log_w) - 1) >> log_w;
            one.tiles_h = (shape.out_height + (1 << log_h) - 1) >> log_h;
            const double computed =
                static_cast<double>(one.tiles_w * int64_t{one.tiles_h}) * (1 << (log_w + log_h));
            const double outputs = static_cast<double>(shape.out_width) * shape.out_height;
            const double cost = computed / outputs * (1 + 0.15 * static_cast<double>(positions) / rows);
            // More than half as much again is not worth it.
            if (computed > 1.5 * outputs || cost >= least)
                continue;
            least = cost;
            chosen = one;
        }
    return least < 1e300;
}

} // namespace latdyn::cuda
