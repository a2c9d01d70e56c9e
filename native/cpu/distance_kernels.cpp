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
    .sum_of_roots = LATDYN_ISA::sum_of_roots,
    .step = LATDYN_ISA::step,
    .tile = LATDYN_ISA::tile,
};

} // namespace latdyn
