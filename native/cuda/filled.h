// Memory that a kernel fills, a thread an element: what the host need not make and send.
#pragma once

#include "device.h"
#include "runtime.h"

namespace latdyn::cuda {

constexpr unsigned filling_threads = 256;

template <class Element> __global__ void fill_elements(Element* to, int64_t count, Element value) {
    const int64_t i = int64_t{blockIdx.x} * filling_threads + threadIdx.x;
    if (i < count)
        to[i] = value;
}

// `count` elements, all of them `value`.
template <class Element> Buffer<Element> filled(int64_t count, Element value) {
    Buffer<Element> all(count);
    if (count > 0)
        launch("fill_elements", fill_elements<Element>, (count + filling_threads - 1) / filling_threads,
               filling_threads, 0, all.get(), count, value);
    return all;
}

} // namespace latdyn::cuda
