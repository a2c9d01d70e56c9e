// What the kernels of products.h share: a block computes a tile of the product of a left matrix, whose rows
// are gathered from activations, with a right one, in stages of `depth` columns.
//
// In shared memory lie, one after the other: where each of the tile's rows begins and where its outputs go;
// the stages, left and right; after the last stage, in their place, the tile of sums, from which bias,
// residual and activation make outputs in the order in which they lie.
//
// An output is one sum over the columns in their order, whatever the tile: sums do not depend on how many
// rows there are.
#pragma once

#include "device.h"
#include "functions.h"
#include "products.h"

namespace latdyn::cuda {

// Columns of a stage. Packed weights and tables of taps are filled up to whole stages: with zeros, and with
// taps that are outside of every image.
constexpr int depth = 16;
constexpr int32_t outside = -(1 << 29);

// Of a tile's row: where its window begins, in floats, and at which line and column of the image.
struct alignas(16) Place {
    uint32_t base_low;
    int32_t base_high, h, w;

    __device__ int64_t base() const { return int64_t{base_high} << 32 | base_low; }
};
__device__ inline Place place_at(int64_t base, int32_t h, int32_t w) {
    return {static_cast<uint32_t>(base), static_cast<int32_t>(base >> 32), h, w};
}

// What a column of the left matrix is, or four of them side by side: how far from where a window begins.
struct alignas(16) Tap {
    int32_t offset, h, w, unused;
};

// Tile gives: threads; rows, columns, stages; left_stride, right_floats: of a stage in shared memory; Sums of
// a thread, and Left, what it starts with of a stage; clear, load_left, store; publish, by every thread
// before the barrier after which a stage is multiplied; multiply, which begins, and finish, which ends it.
template <class Tile> constexpr int left_floats = Tile::rows* Tile::left_stride;
template <class Tile> constexpr int stage_floats = left_floats<Tile> + Tile::right_floats;
// Of the tile of sums: rows lie in other banks than their neighbours.
template <class Tile> constexpr int sums_stride = Tile::columns + 8;

template <class Tile> constexpr size_t shared_bytes() {
    const size_t table = Tile::rows * (sizeof(Place) + sizeof(int64_t));
    const size_t stages = sizeof(float) * Tile::stages * stage_floats<Tile>;
    const size_t sums = sizeof(float) * Tile::rows * sums_stride<Tile>;
    return table + (stages > sums ? stages : sums);
}

// One stage of the left matrix, `Vector` columns a copy.
template <class Tile, int Vector>
__device__ inline void copy_left(const float* x, const Place* places, const Tap& tap, int32_t height,
                                 int32_t width, float* to) {
    constexpr int copies = depth / Vector, rows = Tile::threads / copies;
    static_assert(Tile::rows % rows == 0);
    const int column = static_cast<int>(threadIdx.x) % copies, first = static_cast<int>(threadIdx.x) / copies;
    to += first * Tile::left_stride + column * Vector;
#pragma unroll 8
    for (int i = 0; i < Tile::rows / rows; i++) {
        const Place place = places[first + i * rows];
        const bool there = static_cast<uint32_t>(place.h + tap.h) < static_cast<uint32_t>(height) &&
                           static_cast<uint32_t>(place.w + tap.w) < static_cast<uint32_t>(width);
        copy_async_or_zero<Vector * 4>(to + i * rows * Tile::left_stride,
                                       there ? x + place.base() + tap.offset : x, there);
    }
}

// y = activation(sums + bias + residual) of four outputs side by side, or as many as there are.
template <class Task, class Part>
__device__ inline void write_outputs(const Task& task, const Part& part, float4 sum, int64_t at, int column) {
    const int count = task.outputs(part) - column;
    const bool whole = task.whole_outputs && count >= 4;
    const auto add = [&](const float* from) {
        if (whole) {
            const float4 v = *reinterpret_cast<const float4*>(from);
            sum.x += v.x, sum.y += v.y, sum.z += v.z, sum.w += v.w;
        } else {
            sum.x += from[0];
            if (count > 1)
                sum.y += from[1];
            if (count > 2)
                sum.z += from[2];
            if (count > 3)
                sum.w += from[3];
        }
    };
    if (const float* bias = task.bias_of(part))
        add(bias + column);
    if (const float* residual = task.residual_of(part))
        add(residual + at);
    if (task.activation.kind == ActivationKind::relu) {
        const Activation relu{ActivationKind::relu, 0, 0};
        sum = {activated(relu, sum.x), activated(relu, sum.y), activated(relu, sum.z),
               activated(relu, sum.w)};
    } else if (task.activation.kind != ActivationKind::none) {
        // Round about, so that the functions are there once and nothing is indexed.
#pragma unroll 1
        for (int i = 0; i < 4; i++)
            sum = {sum.y, sum.z, sum.w, activated(task.activation, sum.x)};
    }
    float* to = task.y + at;
    if (whole) {
        *reinterpret_cast<float4*>(to) = sum;
        return;
    }
    to[0] = sum.x;
    if (count > 1)
        to[1] = sum.y;
    if (count > 2)
        to[2] = sum.z;
    if (count > 3)
        to[3] = sum.w;
}

// Turns a tile's sums into outputs, by way of shared memory that nothing else is in by now. outputs: where
// each of its rows goes; −1: nowhere.
template <class Tile, class Task, class Part>
__device__ inline void write_tile(const Task& task, const Part& part, const typename Tile::Sums& sums,
                                  float* tile, const int64_t* outputs) {
    Tile::store(sums, tile);
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < Tile::rows * Tile::columns / 4; i += Tile::threads) {
        const int row = i / (Tile::columns / 4), at = i % (Tile::columns / 4) * 4;
        const int64_t output = outputs[row];
        if (output >= 0 && part.first_column + at < task.outputs(part))
            write_outputs(task, part, *reinterpret_cast<const float4*>(tile + row * sums_stride<Tile> + at),
                          output + part.first_column + at, part.first_column + at);
    }
}

template <class Tile, class Task> __device__ inline void compute_tile(const Task& task) {
    const typename Task::Part part = task.template part<Tile>(blockIdx.x);
    if (part.first >= part.rows)
        return;
    Place* places = reinterpret_cast<Place*>(shared_memory());
    int64_t* outputs = reinterpret_cast<int64_t*>(places + Tile::rows);
    float* stages = reinterpret_cast<float*>(outputs + Tile::rows);
    for (int i = static_cast<int>(threadIdx.x); i < Tile::rows; i += Tile::threads) {
        const int64_t row = part.first + i;
        // A row beyond the last one is outside of its image, and is not written.
        places[i] = place_at(0, outside, outside);
        outputs[i] = -1;
        if (row < part.rows)
            task.place(part, row, places[i], outputs[i]);
    }
    __syncthreads();

    const int copies = task.vector ? depth / 4 : depth;
    const int column = static_cast<int>(threadIdx.x) % copies;
    Tap tap = task.tap(part, column);
    const auto copy = [&](int stage) {
        float* to = stages + stage % Tile::stages * stage_floats<Tile>;
        if (task.vector)
            copy_left<Tile, 4>(task.left(part), places, tap, task.height, task.width, to);
        else
            copy_left<Tile, 1>(task.left(part), places, tap, task.height, task.width, to);
        task.template copy_right<Tile>(part, stage, to + left_floats<Tile>);
        // Of the next stage: there when it is wanted.
        if (stage + 1 < part.stages)
            tap = task.tap(part, (stage + 1) * copies + column);
    };
    typename Tile::Sums sums;
    Tile::clear(sums);
#pragma unroll
    for (int s = 0; s < Tile::stages - 1; s++) {
        if (s < part.stages)
            copy(s);
        commit_copies();
    }
    for (int s = 0; s < part.stages; s++) {
        // Stage s is there, and what lay where the next one goes has been used by everybody.
        wait_copies<Tile::stages - 2>();
        Tile::publish();
        __syncthreads();
        const float* stage = stages + s % Tile::stages * stage_floats<Tile>;
        // Loads that start at once are there when the copies are on their way.
        const typename Tile::Left left = Tile::load_left(stage);
        if (s + Tile::stages - 1 < part.stages)
            copy(s + Tile::stages - 1);
        commit_copies();
        Tile::multiply(left, stage + left_floats<Tile>, sums);
        Tile::finish(left, sums);
    }
    wait_copies<0>();
    __syncthreads();
    write_tile<Tile>(task, part, sums, stages, outputs);
}

} // namespace latdyn::cuda
