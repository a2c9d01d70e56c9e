// Normalisation: one pass over memory for mean and variance, one that reads and writes. 12 bytes an element
// where it does not fit in cache.
#pragma once

#include "kernels.h"
#include "registers.h"

namespace latdyn::LATDYN_ISA {

struct Moments {
    double mean = 0, squares = 0; // squares: Σ (x − mean)²
    double count = 0;
};

// The moments of both parts together (Chan, Golub and LeVeque).
static inline void merge(Moments& all, double mean, double squares, double count) {
    const double total = all.count + count, apart = mean - all.mean;
    all.mean += apart * (count / total);
    all.squares += squares + apart * apart * (all.count * count / total);
    all.count = total;
}

// Elements whose moments are taken at once, in float: they stay in L1 between its two passes.
constexpr ptrdiff_t moment_chunk = 128 * W;

struct ChunkMoments {
    F mean, squares; // the same in every lane
};

static inline ChunkMoments moments_of_chunk(const float* x, ptrdiff_t n) {
    const ptrdiff_t whole = n / W * W, rest = n - whole;
    F sum = {};
    for (ptrdiff_t i = 0; i < whole; i += W)
        sum += load_any(x + i);
    if (rest > 0)
        sum += load_first(x + whole, rest);
    const F mean = sum_across(sum) * (1.0f / static_cast<float>(n));
    F squares = {};
    for (ptrdiff_t i = 0; i < whole; i += W) {
        const F d = load_any(x + i) - mean;
        squares += d * d;
    }
    if (rest > 0) {
        const F d = keep_first(load_first(x + whole, rest) - mean, rest, F{});
        squares += d * d;
    }
    return {mean, sum_across(squares)};
}

static inline Moments moments_of(const float* x, ptrdiff_t n) {
    Moments all;
    for (ptrdiff_t begin = 0; begin < n; begin += moment_chunk) {
        const ptrdiff_t count = n - begin < moment_chunk ? n - begin : moment_chunk;
        const ChunkMoments part = moments_of_chunk(x + begin, count);
        merge(all, part.mean[0], part.squares[0], static_cast<double>(count));
    }
    return all;
}

static void layer_norm(const row::LayerNorm& p) {
    const F alpha = splat(p.activation.alpha), beta = splat(p.activation.beta);
    const F epsilon = splat(static_cast<float>(p.epsilon)), one = splat(1.0f);
    with_kind(p.activation.kind, [&](auto kind) {
        for (ptrdiff_t r = 0; r < p.rows; r++) {
            const float* x = p.x + r * p.size;
            float* out = p.out + r * p.size;
            F mean, inverse;
            if (p.size <= moment_chunk) {
                const ChunkMoments m = moments_of_chunk(x, p.size);
                mean = m.mean;
                inverse = one / sqrt_(m.squares * (1.0f / static_cast<float>(p.size)) + epsilon);
            } else {
                const Moments m = moments_of(x, p.size);
                mean = splat(static_cast<float>(m.mean));
                inverse = one / sqrt_(splat(static_cast<float>(m.squares / m.count)) + epsilon);
            }
            for (ptrdiff_t i = 0; i < p.size; i += W) {
                const ptrdiff_t count = p.size - i;
                const F y = (load_first(x + i, count) - mean) * inverse;
                store_first(out + i,
                            activate<kind.value>(y * load_first(p.scale + i, count) +
                                                     load_first(p.bias + i, count),
                                                 alpha, beta),
                            count);
            }
        }
    });
}

static void norm_grad(const row::NormGrad& p) {
    for (ptrdiff_t r = 0; r < p.rows; r++) {
        const float *x = p.x + r * p.size, *t = p.t + r * p.size;
        float* out = p.out + r * p.size;
        const Moments of_x = moments_of(x, p.size), of_t = moments_of(t, p.size);
        const F mean = splat(static_cast<float>(of_x.mean)), mean_t = splat(static_cast<float>(of_t.mean));
        const F inverse = splat(1.0f) /
                          sqrt_(splat(static_cast<float>(of_x.squares / of_x.count + p.epsilon)));
        double sum = 0;
        for (ptrdiff_t begin = 0; begin < p.size; begin += moment_chunk) {
            const ptrdiff_t end = p.size - begin < moment_chunk ? p.size : begin + moment_chunk;
            F part = {};
            for (ptrdiff_t i = begin; i < end; i += W) {
                const ptrdiff_t count = end - i;
                part += keep_first((load_first(x + i, count) - mean) * inverse *
                                       (load_first(t + i, count) - mean_t),
                                   count, F{});
            }
            sum += sum_across(part)[0];
        }
        const F along = splat(static_cast<float>(sum / static_cast<double>(p.size)));
        for (ptrdiff_t i = 0; i < p.size; i += W) {
            const ptrdiff_t count = p.size - i;
            const F normalised = (load_first(x + i, count) - mean) * inverse;
            store_first(out + i, (load_first(t + i, count) - mean_t - normalised * along) * inverse, count);
        }
    }
}

typedef double D __attribute__((vector_size(W * 8)));

// Mean and Σ (x − mean)² of W channels side by side, each over all points.
static inline void moments_of_channels(const float* x, ptrdiff_t points, ptrdiff_t step, double* mean,
                                       double* squares) {
    constexpr ptrdiff_t chunk = 128;
    D all_mean = {}, all_squares = {};
    double done = 0;
    for (ptrdiff_t begin = 0; begin < points; begin += chunk) {
        const ptrdiff_t count = points - begin < chunk ? points - begin : chunk;
        const float* from = x + begin * step;
        F sum[4] = {};
        ptrdiff_t i = 0;
        for (; i + 4 <= count; i += 4)
            for (ptrdiff_t j = 0; j < 4; j++)
                sum[j] += load(from + (i + j) * step);
        for (; i < count; i++)
            sum[0] += load(from + i * step);
        const F middle = ((sum[0] + sum[1]) + (sum[2] + sum[3])) * (1.0f / static_cast<float>(count));
        F square[4] = {};
        for (i = 0; i + 4 <= count; i += 4)
            for (ptrdiff_t j = 0; j < 4; j++) {
                const F d = load(from + (i + j) * step) - middle;
                square[j] += d * d;
            }
        for (; i < count; i++) {
            const F d = load(from + i * step) - middle;
            square[0] += d * d;
        }
        const double n = static_cast<double>(count), total = done + n;
        const D apart = __builtin_convertvector(middle, D) - all_mean;
        all_mean += apart * (n / total);
        all_squares +=
            __builtin_convertvector((square[0] + square[1]) + (square[2] + square[3]), D) +
            apart * apart * (done * n / total);
        done = total;
    }
    for (int lane = 0; lane < W; lane++) {
        mean[lane] = all_mean[lane];
        squares[lane] = all_squares[lane];
    }
}

static void group_norm(const row::GroupNorm& p) {
    const ptrdiff_t per_group = p.channels / p.groups, points = p.points, block = p.block;
    double *means = p.moments, *squares = p.moments + p.channels;
    if (block == 1)
        for (ptrdiff_t c = 0; c < p.channels; c++) {
            const Moments m = moments_of(p.x + c * points, points);
            means[c] = m.mean;
            squares[c] = m.squares;
        }
    else
        for (ptrdiff_t c = 0; c < p.channels; c += W)
            moments_of_channels(p.x + c / block * block * points + c % block, points, block, means + c,
                                squares + c);
    // Every channel gets its group's mean and 1 / deviation.
    for (ptrdiff_t first = 0; first < p.channels; first += per_group) {
        Moments group;
        for (ptrdiff_t c = first; c < first + per_group; c++)
            merge(group, means[c], squares[c], static_cast<double>(points));
        for (ptrdiff_t c = first; c < first + per_group; c++) {
            means[c] = group.mean;
            squares[c] = 1 / __builtin_sqrt(group.squares / group.count + p.epsilon);
        }
    }
    const F alpha = splat(p.activation.alpha), beta = splat(p.activation.beta);
    with_kind(p.activation.kind, [&](auto kind) {
        if (block == 1) {
            for (ptrdiff_t c = 0; c < p.channels; c++) {
                const F mean = splat(static_cast<float>(means[c])), bias = splat(p.bias[c]),
                        factor = splat(static_cast<float>(squares[c] * p.scale[c]));
                const float* x = p.x + c * points;
                float* out = p.out + c * points;
                for (ptrdiff_t i = 0; i < points; i += W) {
                    const F y = (load_first(x + i, points - i) - mean) * factor + bias;
                    store_first(out + i, activate<kind.value>(y, alpha, beta), points - i);
                }
            }
            return;
        }
        for (ptrdiff_t c = 0; c < p.channels; c += W) {
            F mean, factor;
            for (int lane = 0; lane < W; lane++) {
                mean[lane] = static_cast<float>(means[c + lane]);
                factor[lane] = static_cast<float>(squares[c + lane] * p.scale[c + lane]);
            }
            const F bias = load_any(p.bias + c);
            const ptrdiff_t at = c / block * block * points + c % block;
            for (ptrdiff_t i = 0; i < points; i++) {
                const F y = (load(p.x + at + i * block) - mean) * factor + bias;
                store(p.out + at + i * block, activate<kind.value>(y, alpha, beta));
            }
        }
    });
}

} // namespace latdyn::LATDYN_ISA
