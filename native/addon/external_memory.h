#pragma once

#include <napi.h>

#include <cstdint>
#include <utility>

namespace latdyn::addon {

// Bytes that V8 cannot see and is told of, as long as this lives.
class ExternalMemory {
  public:
    ExternalMemory() = default;
    ExternalMemory(Napi::Env env, int64_t bytes) : env(env), bytes(bytes) {
        Napi::MemoryManagement::AdjustExternalMemory(env, bytes);
    }
    ~ExternalMemory() {
        if (bytes > 0)
            Napi::MemoryManagement::AdjustExternalMemory(env, -bytes);
    }
    ExternalMemory(const ExternalMemory&) = delete;
    ExternalMemory& operator=(ExternalMemory&& other) noexcept {
        std::swap(env, other.env);
        std::swap(bytes, other.bytes);
        return *this;
    }

  private:
    Napi::Env env{nullptr};
    int64_t bytes = 0;
};

} // namespace latdyn::addon
