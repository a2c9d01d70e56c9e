// Launch shapes: row_squares and centred: a group of 8 lanes a row, 32 rows a block of 256; 4·k bytes and 2·k
// (3·k) double operations a row, limited by memory. some_mean: a thread a column, 4 bytes of each of at most
// 1,024 rows, limited by their latency. pack_rows: a thread for 16 bytes of the packed matrix, 8
// bytes of memory traffic a float, limited by memory.
#include "device_rows.h"

#include "device.h"
#include "tf32.h"

#include "latdyn/error.h"
#include "rows.h"

#include <algorithm>
#include <limits>

namespace latdyn::cuda {

namespace {

constexpr unsigned threads = 256;
constexpr int64_t rows_a_block = threads / group_lanes;

__global__ void row_squares(const float* rows, int64_t count, int64_t columns, double* squares) {
    const int64_t row = int64_t{blockIdx.x} * rows_a_block + threadIdx.x / group_lanes;
    if (row >= count)
        return;
    const float* x = rows + row * columns;
    const double square = group_dot(group_mask(), x, x, columns);
    if (threadIdx.x % group_lanes == 0)
        squares[row] = square;
}

__global__ void centred(const float* rows, int64_t count, int64_t columns, const float* centre,
                        double* squares) {
    const int64_t row = int64_t{blockIdx.x} * rows_a_block + threadIdx.x / group_lanes;
    if (row >= count)
        return;
    const double square = group_distance(group_mask(), rows + row * columns, 1, centre, 1, columns);
    if (threadIdx.x % group_lanes == 0)
        squares[row] = square;
}

__global__ void invert_lengths(const double* squares, int64_t count, double* scales) {
    const int64_t row = int64_t{blockIdx.x} * threads + threadIdx.x;
    if (row < count)
        scales[row] = squares[row] > 0 ? 1 / sqrt(squares[row]) : 0;
}

__device__ inline float packed_value(const float* rows, int64_t columns, const int32_t* which, int64_t count,
                                     const Change& change, int64_t place, int64_t column) {
    if (place >= count || column >= columns)
        return 0;
    const int64_t row = which ? which[place] : place;
    // A row that counts for nothing may hold anything.
    if (change.scales && change.scales[row] == 0)
        return 0;
    double v = rows[row * columns + column];
    if (change.centre)
        v -= double(change.centre[column]);
    v *= change.scale;
    if (change.scales)
        v *= change.scales[row];
    return round_tf32(static_cast<float>(v));
}

__global__ void pack_rows(const float* rows, int64_t columns, const int32_t* which, int64_t count,
                          Change change, float4* packed, int64_t first, int64_t end) {
    const int64_t at = first + int64_t{blockIdx.x} * threads + threadIdx.x;
    if (at >= end)
        return;
    // Pieces of four columns, in the order of tile.h: piece c of row r of a stage is c xor (r mod 8).
    const int64_t stages = (columns + tile_depth - 1) / tile_depth;
    const int64_t line = at / (tile_depth / 4), panel_stage = line / tile_rows;
    const int64_t row = panel_stage / stages * tile_rows + line % tile_rows;
    const int64_t piece = at % (tile_depth / 4) ^ row % 8;
    const int64_t column = panel_stage % stages * tile_depth + piece * 4;
    const auto value = [&](int64_t c) { return packed_value(rows, columns, which, count, change, row, c); };
    packed[at] = make_float4(value(column), value(column + 1), value(column + 2), value(column + 3));
}

// Rows that are far enough apart to be few.
struct SomeRows {
    const float* rows;
    int64_t count, stride;
};

SomeRows some_of(const DeviceRows* rows) {
    constexpr int64_t most = 512;
    return rows ? SomeRows{rows->data.get(), rows->count,
                           std::max<int64_t>(1, (rows->count + most - 1) / most)}
                : SomeRows{nullptr, 0, 1};
}

__global__ void some_mean(SomeRows one, SomeRows other, int64_t columns, float* mean) {
    const int64_t column = int64_t{blockIdx.x} * threads + threadIdx.x;
    if (column >= columns)
        return;
    double sum = 0;
    int64_t counted = 0;
    const auto add = [&](const SomeRows& some) {
#pragma unroll 8
        for (int64_t row = 0; row < some.count; row += some.stride) {
            sum += some.rows[row * columns + column];
            counted++;
        }
    };
    add(one);
    add(other);
    // A sum that is not finite is no number minus itself.
    mean[column] = counted > 0 && sum - sum == 0 ? static_cast<float>(sum / static_cast<double>(counted)) : 0;
}

int64_t blocks_for(int64_t rows) {
    return (rows + rows_a_block - 1) / rows_a_block;
}

} // namespace

void square_rows(const float* rows, int64_t count, int64_t columns, double* squares) {
    if (count > 0)
        launch("row_squares", row_squares, blocks_for(count), threads, 0, rows, count, columns, squares);
}

Buffer<double> unit_scales(const DeviceRows& rows) {
    Buffer<double> scales(rows.count);
    if (rows.count > 0)
        launch("invert_lengths", invert_lengths, (rows.count + threads - 1) / threads, threads, 0,
               rows.squares.get(), rows.count, scales.get());
    return scales;
}

DeviceRows resident_rows(Buffer<float> data, int64_t count, int64_t columns) {
    DeviceRows rows{count, columns, std::move(data), Buffer<double>(count), {}};
    square_rows(rows.data.get(), count, columns, rows.squares.get());
    rows.host_squares = rows.squares.read();
    return rows;
}

DeviceRows any_rows(const float* data, int64_t count, int64_t columns, const std::string& what) {
    if (count > std::numeric_limits<int32_t>::max())
        throw Error(what + " has " + std::to_string(count) + " rows, expected at most 2147483647");
    return resident_rows(Buffer<float>(std::span(data, static_cast<size_t>(count * columns))), count,
                         columns);
}

DeviceRows finite_rows(const float* data, int64_t count, int64_t columns, const std::string& what) {
    DeviceRows rows = any_rows(data, count, columns, what);
    check_finite({data, count, columns}, rows.host_squares, what);
    return rows;
}

std::vector<double> centred_squares(const DeviceRows& rows, const float* centre) {
    if (rows.count == 0)
        return {};
    const Buffer<double> squares(rows.count);
    launch("centred", centred, blocks_for(rows.count), threads, 0, rows.data.get(), rows.count, rows.columns,
           centre, squares.get());
    return squares.read();
}

Buffer<float> centre_of(const DeviceRows* one, const DeviceRows* other) {
    const DeviceRows& either = one ? *one : *other;
    Buffer<float> centre(either.columns);
    launch("some_mean", some_mean, (either.columns + threads - 1) / threads, threads, 0, some_of(one),
           some_of(other), either.columns, centre.get());
    return centre;
}

void pack(const float* rows, int64_t columns, const int32_t* which, int64_t count, const Change& change,
          float* packed, int64_t first_panel) {
    const int64_t end = packed_size(count, columns) / 4,
                  first = first_panel * stages_of(columns) * panel_floats / 4;
    if (end > first)
        launch("pack_rows", pack_rows, (end - first + threads - 1) / threads, threads, 0, rows, columns,
               which, count, change, reinterpret_cast<float4*>(packed), first, end);
}

} // namespace latdyn::cuda
