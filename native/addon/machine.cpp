// What this machine is and can do at most.
#include "arguments.h"
#include "cuda_library.h"
#include "functions.h"
#include "latdyn/isa.h"
#include "latdyn/measure.h"

#include <dnnl.h>

#include <thread>

namespace latdyn::addon {

Napi::Value cpu_info(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    Napi::Object out = Napi::Object::New(env);
    out["isa"] = isa_name(widest_isa());
    Napi::Array available = Napi::Array::New(env);
    for (Isa isa : {Isa::avx512, Isa::avx2, Isa::portable})
        if (isa_available(isa))
            available[available.Length()] = Napi::String::New(env, isa_name(isa));
    out["isas"] = available;
    out["threads"] = std::max(1u, std::thread::hardware_concurrency());
    out["l2Bytes"] = static_cast<double>(l2_bytes());
    const dnnl_version_t* version = dnnl_version();
    out["oneDnn"] = std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
                    std::to_string(version->patch);
    return out;
}

Napi::Value cuda_info(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const CudaState state = cuda_state();
    Napi::Array devices = Napi::Array::New(env);
    for (const latdyn_cuda_device& device : state.devices) {
        Napi::Object one = Napi::Object::New(env);
        one["name"] = std::string(device.name);
        one["memory"] = static_cast<double>(device.memory);
        one["capability"] = std::to_string(device.major) + "." + std::to_string(device.minor);
        one["multiprocessors"] = device.multiprocessors;
        one["driver"] =
            std::to_string(device.driver / 1000) + "." + std::to_string(device.driver % 1000 / 10);
        devices[devices.Length()] = one;
    }
    Napi::Object out = Napi::Object::New(env);
    out["library"] = state.library;
    out["given"] = state.given;
    out["built"] = state.built;
    out["reason"] = state.reason.empty() ? env.Null() : Napi::Value(Napi::String::New(env, state.reason));
    out["devices"] = devices;
    return out;
}

Napi::Value gemm_limit(const Napi::CallbackInfo& info) {
    return guarded(info, [&]() -> Napi::Value {
        const auto whole = [&](size_t i, const char* what, int64_t most) {
            return static_cast<int>(whole_argument(info, i, what, 1, most));
        };
        return Napi::Number::New(info.Env(), measure_gemm(whole(0, "size", 16384), whole(1, "threads", 1024),
                                                          whole(2, "repeats", 1000)));
    });
}

} // namespace latdyn::addon
