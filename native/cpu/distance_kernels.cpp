// Compiled once per instruction set: see CMakeLists.txt.
#include "distance_kernels.h"
#include "simd_double.h"

namespace latdyn::LATDYN_ISA {

static void bounds(float* products, int64_t count, BoundRow row, const float* squares, const float* lengths) {
    const F square = splat(row.square), error = splat(row.error);
    for (int64_t j = 0; j < count; j += W) {
        const F bound = (square + load(squares + j)) - 2 * load(products + j) - error * load(lengths + j);
        store(products + j, select(bound > 0, bound, F{}));
    }
}

// `rows` rows at a time, so that the additions of one need not wait for one another and an element of x is
// read once for all of them.
template <int rows, bool scaled>
static inline void squared_of(const double* x, const float* const* y, const double* scales, int64_t k,
                              double* out) {
    D sums[rows][parts] = {};
    int64_t l = 0;
    for (; l + 8 <= k; l += 8)
        for (int p = 0; p < parts; p++) {
            const D to = load_double(x + l + p * half);
            for (int r = 0; r < rows; r++) {
                D d = load_double(y[r] + l + p * half);
                d = scaled ? d * scales[r] - to : d - to;
                sums[r][p] += d * d;
            }
        }
    for (int r = 0; r < rows; r++) {
        out[r] = total(sums[r]);
        for (int64_t rest = l; rest < k; rest++) {
            const double d = y[r][rest] * (scaled ? scales[r] : 1.0) - x[rest];
            out[r] += d * d;
        }
    }
}

template <bool scaled>
static inline void squared_all(const double* x, const float* rows, const double* scales, int64_t k,
                               const int32_t* indices, int64_t count, double* out) {
    constexpr int together = 4;
    int64_t i = 0;
    const float* y[together];
    double factors[together];
    const auto take = [&](int r) {
        y[r] = rows + indices[i + r] * k;
        factors[r] = scaled ? scales[indices[i + r]] : 1;
    };
    for (; i + together <= count; i += together) {
        for (int r = 0; r < together; r++)
            take(r);
        // The rows of the next round are anywhere: what they are is known, and so can be fetched, by now.
        for (int64_t next = i + together; next < i + 2 * together && next < count; next++)
            for (int64_t l = 0; l < k && l < 512; l += 16)
                __builtin_prefetch(rows + indices[next] * k + l);
        squared_of<together, scaled>(x, y, factors, k, out + i);
    }
    for (; i < count; i++) {
        take(0);
        squared_of<1, scaled>(x, y, factors, k, out + i);
    }
}

static void squared(const double* x, const float* rows, const double* scales, int64_t k,
                    const int32_t* indices, int64_t count, double* out) {
    if (scales)
        squared_all<true>(x, rows, scales, k, indices, count, out);
    else
        squared_all<false>(x, rows, scales, k, indices, count, out);
}

typedef float Anywhere __attribute__((vector_size(W * 4), may_alias, aligned(4)));

static inline F load_anywhere(const float* p) {
    return *reinterpret_cast<const Anywhere*>(p);
}

// Halves added to halves.
static inline float lane_sum(F v) {
#if LATDYN_WIDTH == 16
    typedef float Eight __attribute__((vector_size(32)));
    const Eight eight = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                        __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
#elif LATDYN_WIDTH == 8
    const F eight = v;
#endif
    typedef float Four __attribute__((vector_size(16)));
#if LATDYN_WIDTH >= 8
    const Four four =
        __builtin_shufflevector(eight, eight, 0, 1, 2, 3) + __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
#else
    const Four four = v;
#endif
    return (four[0] + four[2]) + (four[1] + four[3]);
}

// Several rows at a time for the same reasons as squared_of.
template <int rows>
static inline void squared_float_of(const float* x, const float* const* y, int64_t k, float* out) {
    F sums[rows] = {};
    int64_t l = 0;
    for (; l + W <= k; l += W) {
        const F to = load_anywhere(x + l);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const F d = load_anywhere(y[r] + l) - to;
            sums[r] += d * d;
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
        out[r] = lane_sum(sums[r]);
    for (; l < k; l++)
        for (int r = 0; r < rows; r++) {
            const float d = y[r][l] - x[l];
            out[r] += d * d;
        }
}

static void squared_float(const float* x, const float* rows, int64_t k, const int32_t* indices, int64_t count,
                          float* out) {
    constexpr int together = 4;
    const float* y[together];
    for (int64_t i = 0; i < count; i += together) {
        for (int r = 0; r < together; r++)
            y[r] = rows + indices[i + r < count ? i + r : i] * k;
        switch (count - i) {
        case 1:
            squared_float_of<1>(x, y, k, out + i);
            break;
        case 2:
            squared_float_of<2>(x, y, k, out + i);
            break;
        case 3:
            squared_float_of<3>(x, y, k, out + i);
            break;
        default:
            squared_float_of<together>(x, y, k, out + i);
        }
    }
}

static double lane_least(const D* values) {
    double out = values[0][0];
    for (int p = 0; p < parts; p++)
        for (int lane = 0; lane < half; lane++)
            out = values[p][lane] < out ? values[p][lane] : out;
    return out;
}

static int64_t at_most(const double* values, int64_t count, double limit, int32_t* out, double* rest) {
    const D most = splat(limit), none = splat(__builtin_inf());
    D others[parts];
    for (int p = 0; p < parts; p++)
        others[p] = none;
    int64_t found = 0;
#if defined(__AVX512F__)
    // Hits come at random: a branch on them costs more than to store the indices of none.
    const __m256i eight = _mm256_set1_epi32(8);
    __m256i indices = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    for (int64_t i = 0; i < count; i += 8) {
        const D v = load_double(values + i);
        const __mmask8 hit = _mm512_cmp_pd_mask((__m512d)v, (__m512d)most, _CMP_LE_OQ);
        others[0] = (D)_mm512_mask_min_pd((__m512d)others[0], (__mmask8)~hit, (__m512d)others[0], (__m512d)v);
        _mm256_storeu_si256((__m256i_u*)(out + found), _mm256_maskz_compress_epi32(hit, indices));
        found += __builtin_popcount(hit);
        indices = _mm256_add_epi32(indices, eight);
    }
#else
    typedef int64_t L __attribute__((vector_size(W * 4)));
    for (int64_t i = 0; i < count; i += 8) {
        L any = {};
        for (int p = 0; p < parts; p++) {
            const D v = load_double(values + i + p * half);
            const L hit = v <= most;
            any |= hit;
            const D other = hit ? none : v;
            others[p] = other < others[p] ? other : others[p];
        }
        int64_t bits = 0;
        for (int lane = 0; lane < half; lane++)
            bits |= any[lane];
        if (bits)
            for (int64_t j = i; j < i + 8; j++) {
                out[found] = static_cast<int32_t>(j);
                found += values[j] <= limit;
            }
    }
#endif
    *rest = lane_least(others);
    return found;
}

static double sum_of_roots(const double* values, int64_t count, double below, int64_t* summed) {
    typedef int64_t L __attribute__((vector_size(W * 4)));
    D sums[parts] = {};
    L found = {};
    int64_t i = 0;
    for (; i + 8 <= count; i += 8)
        for (int p = 0; p < parts; p++) {
            const D v = load_double(values + i + p * half);
            D root;
            for (int lane = 0; lane < half; lane++)
                root[lane] = __builtin_sqrt(v[lane]);
            const L counts = v < below;
            sums[p] += counts ? root : D{};
            found -= counts;
        }
    double sum = total(sums);
    *summed = 0;
    for (int lane = 0; lane < half; lane++)
        *summed += found[lane];
    for (; i < count; i++)
        if (values[i] < below) {
            sum += __builtin_sqrt(values[i]);
            ++*summed;
        }
    return sum;
}

static void step(const float* previous, const float* z, const float* nearest, int64_t k, double* step,
                 double* distance) {
    D steps[2][parts] = {}, distances[2][parts] = {};
    int64_t l = 0;
    const auto add = [&](int which, int64_t at) {
        for (int p = 0; p < parts; p++) {
            const D next = load_double(z + at + p * half);
            const D s = next - load_double(previous + at + p * half);
            const D d = next - load_double(nearest + at + p * half);
            steps[which][p] += s * s;
            distances[which][p] += d * d;
        }
    };
    for (; l + 16 <= k; l += 16) {
        add(0, l);
        add(1, l + 8);
    }
    if (l + 8 <= k) {
        add(0, l);
        l += 8;
    }
    for (int p = 0; p < parts; p++) {
        steps[0][p] += steps[1][p];
        distances[0][p] += distances[1][p];
    }
    *step = total(steps[0]);
    *distance = total(distances[0]);
    for (; l < k; l++) {
        const double s = double(z[l]) - previous[l], d = double(z[l]) - nearest[l];
        *step += s * s;
        *distance += d * d;
    }
}

static void tile(const TileDistances& p) {
    for (int64_t v = 0; v < p.tile; v += half) {
        D step = {}, distance = {}, norm = {};
        for (int64_t e = 0; e < p.elements; e++) {
            const D z = load_double(p.z + e * p.tile + v);
            const D s = z - load_double(p.previous + e * p.tile + v),
                    d = z - load_double(p.nearest + e * p.tile + v);
            step += s * s;
            distance += d * d;
            norm += z * z;
        }
        for (int i = 0; i < half; i++) {
            p.step[v + i] = step[i];
            p.distance[v + i] = distance[i];
            p.norm[v + i] = norm[i];
        }
    }
}

} // namespace latdyn::LATDYN_ISA

namespace latdyn {

#define LATDYN_PASTE_(a, b) a##b
#define LATDYN_PASTE(a, b) LATDYN_PASTE_(a, b)

extern const DistanceKernels LATDYN_PASTE(LATDYN_ISA, _distance_kernels) = {
    .bounds = LATDYN_ISA::bounds,
    .squared = LATDYN_ISA::squared,
    .squared_float = LATDYN_ISA::squared_float,
    .sum_of_roots = LATDYN_ISA::sum_of_roots,
    .step = LATDYN_ISA::step,
    .tile = LATDYN_ISA::tile,
    .at_most = LATDYN_ISA::at_most,
};

} // namespace latdyn
