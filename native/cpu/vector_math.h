// Element-wise functions on the vector type of simd.h, branch-free: every lane runs the same instructions, so
// a row's bits do not depend on its neighbours.
//
// The polynomials are minimax fits (Lawson's reweighted least squares on 2,001 Chebyshev nodes in double),
// with the coefficients rounded to float one at a time, lowest power first, and the rest fitted again after
// each rounding. The error given beside each is that of the rounded polynomial in exact arithmetic; half a
// unit in the last place of float is 6e-8.
//
// NaN in, NaN out: a comparison with NaN is false, and every select below passes x on where it is. Infinities
// give the limits. Needs IEEE arithmetic: compile without -ffast-math.
#pragma once

#include "latdyn/activation.h"
#include "simd.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace latdyn::LATDYN_ISA {

static inline F abs_(F x) {
    return as_float(as_int(x) & 0x7fffffff);
}
static inline F sqrt_(F x) {
#if defined(__AVX512F__)
    // The builtin under _mm512_sqrt_ps, whose undefined operand the compiler warns of.
    return (F)__builtin_ia32_sqrtps512_mask((__m512)x, (__m512)x, -1, _MM_FROUND_CUR_DIRECTION);
#elif defined(__AVX2__)
    return (F)_mm256_sqrt_ps((__m256)x);
#elif defined(__SSE2__)
    return (F)_mm_sqrt_ps((__m128)x);
#else
    F y = x;
    for (int i = 0; i < W; i++)
        y[i] = __builtin_sqrtf(x[i]);
    return y;
#endif
}
// |magnitude| with the sign of `sign`.
static inline F copysign_(F magnitude, F sign) {
    return as_float((as_int(magnitude) & 0x7fffffff) | (as_int(sign) & INT32_MIN));
}
// 2ⁿ, −126 <= n <= 127.
static inline F pow2_(I n) {
    return as_float((n + 127) << 23);
}

// x = n·ln 2 + r with n whole and |r| <= ln(2)/2, for |x| < 2¹⁵: eʳ = 1 + tail, 2ⁿ scales.
struct ExpParts {
    I n;
    // eʳ − 1, to relative accuracy also where r is tiny.
    F tail;
};

static inline ExpParts exp_parts(F x) {
    // Adding 1.5·2²³ leaves no bits for a fraction: the sum is x·log₂e rounded to a whole number, which then
    // stands in the low bits.
    const F magic = splat(12582912.0f);
    const F shifted = x * 1.44269504088896341f + magic;
    const F n = shifted - magic;
    // ln 2 in two parts; the first has 9 bits, so n times it is exact.
    const F r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    // (eʳ − 1 − r) / r². Error 1.4e-8, relative to eʳ − 1.
    F q = splat(0x1.6b9c68p-10f);
    q = q * r + 0x1.12254ap-7f;
    q = q * r + 0x1.5556f2p-5f;
    q = q * r + 0x1.5554b4p-3f;
    q = q * r + 0x1.fffffep-2f;
    return {as_int(shifted) - as_int(magic), r * r * q + r};
}

// eˣ where that is a normal number, −87 <= x <= 88.
static inline F exp_normal(F x) {
    const ExpParts e = exp_parts(x);
    return (e.tail + 1.0f) * pow2_(e.n);
}

// eˣ, denormal results included.
static inline F exp_(F x) {
    // e⁻¹⁰⁴ rounds to 0 and e⁸⁹ to infinity: nothing further out needs a value of its own.
    x = select(x < -104.0f, splat(-104.0f), x);
    x = select(x > 89.0f, splat(89.0f), x);
    const ExpParts e = exp_parts(x);
    // In two steps: 2ⁿ itself may be beyond float where the product is not.
    const I half = e.n >> 1;
    return (e.tail + 1.0f) * pow2_(half) * pow2_(e.n - half);
}

// eˣ − 1 for x <= 0, to relative accuracy also where x is tiny.
static inline F expm1_nonpositive(F x) {
    // e⁻⁴⁰ is lost beside 1.
    x = select(x < -40.0f, splat(-40.0f), x);
    const ExpParts e = exp_parts(x);
    const F scale = pow2_(e.n);
    return scale * e.tail + (scale - 1.0f);
}

// With e = exp(−2|x|) − 1: tanh |x| = −e / (2 + e).
static inline F tanh_(F x) {
    const F e = expm1_nonpositive(abs_(x) * -2.0f);
    return copysign_(e / (e + 2.0f), x);
}

// 1 / (1 + e⁻ˣ), from e = exp(−|x|) so that nothing overflows and both tails keep their accuracy.
static inline F sigmoid_(F x) {
    const F e = exp_(-abs_(x));
    return select(x < 0.0f, e, splat(1.0f)) / (e + 1.0f);
}

// log(1 + f) for √½ − 1 <= f <= √2 − 1, to relative accuracy also where f is tiny.
static inline F log1p_reduced(F f) {
    // (log(1 + f) − f + f²/2) / f³. Error 5.9e-9, relative to log(1 + f).
    F p = splat(-0.07638000696897507f);
    p = p * f + 0.1276502013206482f;
    p = p * f + -0.1316039264202118f;
    p = p * f + 0.14201277494430542f;
    p = p * f + -0.16623301804065704f;
    p = p * f + 0.20001249015331268f;
    p = p * f + -0.250008225440979f;
    p = p * f + 0.3333333134651184f;
    const F square = f * f;
    const F tail = square * f * p - square * 0.5f;
    return tail + f;
}

// log(1 + x) for 0 <= x <= 1, to relative accuracy also where x is tiny.
static inline F log1p_unit(F x) {
    // 1 + x = 1 + f, or 2·(1 + f) where 1 + x > √2, with f in [√½ − 1, √2 − 1].
    const I upper = x > 0.41421356f;
    return select(upper, splat(0.69314718f), F{}) + log1p_reduced(select(upper, x * 0.5f - 0.5f, x));
}

// log x: −∞ at 0, NaN below.
static inline F log_(F x) {
    // x = 2ⁿ·m with m in [√½, √2); denormal numbers are lifted first. Without its sign, so that nothing
    // overflows; what becomes of numbers below 0 is not used.
    const I tiny = x < 0x1p-126f;
    const I bits = as_int(select(tiny, x * 0x1p23f, x)) & 0x7fffffff;
    const I n = (bits - 0x3f3504f3) >> 23;
    const F m = as_float(bits - (n << 23));
    const F exponent = __builtin_convertvector(n, F) - select(tiny, splat(23.0f), F{});
    // ln 2 in two parts; the first has 9 bits, so the exponent times it is exact.
    const F y = exponent * -2.12194440e-4f + log1p_reduced(m - 1.0f) + exponent * 0.693359375f;
    const F infinity = splat(__builtin_inff());
    const F limit = select(x == 0.0f, -infinity, select(x < 0.0f, splat(__builtin_nanf("")), x));
    return select((x > 0.0f) & (x < infinity), y, limit);
}

// xᵉ by log and exp in double: |x| = 2ⁿ·m with m in [√½, √2), log m = 2·artanh((m − 1) / (m + 1)). The
// exponent is the same in every lane. NaN for x < 0 and an exponent that is not whole; NaN⁰ is NaN here.
static inline F pow_(F x, float e) {
    typedef double D __attribute__((vector_size(W * 8)));
    typedef int64_t L __attribute__((vector_size(W * 8)));
    if (e == 1.0f)
        return x;
    if (e == 2.0f)
        return x * x;
    const F a = abs_(x);
    const L bits = (L) __builtin_convertvector(a, D);
    const L n = (bits - 0x3fe6a09e667f3bcd) >> 52;
    const D m = (D)(bits - (n << 52));
    // 2·(s + s³/3 + s⁵/5 + …), s² <= 0.0295.
    const D s = (m - 1.0) / (m + 1.0), z = s * s;
    D p = z * (1.0 / 17) + 1.0 / 15;
    p = p * z + 1.0 / 13;
    p = p * z + 1.0 / 11;
    p = p * z + 1.0 / 9;
    p = p * z + 1.0 / 7;
    p = p * z + 1.0 / 5;
    p = p * z + 1.0 / 3;
    const D log2 = __builtin_convertvector(n, D) + (s + s * z * p) * 2.8853900817779268; // 2 / ln 2
    // 2^y, y clamped to where float has something left to say.
    D y = log2 * static_cast<double>(e);
    y = y < -160.0 ? D{} - 160.0 : y;
    y = y > 130.0 ? D{} + 130.0 : y;
    const D magic = D{} + 6755399441055744.0; // 1.5·2⁵²
    const D shifted = y + magic;
    const L whole = (L)shifted - (L)magic;
    const D r = (y - (shifted - magic)) * 0.69314718055994531;
    // eʳ to r¹⁰ / 10!, |r| <= ln(2)/2.
    D q = r * (1.0 / 3628800) + 1.0 / 362880;
    q = q * r + 1.0 / 40320;
    q = q * r + 1.0 / 5040;
    q = q * r + 1.0 / 720;
    q = q * r + 1.0 / 120;
    q = q * r + 1.0 / 24;
    q = q * r + 1.0 / 6;
    q = q * r + 0.5;
    q = q * r * r + r + 1.0;
    F power = __builtin_convertvector(q * (D)((whole + 1023) << 52), F);
    const F infinity = splat(__builtin_inff()), zero = F{}, one = splat(1.0f);
    const F large = e > 0 ? infinity : e < 0 ? zero : one, small = e > 0 ? zero : e < 0 ? infinity : one;
    power = select(a == infinity, large, select(a == 0.0f, small, power));
    const bool is_whole = __builtin_floorf(e) == e;
    const bool odd = is_whole && __builtin_fabsf(e) < 16777216.0f && static_cast<int64_t>(e) % 2 != 0;
    const float nan = __builtin_nanf("");
    if (odd)
        power = copysign_(power, x);
    else if (!is_whole)
        power = select((x < 0.0f) & (a < infinity), splat(nan), power);
    return select(x == x, power, x);
}

// log(1 + eˣ) = max(x, 0) + log(1 + e^−|x|).
static inline F softplus_(F x) {
    return select(x > 0.0f, x, F{}) + log1p_unit(exp_(-abs_(x)));
}

// M(a) = ½·erfcx(a/√2) for 0 <= a <= 14.5: exp(−a²/2)·M(a) is Φ(−a), Φ the normal distribution's. Close to a
// polynomial in t = 1 / (1 + 0.35·a).
static inline F scaled_normal_tail(F a) {
    const F t = 1.0f / (a * 0.35f + 1.0f);
    // M / t on 0 <= a <= 14.5. Error 3.4e-8, relative.
    F m = splat(-0.029158638790249825f);
    m = m * t + 0.14403465390205383f;
    m = m * t + -0.2558467388153076f;
    m = m * t + 0.15932846069335938f;
    m = m * t + -0.023218294605612755f;
    m = m * t + 0.105554960668087f;
    m = m * t + 0.11982068419456482f;
    m = m * t + 0.13986359536647797f;
    m = m * t + 0.139621302485466f;
    return t * m;
}

// Φ(−a) for 0 <= a <= 14.5.
static inline F normal_tail(F a) {
    return scaled_normal_tail(a) * exp_(a * a * -0.5f);
}

// 2Φ(√2·x) − 1: a polynomial in x² up to 1, beyond it the tail.
static inline F erf_(F x) {
    const F magnitude = abs_(x), square = x * x;
    // erf(x)/x − 1. Error 1.4e-9, relative to erf(x)/x.
    F p = splat(0x1.4771fep-14f);
    p = p * square + -0x1.a3515ep-11f;
    p = p * square + 0x1.53f224p-8f;
    p = p * square + -0x1.b7f71ap-6f;
    p = p * square + 0x1.ce2ce6p-4f;
    p = p * square + -0x1.81273ep-2f;
    p = p * square + 0x1.06eba8p-3f;
    // Φ(−14.5) is 0 in float. e^(−x²) rounds x², which the factor before it makes harmless.
    const F far = select(magnitude > 10.0f, splat(10.0f), magnitude);
    const F tail = scaled_normal_tail(far * 1.41421356f) * exp_(-far * far);
    return select(magnitude < 1.0f, x * p + x, select(x == x, copysign_(1.0f - 2.0f * tail, x), x));
}

// x·Φ(x) as max(x, 0) − |x|·Φ(−|x|): no difference of near-equal numbers in either tail.
static inline F gelu_(F x) {
    // Φ(−13) is 6e-39, and e^(−13²/2) still a normal number.
    const F magnitude = abs_(x);
    const F a = select(magnitude > 13.0f, splat(13.0f), magnitude);
    return select(x > 0.0f, x, F{}) - a * scaled_normal_tail(a) * exp_normal(a * a * -0.5f);
}

// x·σ(u), where σ(u) is 0 long before x is −200: the limit at −∞ is 0, but −∞ times 0 would be NaN.
static inline F times_sigmoid(F x, F u) {
    return select(x < -200.0f, splat(-200.0f), x) * sigmoid_(u);
}

// ½x·(1 + tanh(√(2/π)·(x + 0.044715x³))), and ½(1 + tanh v) = σ(2v); 2·√(2/π) = 1.5957691216.
static inline F gelu_tanh_(F x) {
    return times_sigmoid(x, x * (x * x * 0.0713548163f + 1.5957691216f));
}

// The function K at x; alpha and beta as in activation.h.
template <ActivationKind K> static inline F activate(F x, F alpha, F beta) {
    if constexpr (K == ActivationKind::none)
        return x;
    if constexpr (K == ActivationKind::relu)
        return select(x < 0.0f, F{}, x);
    // A slope of 0 makes this relu, at −∞ too, where 0·x would be NaN.
    if constexpr (K == ActivationKind::leaky_relu)
        return select(x < 0.0f, select(alpha == 0.0f, F{}, alpha * x), x);
    if constexpr (K == ActivationKind::elu)
        return select(x > 0.0f, x, alpha * expm1_nonpositive(select(x > 0.0f, F{}, x)));
    if constexpr (K == ActivationKind::selu)
        return beta * select(x > 0.0f, x, alpha * expm1_nonpositive(select(x > 0.0f, F{}, x)));
    if constexpr (K == ActivationKind::sigmoid)
        return sigmoid_(x);
    if constexpr (K == ActivationKind::tanh)
        return tanh_(x);
    if constexpr (K == ActivationKind::softplus)
        return softplus_(x);
    if constexpr (K == ActivationKind::gelu)
        return gelu_(x);
    if constexpr (K == ActivationKind::gelu_tanh)
        return gelu_tanh_(x);
    if constexpr (K == ActivationKind::silu)
        return times_sigmoid(x, x);
    if constexpr (K == ActivationKind::clip) {
        const F atLeast = select(x < alpha, alpha, x);
        return select(atLeast > beta, beta, atLeast);
    }
    if constexpr (K == ActivationKind::erf)
        return erf_(x);
    if constexpr (K == ActivationKind::exp)
        return exp_(x);
    if constexpr (K == ActivationKind::log)
        return log_(x);
    if constexpr (K == ActivationKind::sqrt)
        return sqrt_(x);
    if constexpr (K == ActivationKind::reciprocal)
        return 1.0f / x;
    if constexpr (K == ActivationKind::abs)
        return abs_(x);
    if constexpr (K == ActivationKind::pow)
        return pow_(x, alpha[0]);
}

template <ActivationKind K> struct Kind { static constexpr ActivationKind value = K; };

// body(Kind<K>{}) for the K that is known when the plan runs.
template <class Body> static inline void with_kind(ActivationKind kind, Body body) {
    switch (kind) {
    case ActivationKind::none:
        return body(Kind<ActivationKind::none>{});
    case ActivationKind::relu:
        return body(Kind<ActivationKind::relu>{});
    case ActivationKind::leaky_relu:
        return body(Kind<ActivationKind::leaky_relu>{});
    case ActivationKind::elu:
        return body(Kind<ActivationKind::elu>{});
    case ActivationKind::selu:
        return body(Kind<ActivationKind::selu>{});
    case ActivationKind::sigmoid:
        return body(Kind<ActivationKind::sigmoid>{});
    case ActivationKind::tanh:
        return body(Kind<ActivationKind::tanh>{});
    case ActivationKind::softplus:
        return body(Kind<ActivationKind::softplus>{});
    case ActivationKind::gelu:
        return body(Kind<ActivationKind::gelu>{});
    case ActivationKind::gelu_tanh:
        return body(Kind<ActivationKind::gelu_tanh>{});
    case ActivationKind::silu:
        return body(Kind<ActivationKind::silu>{});
    case ActivationKind::clip:
        return body(Kind<ActivationKind::clip>{});
    case ActivationKind::erf:
        return body(Kind<ActivationKind::erf>{});
    case ActivationKind::exp:
        return body(Kind<ActivationKind::exp>{});
    case ActivationKind::log:
        return body(Kind<ActivationKind::log>{});
    case ActivationKind::sqrt:
        return body(Kind<ActivationKind::sqrt>{});
    case ActivationKind::reciprocal:
        return body(Kind<ActivationKind::reciprocal>{});
    case ActivationKind::abs:
        return body(Kind<ActivationKind::abs>{});
    case ActivationKind::pow:
        return body(Kind<ActivationKind::pow>{});
    }
}

} // namespace latdyn::LATDYN_ISA
