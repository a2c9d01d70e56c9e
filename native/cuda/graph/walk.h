// Device code of operators.h's Divisor and Map, and how a launch is cut.
#pragma once

#include "device.h"
#include "operators.h"

namespace latdyn::cuda {

__device__ inline int32_t quotient(const Divisor& d, int32_t x) {
    return static_cast<int32_t>(static_cast<uint64_t>(static_cast<uint32_t>(x)) * d.magic >> (31 + d.shift));
}

__device__ inline int32_t mapped(const Map& map, int32_t i) {
    if (map.list)
        return map.list[i];
    if (map.axes == 0)
        return i;
    int32_t at = map.first;
#pragma unroll
    for (int axis = 0; axis < max_axes; axis++) {
        if (axis >= map.axes)
            break;
        const int32_t rest = quotient(map.extent[axis], i);
        at += (i - rest * map.extent[axis].value) * map.stride[axis];
        i = rest;
    }
    return at;
}

// Row and element of place i of [rows, elements], from one 64-bit division a stretch: `first` is that of the
// stretch's beginning, i less than 2³⁰ further.
struct RowElement {
    int64_t row;
    int32_t element;
};
__device__ inline RowElement row_element(int64_t i, int32_t elements) {
    const int64_t row = i / elements;
    return {row, static_cast<int32_t>(i - row * elements)};
}
__device__ inline RowElement further(const RowElement& first, int32_t by, const Divisor& elements) {
    const int32_t at = first.element + by, rows = quotient(elements, at);
    return {first.row + rows, at - rows * elements.value};
}

// Blocks of a grid that walks over `work` pieces: enough to fill any device many times over.
inline int64_t grid_of(int64_t work) {
    constexpr int64_t most = 1 << 17;
    return work < most ? (work < 1 ? 1 : work) : most;
}

} // namespace latdyn::cuda
