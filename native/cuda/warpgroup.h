// Products of a warpgroup, 128 threads of four warps whose first is a multiple of four: wgmma, which sm_90a
// alone has. It runs beside the threads, reads its right operand (and its left one, where that is not in
// registers) from shared memory by itself, and has its sums when it is waited for.
//
//   warpgroup_publish()         by every thread that has written what will be read, before the barrier
//   warpgroup_begin()           sums and operands in registers are as they should be
//   warpgroup_multiply(…)       as often as wanted
//   warpgroup_commit()          these are a group
//   warpgroup_wait_but<Left>()  until at most `Left` groups are under way: what the others read is free
//   warpgroup_wait(…)           until none is; the sums given are there
//
// A lane's sums and its part of the left operand are where mma.sync (device.h) has them: warp w of four has
// rows 16w … 16w + 15 of 64; sums[4·n + e] is element e of columns 8n … 8n + 7.
//
// How operands lie in shared memory, both with columns (the k of the product) side by side:
//   - plain: blocks of 8 rows × 16 bytes, each in one piece
//   - swizzled: rows of 128 bytes, in which pieces of 16 bytes change places: piece c of row r lies where
//     c xor (r mod 8) would
// (PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions"; on the host the same bits are read the same
// way, so a wrong layout shows in tests.)
#pragma once

#include "device.h"

namespace latdyn::cuda {

constexpr int warpgroup_threads = 128;

// Whether the device that this is compiled for has them. A kernel of warpgroups is nothing elsewhere.
#if defined(LATDYN_SIMT) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
constexpr bool warpgroups_here = true;
#else
constexpr bool warpgroups_here = false;
#endif

// Where an operand lies. `address`: its first byte as a number of shared memory.
//   plain: steps in bytes between neighbouring blocks, along columns and along rows
__host__ __device__ inline uint64_t plain_operand(uint32_t address, uint32_t along_columns,
                                                  uint32_t along_rows) {
    return uint64_t{(address & 0x3ffff) >> 4} | uint64_t{along_columns >> 4} << 16 |
           uint64_t{along_rows >> 4} << 32;
}
//   swizzled: groups of 8 rows one after the other. The rows' first byte is a multiple of 1024 bytes;
//   `address` may be later in the first row.
__host__ __device__ inline uint64_t swizzled_operand(uint32_t address) {
    return uint64_t{(address & 0x3ffff) >> 4} | uint64_t{1} << 16 | uint64_t{1024 >> 4} << 32 |
           uint64_t{1} << 62;
}
// Where element `column` of row `row`, of 32 floats a row, lies.
__host__ __device__ inline int swizzled_place(int row, int column) {
    return row * 32 + (((column / 4) ^ (row % 8)) * 4) + column % 4;
}

#ifdef LATDYN_SIMT

inline uint32_t shared_address(const void* at) {
    return static_cast<uint32_t>(static_cast<const unsigned char*>(at) - simt::shared_memory());
}
inline void warpgroup_publish() {
    simt::publish_shared();
}
inline void warpgroup_begin() {}
inline void warpgroup_commit() {
    simt::commit_products();
}

// One instruction of a thread: what it will read, and its sums.
struct WarpgroupProduct {
    float* sums;
    int columns;
    bool add;
    // The lane's two rows of the left operand, or where they lie.
    float left[2][16];
    uint64_t left_operand;
    int first_row;
    uint64_t right_operand;
    // Of an element.
    int bytes;

    float element(uint64_t operand, int row, int column) const {
        const uint32_t start = static_cast<uint32_t>(operand & 0x3fff) << 4;
        const uint32_t along_columns = static_cast<uint32_t>(operand >> 16 & 0x3fff) << 4;
        const uint32_t along_rows = static_cast<uint32_t>(operand >> 32 & 0x3fff) << 4;
        const uint32_t byte = static_cast<uint32_t>(column * bytes);
        uint32_t at = start + row / 8 * along_rows;
        if (operand >> 62 == 0) {
            at += byte / 16 * along_columns + row % 8 * 16 + byte % 16;
        } else {
            at += row % 8 * 128 + byte;
            at ^= (at >> 7 & 7) << 4;
        }
        const unsigned char* from = simt::shared_memory() + at;
        if (bytes == 4) {
            uint32_t bits;
            std::memcpy(&bits, from, 4);
            return __uint_as_float(bits & ~0x1fffu);
        }
        uint16_t bits;
        std::memcpy(&bits, from, 2);
        return __uint_as_float(uint32_t{bits} << 16);
    }
    void run() const {
        const int depth = 32 / bytes, first_column = static_cast<int>(threadIdx.x) % 4 * 2;
        double x[2][16];
        for (int half = 0; half < 2; half++)
            for (int k = 0; k < depth; k++)
                x[half][k] = left_operand ? element(left_operand, first_row + 8 * half, k) : left[half][k];
        for (int n = 0; n < columns / 8; n++)
            for (int e = 0; e < 2; e++) {
                float* to = sums + 4 * n + e;
                double sum[2] = {add ? to[0] : 0.0f, add ? to[2] : 0.0f};
                for (int k = 0; k < depth; k++) {
                    const double y = element(right_operand, 8 * n + first_column + e, k);
                    sum[0] += x[0][k] * y;
                    sum[1] += x[1][k] * y;
                }
                to[0] = cut_off(sum[0]);
                to[2] = cut_off(sum[1]);
            }
    }
};

inline void start_product(const WarpgroupProduct& product) {
    simt::multiply_later(product.sums, product.columns / 2, &product, sizeof product,
                         [](const void* one) { static_cast<const WarpgroupProduct*>(one)->run(); });
}

// From every lane's part of a warp's left operand to the two rows of each.
template <int Depth, class Element>
void gather_left(float (&left)[2][16], const Element (&a)[4], const char* what, simt::Where where) {
    static_assert(sizeof a == 16 && (Depth == 8 || Depth == 16));
    // 16 bytes of a row from each lane: of rows g and g + 8, columns t and t + 4 (pairs of columns of bf16).
    unsigned char slot[64];
    std::memcpy(slot, a, 16);
    simt::meet_warp(
        what, whole_warp, slot, sizeof slot,
        [](simt::Slots slots, unsigned) {
            uint32_t parts[32][4];
            for (int l = 0; l < 32; l++)
                std::memcpy(parts[l], slots[l], 16);
            for (int l = 0; l < 32; l++) {
                uint32_t rows[2][8];
                for (int t = 0; t < 4; t++)
                    for (int i = 0; i < 4; i++)
                        rows[i % 2][t + i / 2 * 4] = parts[l / 4 * 4 + t][i];
                std::memcpy(slots[l], rows, sizeof rows);
            }
        },
        where);
    uint32_t rows[2][8];
    std::memcpy(rows, slot, sizeof rows);
    for (int half = 0; half < 2; half++)
        for (int i = 0; i < 8; i++) {
            if (Depth == 8) {
                left[half][i] = __uint_as_float(rows[half][i] & ~0x1fffu);
            } else {
                left[half][2 * i] = __uint_as_float(rows[half][i] << 16);
                left[half][2 * i + 1] = __uint_as_float(rows[half][i] & 0xffff0000u);
            }
        }
}

template <int N>
void multiply_by_registers(float (&sums)[N / 2], float (&left)[2][16], uint64_t right, int bytes) {
    WarpgroupProduct product{sums, N, true, {}, 0, 0, right, bytes};
    std::memcpy(product.left, left, sizeof left);
    start_product(product);
}
template <int N>
void warpgroup_multiply(float (&sums)[N / 2], const float (&a)[4], uint64_t right, SIMT_WHERE) {
    float left[2][16];
    gather_left<8>(left, a, "warpgroup_multiply", where);
    multiply_by_registers<N>(sums, left, right, 4);
}
template <int N>
void warpgroup_multiply(float (&sums)[N / 2], const uint32_t (&a)[4], uint64_t right, SIMT_WHERE) {
    float left[2][16];
    gather_left<16>(left, a, "warpgroup_multiply of bf16", where);
    multiply_by_registers<N>(sums, left, right, 2);
}
template <int N>
void warpgroup_multiply(float (&sums)[N / 2], uint64_t left, uint64_t right, bool add, SIMT_WHERE) {
    char none = 0;
    simt::meet_warp(
        "warpgroup_multiply", whole_warp, &none, 0, [](simt::Slots, unsigned) {}, where);
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32 % 4;
    start_product({sums, N, add, {}, left, warp * 16 + lane / 4, right, 4});
}
template <int Left> void warpgroup_wait_but() {
    simt::wait_products(Left);
}
template <int Count> void warpgroup_wait(float (&)[Count]) {
    simt::wait_products(0);
}
template <int Count> void keep(const float (&)[Count]) {}
template <int Count> void keep(const uint32_t (&)[Count]) {}

#else

__device__ inline uint32_t shared_address(const void* at) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(at));
}

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

__device__ inline void warpgroup_publish() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
__device__ inline void warpgroup_begin() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ inline void warpgroup_commit() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// Registers as operands of an instruction's text, eight at a time.
#define LATDYN_EIGHT(d, i)                                                                                   \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]),              \
        "+f"(d[i + 6]), "+f"(d[i + 7])
#define LATDYN_SUMS_16(d) LATDYN_EIGHT(d, 0), LATDYN_EIGHT(d, 8)
#define LATDYN_SUMS_32(d) LATDYN_SUMS_16(d), LATDYN_EIGHT(d, 16), LATDYN_EIGHT(d, 24)
#define LATDYN_SUMS_64(d)                                                                                    \
    LATDYN_SUMS_32(d), LATDYN_EIGHT(d, 32), LATDYN_EIGHT(d, 40), LATDYN_EIGHT(d, 48), LATDYN_EIGHT(d, 56)
#define LATDYN_NAMES_16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define LATDYN_NAMES_32                                                                                      \
    LATDYN_NAMES_16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define LATDYN_NAMES_64                                                                                      \
    LATDYN_NAMES_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "     \
                    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"

// N columns, sums [count] = N / 2, and the names of the operands after the sums: a left one in four
// registers, and where the right one lies.
#define LATDYN_BY_REGISTERS(N, count, a0, a1, a2, a3, b)                                                     \
    __device__ inline void multiply_by_registers(float(&d)[count], const uint32_t(&a)[4], uint64_t right,    \
                                                 float) {                                                    \
        asm volatile("wgmma.mma_async.sync.aligned.m64n" #N "k8.f32.tf32.tf32 {" LATDYN_NAMES_##count        \
                     "}, {" a0 ", " a1 ", " a2 ", " a3 "}, " b ", 1, 1, 1;"                                  \
                     : LATDYN_SUMS_##count(d)                                                                \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(right));                              \
    }                                                                                                        \
    __device__ inline void multiply_by_registers(float(&d)[count], const uint32_t(&a)[4], uint64_t right,    \
                                                 uint32_t) {                                                 \
        asm volatile("wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" LATDYN_NAMES_##count       \
                     "}, {" a0 ", " a1 ", " a2 ", " a3 "}, " b ", 1, 1, 1, 0;"                               \
                     : LATDYN_SUMS_##count(d)                                                                \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(right));                              \
    }
LATDYN_BY_REGISTERS(32, 16, "%16", "%17", "%18", "%19", "%20")
LATDYN_BY_REGISTERS(64, 32, "%32", "%33", "%34", "%35", "%36")
LATDYN_BY_REGISTERS(128, 64, "%64", "%65", "%66", "%67", "%68")

template <int N>
__device__ inline void warpgroup_multiply(float (&sums)[N / 2], const float (&a)[4], uint64_t right) {
    const uint32_t bits[4] = {__float_as_uint(a[0]), __float_as_uint(a[1]), __float_as_uint(a[2]),
                              __float_as_uint(a[3])};
    multiply_by_registers(sums, bits, right, float{});
}
template <int N>
__device__ inline void warpgroup_multiply(float (&sums)[N / 2], const uint32_t (&a)[4], uint64_t right) {
    multiply_by_registers(sums, a, right, uint32_t{});
}
// Both operands in shared memory; sums = 0 + product where they are not added to.
template <int N>
__device__ inline void warpgroup_multiply(float (&sums)[N / 2], uint64_t left, uint64_t right, bool add) {
    static_assert(N == 128);
    asm volatile("{ .reg .pred p; setp.ne.b32 p, %66, 0; "
                 "wgmma.mma_async.sync.aligned.m64n128k8.f32.tf32.tf32 {" LATDYN_NAMES_64
                 "}, %64, %65, p, 1, 1; }"
                 : LATDYN_SUMS_64(sums)
                 : "l"(left), "l"(right), "r"(static_cast<int>(add)));
}

#undef LATDYN_BY_REGISTERS
#undef LATDYN_NAMES_64
#undef LATDYN_NAMES_32
#undef LATDYN_NAMES_16
#undef LATDYN_SUMS_64
#undef LATDYN_SUMS_32
#undef LATDYN_SUMS_16
#undef LATDYN_EIGHT

template <int Left> __device__ inline void warpgroup_wait_but() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Left) : "memory");
}
// The sums change while nobody looks: after it the compiler takes them for new.
template <int Count> __device__ inline void warpgroup_wait(float (&sums)[Count]) {
    warpgroup_wait_but<0>();
#pragma unroll
    for (int i = 0; i < Count; i++)
        asm volatile("" : "+f"(sums[i])::"memory");
}

#else

// No other device has them, and nothing there starts a kernel that uses them (warpgroups() of runtime.h).
__device__ inline void warpgroup_publish() {}
__device__ inline void warpgroup_begin() {}
__device__ inline void warpgroup_commit() {}
template <int N, class Element>
__device__ inline void warpgroup_multiply(float (&)[N / 2], const Element (&)[4], uint64_t) {
    __trap();
}
template <int N> __device__ inline void warpgroup_multiply(float (&)[N / 2], uint64_t, uint64_t, bool) {
    __trap();
}
template <int Left> __device__ inline void warpgroup_wait_but() {}
template <int Count> __device__ inline void warpgroup_wait(float (&)[Count]) {}

#endif

// Registers that a product reads: after it is waited for, this keeps others out of them until then.
template <int Count> __device__ inline void keep(const float (&registers)[Count]) {
#pragma unroll
    for (int i = 0; i < Count; i++)
        asm volatile("" ::"f"(registers[i]) : "memory");
}
template <int Count> __device__ inline void keep(const uint32_t (&registers)[Count]) {
#pragma unroll
    for (int i = 0; i < Count; i++)
        asm volatile("" ::"r"(registers[i]) : "memory");
}

#endif

} // namespace latdyn::cuda
