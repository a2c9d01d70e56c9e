// A graph as the fused kernels walk it: a short list of operators over values that lie in shared memory, the
// tables they go by, and packed weights. Made by compile.cpp; plain data that both sides read.
//
// A value is [positions][rows][channels]: the rows of a block stand side by side, so that eight of them are
// the columns of one tensor core instruction, and whatever differs from position to position (taps, padding,
// strides) is the same for all of them.
//
// Eight words of one row are a chunk: 8 channels as floats, 16 as bf16. Chunks change places by the row
// (XOR), so that the eight rows that an instruction reads side by side are in different banks, without
// padding:
//   word(position, row, channel) = word + ((position·rows + row)·chunks + (chunk ^ swap(row)))·8 + rest.
// A value whose channels do not make whole chunks lies without that.
#pragma once

#include "latdyn/activation.h"

#include <cstdint>

namespace latdyn::cuda::fused {

// What a value's elements are: floats, floats rounded to TF32, or bf16. The last two are what products want;
// a value that other operators read too has a second place.
enum class Element : int32_t { float32, tf32, bf16 };

constexpr int chunk_words = 8;
constexpr int threads = 512, warps = threads / 32;
// Columns (eight rows at one position) that a warp holds at once, and tiles of 16 output channels.
constexpr int most_columns = 8, most_tiles = 2;

struct Place {
    int32_t word = 0;
    int32_t positions = 1, channels = 1;
    // e / channels = high word of e·reciprocal for e < 2³² / channels; 0: one channel.
    uint32_t reciprocal = 0;
    Element element = Element::float32;
    // swap(row) = row >> swap_shift & swap_mask, in chunks of 1 << chunk_log channels.
    int32_t swap_shift = 0, swap_mask = 0, chunk_log = 3;
};

enum class Kind : int32_t {
    // y = window or linear layer
    product,
    // y = x
    copy,
    // y = a ∘ b; strides below say what is repeated
    add,
    sub,
    mul,
    div,
    // y = extreme or mean of the positions that `table` names: [positions of y][taps], −1 for none
    max_pool,
    average_pool,
    // y = (x − mean)·scale/√(variance + ε) + shift, per row and unit: `unit_positions` × `unit_channels`
    normalise,
    // y at position p, channel c + `channel` = x at table[p], or `fill` where that is −1; x's channels
    move_positions,
    // y's element i (position, channel) is x's element table[i], or `fill`
    move_elements,
};

// How far the operand of an element-wise operator moves with position and channel: 0 repeats it.
struct Steps {
    int32_t position = 0, channel = 0;
};

struct Operator {
    Kind kind = Kind::copy;
    Place y, x;
    // Second operand of arithmetic. Either may be constants instead: x those from `shift` on, b from
    // `constant`.
    Place b;
    bool has_x_place = true, has_b_place = false, has_residual = false;
    Steps x_steps, b_steps;
    Place residual;
    Activation activation;
    // In the constants: bias of products (−1: none), operand of arithmetic, scale of norms, elements that a
    // position of a pool averages; shift of norms.
    int32_t constant = -1, shift = -1;
    float epsilon = 0, fill = 0;
    // In the tables.
    int32_t table = -1;
    int32_t taps = 0;
    int32_t channel = 0;
    int32_t unit_positions = 0, unit_channels = 0, units = 0;
    // Words of shared memory for what the operator keeps meanwhile: sums of parts, means.
    int32_t scratch = 0;

    // Of products. Tiles of 16 output channels that a warp computes together; whether operands are chunks or
    // gathered one by one; whether two channels can be stored at once, with relu or nothing before that,
    // which two tiles need; sums are made of so many parts.
    int32_t tiles = 1;
    bool gathered = false, quick = false;
    int32_t parts = 1;
    // In the tables, where an output channel stands for a position of a patch: by channel, how many positions
    // further on it is stored, and as which channel. −1: channels are what they are called.
    int32_t patch = -1;
    // Words of the scratch that one part's sums take.
    int32_t part_words = 0;
    // In the tables: Item[items], by warp: item i is warp i mod `warps`.
    int32_t items = 0, item_table = 0;
};

// A warp's work: `tiles` tiles of output channels at up to most_columns columns.
struct Item {
    // Its columns of y: position·rows + first of eight rows; −1: none.
    int32_t columns[most_columns];
    // Entry[entries] from here on in the tables.
    int32_t first_entry, entries;
    // Output channels from `channel` to before `channel_end`.
    int32_t channel, channel_end;
    // Which part of the sums; 0 is the one that finishes.
    int32_t part;
    // Of a gathered product: channel of x that its elements are counted from.
    int32_t x_channel;
    int32_t reserved[2];
};

// One tap: steps [first, first + chunks) of the sum, with weights from `fragment` on (in fragments of 512
// bytes a tile; the tiles of a step lie side by side). columns: word where the eight rows of the tap's
// position begin, −1 where the tap lies in the padding. In a gathered product: where the table of a column's
// elements begins, position·rows·channels + channel each, −1 for none.
struct Entry {
    int32_t columns[most_columns];
    int32_t fragment, first, chunks;
    int32_t reserved;
};
constexpr int item_words = sizeof(Item) / 4, entry_words = sizeof(Entry) / 4;
static_assert(item_words % 4 == 0 && entry_words % 4 == 0);

// What kernels take by value.
struct Program {
    const Operator* operators;
    int32_t count;
    // Rows of a block: 1 << rows_log, at least eight.
    int32_t rows_log;
    const int32_t* tables;
    const float* constants;
    const float* fragments;
    // Where fragments are copied to at the start, in words of shared memory; −1: they are read where they
    // are.
    int32_t resident;
    int32_t fragment_words;
    // The graph's input and output, and whether their elements are channel by channel outside ([C, H, W]).
    Place input, output;
    bool input_planar, output_planar;
    // Of the elements of a row, as Place::reciprocal.
    uint32_t input_reciprocal, output_reciprocal;
};

} // namespace latdyn::cuda::fused
