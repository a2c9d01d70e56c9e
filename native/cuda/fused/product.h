// Windows and linear layers inside a block: channels × (rows × positions), weights on the left.
//
// A warp computes 16 or 32 output channels at up to eight columns, each of them eight rows at one position:
// the columns' rows are the eight columns of the instruction (m16n8k8 of TF32, m16n8k16 of bf16), and an
// output position sums over those taps alone that lie inside the input. Weights are packed in the order in
// which the lanes want them, 512 bytes an instruction, and are read once an item, two steps ahead, from L2 or
// where they are resident; eight rows' operands are one 8-byte load a lane without bank conflicts.
//
// A step of 32 channels at eight columns: 16 instructions (tensor cores) or 512 multiply-adds a lane
// (float32) against 8·256 bytes of shared memory and 1,024 bytes of weights.
//
// The sum of an output goes over the taps in their order and over channels within; parts of long sums are
// added up in order. None of that depends on the row, on its place or on how many rows a block has.
#pragma once

#include "place.h"
#include "plan.h"

namespace latdyn::cuda::fused {

template <int Tiles> using Sums = float[Tiles][most_columns][4];

// In sums [i][q][e]: of channels 2g + e / 2 and rows 2t + e % 2 for lane 4g + t.
struct Lane {
    int warp, lane, g, t;
};
__device__ inline Lane this_lane() {
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    return {warp, lane, lane / 4, lane % 4};
}

__device__ inline void columns_of(const int* from, int (&columns)[most_columns]) {
    const int4 low = reinterpret_cast<const int4*>(from)[0], high = reinterpret_cast<const int4*>(from)[1];
    columns[0] = low.x, columns[1] = low.y, columns[2] = low.z, columns[3] = low.w;
    columns[4] = high.x, columns[5] = high.y, columns[6] = high.z, columns[7] = high.w;
}

// What a step multiplies with: of each column, this lane's operand of the instruction.
template <bool Gathered> struct Operands {
    const float* shared;
    const int32_t* tables;
    const Operator& op;
    const Item& item;
    int rows;
    Lane lane;
    int row_words, swap;

    __device__ Operands(const Program& program, const Operator& op, const Item& item, const float* shared)
        : shared(shared), tables(program.tables), op(op), item(item), rows(1 << program.rows_log),
          lane(this_lane()) {
        row_words = op.x.element == Element::bf16 ? op.x.channels / 2 : op.x.channels;
        swap = lane.g >> op.x.swap_shift & op.x.swap_mask;
    }

    // Elements of a gathered step: `index` names one of the first of a column's eight rows.
    __device__ float element(int index, int row) const {
        if (index < 0)
            return 0.0f;
        // Lines of values whose chunks change places are whole multiples of what changes.
        const int at = (index + item.x_channel + row * op.x.channels) ^ swapped(op.x, row);
        return op.x.element == Element::bf16 ? half_at(shared, 2 * op.x.word + at) : shared[op.x.word + at];
    }

    // The two words of a column that the instruction takes, for row g.
    __device__ float2 words(int column, int q, int step) const {
        if constexpr (!Gathered)
            return *reinterpret_cast<const float2*>(shared + column + lane.g * row_words +
                                                    (step ^ swap) * chunk_words + 2 * lane.t);
        const int row = (item.columns[q] & (rows - 1)) + lane.g;
        if (op.x.element == Element::bf16) {
            const int4 index = *reinterpret_cast<const int4*>(tables + column + step * 16 + 4 * lane.t);
            // Already bf16: the conversion changes nothing.
            return {__uint_as_float(to_bf16_pair(element(index.x, row), element(index.y, row))),
                    __uint_as_float(to_bf16_pair(element(index.z, row), element(index.w, row)))};
        }
        const int2 index = *reinterpret_cast<const int2*>(tables + column + step * 8 + 2 * lane.t);
        return {element(index.x, row), element(index.y, row)};
    }

    // Four channels of a column, those of half `half` of the step, for row 2t + `odd`.
    __device__ float4 four(int column, int q, int step, int half, int odd) const {
        const int row = 2 * lane.t + odd;
        if constexpr (!Gathered)
            return *reinterpret_cast<const float4*>(
                shared + column + row * row_words +
                (step ^ (row >> op.x.swap_shift & op.x.swap_mask)) * chunk_words + 4 * half);
        const int place = (item.columns[q] & (rows - 1)) + row;
        const int4 index = *reinterpret_cast<const int4*>(tables + column + step * 8 + 4 * half);
        return {element(index.x, place), element(index.y, place), element(index.z, place),
                element(index.w, place)};
    }
};

__device__ inline float dot(float sum, float4 w, float4 x) {
    return fmaf(w.w, x.w, fmaf(w.z, x.z, fmaf(w.y, x.y, fmaf(w.x, x.x, sum))));
}

template <Precision precision>
__device__ inline void multiply(float (&sums)[4], const float4& weights, const float2& x) {
    if constexpr (precision == Precision::bf16) {
        const uint32_t pairs[4] = {__float_as_uint(weights.x), __float_as_uint(weights.y),
                                   __float_as_uint(weights.z), __float_as_uint(weights.w)};
        multiply_add(sums, pairs, __float_as_uint(x.x), __float_as_uint(x.y));
    } else {
        multiply_add(sums, weights, x.x, x.y);
    }
}

template <Precision precision, int Tiles, bool Gathered>
__device__ inline void accumulate(const Program& program, const float4* fragments, const Item& item,
                                  const Operands<Gathered>& operands, Sums<Tiles>& sums) {
    const Entry* entries = reinterpret_cast<const Entry*>(program.tables + item.first_entry);
    const Lane lane = operands.lane;
    // Steps that weights are read ahead of their use: as many as registers allow.
    constexpr int ahead = Tiles == 1 ? 2 : 1;
    // Columns whose operands are loaded before the first of them is multiplied.
    constexpr int together = Gathered ? 2 : Tiles == 1 ? most_columns : most_columns / 2;
    float4 weights[ahead + 1][Tiles] = {};
    int loaded = -1;
    for (int e = 0; e < item.entries; e++) {
        int columns[most_columns];
        columns_of(entries[e].columns, columns);
        const int fragment = entries[e].fragment, first = entries[e].first, last = first + entries[e].chunks;
        const float4* from = fragments + int64_t{fragment} * 32;
        if constexpr (precision == Precision::float32) {
            for (int step = first; step < last; step++, from += Tiles * 32)
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    float4 w[Tiles][2];
#pragma unroll
                    for (int i = 0; i < Tiles; i++)
#pragma unroll
                        for (int j = 0; j < 2; j++)
                            w[i][j] = from[i * 32 + (2 * half + j) * 8 + lane.g];
#pragma unroll
                    for (int q = 0; q < most_columns; q++) {
                        if (columns[q] < 0)
                            continue;
#pragma unroll
                        for (int odd = 0; odd < 2; odd++) {
                            const float4 x = operands.four(columns[q], q, step, half, odd);
#pragma unroll
                            for (int i = 0; i < Tiles; i++)
#pragma unroll
                                for (int j = 0; j < 2; j++)
                                    sums[i][q][2 * j + odd] = dot(sums[i][q][2 * j + odd], w[i][j], x);
                        }
                    }
                }
        } else {
            from += lane.lane;
            // Entries mostly follow one another, and then what comes first is there.
            if (fragment != loaded)
#pragma unroll
                for (int s = 0; s < ahead; s++)
#pragma unroll
                    for (int i = 0; i < Tiles; i++)
                        weights[s][i] = from[(s * Tiles + i) * 32];
            for (int step = first; step < last; step++, from += Tiles * 32) {
                // Behind the last fragment there are as many that nobody uses.
#pragma unroll
                for (int i = 0; i < Tiles; i++)
                    weights[ahead][i] = from[(ahead * Tiles + i) * 32];
#pragma unroll
                for (int begin = 0; begin < most_columns; begin += together) {
                    float2 x[together];
#pragma unroll
                    for (int q = 0; q < together; q++)
                        x[q] = columns[begin + q] < 0 ? float2{0, 0}
                                                      : operands.words(columns[begin + q], begin + q, step);
#pragma unroll
                    for (int q = 0; q < together; q++) {
                        if (columns[begin + q] < 0)
                            continue;
#pragma unroll
                        for (int i = 0; i < Tiles; i++)
                            multiply<precision>(sums[i][begin + q], weights[0][i], x[q]);
                    }
                }
#pragma unroll
                for (int s = 0; s < ahead; s++)
#pragma unroll
                    for (int i = 0; i < Tiles; i++)
                        weights[s][i] = weights[s + 1][i];
            }
            loaded = fragment + (last - first) * Tiles;
        }
    }
}

// The sums of an item's other parts, in order.
template <int Tiles>
__device__ inline void join_parts(const Operator& op, float* shared, bool active, int part, int columns,
                                  Sums<Tiles>& sums) {
    const Lane lane = this_lane();
    // Of this item's part 1.
    float4* kept = reinterpret_cast<float4*>(shared + op.scratch +
                                             lane.warp / op.parts * (op.parts - 1) * op.part_words);
    const int stride = op.part_words / 4;
    if (active && part > 0)
#pragma unroll
        for (int i = 0; i < Tiles; i++)
#pragma unroll
            for (int q = 0; q < most_columns; q++)
                if (q < columns)
                    kept[(part - 1) * stride + (i * columns + q) * 32 + lane.lane] =
                        float4{sums[i][q][0], sums[i][q][1], sums[i][q][2], sums[i][q][3]};
    __syncthreads();
    if (active && part == 0)
        for (int other = 0; other < op.parts - 1; other++)
#pragma unroll
            for (int i = 0; i < Tiles; i++)
#pragma unroll
                for (int q = 0; q < most_columns; q++)
                    if (q < columns) {
                        const float4 v = kept[other * stride + (i * columns + q) * 32 + lane.lane];
                        sums[i][q][0] += v.x;
                        sums[i][q][1] += v.y;
                        sums[i][q][2] += v.z;
                        sums[i][q][3] += v.w;
                    }
}

// y = activation(sums + bias + residual) of two channels in two rows.
__device__ inline void finish_block(const Program& program, const Operator& op, float* shared, int column,
                                    int channel, int end, const float (&sums)[4]) {
    const Lane lane = this_lane();
    const int rows = 1 << program.rows_log;
    const int row = (column & (rows - 1)) + 2 * lane.t;
#pragma unroll
    for (int j = 0; j < 2; j++) {
        if (channel + j >= end)
            break;
        int c = channel + j, line = column + 2 * lane.t;
        if (op.patch >= 0) {
            line += program.tables[op.patch + 2 * c] << program.rows_log;
            c = program.tables[op.patch + 2 * c + 1];
        }
#pragma unroll
        for (int odd = 0; odd < 2; odd++) {
            float v = sums[2 * j + odd];
            if (op.constant >= 0)
                v += program.constants[op.constant + c];
            if (op.has_residual)
                v += load_at(shared, op.residual, line + odd, row + odd, c);
            store_at(shared, op.y, line + odd, row + odd, c, activated(op.activation, v));
        }
    }
}

// The same for what most networks are made of: two channels at once, no residual, relu or nothing.
__device__ inline void finish_quickly(const Program& program, const Operator& op, float* shared, int column,
                                      int channel, float2 bias, const float (&sums)[4]) {
    const Lane lane = this_lane();
    const bool relu = op.activation.kind == ActivationKind::relu;
#pragma unroll
    for (int odd = 0; odd < 2; odd++) {
        const int line = column + 2 * lane.t + odd, row = line & ((1 << program.rows_log) - 1);
        float low = sums[odd] + bias.x, high = sums[2 + odd] + bias.y;
        if (relu) {
            low = low < 0 ? 0.0f : low;
            high = high < 0 ? 0.0f : high;
        }
        store_pair(shared, op.y, line, row, channel, low, high);
    }
}

template <Precision precision, int Tiles, bool Gathered>
__device__ inline void product(const Program& program, const Operator& op, float* shared) {
    const Lane lane = this_lane();
    const Item* items = reinterpret_cast<const Item*>(program.tables + op.item_table);
    const float4* fragments = program.resident >= 0
                                  ? reinterpret_cast<const float4*>(shared + program.resident)
                                  : reinterpret_cast<const float4*>(program.fragments);
    for (int first = 0; first < op.items; first += warps) {
        const bool active = first + lane.warp < op.items;
        const Item& item = items[active ? first + lane.warp : 0];
        Sums<Tiles> sums;
#pragma unroll
        for (int i = 0; i < Tiles; i++)
#pragma unroll
            for (int q = 0; q < most_columns; q++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    sums[i][q][e] = 0;
        if (active)
            accumulate<precision, Tiles, Gathered>(program, fragments, item,
                                                   Operands<Gathered>(program, op, item, shared), sums);
        if (op.parts > 1) {
            // Sums of the round before have been read.
            if (first > 0)
                __syncthreads();
            join_parts<Tiles>(op, shared, active, item.part, op.part_words / (128 * Tiles), sums);
        }
        if (!active || item.part > 0)
            continue;
        int columns[most_columns];
        columns_of(item.columns, columns);
        if (op.quick) {
#pragma unroll
            for (int i = 0; i < Tiles; i++) {
                const int channel = item.channel + 16 * i + 2 * lane.g;
                if (channel >= item.channel_end)
                    continue;
                float2 bias{0, 0};
                if (op.constant >= 0)
                    bias = {program.constants[op.constant + channel],
                            program.constants[op.constant + channel + 1]};
#pragma unroll
                for (int q = 0; q < most_columns; q++)
                    if (columns[q] >= 0)
                        finish_quickly(program, op, shared, columns[q], channel, bias, sums[i][q]);
            }
            continue;
        }
        // (Two tiles are for what finishes quickly.) One column after the other moves to the front: the code
        // of all functions stands here once.
        if constexpr (Tiles == 1) {
#pragma unroll 1
            for (int q = 0; q < most_columns; q++) {
                if (item.columns[q] >= 0)
                    finish_block(program, op, shared, item.columns[q], item.channel + 2 * lane.g,
                                 item.channel_end, sums[0][0]);
#pragma unroll
                for (int next = 1; next < most_columns; next++)
#pragma unroll
                    for (int e = 0; e < 4; e++)
                        sums[0][next - 1][e] = sums[0][next][e];
            }
        }
    }
}

} // namespace latdyn::cuda::fused
