// Memory for activations: zeroed, aligned for the widest register.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

namespace latdyn {

struct Free {
    void operator()(void* p) const { std::free(p); }
};
using AlignedFloats = std::unique_ptr<float[], Free>;

inline AlignedFloats aligned_floats(size_t count) {
    const size_t bytes = (count * sizeof(float) + 63) / 64 * 64;
    AlignedFloats memory(static_cast<float*>(std::aligned_alloc(64, bytes == 0 ? 64 : bytes)));
    if (!memory)
        throw std::bad_alloc();
    std::memset(memory.get(), 0, bytes);
    return memory;
}

} // namespace latdyn
