// Where elements of a value are in shared memory (program.h), for device code.
#pragma once

#include "device.h"
#include "graph/functions.h"
#include "program.h"

namespace latdyn::cuda::fused {

// Shared memory is floats here; halves of bf16 are written through this type.
typedef uint16_t Half __attribute__((may_alias));

__device__ inline int quotient(int e, uint32_t reciprocal) {
    return reciprocal == 0 ? e : static_cast<int>(__umulhi(static_cast<unsigned>(e), reciprocal));
}

// Where channels of a row change places: channel ^ this.
__device__ inline int swapped(const Place& place, int row) {
    return (row >> place.swap_shift & place.swap_mask) << place.chunk_log;
}

__device__ inline float half_at(const float* shared, int half) {
    const uint32_t word = __float_as_uint(shared[half >> 1]);
    return __uint_as_float((half & 1) != 0 ? word & 0xffff0000u : word << 16);
}

// `line` is position·rows + row.
__device__ inline float load_at(const float* shared, const Place& place, int line, int row, int channel) {
    const int at = line * place.channels + (channel ^ swapped(place, row));
    return place.element == Element::bf16 ? half_at(shared, 2 * place.word + at) : shared[place.word + at];
}

__device__ inline void store_at(float* shared, const Place& place, int line, int row, int channel, float v) {
    const int at = line * place.channels + (channel ^ swapped(place, row));
    if (place.element == Element::bf16)
        reinterpret_cast<Half*>(shared)[2 * place.word + at] = static_cast<uint16_t>(to_bf16_pair(v, 0));
    else
        shared[place.word + at] = place.element == Element::tf32 ? to_tf32(v) : v;
}

// Two channels side by side, the first of them even, of a value made of chunks.
__device__ inline void store_pair(float* shared, const Place& place, int line, int row, int channel, float v0,
                                  float v1) {
    const int at = line * place.channels + (channel ^ swapped(place, row));
    if (place.element == Element::bf16) {
        shared[place.word + (at >> 1)] = __uint_as_float(to_bf16_pair(v0, v1));
        return;
    }
    if (place.element == Element::tf32) {
        v0 = to_tf32(v0);
        v1 = to_tf32(v1);
    }
    *reinterpret_cast<float2*>(shared + place.word + at) = float2{v0, v1};
}

} // namespace latdyn::cuda::fused
