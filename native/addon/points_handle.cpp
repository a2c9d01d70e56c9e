#include "points_handle.h"

#include "arguments.h"

namespace latdyn::addon {

Napi::Function PointsHandle::define(Napi::Env env) {
    return DefineClass(env, "NativePoints",
                       {InstanceMethod<&PointsHandle::dispose>("dispose"),
                        InstanceAccessor<&PointsHandle::rows>("rows"),
                        InstanceAccessor<&PointsHandle::columns>("columns")});
}

void PointsHandle::hold(Napi::Env env, std::shared_ptr<const CudaPoints> held) {
    memory = ExternalMemory(env, held->info.bytes);
    points = std::move(held);
}

const std::shared_ptr<const CudaPoints>& PointsHandle::get() const {
    if (!points)
        throw Error("the points are disposed");
    return points;
}

Napi::Value PointsHandle::dispose(const Napi::CallbackInfo& info) {
    points.reset();
    memory = {};
    return info.Env().Undefined();
}

Napi::Value PointsHandle::rows(const Napi::CallbackInfo& info) {
    return guarded(info,
                   [&] { return Napi::Number::New(info.Env(), static_cast<double>(get()->info.rows)); });
}

Napi::Value PointsHandle::columns(const Napi::CallbackInfo& info) {
    return guarded(info,
                   [&] { return Napi::Number::New(info.Env(), static_cast<double>(get()->info.columns)); });
}

} // namespace latdyn::addon
