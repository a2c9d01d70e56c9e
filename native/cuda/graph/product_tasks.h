// What a tile of gather.h is a tile of: a window over activations, or a product of two activations.
#pragma once

#include "gather.h"

namespace latdyn::cuda {

// Output positions that see the same taps: all of a window, of a transposed one those that are alike modulo
// the stride. Their windows begin at steps of step_h × step_w of the image.
struct WindowClass {
    // Output positions are first + i·out_step, i < count.
    int32_t first_h, first_w, count_h, count_w;
    int32_t stages;
    // In taps, and in elements of packed weights.
    int32_t first_tap;
    int64_t first_weight;
};

struct WindowTask {
    const float *x, *residual;
    float* y;
    int64_t rows;
    int32_t height, width, channels, out_height, out_width, out_channels;
    int32_t groups, group_channels, group_outputs;
    int32_t step_h, step_w, out_step_h, out_step_w;
    const WindowClass* classes;
    int32_t class_count;
    // Tiles side by side that a group's outputs take.
    int32_t column_tiles;
    const Tap* taps;
    const void* weights;
    const float* bias;
    Activation activation;
    // Whether copies of four floats, and outputs of four, are possible.
    bool vector, whole_outputs;

    struct Part {
        WindowClass of;
        int64_t first, rows;
        int32_t stages, first_column, group, column_tile;
    };

    // Blocks of the same rows are neighbours: they share what they gather in L2.
    template <class Tile> __device__ Part part(unsigned block) const {
        Part part;
        part.column_tile = static_cast<int32_t>(block % column_tiles);
        block /= column_tiles;
        part.group = static_cast<int32_t>(block % groups);
        block /= groups;
        part.of = classes[block % class_count];
        part.first = int64_t{block / class_count} * Tile::rows;
        part.rows = rows * part.of.count_h * part.of.count_w;
        part.stages = part.of.stages;
        part.first_column = part.column_tile * Tile::columns;
        return part;
    }
    __device__ void place(const Part& part, int64_t row, Place& place, int64_t& output) const {
        const int32_t positions = part.of.count_h * part.of.count_w;
        const int64_t image = row / positions;
        const int32_t position = static_cast<int32_t>(row - image * positions);
        const int32_t h = position / part.of.count_w, w = position - h * part.of.count_w;
        place =
            place_at(((image * height + h * step_h) * width + w * step_w) * channels, h * step_h, w * step_w);
        const int64_t line = image * out_height + part.of.first_h + h * out_step_h;
        output =
            (line * out_width + part.of.first_w + w * out_step_w) * out_channels + part.group * group_outputs;
    }
    __device__ const float* left(const Part& part) const { return x + part.group * group_channels; }
    __device__ Tap tap(const Part& part, int i) const {
        return part.stages > 0 ? taps[part.of.first_tap + i] : Tap{0, outside, outside, 0};
    }
    // Packed weights are whole stages of tiles.
    template <class Tile> __device__ void copy_right(const Part& part, int stage, float* to) const {
        constexpr int floats = Tile::right_floats;
        const int64_t tile = int64_t{part.group} * column_tiles + part.column_tile;
        const float* from =
            static_cast<const float*>(weights) + part.of.first_weight + (tile * part.stages + stage) * floats;
#pragma unroll
        for (int i = 0; i < (floats / 4 + Tile::threads - 1) / Tile::threads; i++) {
            const int at = (i * Tile::threads + static_cast<int>(threadIdx.x)) * 4;
            if (floats / 4 % Tile::threads == 0 || at < floats)
                copy_async(to + at, from + at);
        }
    }
    __device__ int outputs(const Part&) const {
        return group_outputs;
    }
    __device__ const float* bias_of(const Part& part) const {
        return bias ? bias + part.group * group_outputs : nullptr;
    }
    __device__ const float* residual_of(const Part&) const {
        return residual;
    }
};

struct MatmulTask {
    const float *a, *b;
    float* y;
    int32_t m, n, inner;
    int64_t a_row, b_row;
    const int32_t *a_offset, *b_offset;
    int32_t products, row_tiles, column_tiles;
    Activation activation;
    bool vector, right_vector, whole_outputs;
    // The left matrix is an image of one position.
    static constexpr int32_t height = 1, width = 1;

    struct Part {
        const float *left, *right;
        int64_t output, first, rows;
        int32_t stages, first_column;
    };

    template <class Tile> __device__ Part part(unsigned block) const {
        Part part;
        part.first_column = static_cast<int32_t>(block % column_tiles) * Tile::columns;
        block /= column_tiles;
        part.first = int64_t{block % row_tiles} * Tile::rows;
        block /= row_tiles;
        const int32_t product = static_cast<int32_t>(block % products);
        const int64_t row = block / products;
        part.left = a + row * a_row + a_offset[product];
        part.right = b + row * b_row + b_offset[product];
        part.output = (row * products + product) * m * n;
        part.rows = m;
        part.stages = (inner + depth - 1) / depth;
        return part;
    }
    __device__ void place(const Part& part, int64_t row, Place& place, int64_t& output) const {
        place = place_at(row * inner, 0, 0);
        output = part.output + row * n;
    }
    __device__ const float* left(const Part& part) const { return part.left; }
    __device__ Tap tap(const Part&, int i) const {
        const int32_t k = vector ? 4 * i : i;
        return {k, k < inner ? 0 : outside, 0, 0};
    }
    template <class Tile, int Vector>
    __device__ void copy_right_by(const Part& part, int stage, float* to) const {
        constexpr int copies = Tile::columns / Vector;
#pragma unroll 2
        for (int i = static_cast<int>(threadIdx.x); i < depth * copies; i += Tile::threads) {
            const int line = i / copies, at = i % copies * Vector;
            const int k = stage * depth + line, column = part.first_column + at;
            const bool there = k < inner && column < n;
            copy_async_or_zero<Vector * 4>(to + line * Tile::right_stride + at,
                                           there ? part.right + int64_t{k} * n + column : part.right, there);
        }
    }
    template <class Tile> __device__ void copy_right(const Part& part, int stage, float* to) const {
        if (right_vector)
            copy_right_by<Tile, 4>(part, stage, to);
        else
            copy_right_by<Tile, 1>(part, stage, to);
    }
    __device__ int outputs(const Part&) const {
        return n;
    }
    __device__ const float* bias_of(const Part&) const {
        return nullptr;
    }
    __device__ const float* residual_of(const Part&) const {
        return nullptr;
    }
};

// Width of the tiles for so many outputs; of the shape alone, since weights are packed for it.
inline int tile_columns_for(int outputs, Precision precision) {
    const auto filled = [&](int width) { return (outputs + width - 1) / width * width; };
    if (precision != Precision::float32 && outputs > 64 && filled(128) <= filled(64))
        return 128;
    return outputs > 32 ? 64 : outputs > 16 ? 32 : outputs > 8 ? 16 : 8;
}

// Whether tiles whose warps have 64 rows keep a device busy, and fit: eight of those warps are on a
// multiprocessor. Sums are the same with 64 rows and with 32.
template <class Tile> bool enough_for(int64_t blocks, size_t shared) {
    return blocks * Tile::threads >= int64_t{256} * multiprocessors() &&
           static_cast<int64_t>(shared) <= shared_memory_limit();
}

// products_float32.cu, products_tensor.cu: one launch each. `columns` is what tile_columns_for gave;
// most_rows: of the left matrix of a window's largest class.
void launch_float32(const WindowTask& task, int columns, int64_t most_rows);
void launch_tensor(const WindowTask& task, int columns, int64_t most_rows, Precision precision);
// products_warpgroup.cu: both of the next two, of windows whose weights are packed for it.
void launch_warpgroups(const WindowTask& task, const WindowShape& shape, int columns, int64_t most_rows,
                       Precision precision);
// products_patch.cu: false, and nothing is launched, where patches are not for this window.
bool launch_patches(const WindowTask& task, const WindowShape& shape, int columns, Precision precision);
void launch_float32(MatmulTask task, int columns, int64_t rows);
void launch_tensor(MatmulTask task, int columns, int64_t rows, Precision precision);

inline int64_t checked_grid(int64_t blocks) {
    if (blocks > 0x7fffffff)
        throw Error("a product of " + std::to_string(blocks) + " tiles is too large for one launch");
    return blocks;
}
template <class Tile> int64_t window_blocks(const WindowTask& task, int64_t most_rows) {
    const int64_t tiles = (most_rows + Tile::rows - 1) / Tile::rows;
    return tiles * task.class_count * task.groups * task.column_tiles;
}
template <class Tile>
void launch_window(void (*kernel)(WindowTask), const WindowTask& task, int64_t most_rows) {
    launch("window", kernel, checked_grid(window_blocks<Tile>(task, most_rows)), Tile::threads,
           shared_bytes<Tile>(), task);
}
template <class Tile> void launch_matmul(void (*kernel)(MatmulTask), MatmulTask task, int64_t rows) {
    task.row_tiles = (task.m + Tile::rows - 1) / Tile::rows;
    task.column_tiles = (task.n + Tile::columns - 1) / Tile::columns;
    const int64_t tiles = int64_t{task.row_tiles} * task.column_tiles;
    launch("matmul", kernel, checked_grid(rows * task.products * tiles), Tile::threads, shared_bytes<Tile>(),
           task);
}

} // namespace latdyn::cuda
