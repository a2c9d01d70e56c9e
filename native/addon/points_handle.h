#pragma once

#include "cuda_points.h"
#include "external_memory.h"

#include <napi.h>

#include <memory>

namespace latdyn::addon {

// Points on a device as JavaScript holds them; see NativePoints in src/native.ts.
class PointsHandle : public Napi::ObjectWrap<PointsHandle> {
  public:
    static Napi::Function define(Napi::Env env);
    explicit PointsHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<PointsHandle>(info) {}

    void hold(Napi::Env env, std::shared_ptr<const CudaPoints> held);
    // Throws Error after dispose().
    const std::shared_ptr<const CudaPoints>& get() const;

  private:
    std::shared_ptr<const CudaPoints> points;
    ExternalMemory memory;

    Napi::Value dispose(const Napi::CallbackInfo& info);
    Napi::Value rows(const Napi::CallbackInfo& info);
    Napi::Value columns(const Napi::CallbackInfo& info);
};

} // namespace latdyn::addon
