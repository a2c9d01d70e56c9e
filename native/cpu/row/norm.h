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

// The same in every lane. The mean is middle + rest: a float alone would be off by a unit in its last place,
// which is much where the deviation is small beside it.
struct ChunkMoments {
    F middle, rest, squares;
};

static inline ChunkMoments moments_of_chunk(const float* x, ptrdiff_t n) {
    const ptrdiff_t whole = n / W * W, rest = n - whole;
    F sum = {};
    for (ptrdiff_t i = 0; i < whole; i += W)
        sum += load_any(x + i);
    if (rest > 0)
        sum += load_first(x + whole, rest);
    const float share = 1.0f / static_cast<float>(n);
    const F middle = sum_across(sum) * share;
    F apart = {}, squares = {};
    for (ptrdiff_t i = 0; i < whole; i += W) {
        const F d = load_any(x + i) - middle;
        apart += d;
        squares += d * d;
    }
    if (rest > 0) {
        const F d = keep_first(load_first(x + whole, rest) - middle, rest, F{});
        apart += d;
        squares += d * d;
    }
    apart = sum_across(apart);
    return {middle, apart * share, sum_across(squares) - apart * apart * share};
}

static inline Moments moments_of(const float* x, ptrdiff_t n) {
    Moments all;
    for (ptrdiff_t begin = 0; begin < n; begin += moment_chunk) {
        const ptrdiff_t count = n - begin < moment_chunk ? n - begin : moment_chunk;
        const ChunkMoments part = moments_of_chunk(x + begin, count);
        merge(all, static_cast<double>(part.middle[0]) + part.rest[0], part.squares[0],
              static_cast<double>(count));
    }
    return all;
}

// A mean in two floats.
struct Centre {
    F high, low;
    F from(F x) const { return (x - high) - low; }
};
static inline Centre centre_of(double mean) {
    const float high = static_cast<float>(mean);
    return {splat(high), splat(static_cast<float>(mean - high))};
}

static void layer_norm(const row::LayerNorm& p) {
    const F alpha = splat(p.activation.alpha), beta = splat(p.activation.beta);
    const F epsilon = splat(static_cast<float>(p.epsilon)), one = splat(1.0f);
    with_kind(p.activation.kind, [&](auto kind) {
        for (ptrdiff_t r = 0; r < p.rows; r++) {
            const float* x = p.x + r * p.size;
            float* out = p.out + r * p.size;
            Centre centre;
            F inverse;
            if (p.size <= moment_chunk) {
                const ChunkMoments m = moments_of_chunk(x, p.size);
                centre = {m.middle, m.rest};
                inverse = one / sqrt_(m.squares * (1.0f / static_cast<float>(p.size)) + epsilon);
            } else {
                const Moments m = moments_of(x, p.size);
                centre = centre_of(m.mean);
                inverse = one / sqrt_(splat(static_cast<float>(m.squares / m.count)) + epsilon);
            }
            for (ptrdiff_t i = 0; i < p.size; i += W) {
                const ptrdiff_t count = p.size - i;
                const F y = centre.from(load_first(x + i, count)) * inverse;
                store_first(
                    out + i,
                    activate<kind.value>(y * load_first(p.scale + i, count) + load_first(p.bias + i, count),
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
        const Centre centre = centre_of(of_x.mean), centre_t = centre_of(of_t.mean);
        const F inverse =
            splat(1.0f) / sqrt_(splat(static_cast<float>(of_x.squares / of_x.count + p.epsilon)));
        double sum = 0;
        for (ptrdiff_t begin = 0; begin < p.size; begin += moment_chunk) {
            const ptrdiff_t end = p.size - begin < moment_chunk ? p.size : begin + moment_chunk;
            F part = {};
            for (ptrdiff_t i = begin; i < end; i += W) {
                const ptrdiff_t count = end - i;
                part += keep_first(centre.from(load_first(x + i, count)) * inverse *
                                       centre_t.from(load_first(t + i, count)),
                                   count, F{});
            }
            sum += sum_across(part)[0];
        }
        const F along = splat(static_cast<float>(sum / static_cast<double>(p.size)));
        for (ptrdiff_t i = 0; i < p.size; i += W) {
            const ptrdiff_t count = p.size - i;
            const F normalised = centre.from(load_first(x + i, count)) * inverse;
            store_first(out + i, (centre_t.from(load_first(t + i, count)) - normalised * along) * inverse,
                        count);
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
        F square[4] = {}, rest[4] = {};
        for (i = 0; i + 4 <= count; i += 4)
            for (ptrdiff_t j = 0; j < 4; j++) {
                const F d = load(from + (i + j) * step) - middle;
                rest[j] += d;
                square[j] += d * d;
            }
        for (; i < count; i++) {
            const F d = load(from + i * step) - middle;
            rest[0] += d;
            square[0] += d * d;
        }
        const double n = static_cast<double>(count), total = done + n;
        // The chunk's mean is middle + rest / n, as in ChunkMoments.
        const D left = __builtin_convertvector((rest[0] + rest[1]) + (rest[2] + rest[3]), D) / n;
        const D apart = __builtin_convertvector(middle, D) + left - all_mean;
        all_mean += apart * (n / total);
        all_squares += __builtin_convertvector((square[0] + square[1]) + (square[2] + square[3]), D) -
                       left * left * n + apart * apart * (done * n / total);
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
                const Centre centre = centre_of(means[c]);
                const F bias = splat(p.bias[c]), factor = splat(static_cast<float>(squares[c] * p.scale[c]));
                const float* x = p.x + c * points;
                float* out = p.out + c * points;
                for (ptrdiff_t i = 0; i < points; i += W) {
                    const F y = centre.from(load_first(x + i, points - i)) * factor + bias;
                    store_first(out + i, activate<kind.value>(y, alpha, beta), points - i);
                }
            }
            return;
        }
        for (ptrdiff_t c = 0; c < p.channels; c += W) {
            alignas(64) float high[W], low[W], factors[W];
            for (int lane = 0; lane < W; lane++) {
                high[lane] = static_cast<float>(means[c + lane]);
                low[lane] = static_cast<float>(means[c + lane] - high[lane]);
                factors[lane] = static_cast<float>(squares[c + lane] * p.scale[c + lane]);
            }
            const Centre centre{load(high), load(low)};
            const F factor = load(factors);
            const F bias = load_any(p.bias + c);
            const ptrdiff_t at = c / block * block * points + c % block;
            for (ptrdiff_t i = 0; i < points; i++) {
                const F y = centre.from(load(p.x + at + i * block)) * factor + bias;
                store(p.out + at + i * block, activate<kind.value>(y, alpha, beta));
            }
        }
    });
}

} // namespace latdyn::LATDYN_ISA
