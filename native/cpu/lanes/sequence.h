// Softmax, attention and top-k masks, along the last axis of values in row-major order.
#pragma once

#include "reduce.h"

namespace latdyn::LATDYN_ISA {

// e^x of one row of a tile of one, with the bits of the vector.
static inline float exp_one(float x) {
    return exp_(splat(x))[0];
}
static inline F exp_one(F x) {
    return exp_(x);
}

// --- Softmax ---------------------------------------------------------------------------------------------

template <class R> static R sum_strided(const float* x, ptrdiff_t count, ptrdiff_t stride) {
    R total = {};
    for (ptrdiff_t begin = 0; begin < count; begin += 32) {
        const ptrdiff_t end = begin + 32 < count ? begin + 32 : count;
        R part = {};
        for (ptrdiff_t i = begin; i < end; i++)
            part += read<R>(x + i * stride);
        total += part;
    }
    return total;
}

// Three passes over the tile: x − maximum, e to that (a tile of one row has whole registers for it), 1 / sum.
template <class R> static void softmax_with(const lanes::Softmax& p) {
    const ptrdiff_t t = p.tile, n = p.size;
    for (ptrdiff_t o = 0; o < p.outer; o++)
        for (ptrdiff_t v = 0; v < t; v += lanes_of<R>) {
            const float* x = p.x + o * n * t + v;
            float* out = p.out + o * n * t + v;
            R most = read<R>(x);
            for (ptrdiff_t i = 1; i < n; i++)
                most = larger(most, read<R>(x + i * t));
            for (ptrdiff_t i = 0; i < n; i++)
                write(out + i * t, read<R>(x + i * t) - most);
        }
    const ptrdiff_t whole = registers(p.outer * n * t);
    for (ptrdiff_t i = 0; i < whole; i++)
        store(p.out + i * W, exp_(load(p.out + i * W)));
    for (ptrdiff_t o = 0; o < p.outer; o++)
        for (ptrdiff_t v = 0; v < t; v += lanes_of<R>) {
            float* out = p.out + o * n * t + v;
            const R inverse = broadcast<R>(1.0f) / sum_strided<R>(out, n, t);
            for (ptrdiff_t i = 0; i < n; i++)
                write(out + i * t, read<R>(out + i * t) * inverse);
        }
}

static void softmax(const lanes::Softmax& p) {
    if (p.tile == 1)
        softmax_with<float>(p);
    else
        softmax_with<F>(p);
}

template <class R> static void softmax_grad_with(const lanes::SoftmaxGrad& p) {
    const ptrdiff_t tile = p.tile, n = p.size;
    for (ptrdiff_t o = 0; o < p.outer; o++)
        for (ptrdiff_t v = 0; v < tile; v += lanes_of<R>) {
            const float *s = p.s + o * n * tile + v, *t = p.t + o * n * tile + v;
            float* out = p.out + o * n * tile + v;
            R along = {};
            for (ptrdiff_t i = 0; i < n; i++)
                along += read<R>(s + i * tile) * read<R>(t + i * tile);
            for (ptrdiff_t i = 0; i < n; i++)
                write(out + i * tile, read<R>(s + i * tile) * (read<R>(t + i * tile) - along));
        }
}

static void softmax_grad(const lanes::SoftmaxGrad& p) {
    if (p.tile == 1)
        softmax_grad_with<float>(p);
    else
        softmax_grad_with<F>(p);
}

// --- Attention -------------------------------------------------------------------------------------------

// Keys whose scores are held at once.
constexpr ptrdiff_t score_block = 16;

// sum[n] += Σ a[i] · b[n][i] over `count` elements.
template <class R, int N>
static inline void dots(const float* a, const float* b, ptrdiff_t count, ptrdiff_t a_step, ptrdiff_t b_row,
                        ptrdiff_t b_step, R* sum) {
    R acc[N];
    for (int n = 0; n < N; n++)
        acc[n] = sum[n];
    for (ptrdiff_t i = 0; i < count; i++) {
        const R left = read<R>(a + i * a_step);
        for (int n = 0; n < N; n++)
            acc[n] += left * read<R>(b + n * b_row + i * b_step);
    }
    for (int n = 0; n < N; n++)
        sum[n] = acc[n];
}

// e^score of a block: a tile of one row keeps its scores side by side.
static inline void exp_block(F* scores) {
    for (ptrdiff_t j = 0; j < score_block; j++)
        scores[j] = exp_(scores[j]);
}
static inline void exp_block(float* scores) {
    for (ptrdiff_t j = 0; j < score_block; j += W)
        store(scores + j, exp_(load(scores + j)));
}

// One target against all sources, a block of scores at a time: the largest score so far and the sum of
// e^(score − largest) are carried along, and what was added up under a smaller maximum is scaled down.
template <class R>
static inline void attend(const lanes::Attention& p, const float* q, const float* k, const float* v,
                          const float* bias, float* out) {
    const ptrdiff_t t = p.tile;
    const R lowest = broadcast<R>(-__builtin_inff()), zero = {};
    R most = lowest, sum = {};
    for (ptrdiff_t e = 0; e < p.width; e++)
        write(out + e * t, zero);
    for (ptrdiff_t first = 0; first < p.sources; first += score_block) {
        const ptrdiff_t count = p.sources - first < score_block ? p.sources - first : score_block;
        alignas(64) R scores[score_block] = {};
        const float* keys = k + first * p.depth * t;
        ptrdiff_t j = 0;
        for (; j + 8 <= count; j += 8)
            dots<R, 8>(q, keys + j * p.depth * t, p.depth, t, p.depth * t, t, scores + j);
        for (; j < count; j++)
            dots<R, 1>(q, keys + j * p.depth * t, p.depth, t, p.depth * t, t, scores + j);
        R larger_one = most;
        for (j = 0; j < count; j++) {
            scores[j] = scores[j] * broadcast<R>(p.scale);
            if (bias)
                scores[j] = scores[j] + broadcast<R>(bias[(first + j) * p.bias_column]);
            larger_one = larger(larger_one, scores[j]);
        }
        // Where all is −∞ so far, −∞ less −∞ would be NaN.
        const R shift = select(larger_one == lowest, zero, larger_one);
        for (j = 0; j < count; j++)
            scores[j] = scores[j] - shift;
        exp_block(scores);
        const R shrink = exp_one(most - shift);
        most = larger_one;
        sum = sum * shrink;
        for (j = 0; j < count; j++)
            sum += scores[j];
        const float* values = v + first * p.width * t;
        constexpr ptrdiff_t N = 8;
        for (ptrdiff_t e = 0; e < p.width; e += N) {
            const ptrdiff_t columns = p.width - e < N ? p.width - e : N;
            if (columns == N) {
                R acc[N];
                for (ptrdiff_t n = 0; n < N; n++)
                    acc[n] = read<R>(out + (e + n) * t) * shrink;
                for (j = 0; j < count; j++)
                    for (ptrdiff_t n = 0; n < N; n++)
                        acc[n] += scores[j] * read<R>(values + (j * p.width + e + n) * t);
                for (ptrdiff_t n = 0; n < N; n++)
                    write(out + (e + n) * t, acc[n]);
                continue;
            }
            for (ptrdiff_t n = 0; n < columns; n++) {
                R acc = read<R>(out + (e + n) * t) * shrink;
                for (j = 0; j < count; j++)
                    acc += scores[j] * read<R>(values + (j * p.width + e + n) * t);
                write(out + (e + n) * t, acc);
            }
        }
    }
    const R inverse = broadcast<R>(1.0f) / sum;
    for (ptrdiff_t e = 0; e < p.width; e++)
        write(out + e * t, read<R>(out + e * t) * inverse);
}

template <class R> static void attention_with(const lanes::Attention& p) {
    const ptrdiff_t t = p.tile;
    for (ptrdiff_t b = 0; b < p.batch; b++)
        for (ptrdiff_t target = 0; target < p.targets; target++) {
            const ptrdiff_t row = b * p.targets + target;
            const float* bias = p.bias ? p.bias + p.bias_offset[b] + target * p.bias_row : nullptr;
            for (ptrdiff_t v = 0; v < t; v += lanes_of<R>)
                attend<R>(p, p.q + row * p.depth * t + v, p.k + b * p.sources * p.depth * t + v,
                          p.v + b * p.sources * p.width * t + v, bias, p.out + row * p.width * t + v);
        }
}

static void attention(const lanes::Attention& p) {
    if (p.tile == 1)
        attention_with<float>(p);
    else
        attention_with<F>(p);
}

// --- Top-k masks -----------------------------------------------------------------------------------------

template <class R> struct Keys { using Type = I; };
template <> struct Keys<float> { using Type = int32_t; };

static inline I read_key(const float* p, F) {
    return as_int(load(p));
}
static inline int32_t read_key(const float* p, float) {
    int32_t key;
    __builtin_memcpy(&key, p, sizeof key);
    return key;
}
static inline F key_bits(I key) {
    return as_float(key);
}
static inline float key_bits(int32_t key) {
    float bits;
    __builtin_memcpy(&bits, &key, sizeof bits);
    return bits;
}
static inline I choose(I mask, I a, I b) {
    return mask ? a : b;
}
static inline int32_t choose(bool mask, int32_t a, int32_t b) {
    return mask ? a : b;
}

// Floats as whole numbers of the same order: −0 is 0, NaN more than infinity.
static inline I ordered(F x) {
    const I bits = as_int(x + F{});
    return choose(x == x, bits ^ ((bits >> 31) & 0x7fffffff), splat(INT32_MAX));
}
static inline int32_t ordered(float x) {
    const int32_t bits = read_key(&(x += 0.0f), 0.0f);
    return x == x ? bits ^ ((bits >> 31) & 0x7fffffff) : INT32_MAX;
}

template <class R> static void top_k_mask_with(const lanes::TopKMask& p) {
    using Key = typename Keys<R>::Type;
    const ptrdiff_t t = p.tile, n = p.size;
    const Key none = {}, one = none + 1;
    for (ptrdiff_t o = 0; o < p.outer; o++)
        for (ptrdiff_t v = 0; v < t; v += lanes_of<R>) {
            const float* x = p.x + o * n * t + v;
            // The keys stand in for the result until the end.
            float* out = p.out + o * n * t + v;
            for (ptrdiff_t i = 0; i < n; i++)
                write(out + i * t, key_bits(ordered(read<R>(x + i * t))));
            const auto count_where = [&](auto holds) {
                Key count = none;
                for (ptrdiff_t i = 0; i < n; i++)
                    count += choose(holds(read_key(out + i * t, R{})), one, none);
                return count;
            };
            // The k-th largest key, bit by bit from the top: the largest that k keys reach.
            Key threshold = none + INT32_MIN;
            for (int bit = 31; bit >= 0; bit--) {
                const Key raised = bit == 31 ? none : threshold | (none + (int32_t{1} << bit));
                const Key reach = count_where([&](Key key) { return key >= raised; });
                threshold = choose(reach >= none + p.k, raised, threshold);
            }
            // Of those equal to it the first ones, as many as are left.
            Key left = none + p.k - count_where([&](Key key) { return key > threshold; });
            for (ptrdiff_t i = 0; i < n; i++) {
                const Key key = read_key(out + i * t, R{});
                const Key tied = choose(key == threshold, choose(left > none, one, none), none);
                left -= tied;
                const Key chosen = choose(key > threshold, one, tied);
                write(out + i * t, select(chosen > none, broadcast<R>(1.0f), broadcast<R>(0.0f)));
            }
        }
}

static void top_k_mask(const lanes::TopKMask& p) {
    if (p.tile == 1)
        top_k_mask_with<float>(p);
    else
        top_k_mask_with<F>(p);
}

} // namespace latdyn::LATDYN_ISA
