// Normal numbers that depend on nothing but (seed, row, column): the same bits on every machine and device.
//
// Words: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
//   counter = (column / 4, low half of row, high half of row, 0), key = (low half of seed, high half of
//   seed). The four words w0…w3 give the columns 4c…4c+3 of the row, c = column / 4.
// Normals: Box–Muller on (w0, w1) for columns 4c, 4c+1 and on (w2, w3) for 4c+2, 4c+3:
//   u1 = (w + 1) / 2³² in (0, 1],  u2 = w' / 2³² in [0, 1),
//   √(−2·ln u1)·cos(2π·u2) for the even column, √(−2·ln u1)·sin(2π·u2) for the odd one.
//   The largest value there is: √(64·ln 2) = 6.66.
//
// The words are integers and the rest is double arithmetic made of +, −, ×, ÷ and √ alone, each rounded once,
// in the order written: those five are the same on every IEEE machine, where libraries' log and sin are not.
// They go through the small functions below because a compiler may join a product and a sum into one
// rounding: on the CPU the including source is compiled with -ffp-contract=off, on a GPU the intrinsics
// forbid it. The errors of the series are below 1e-12, so the cast to float decides nothing but the last
// place.
#pragma once

#include <stdint.h>

#ifdef __CUDACC__
#define LATDYN_HOST_DEVICE __host__ __device__
#else
#define LATDYN_HOST_DEVICE
#endif

namespace latdyn {

// Arithmetic with exactly one rounding each.
namespace exact {

#ifdef __CUDA_ARCH__
__device__ inline double add(double a, double b) {
    return __dadd_rn(a, b);
}
__device__ inline double sub(double a, double b) {
    return __dsub_rn(a, b);
}
__device__ inline double mul(double a, double b) {
    return __dmul_rn(a, b);
}
__device__ inline double div(double a, double b) {
    return __ddiv_rn(a, b);
}
__device__ inline double sqrt(double a) {
    return __dsqrt_rn(a);
}
#else
LATDYN_HOST_DEVICE inline double add(double a, double b) {
    return a + b;
}
LATDYN_HOST_DEVICE inline double sub(double a, double b) {
    return a - b;
}
LATDYN_HOST_DEVICE inline double mul(double a, double b) {
    return a * b;
}
LATDYN_HOST_DEVICE inline double div(double a, double b) {
    return a / b;
}
LATDYN_HOST_DEVICE inline double sqrt(double a) {
    return __builtin_sqrt(a);
}
#endif

} // namespace exact

struct PhiloxWords {
    uint32_t w[4];
};

// Ten rounds of Philox4x32 on `counter` with the key (key0, key1).
LATDYN_HOST_DEVICE inline PhiloxWords philox4x32_10(PhiloxWords counter, uint32_t key0, uint32_t key1) {
    uint32_t a = counter.w[0], b = counter.w[1], c = counter.w[2], d = counter.w[3];
    for (int round = 0; round < 10; round++) {
        const uint64_t p = uint64_t{0xD2511F53u} * a;
        const uint64_t q = uint64_t{0xCD9E8D57u} * c;
        a = static_cast<uint32_t>(q >> 32) ^ b ^ key0;
        b = static_cast<uint32_t>(q);
        c = static_cast<uint32_t>(p >> 32) ^ d ^ key1;
        d = static_cast<uint32_t>(p);
        // Weyl sequences: the golden ratio and √3 − 1.
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return {{a, b, c, d}};
}

// −ln((word + 1) / 2³²), >= 0.
LATDYN_HOST_DEVICE inline double minus_log_uniform(uint32_t word) {
    // word + 1 = m·2ᵉ with m in [1, 2), by shifting the leading bit to a fixed place: m = fixed / 2³².
    uint64_t fixed = uint64_t{word} + 1;
    int exponent = 32;
    for (int step = 32; step != 0; step >>= 1) {
        if (fixed < (uint64_t{1} << (33 - step))) {
            fixed <<= step;
            exponent -= step;
        }
    }
    double m = exact::mul(static_cast<double>(fixed), 0x1p-32);
    // To [√½, √2], where the series below is short, and where ln u1 keeps its accuracy for u1 close to 1.
    if (m > 1.4142135623730951) {
        m = exact::mul(m, 0.5);
        exponent += 1;
    }
    // ln m = 2·artanh(s) = 2·(s + s³/3 + s⁵/5 + …), s = (m − 1) / (m + 1), s² <= 0.0295.
    const double s = exact::div(exact::sub(m, 1.0), exact::add(m, 1.0));
    const double z = exact::mul(s, s);
    double p = 1.0 / 15;
    p = exact::add(exact::mul(p, z), 1.0 / 13);
    p = exact::add(exact::mul(p, z), 1.0 / 11);
    p = exact::add(exact::mul(p, z), 1.0 / 9);
    p = exact::add(exact::mul(p, z), 1.0 / 7);
    p = exact::add(exact::mul(p, z), 1.0 / 5);
    p = exact::add(exact::mul(p, z), 1.0 / 3);
    const double log_m = exact::mul(2.0, exact::add(s, exact::mul(exact::mul(s, z), p)));
    return exact::sub(exact::mul(static_cast<double>(32 - exponent), 0.6931471805599453), log_m);
}

// cos and sin of 2π·word/2³².
LATDYN_HOST_DEVICE inline void cos_sin_turn(uint32_t word, double* cosine, double* sine) {
    // The nearest quarter turn, exactly; what is left lies in [−π/4, π/4].
    const uint32_t quarter = (word + 0x20000000u) >> 30;
    const int32_t rest = static_cast<int32_t>(word - (quarter << 30));
    const double x = exact::mul(static_cast<double>(rest), 0x1.921fb54442d18p-30); // 2π / 2³²
    const double z = exact::mul(x, x);
    // Taylor: x − x³/3! + … − x¹⁵/15! and 1 − x²/2! + … − x¹⁴/14!.
    double p = -1.0 / 1307674368000.0;
    p = exact::add(exact::mul(p, z), 1.0 / 6227020800.0);
    p = exact::add(exact::mul(p, z), -1.0 / 39916800.0);
    p = exact::add(exact::mul(p, z), 1.0 / 362880.0);
    p = exact::add(exact::mul(p, z), -1.0 / 5040.0);
    p = exact::add(exact::mul(p, z), 1.0 / 120.0);
    p = exact::add(exact::mul(p, z), -1.0 / 6.0);
    const double s = exact::add(x, exact::mul(exact::mul(x, z), p));
    double q = -1.0 / 87178291200.0;
    q = exact::add(exact::mul(q, z), 1.0 / 479001600.0);
    q = exact::add(exact::mul(q, z), -1.0 / 3628800.0);
    q = exact::add(exact::mul(q, z), 1.0 / 40320.0);
    q = exact::add(exact::mul(q, z), -1.0 / 720.0);
    q = exact::add(exact::mul(q, z), 1.0 / 24.0);
    q = exact::add(exact::mul(q, z), -0.5);
    const double c = exact::add(1.0, exact::mul(z, q));
    // Turned by the quarters: (c, s) → (−s, c) → (−c, −s) → (s, −c).
    const double first = (quarter & 1) != 0 ? s : c;
    const double second = (quarter & 1) != 0 ? c : s;
    *cosine = ((quarter + 1) & 2) != 0 ? -first : first;
    *sine = (quarter & 2) != 0 ? -second : second;
}

// The four standard normals of columns 4·group … 4·group + 3 of row `row`, times `scale` (in float).
LATDYN_HOST_DEVICE inline void philox_normals(uint64_t seed, uint64_t row, uint32_t group, float scale,
                                              float out[4]) {
    const PhiloxWords words =
        philox4x32_10({{group, static_cast<uint32_t>(row), static_cast<uint32_t>(row >> 32), 0}},
                      static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
    for (int pair = 0; pair < 4; pair += 2) {
        const double radius = exact::sqrt(exact::mul(2.0, minus_log_uniform(words.w[pair])));
        double cosine, sine;
        cos_sin_turn(words.w[pair + 1], &cosine, &sine);
        out[pair] = static_cast<float>(exact::mul(radius, cosine)) * scale;
        out[pair + 1] = static_cast<float>(exact::mul(radius, sine)) * scale;
    }
}

} // namespace latdyn
