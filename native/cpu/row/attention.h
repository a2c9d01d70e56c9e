// Attention without the score matrix: for a block of targets, blocks of sources one after another, with the
// largest score and the sum of e^(score − largest) so far; what was added up under a smaller maximum is
// scaled down. 2·targets·sources·(depth + width) FLOPs; k and v are packed once and read once a block of
// targets, scores stay in L1.
#pragma once

#include "product.h"

namespace latdyn::LATDYN_ISA {

constexpr ptrdiff_t target_block = 6 * block_rows;
// Whole panels.
constexpr ptrdiff_t source_block = 4 * panel_width;

static inline ptrdiff_t padded(ptrdiff_t columns) {
    return registers_of(columns) * W;
}

// Panels of k and v; scores and sums of a block; largest score, its sum, and what a block's sums shrink by.
static int64_t attention_scratch(int64_t sources, int64_t depth, int64_t width) {
    return packed_size(depth, sources) + packed_size(sources, width) +
           target_block * (source_block + padded(width) + 3);
}

// Scores of one target → e^(scale·score + bias − largest), in place. Updates the largest and the sum, and
// gives what earlier sums shrink by. A NaN is not the largest, but its own e^NaN makes the sum NaN.
static inline float exponentials(float* scores, ptrdiff_t count, float scale, const float* bias,
                                 ptrdiff_t bias_column, float& largest, float& sum) {
    const F lowest = splat(-__builtin_inff());
    F most = splat(largest);
    for (ptrdiff_t j = 0; j < count; j += W) {
        F score = load(scores + j) * scale;
        if (bias)
            score += bias_column == 0 ? splat(bias[0]) : load_first(bias + j, count - j);
        score = keep_first(score, count - j, lowest);
        store(scores + j, score);
        most = more(score, most);
    }
    most = most_across(most);
    // Where all is −∞ so far, −∞ less −∞ would be NaN.
    const F shift = select(most == lowest, F{}, most);
    F total = {};
    for (ptrdiff_t j = 0; j < count; j += W) {
        const F below = load(scores + j) - shift;
        // Beside the largest one's 1, less than e^−87 is nothing; the comparison lets NaN through.
        const F e = select(below < -87.0f, F{}, exp_normal(more(splat(-87.0f), below)));
        store(scores + j, e);
        total += e;
    }
    const bool first = largest == -__builtin_inff();
    const float shrink = first ? 0.0f : exp_(splat(largest) - shift)[0];
    largest = most[0];
    sum = sum * shrink + sum_across(total)[0];
    return shrink;
}

static void attention(const row::Attention& p) {
    float* keys = p.scratch;
    float* values = keys + packed_size(p.depth, p.sources);
    float* scores = values + packed_size(p.sources, p.width);
    float* sums = scores + target_block * source_block;
    const ptrdiff_t width = padded(p.width);
    float *largest = sums + target_block * width, *sum = largest + target_block, *shrink = sum + target_block;
    pack(p.k, 1, p.k_row, p.depth, p.sources, keys);
    pack(p.v, p.v_row, 1, p.sources, p.width, values);

    for (ptrdiff_t begin = 0; begin < p.targets; begin += target_block) {
        const ptrdiff_t targets = p.targets - begin < target_block ? p.targets - begin : target_block;
        for (ptrdiff_t i = 0; i < targets; i++) {
            largest[i] = -__builtin_inff();
            sum[i] = 0;
        }
        for (ptrdiff_t first = 0; first < p.sources; first += source_block) {
            const ptrdiff_t sources = p.sources - first < source_block ? p.sources - first : source_block;
            for (ptrdiff_t panel = 0; panel < sources; panel += panel_width) {
                const ptrdiff_t count = sources - panel < panel_width ? sources - panel : panel_width;
                each_block(targets, [&](ptrdiff_t row, int rows) {
                    product_panel(rows, static_cast<int>(registers_of(count)), p.q + (begin + row) * p.q_row,
                                  p.q_row, keys + (first + panel) * p.depth, p.depth,
                                  {.start = nullptr,
                                   .residual = nullptr,
                                   .out = scores + row * source_block + panel,
                                   .residual_row = 0,
                                   .out_row = source_block,
                                   .columns = padded(count),
                                   .add = false});
                });
            }
            for (ptrdiff_t i = 0; i < targets; i++) {
                const float* bias =
                    p.bias ? p.bias + (begin + i) * p.bias_row + first * p.bias_column : nullptr;
                shrink[i] = exponentials(scores + i * source_block, sources, p.scale, bias, p.bias_column,
                                         largest[i], sum[i]);
            }
            if (first > 0)
                for (ptrdiff_t i = 0; i < targets; i++)
                    for (ptrdiff_t c = 0; c < width; c += W)
                        store(sums + i * width + c, load(sums + i * width + c) * shrink[i]);
            for (ptrdiff_t panel = 0; panel < width; panel += panel_width) {
                const ptrdiff_t count = width - panel < panel_width ? width - panel : panel_width;
                each_block(targets, [&](ptrdiff_t row, int rows) {
                    product_panel(rows, static_cast<int>(count / W), scores + row * source_block,
                                  source_block, values + panel * p.sources + first * count, sources,
                                  {.start = nullptr,
                                   .residual = nullptr,
                                   .out = sums + row * width + panel,
                                   .residual_row = 0,
                                   .out_row = width,
                                   .columns = count,
                                   .add = first > 0});
                });
            }
        }
        for (ptrdiff_t i = 0; i < targets; i++) {
            const F inverse = splat(1.0f / sum[i]);
            float* out = p.out + (begin + i) * p.out_row;
            for (ptrdiff_t c = 0; c < p.width; c += W)
                store_first(out + c, load(sums + i * width + c) * inverse, p.width - c);
        }
    }
}

} // namespace latdyn::LATDYN_ISA
