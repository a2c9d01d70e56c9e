// What kernels are written in: CUDA's words, and the few instructions that have no word in C++ behind
// functions of our own. With LATDYN_SIMT the same kernels are plain C++ on the host (native/test/simt), for
// tests on machines without a device.
//
// Kernels take their whole shared memory dynamically, from shared_memory(), and are started by launch():
// those two are all that the host version needs to stand in for.
#pragma once

#ifdef LATDYN_SIMT
#include "simt.h"
#else
#include <cuda_runtime.h>
#endif

#include "latdyn/philox.h"
#include "layout.h"
#include "runtime.h"
#include "tf32.h"

#include <cmath>
#include <cstdint>

namespace latdyn::cuda {

constexpr unsigned whole_warp = 0xffffffffu;

// ---- instructions ----

#ifdef LATDYN_SIMT

inline unsigned char* shared_memory() {
    return simt::shared_memory();
}

// Sixteen bytes, both ends aligned; there once waited for.
inline void copy_async(void* to_shared, const void* from_global) {
    simt::copy_later(to_shared, from_global, 16);
}
// 4 or 16 bytes, or as many zeros where there is nothing: `from_global` is then not read. Goes through L1,
// where a neighbouring window finds them again.
template <int Bytes> void copy_async_or_zero(void* to_shared, const void* from_global, bool there) {
    static_assert(Bytes == 4 || Bytes == 16);
    alignas(16) static constexpr unsigned char zeros[16] = {};
    simt::copy_later(to_shared, there ? from_global : zeros, Bytes);
}
inline void commit_copies() {
    simt::commit_copies();
}
// Until at most `Left` of the groups committed last are on their way.
template <int Left> void wait_copies() {
    simt::wait_copies(Left);
}

// The float next to `sum` towards zero.
inline float cut_off(double sum) {
    float v = static_cast<float>(sum);
    if (std::abs(static_cast<double>(v)) > std::abs(sum))
        v = __uint_as_float(__float_as_uint(v) - 1);
    return v;
}

// What a lane brings to a product of its warp: of d [16, 8], of the left and of the right operand.
template <class Element, int Left, int Right> struct ProductLane {
    float d[4];
    Element a[Left], b[Right];
};

// Of every lane's d: d += x·y with x [16, depth], y [depth, 8]. On the device the terms of an element are
// lined up under the largest and cut off (Fasi, Higham, Mikaitis, Pranesh: "Numerical behavior of NVIDIA
// tensor cores", PeerJ Computer Science 2021); here they are added exactly and the sum is cut off, which is
// within the bound that tf32.h states for both.
template <int Depth>
void add_products(simt::Slots slots, const double (&x)[16][Depth], const double (&y)[Depth][8]) {
    for (int lane = 0; lane < 32; lane++) {
        float d[4];
        std::memcpy(d, slots[lane], sizeof d);
        for (int i = 0; i < 4; i++) {
            const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
            double sum = d[i];
            for (int k = 0; k < Depth; k++)
                sum += x[row][k] * y[k][column];
            d[i] = cut_off(sum);
        }
        std::memcpy(slots[lane], d, sizeof d);
    }
}

// d += a·b of a warp: a [16, 8], b [8, 8], d [16, 8], spread over the lanes as the instruction wants it. As
// on the device the operands count with their upper 19 bits.
inline void multiply_add(float (&d)[4], float4 a, float b0, float b1, SIMT_WHERE) {
    using Lane = ProductLane<float, 4, 2>;
    Lane lane{{d[0], d[1], d[2], d[3]}, {a.x, a.y, a.z, a.w}, {b0, b1}};
    simt::meet_warp(
        "multiply_add", whole_warp, &lane, sizeof lane,
        [](simt::Slots slots, unsigned) {
            const auto cut = [](float v) { return __uint_as_float(__float_as_uint(v) & ~0x1fffu); };
            double x[16][8], y[8][8];
            for (int l = 0; l < 32; l++) {
                Lane one;
                std::memcpy(&one, slots[l], sizeof one);
                const int group = l / 4, place = l % 4;
                for (int i = 0; i < 4; i++)
                    x[group + i % 2 * 8][place + i / 2 * 4] = cut(one.a[i]);
                for (int i = 0; i < 2; i++)
                    y[place + i * 4][group] = cut(one.b[i]);
            }
            add_products(slots, x, y);
        },
        where);
    std::copy_n(lane.d, 4, d);
}

// The nearest TF32, ties away from zero; NaN stays NaN.
inline float to_tf32(float v) {
    return v == v ? round_tf32(v) : __uint_as_float(0x7fffffffu);
}

// Two floats as bf16, `low` in the lower half; to nearest, ties to even.
inline uint32_t to_bf16_pair(float low, float high) {
    return uint32_t{round_bf16(low)} | uint32_t{round_bf16(high)} << 16;
}

// d += a·b of a warp as above, of bf16 pairs: a [16, 16], b [16, 8].
inline void multiply_add(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, SIMT_WHERE) {
    using Lane = ProductLane<uint32_t, 4, 2>;
    Lane lane{{d[0], d[1], d[2], d[3]}, {a[0], a[1], a[2], a[3]}, {b0, b1}};
    simt::meet_warp(
        "multiply_add of bf16", whole_warp, &lane, sizeof lane,
        [](simt::Slots slots, unsigned) {
            const auto half = [](uint32_t pair, int i) {
                return __uint_as_float(i == 0 ? pair << 16 : pair & 0xffff0000u);
            };
            double x[16][16], y[16][8];
            for (int l = 0; l < 32; l++) {
                Lane one;
                std::memcpy(&one, slots[l], sizeof one);
                const int group = l / 4, place = l % 4;
                for (int i = 0; i < 8; i++)
                    x[group + i / 2 % 2 * 8][place * 2 + i % 2 + i / 4 * 8] = half(one.a[i / 2], i % 2);
                for (int i = 0; i < 4; i++)
                    y[place * 2 + i % 2 + i / 2 * 8][group] = half(one.b[i / 2], i % 2);
            }
            add_products(slots, x, y);
        },
        where);
    std::copy_n(lane.d, 4, d);
}

template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), int64_t grid, unsigned threads, size_t shared,
            Arguments... arguments) {
    simt::enqueue([=] {
        try {
            simt::run(name, static_cast<unsigned>(grid), threads, shared,
                      [&] { kernel(static_cast<Parameters>(arguments)...); });
        } catch (const simt::Fault& fault) {
            throw DeviceError(Failure::device, fault.what());
        }
    });
}

#else

__device__ inline unsigned char* shared_memory() {
    // What swizzled operands (warpgroup.h) want.
    extern __shared__ __align__(1024) unsigned char latdyn_shared[];
    return latdyn_shared;
}

__device__ inline void copy_async(void* to_shared, const void* from_global) {
    const unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(to_shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from_global) : "memory");
}
template <int Bytes>
__device__ inline void copy_async_or_zero(void* to_shared, const void* from_global, bool there) {
    static_assert(Bytes == 4 || Bytes == 16);
    const unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(to_shared));
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(from_global), "n"(Bytes),
                 "r"(there ? Bytes : 0)
                 : "memory");
}
__device__ inline void commit_copies() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int Left> __device__ inline void wait_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(Left) : "memory");
}

__device__ inline void multiply_add(float (&d)[4], float4 a, float b0, float b1) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(__float_as_uint(a.x)), "r"(__float_as_uint(a.y)), "r"(__float_as_uint(a.z)),
                   "r"(__float_as_uint(a.w)), "r"(__float_as_uint(b0)), "r"(__float_as_uint(b1)));
}

__device__ inline float to_tf32(float v) {
    uint32_t bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(v));
    return __uint_as_float(bits);
}
__device__ inline uint32_t to_bf16_pair(float low, float high) {
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}
__device__ inline void multiply_add(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), int64_t grid, unsigned threads, size_t shared,
            Arguments... arguments) {
    if (shared > 48 * 1024)
        check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                   cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)),
              name);
    kernel<<<static_cast<unsigned>(grid), threads, shared, cudaStreamPerThread>>>(
        static_cast<Parameters>(arguments)...);
    check(cudaGetLastError(), name);
}

#endif

// ---- floats whose order is that of whole numbers, for atomics ----

// −∞ → 0x007fffff, +∞ → 0xff800000; negative zero is below zero.
__host__ __device__ inline uint32_t ordered(uint32_t bits) {
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ inline uint32_t ordered(float v) {
    return ordered(static_cast<uint32_t>(__float_as_uint(v)));
}
__device__ inline float from_ordered(uint32_t key) {
    return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}
__device__ inline Key ordered(double v) {
    // Zero has one key.
    const Key bits = static_cast<Key>(__double_as_longlong(v == 0 ? 0.0 : v));
    return bits >> 63 ? ~bits : bits | Key{1} << 63;
}
__device__ inline double from_ordered(Key key) {
    return __longlong_as_double(static_cast<long long>(key >> 63 ? key & ~(Key{1} << 63) : ~key));
}

// Index of `value` in an ascending list, or −1.
__device__ inline int32_t place_of(const int32_t* list, int32_t count, int64_t value) {
    int32_t first = 0, end = count;
    while (first < end) {
        const int32_t middle = (first + end) / 2;
        if (list[middle] < value)
            first = middle + 1;
        else
            end = middle;
    }
    return first < count && list[first] == value ? first : -1;
}

// ---- sums in double, with the bits that rows.h gives ----

// Lanes of a warp that share a row; their mask.
constexpr int group_lanes = 8;
__device__ inline unsigned group_mask() {
    return 0xffu << (threadIdx.x % 32 / group_lanes * group_lanes);
}

// Of the eight sums side by side that the lanes of a group hold, to all of them: ((0+4)+(2+6))+((1+5)+(3+7)).
__device__ inline double group_total(unsigned mask, double sum) {
    sum = exact::add(sum, __shfl_xor_sync(mask, sum, 4));
    sum = exact::add(sum, __shfl_xor_sync(mask, sum, 2));
    return exact::add(sum, __shfl_xor_sync(mask, sum, 1));
}

// sum + x·y with one rounding each: a product of two floats is exact in double, so it may be joined with the
// sum.
__device__ inline double add_product(double sum, float x, float y) {
#ifdef __CUDA_ARCH__
    return __fma_rn(double(x), double(y), sum);
#else
    return sum + double(x) * double(y);
#endif
}

// x·y of k floats by the eight lanes of a group, eight elements (32 bytes of each row) at a time.
__device__ inline double group_dot(unsigned mask, const float* x, const float* y, int64_t k) {
    double sum = 0;
#pragma unroll 4
    for (int64_t l = threadIdx.x % group_lanes; l < k; l += group_lanes)
        sum = add_product(sum, x[l], y[l]);
    return group_total(mask, sum);
}

// |x·x_scale − y·y_scale|².
__device__ inline double group_distance(unsigned mask, const float* x, double x_scale, const float* y,
                                        double y_scale, int64_t k) {
    double sum = 0;
#pragma unroll 4
    for (int64_t l = threadIdx.x % group_lanes; l < k; l += group_lanes) {
        const double d = exact::sub(exact::mul(double(x[l]), x_scale), exact::mul(double(y[l]), y_scale));
        sum = exact::add(sum, exact::mul(d, d));
    }
    return group_total(mask, sum);
}

} // namespace latdyn::cuda
