// Compiled once per instruction set, with -ffp-contract=off: see CMakeLists.txt.
//
// `correlate` is nearly all of the time: 2·count·length FLOPs against 4·count·length bytes of Gram rows,
// which a signal reads again at every step. It runs at the speed of the cache that holds count rows (L2 for
// 100 of 1,024 atoms, L3 for 200 of 4,096), so a separate multiply and add cost nothing over a fused one, and
// the running sums live in registers while all rows pass.
#include "omp_kernels.h"
#include "simd_double.h"

namespace latdyn::LATDYN_ISA {

// Accumulators, and room for a factor and a product.
constexpr int sums_at_once = LATDYN_REGISTERS >= 32 ? 16 : 8;

template <int Registers>
static inline void correlate_some(const float* const* rows, const float* coefficients, int64_t count,
                                  int64_t at, float* out) {
    F sums[Registers] = {};
    for (int64_t i = 0; i < count; i++) {
        const F c = splat(coefficients[i]);
        const float* row = rows[i] + at;
#pragma GCC unroll 16
        for (int r = 0; r < Registers; r++)
            sums[r] += c * load(row + r * W);
    }
#pragma GCC unroll 16
    for (int r = 0; r < Registers; r++)
        store(out + at + r * W, load(out + at + r * W) - sums[r]);
}

static void correlate(const float* initial, const float* const* rows, const float* coefficients,
                      int64_t count, int64_t length, float* out) {
    constexpr int64_t step = sums_at_once * W;
    for (int64_t at = 0; at < length; at += W)
        store(out + at, load(initial + at));
    for (int64_t at = 0; at < length; at += step)
        for (int64_t begin = 0; begin < count; begin += omp_stretch) {
            const int64_t some = count - begin < omp_stretch ? count - begin : omp_stretch;
            if (at + step <= length) {
                correlate_some<sums_at_once>(rows + begin, coefficients + begin, some, at, out);
            } else {
                for (int64_t rest = at; rest < length; rest += 4 * W)
                    correlate_some<4>(rows + begin, coefficients + begin, some, rest, out);
            }
        }
}

static void score(const double* initial, const float* const* high, const float* const* low,
                  const double* coefficients, int64_t count, int64_t length, double* out) {
    constexpr int registers = 8;
    for (int64_t at = 0; at < length; at += registers * half) {
        D sums[registers];
#pragma GCC unroll 8
        for (int r = 0; r < registers; r++)
            sums[r] = load_double(initial + at + r * half);
        for (int64_t i = 0; i < count; i++) {
            const D c = splat(coefficients[i]);
            const float *h = high[i] + at, *l = low[i] + at;
#pragma GCC unroll 8
            for (int r = 0; r < registers; r++)
                sums[r] -= c * (load_double(h + r * half) + load_double(l + r * half));
        }
#pragma GCC unroll 8
        for (int r = 0; r < registers; r++)
            store_double(out + at + r * half, sums[r]);
    }
}

static inline F absolute(F v) {
    return as_float(as_int(v) & splat(int32_t{0x7fffffff}));
}

static float largest(const float* values, int64_t length) {
    F best[4] = {};
    for (int64_t at = 0; at < length; at += 4 * W)
        for (int r = 0; r < 4; r++) {
            const F v = absolute(load(values + at + r * W));
            best[r] = select(v > best[r], v, best[r]);
        }
    float result = 0;
    for (int r = 0; r < 4; r++)
        for (int i = 0; i < W; i++)
            result = best[r][i] > result ? best[r][i] : result;
    return result;
}

static int64_t collect(const float* values, int64_t length, float bound, int32_t* places, int64_t room) {
    int64_t found = 0;
    for (int64_t at = 0; at < length; at += 4 * W) {
        I mask = {};
        for (int r = 0; r < 4; r++)
            mask |= absolute(load(values + at + r * W)) >= bound;
        if (!any(mask))
            continue;
        for (int64_t j = at; j < at + 4 * W; j++)
            if (__builtin_fabsf(values[j]) >= bound) {
                if (found == room)
                    return room + 1;
                places[found++] = static_cast<int32_t>(j);
            }
    }
    return found;
}

static double dot(const double* x, const double* y, int64_t count) {
    D sums[parts] = {};
    for (int64_t i = 0; i < count; i += 8)
#pragma GCC unroll 4
        for (int p = 0; p < parts; p++)
            sums[p] += load_double(x + i + p * half) * load_double(y + i + p * half);
    return total(sums);
}

// Eight rows at a time: what the solved part takes from each of them does not wait for the others, and the
// eight unknowns stay in registers. The last rows may be fewer; in their place stand unknowns that are zero.
static void solve_lower(const double* rows, const double* inverse, int64_t count, double* b) {
    for (int64_t first = 0; first < count; first += 8) {
        const int some = count - first < 8 ? static_cast<int>(count - first) : 8;
        const double* row[8];
        double x[8], factor[8];
        for (int m = 0; m < 8; m++) {
            row[m] = rows + omp_row(first + (m < some ? m : 0)) + first;
            x[m] = m < some ? b[first + m] - dot(row[m] - first, b, first) : 0;
            factor[m] = m < some ? inverse[first + m] : 0;
        }
#pragma GCC unroll 8
        for (int m = 0; m < 8; m++) {
            x[m] *= factor[m];
#pragma GCC unroll 8
            for (int n = m + 1; n < 8; n++)
                x[n] -= row[n][m] * x[m];
        }
        for (int m = 0; m < some; m++)
            b[first + m] = x[m];
    }
}

// Eight rows at a time, from below, as above; the unsolved part is loaded and stored once for all of them.
static void solve_upper(const double* rows, const double* inverse, int64_t count, double* b) {
    for (int64_t first = (count - 1) / 8 * 8; first >= 0; first -= 8) {
        const int some = count - first < 8 ? static_cast<int>(count - first) : 8;
        const double* row[8];
        double x[8], factor[8];
        for (int m = 0; m < 8; m++) {
            row[m] = rows + omp_row(first + (m < some ? m : 0)) + first;
            x[m] = m < some ? b[first + m] : 0;
            factor[m] = m < some ? inverse[first + m] : 0;
        }
#pragma GCC unroll 8
        for (int m = 7; m >= 0; m--) {
            x[m] *= factor[m];
#pragma GCC unroll 8
            for (int n = m - 1; n >= 0; n--)
                x[n] -= row[m][n] * x[m];
        }
        for (int m = 0; m < some; m++)
            b[first + m] = x[m];
        for (int64_t j = 0; j < first; j += half) {
            D rest = load_double(b + j);
#pragma GCC unroll 8
            for (int m = 7; m >= 0; m--)
                rest -= splat(x[m]) * load_double(row[m] - first + j);
            store_double(b + j, rest);
        }
    }
}

// Four rows at a time: as many streams as a prefetcher follows, and `out` stays in L1 meanwhile.
static void subtract(const float* vector, const float* const* rows, const double* factors, int64_t count,
                     int64_t k, double* out) {
    const int64_t whole = k / half * half;
    for (int64_t l = 0; l < k; l++)
        out[l] = vector[l];
    for (int64_t first = 0; first < count; first += 4) {
        const int64_t end = first + 4 < count ? first + 4 : count;
        const float* x[4];
        double f[4];
        for (int64_t i = 0; i < 4; i++) {
            x[i] = rows[first + i < end ? first + i : first];
            f[i] = first + i < end ? factors[first + i] : 0;
        }
        for (int64_t l = 0; l < whole; l += half) {
            D rest = load_double(out + l);
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
                rest -= splat(f[i]) * load_double(x[i] + l);
            store_double(out + l, rest);
        }
        for (int64_t l = whole; l < k; l++)
            for (int i = 0; i < 4; i++)
                out[l] -= f[i] * static_cast<double>(x[i][l]);
    }
}

} // namespace latdyn::LATDYN_ISA

namespace latdyn {

#define LATDYN_PASTE_(a, b) a##b
#define LATDYN_PASTE(a, b) LATDYN_PASTE_(a, b)

extern const OmpKernels LATDYN_PASTE(LATDYN_ISA, _omp_kernels) = {
    .correlate = LATDYN_ISA::correlate,
    .score = LATDYN_ISA::score,
    .largest = LATDYN_ISA::largest,
    .collect = LATDYN_ISA::collect,
    .solve_lower = LATDYN_ISA::solve_lower,
    .solve_upper = LATDYN_ISA::solve_upper,
    .dot = LATDYN_ISA::dot,
    .subtract = LATDYN_ISA::subtract,
};

} // namespace latdyn
