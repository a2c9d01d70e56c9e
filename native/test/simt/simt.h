// CUDA's face for a plain C++ compiler: what the kernels of native/cuda use, and no more. For tests alone.
//
// A block's threads are fibers on one thread of the host; they change places only where they wait for one
// another (or, in the random schedule, at an atomic). What a kernel computes may depend on the order of the
// fibers only if it has a race: tests run every kernel under several schedules and compare. The blocks of a
// grid run one after the other, in the order of the schedule. Built with LATDYN_RACES (races.cpp), any two
// accesses to one place that nothing orders are found, between blocks too, whatever the order here.
//
// Found out and thrown as simt::Fault:
//   - a barrier that not all threads of the block reach, or not at the same line
//   - a warp operation that not all lanes of its mask reach at the same line, or by a lane outside its mask
//   - a launch of a shape that no device takes
// Found out by a signal: accesses beyond the end of shared memory or of a Buffer (a page without rights
// stands there). Shared memory and Buffers start as bytes of 0xff, which is NaN in float and double: what
// nothing has written shows. An asynchronous copy arrives when it is waited for and not before. A product
// of a warpgroup reads shared memory when it is waited for, in the reverse schedule when it starts and in the
// random one at either; until it is waited for its sums are NaN.
//
// Between record() of capture.cpp and its end nothing runs and nothing else than what may be recorded is
// allowed.
//
// What is not modelled: blocks that run at the same time, several streams, memory order weaker than the order
// of execution, speed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

namespace simt {

struct Fault : std::runtime_error {
    using std::runtime_error::runtime_error;
};

enum class Schedule { forward, reverse, random };
void use_schedule(Schedule schedule, uint64_t seed = 0);

// ---- what tests bring about ----

// Bytes that Buffers may hold together; beyond it allocations fail as on a full device.
void limit_memory(int64_t bytes);
// Bytes of shared memory that a block may take, at most those of sm_90, 227 KiB.
void limit_shared_memory(size_t bytes);
size_t shared_memory_limit();
// The launch that comes after `launches` further ones fails as on a broken device; negative: none.
void fail_launch_after(int64_t launches);

// Whether recorded work may go on by itself (capture.h), as drivers since CUDA 12.4 have it.
void offer_conditional_nodes(bool offered);
// Whether the device multiplies by warpgroups (warpgroup.h).
void offer_warpgroups(bool offered);
bool warpgroups();
// How many times recorded work was started.
int64_t recordings_started();
// Bytes that Buffers and mapped memory hold together.
int64_t memory_in_use();
// Bytes that have gone from the host to the device.
int64_t bytes_uploaded();

// ---- what enqueues ----

// Does `work`, or, while it is recorded, keeps it.
void enqueue(std::function<void()> work);

// Runs `body` for every thread of the grid.
void run(const char* name, unsigned grid, unsigned threads, size_t shared, const std::function<void()>& body);

struct Index {
    unsigned x;
};

// The place in the source that called; threads that meet must come from one.
struct Where {
    const char* file;
    int line;
};

unsigned char* shared_memory();

// Waits for the block; the sum of `value` over its threads.
int meet_block(int value, Where where);

constexpr size_t largest_slot = 64;
using Slots = unsigned char (*)[largest_slot];
// Waits for the lanes of `mask`, each of which brings `bytes` at `slot`. `complete` runs once, when all are
// there, and turns what was brought into what each lane gets.
void meet_warp(const char* what, unsigned mask, void* slot, size_t bytes, void (*complete)(Slots, unsigned),
               Where where);

// The lanes of `mask`, who have all arrived, see what each of them has written. For `complete` of a meeting.
void order_memory(unsigned mask);

void copy_later(void* to, const void* from, size_t bytes);
void commit_copies();
void wait_copies(int groups_left);

// `run` of a copy of the `bytes` at `product` adds to `sums`, of which there are `count`.
void multiply_later(float* sums, int count, const void* product, size_t bytes, void (*run)(const void*));
// What this thread has written to shared memory may be read by products from here on.
void publish_shared();
void commit_products();
void wait_products(int groups_left);

// May let another fiber go first.
void step_aside();

} // namespace simt

extern simt::Index threadIdx, blockIdx, blockDim, gridDim;

struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(8) int2 {
    int x, y;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) {
    return {x, y, z, w};
}

#define SIMT_WHERE simt::Where where = {__builtin_FILE(), __builtin_LINE()}

// ---- barriers ----

inline void __syncthreads(SIMT_WHERE) {
    simt::meet_block(0, where);
}
inline int __syncthreads_count(int predicate, SIMT_WHERE) {
    return simt::meet_block(predicate != 0, where);
}
inline int __syncthreads_or(int predicate, SIMT_WHERE) {
    return simt::meet_block(predicate != 0, where) != 0;
}
inline int __syncthreads_and(int predicate, SIMT_WHERE) {
    return simt::meet_block(predicate == 0, where) == 0;
}

// ---- warps ----

namespace simt {

template <class Value> struct Shuffle {
    Value value;
    int lane;
};

// Every lane of the mask gets the value of the lane that source(own lane, its `lane`) names.
template <class Value, class Source>
Value shuffle(const char* what, unsigned mask, Value value, int lane, Source, Where where) {
    static_assert(std::is_trivially_copyable_v<Value> && sizeof(Shuffle<Value>) <= largest_slot);
    static_assert(std::is_empty_v<Source>);
    Shuffle<Value> slot{value, lane};
    meet_warp(
        what, mask, &slot, sizeof slot,
        [](Slots slots, unsigned all) {
            Shuffle<Value> before[32], one;
            for (int i = 0; i < 32; i++)
                if (all >> i & 1)
                    std::memcpy(&before[i], slots[i], sizeof one);
            for (int i = 0; i < 32; i++) {
                if (!(all >> i & 1))
                    continue;
                const int from = Source{}(i, before[i].lane);
                if (from < 0 || from > 31 || !(all >> from & 1))
                    throw Fault("a shuffle reads from a lane outside its mask");
                one = before[i];
                one.value = before[from].value;
                std::memcpy(slots[i], &one, sizeof one);
            }
        },
        where);
    return slot.value;
}

template <class Value, class Combine>
Value reduce(const char* what, unsigned mask, Value value, Combine, Where where) {
    meet_warp(
        what, mask, &value, sizeof value,
        [](Slots slots, unsigned all) {
            Value total{}, one;
            bool first = true;
            for (int i = 0; i < 32; i++) {
                if (!(all >> i & 1))
                    continue;
                std::memcpy(&one, slots[i], sizeof one);
                total = first ? one : Combine{}(total, one);
                first = false;
            }
            for (int i = 0; i < 32; i++)
                std::memcpy(slots[i], &total, sizeof total);
        },
        where);
    return value;
}

} // namespace simt

template <class Value> Value __shfl_sync(unsigned mask, Value value, int from, SIMT_WHERE) {
    return simt::shuffle(
        "__shfl_sync", mask, value, from, [](int, int l) { return l & 31; }, where);
}
template <class Value> Value __shfl_xor_sync(unsigned mask, Value value, int with, SIMT_WHERE) {
    return simt::shuffle(
        "__shfl_xor_sync", mask, value, with, [](int own, int l) { return own ^ l; }, where);
}
template <class Value> Value __shfl_up_sync(unsigned mask, Value value, int by, SIMT_WHERE) {
    return simt::shuffle(
        "__shfl_up_sync", mask, value, by, [](int own, int l) { return own < l ? own : own - l; }, where);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, SIMT_WHERE) {
    unsigned vote = predicate != 0;
    simt::meet_warp(
        "__ballot_sync", mask, &vote, sizeof vote,
        [](simt::Slots slots, unsigned all) {
            unsigned votes = 0, one;
            for (int i = 0; i < 32; i++) {
                std::memcpy(&one, slots[i], sizeof one);
                votes |= (all >> i & 1 & one) << i;
            }
            for (int i = 0; i < 32; i++)
                std::memcpy(slots[i], &votes, sizeof votes);
        },
        where);
    return vote;
}
inline int __any_sync(unsigned mask, int predicate, SIMT_WHERE) {
    return __ballot_sync(mask, predicate, where) != 0;
}
inline unsigned __reduce_min_sync(unsigned mask, unsigned value, SIMT_WHERE) {
    return simt::reduce(
        "__reduce_min_sync", mask, value, [](unsigned a, unsigned b) { return a < b ? a : b; }, where);
}
inline unsigned __reduce_add_sync(unsigned mask, unsigned value, SIMT_WHERE) {
    return simt::reduce(
        "__reduce_add_sync", mask, value, [](unsigned a, unsigned b) { return a + b; }, where);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, SIMT_WHERE) {
    char none = 0;
    simt::meet_warp(
        "__syncwarp", mask, &none, 0, [](simt::Slots, unsigned all) { simt::order_memory(all); }, where);
}

// ---- atomics, and small things ----

namespace simt {
template <class Value, class Change> Value exchange(Value* at, Change change) {
    step_aside();
    Value before, after;
    __atomic_load(at, &before, __ATOMIC_RELAXED);
    after = change(before);
    __atomic_store(at, &after, __ATOMIC_RELAXED);
    return before;
}
} // namespace simt

template <class Value> Value atomicAdd(Value* at, std::type_identity_t<Value> value) {
    return simt::exchange(at, [&](Value v) { return static_cast<Value>(v + value); });
}
template <class Value> Value atomicMin(Value* at, std::type_identity_t<Value> value) {
    return simt::exchange(at, [&](Value v) { return value < v ? value : v; });
}
template <class Value> Value atomicMax(Value* at, std::type_identity_t<Value> value) {
    return simt::exchange(at, [&](Value v) { return value > v ? value : v; });
}
template <class Value> Value atomicOr(Value* at, std::type_identity_t<Value> value) {
    return simt::exchange(at, [&](Value v) { return static_cast<Value>(v | value); });
}
template <class Value>
Value atomicCAS(Value* at, std::type_identity_t<Value> expected, std::type_identity_t<Value> value) {
    return simt::exchange(at, [&](Value v) { return v == expected ? value : v; });
}

inline int __popc(unsigned v) {
    return __builtin_popcount(v);
}
inline int __ffs(unsigned v) {
    return __builtin_ffs(static_cast<int>(v));
}
inline unsigned __umulhi(unsigned a, unsigned b) {
    return static_cast<unsigned>(static_cast<unsigned long long>(a) * b >> 32);
}
template <class To, class From> To simt_bits(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}
inline unsigned __float_as_uint(float v) {
    return simt_bits<unsigned>(v);
}
inline float __uint_as_float(unsigned v) {
    return simt_bits<float>(v);
}
inline long long __double_as_longlong(double v) {
    return simt_bits<long long>(v);
}
inline double __longlong_as_double(long long v) {
    return simt_bits<double>(v);
}
