#include "arguments.h"

#include <cmath>

namespace latdyn::addon {

Napi::Error device_error(Napi::Env env, const DeviceFailure& failure) {
    Napi::Error error = Napi::Error::New(env, failure.what());
    error.Set("code", Napi::String::New(env, "ERR_LATDYN_DEVICE"));
    return error;
}

Napi::Object object_argument(const Napi::CallbackInfo& info, size_t i, const char* what) {
    if (i >= info.Length() || !info[i].IsObject())
        throw Error(std::string(what) + " should be an object");
    return info[i].As<Napi::Object>();
}

int64_t whole_argument(const Napi::CallbackInfo& info, size_t i, const char* what, int64_t least,
                       int64_t most) {
    const double value =
        i < info.Length() && info[i].IsNumber() ? info[i].As<Napi::Number>().DoubleValue() : NAN;
    if (!(value >= static_cast<double>(least) && value <= static_cast<double>(most)) ||
        value != std::floor(value))
        throw Error(std::string(what) + " should be a whole number from " + std::to_string(least) + " to " +
                    std::to_string(most));
    return static_cast<int64_t>(value);
}

int threads_of(const Napi::Object& options) {
    return static_cast<int>(integer(options, "threads", "options", 1, 1024));
}

int device_of(const Napi::Object& options) {
    if (options.Get("device").IsUndefined())
        return -1;
    return static_cast<int>(integer(options, "device", "options", -1, 63));
}

bool flag(const Napi::Object& options, const char* key) {
    const Napi::Value value = options.Get(key);
    if (!value.IsUndefined() && !value.IsBoolean())
        throw Error("options: \"" + std::string(key) + "\" should be true or false");
    return value.IsBoolean() && value.As<Napi::Boolean>();
}

double not_negative(const Napi::Object& options, const char* key) {
    const double value = number(options, key, "options");
    if (!(value >= 0) || std::isinf(value))
        throw Error(std::string("options: \"") + key + "\" should be a finite number of at least 0");
    return value;
}

Napi::Function progress_argument(const Napi::CallbackInfo& info, size_t i) {
    return i < info.Length() && info[i].IsFunction() ? info[i].As<Napi::Function>() : Napi::Function();
}

Rows rows_argument(const Napi::CallbackInfo& info, size_t i, const char* what, int64_t columns) {
    if (i >= info.Length())
        throw Error(std::string(what) + " is missing");
    const Napi::Float32Array array = floats(info[i], what);
    const int64_t length = static_cast<int64_t>(array.ElementLength());
    if (length % columns != 0)
        throw Error(std::string(what) + " has " + std::to_string(length) +
                    " elements, which do not make rows of " + std::to_string(columns));
    if (length / columns > 2147483647)
        throw Error(std::string(what) + " has more than 2^31 − 1 rows");
    return {std::vector<float>(array.Data(), array.Data() + length), length / columns};
}

} // namespace latdyn::addon
