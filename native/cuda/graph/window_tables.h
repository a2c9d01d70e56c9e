// What a window's kernels look up: classes of output positions, their taps, and weights in the order of
// taps.
//
// Columns of the left matrix go by blocks of `depth` channels, in a block by taps, in a tap by channels: a
// stage of a large window is one tap of one block, and the next stages find the same channels of the same
// lines again.
#pragma once

#include "product_tasks.h"
#include "tf32.h"

#include <algorithm>
#include <span>
#include <vector>

namespace latdyn::cuda {

// One of the kernel's, of the class that it belongs to: it reads the image at step·position + (h, w).
struct WindowTap {
    int32_t h, w, kernel_index;
};

struct WindowTables {
    std::vector<WindowClass> classes;
    std::vector<Tap> taps;
    // As the kernels of the precision want them, and of warpgroups, where the window goes by those.
    std::vector<float> weights;
    bool by_warpgroups = false;
    int32_t step_h = 1, step_w = 1, out_step_h = 1, out_step_w = 1;
    bool vector = false;
    // Tiles of how many channels, and how many of them a group takes.
    int columns = 0, column_tiles = 0;
    // Of the largest class, of one row.
    int64_t most_positions = 0;
};

// The quotient rounded down; b > 0.
inline int64_t floor_divide(int64_t a, int64_t b) {
    return a / b - (a % b < 0);
}

// Taps that output positions ≡ (h, w) modulo the stride of a transposed window have.
inline std::vector<WindowTap> taps_of(const WindowShape& shape, int32_t h, int32_t w) {
    std::vector<WindowTap> taps;
    for (int32_t i = 0; i < shape.kernel_h; i++)
        for (int32_t j = 0; j < shape.kernel_w; j++) {
            const int32_t index = i * shape.kernel_w + j;
            if (!shape.transposed) {
                taps.push_back({i * shape.dilation_h - shape.top, j * shape.dilation_w - shape.left, index});
                continue;
            }
            // Where i·stride − top + tap·dilation is the position.
            const int64_t from_h = int64_t{h} + shape.top - int64_t{i} * shape.dilation_h;
            const int64_t from_w = int64_t{w} + shape.left - int64_t{j} * shape.dilation_w;
            const int64_t at_h = floor_divide(from_h, shape.stride_h);
            const int64_t at_w = floor_divide(from_w, shape.stride_w);
            if (at_h * shape.stride_h == from_h && at_w * shape.stride_w == from_w)
                taps.push_back({static_cast<int32_t>(at_h), static_cast<int32_t>(at_w), index});
        }
    return taps;
}

// A column of the left matrix: which tap, and which channel of the group.
struct WindowColumn {
    WindowTap tap;
    int32_t channel;
};

inline std::vector<WindowColumn> columns_of(const std::vector<WindowTap>& taps, int32_t channels) {
    std::vector<WindowColumn> columns;
    for (int32_t block = 0; block < channels; block += depth)
        for (const WindowTap& tap : taps)
            for (int32_t c = block; c < channels && c < block + depth; c++)
                columns.push_back({tap, c});
    return columns;
}

// Two numbers of 8 digits in the place of a float.
inline float bf16_pair(float low, float high) {
    const uint32_t bits = uint32_t{round_bf16(low)} | uint32_t{round_bf16(high)} << 16;
    float pair;
    memcpy(&pair, &bits, sizeof pair);
    return pair;
}
inline float finite_tf32(float v) {
    return v - v == 0 ? round_tf32(v) : v;
}

// A stage of weights for mma.sync, columns × depth; at(k, n) is one.
template <class At> void append_rows(std::vector<float>& to, int columns, Precision precision, At at) {
    for (int n = 0; n < columns; n++)
        for (int k = 0; k < depth; k += 2) {
            if (precision == Precision::bf16) {
                to.push_back(bf16_pair(at(k, n), at(k + 1, n)));
            } else {
                to.push_back(finite_tf32(at(k, n)));
                to.push_back(finite_tf32(at(k + 1, n)));
            }
        }
}
// The same for wgmma: pieces of 16 bytes, in the order of warpgroup_tile.h.
template <class At> void append_pieces(std::vector<float>& to, int columns, Precision precision, At at) {
    const bool pairs = precision == Precision::bf16;
    for (int piece = 0; piece < (pairs ? 2 : 4); piece++)
        for (int n = 0; n < columns; n++)
            for (int k = 0; k < depth; k += 4)
                to.push_back(pairs ? bf16_pair(at(k + 2 * piece, n), at(k + 2 * piece + 1, n))
                                   : finite_tf32(at(k + piece, n)));
}

// Appends the weights of a class, for each group and tile its stages: depth × columns of float32, or one of
// the two above. weight(group, output, column) is one, or 0 beyond the last.
template <class Weight>
void append_weights(std::vector<float>& to, int groups, int tiles, int stages, int columns,
                    Precision precision, bool by_warpgroups, Weight weight) {
    for (int group = 0; group < groups; group++)
        for (int tile = 0; tile < tiles; tile++)
            for (int stage = 0; stage < stages; stage++) {
                const auto at = [&](int k, int n) {
                    return weight(group, tile * columns + n, stage * depth + k);
                };
                if (precision == Precision::float32) {
                    for (int k = 0; k < depth; k++)
                        for (int n = 0; n < columns; n++)
                            to.push_back(at(k, n));
                    continue;
                }
                if (by_warpgroups)
                    append_pieces(to, columns, precision, at);
                else
                    append_rows(to, columns, precision, at);
            }
}

// warpgroups: whether the device has them.
inline WindowTables window_tables(const WindowShape& shape, std::span<const float> weights,
                                  Precision precision, bool warpgroups) {
    WindowTables tables;
    const int32_t channels = shape.channels / shape.groups, outputs = shape.out_channels / shape.groups;
    const int64_t kernel = int64_t{shape.kernel_h} * shape.kernel_w;
    tables.vector = channels % 4 == 0;
    tables.columns = tile_columns_for(outputs, precision);
    tables.column_tiles = (outputs + tables.columns - 1) / tables.columns;
    // Narrower ones would leave most of a product of 64 rows × 8 columns and more waiting for its operands.
    tables.by_warpgroups = warpgroups && precision != Precision::float32 && tables.columns >= 32;
    (shape.transposed ? tables.out_step_h : tables.step_h) = shape.stride_h;
    (shape.transposed ? tables.out_step_w : tables.step_w) = shape.stride_w;
    const int32_t width = tables.vector ? 4 : 1;
    for (int32_t h = 0; h < std::min(tables.out_step_h, shape.out_height); h++)
        for (int32_t w = 0; w < std::min(tables.out_step_w, shape.out_width); w++) {
            const std::vector<WindowColumn> columns = columns_of(taps_of(shape, h, w), channels);
            const int32_t count = static_cast<int32_t>(columns.size());
            WindowClass one{h,
                            w,
                            (shape.out_height - h + tables.out_step_h - 1) / tables.out_step_h,
                            (shape.out_width - w + tables.out_step_w - 1) / tables.out_step_w,
                            (count + depth - 1) / depth,
                            static_cast<int32_t>(tables.taps.size()),
                            static_cast<int64_t>(tables.weights.size())};
            tables.most_positions = std::max(tables.most_positions, int64_t{one.count_h} * one.count_w);
            for (int32_t k = 0; k < one.stages * depth; k += width) {
                if (k >= count) {
                    tables.taps.push_back({0, outside, outside, 0});
                    continue;
                }
                const WindowColumn& column = columns[static_cast<size_t>(k)];
                const int64_t offset =
                    (int64_t{column.tap.h} * shape.width + column.tap.w) * shape.channels + column.channel;
                // What is farther than that is outside of every image that fits.
                if (offset != static_cast<int32_t>(offset))
                    tables.taps.push_back({0, outside, outside, 0});
                else
                    tables.taps.push_back({static_cast<int32_t>(offset), column.tap.h, column.tap.w, 0});
            }
            append_weights(tables.weights, shape.groups, tables.column_tiles, one.stages, tables.columns,
                           precision, tables.by_warpgroups, [&](int group, int output, int k) {
                               if (output >= outputs || k >= count)
                                   return 0.0f;
                               const WindowColumn& column = columns[static_cast<size_t>(k)];
                               const int64_t input = int64_t{group} * channels + column.channel;
                               const int64_t row =
                                   shape.transposed
                                       ? input * outputs + output
                                       : (int64_t{group} * outputs + output) * channels + column.channel;
                               return weights[static_cast<size_t>(row * kernel + column.tap.kernel_index)];
                           });
            tables.classes.push_back(one);
        }
    return tables;
}

} // namespace latdyn::cuda
