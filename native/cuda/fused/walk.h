// The operators of a program over the rows of a block, one after the other. All threads of the block call
// walk(); operators are uniform, and between two of them stands a barrier.
#pragma once

#include "product.h"

namespace latdyn::cuda::fused {

// Mean and 1/√(variance + ε) of every unit of every row, to the operator's scratch: a warp takes one at a
// time, its elements position by position. Two passes; sums of the lanes in double, joined in a tree.
__device__ inline double warp_total(double sum) {
    for (int reach = 16; reach > 0; reach /= 2)
        sum += __shfl_xor_sync(whole_warp, sum, reach);
    return sum;
}

__device__ inline void measure_units(const Program& program, const Operator& op, float* shared) {
    const Lane lane = this_lane();
    const int rows = 1 << program.rows_log, elements = op.unit_positions * op.unit_channels;
    const int across = op.x.channels / op.unit_channels;
    for (int task = lane.warp; task < op.units * rows; task += warps) {
        const int row = task & (rows - 1), unit = task >> program.rows_log;
        const int position = unit / across * op.unit_positions, channel = unit % across * op.unit_channels;
        const auto value = [&](int e) {
            const int p = e / op.unit_channels;
            return load_at(shared, op.x, (position + p) * rows + row, row,
                           channel + e - p * op.unit_channels);
        };
        double sum = 0;
        for (int e = lane.lane; e < elements; e += 32)
            sum += value(e);
        const double mean = warp_total(sum) / elements;
        double squares = 0;
        for (int e = lane.lane; e < elements; e += 32) {
            const double d = value(e) - mean;
            squares += d * d;
        }
        const double variance = warp_total(squares) / elements;
        if (lane.lane == 0) {
            shared[op.scratch + 2 * task] = static_cast<float>(mean);
            shared[op.scratch + 2 * task + 1] = static_cast<float>(1 / sqrt(variance + op.epsilon));
        }
    }
}

// One element of what is not a product, before residual and activation.
__device__ inline float element_of(const Program& program, const Operator& op, const float* shared,
                                   int position, int row, int channel) {
    const int rows_log = program.rows_log;
    const auto at = [&](int p, int c) { return load_at(shared, op.x, p << rows_log | row, row, c); };
    const auto operand = [&](const Place& place, bool placed, const Steps& steps, int constant) {
        const int p = steps.position * position, c = steps.channel * channel;
        return placed ? load_at(shared, place, p << rows_log | row, row, c)
                      : program.constants[constant + p + c];
    };
    const int32_t* table = program.tables + op.table;
    switch (op.kind) {
    case Kind::product:
        break;
    case Kind::copy:
        return at(position, channel);
    case Kind::add:
    case Kind::sub:
    case Kind::mul:
    case Kind::div: {
        const float a = operand(op.x, op.has_x_place, op.x_steps, op.shift);
        const float b = operand(op.b, op.has_b_place, op.b_steps, op.constant);
        return op.kind == Kind::add   ? a + b
               : op.kind == Kind::sub ? a - b
               : op.kind == Kind::mul ? a * b
                                      : a / b;
    }
    case Kind::max_pool: {
        float most = -INFINITY;
        for (int i = 0; i < op.taps; i++) {
            const int from = table[position * op.taps + i];
            if (from < 0)
                continue;
            const float v = at(from, channel);
            // Once NaN, always NaN.
            most = v <= most || most != most ? most : v;
        }
        return most;
    }
    case Kind::average_pool: {
        double sum = 0;
        for (int i = 0; i < op.taps; i++) {
            const int from = table[position * op.taps + i];
            if (from >= 0)
                sum += at(from, channel);
        }
        return static_cast<float>(sum / program.constants[op.constant + position]);
    }
    case Kind::normalise: {
        const int across = op.x.channels / op.unit_channels;
        const int unit = position / op.unit_positions * across + channel / op.unit_channels;
        const float* measured = shared + op.scratch + 2 * (unit << rows_log | row);
        const int c = op.b_steps.position * position + op.b_steps.channel * channel;
        return (at(position, channel) - measured[0]) * (measured[1] * program.constants[op.constant + c]) +
               program.constants[op.shift + c];
    }
    case Kind::move_positions: {
        const int from = table[position];
        return from < 0 ? op.fill : at(from, channel);
    }
    case Kind::move_elements: {
        const int from = table[position * op.y.channels + channel];
        if (from < 0)
            return op.fill;
        const int p = quotient(from, op.x.reciprocal);
        return at(p, from - p * op.x.channels);
    }
    }
    return 0;
}

__device__ inline void elementwise(const Program& program, const Operator& op, float* shared) {
    const int rows = 1 << program.rows_log;
    // A concatenation fills its value piece by piece.
    const bool piece = op.kind == Kind::move_positions;
    const int channels = piece ? op.x.channels : op.y.channels;
    const uint32_t reciprocal = piece ? op.x.reciprocal : op.y.reciprocal;
    const int count = op.y.positions * rows * channels;
    for (int e = static_cast<int>(threadIdx.x); e < count; e += threads) {
        const int line = quotient(e, reciprocal), from = e - line * channels, row = line & (rows - 1);
        float v = element_of(program, op, shared, line >> program.rows_log, row, from);
        const int channel = from + (piece ? op.channel : 0);
        if (op.has_residual)
            v += load_at(shared, op.residual, line, row, channel);
        store_at(shared, op.y, line, row, channel, activated(op.activation, v));
    }
}

template <Precision precision> __device__ inline void walk(const Program& program, float* shared) {
    for (int i = 0; i < program.count; i++) {
        const Operator& op = program.operators[i];
        if (op.kind == Kind::product) {
            if (op.gathered) {
                product<precision, 1, true>(program, op, shared);
            } else if (op.tiles == 1) {
                product<precision, 1, false>(program, op, shared);
            } else {
                product<precision, most_tiles, false>(program, op, shared);
            }
        } else {
            if (op.kind == Kind::normalise) {
                measure_units(program, op, shared);
                __syncthreads();
            }
            elementwise(program, op, shared);
        }
        __syncthreads();
    }
}

// ---- what happens before the first operator and after the last ----

// Element `e` of a row as it lies outside.
__device__ inline int position_of(const Place& place, bool planar, int e, int* channel) {
    if (planar) {
        // Only for few positions or few channels is one of the two a division; neither is in the loop's way.
        const int c = e / place.positions;
        *channel = c;
        return e - c * place.positions;
    }
    const int p = quotient(e, place.reciprocal);
    *channel = e - p * place.channels;
    return p;
}

// Rows [first, first + rows of a block) of x to the input's place; those that are not there are zeros. All
// rows at once: short ones would wait for memory one after the other.
__device__ inline void load_rows(const Program& program, float* shared, const float* x, int64_t first,
                                 int64_t rows) {
    const int elements = program.input.positions * program.input.channels;
    for (int i = static_cast<int>(threadIdx.x); i < elements << program.rows_log; i += threads) {
        const int row = quotient(i, program.input_reciprocal), e = i - row * elements;
        int channel;
        const int position = position_of(program.input, program.input_planar, e, &channel);
        store_at(shared, program.input, position << program.rows_log | row, row, channel,
                 first + row < rows ? x[first * elements + i] : 0.0f);
    }
}

__device__ inline void store_rows(const Program& program, const float* shared, float* y, int64_t first,
                                  int64_t rows) {
    const int elements = program.output.positions * program.output.channels;
    for (int i = static_cast<int>(threadIdx.x); i < elements << program.rows_log; i += threads) {
        const int row = quotient(i, program.output_reciprocal), e = i - row * elements;
        int channel;
        const int position = position_of(program.output, program.output_planar, e, &channel);
        if (first + row < rows)
            y[first * elements + i] =
                load_at(shared, program.output, position << program.rows_log | row, row, channel);
    }
}

__device__ inline void load_weights(const Program& program, float* shared) {
    if (program.resident < 0)
        return;
    float4* to = reinterpret_cast<float4*>(shared + program.resident);
    const float4* from = reinterpret_cast<const float4*>(program.fragments);
    for (int i = static_cast<int>(threadIdx.x); i < program.fragment_words / 4; i += threads)
        copy_async(to + i, from + i);
    commit_copies();
    wait_copies<0>();
    __syncthreads();
}

} // namespace latdyn::cuda::fused
