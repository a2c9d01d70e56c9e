// Reading arguments: every check names the argument, what was found and what was expected.
#pragma once

#include "cuda_library.h"
#include "graph_from_js.h"
#include "latdyn/error.h"

#include <napi.h>

#include <algorithm>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace latdyn::addon {

// Largest whole number that a JavaScript number holds exactly.
constexpr int64_t largest_whole = 9007199254740991;

// As JavaScript sees it: its `code` says that a device is what failed.
Napi::Error device_error(Napi::Env env, const DeviceFailure& failure);

// Errors of ours become JavaScript errors here and nowhere else.
template <class Body> auto guarded(const Napi::CallbackInfo& info, Body body) -> decltype(body()) {
    try {
        return body();
    } catch (const Error& error) {
        throw Napi::Error::New(info.Env(), error.what());
    } catch (const DeviceFailure& failure) {
        throw device_error(info.Env(), failure);
    } catch (const std::bad_alloc&) {
        throw Napi::Error::New(info.Env(), "out of memory");
    }
}

// The meaning of the name at options[key], or nothing where there is none.
template <class T>
std::optional<T> named(const Napi::Object& options, const char* key,
                       const std::vector<std::pair<std::string, T>>& names) {
    const Napi::Value value = options.Get(key);
    if (value.IsUndefined())
        return std::nullopt;
    const std::string given = value.ToString().Utf8Value();
    std::string known;
    for (const auto& [name, meaning] : names) {
        if (name == given)
            return meaning;
        known += (known.empty() ? "" : ", ") + name;
    }
    throw Error(std::string(key) + " is \"" + given + "\", expected one of " + known);
}

Napi::Object object_argument(const Napi::CallbackInfo& info, size_t i, const char* what);
// Argument i, a whole number in [least, most]; `what` is how messages call it.
int64_t whole_argument(const Napi::CallbackInfo& info, size_t i, const char* what, int64_t least,
                       int64_t most);
// options.threads
int threads_of(const Napi::Object& options);
// options.device: the number of a CUDA device, or −1, the CPU, also where it is missing.
int device_of(const Napi::Object& options);
// Whether options[key] is true; false where it is missing.
bool flag(const Napi::Object& options, const char* key);
// A finite number of at least 0 at options[key].
double not_negative(const Napi::Object& options, const char* key);
// The callback at argument i; empty where there is none.
Napi::Function progress_argument(const Napi::CallbackInfo& info, size_t i);

// Rows of `columns` floats, copied: the caller may write to or detach the array while the job runs.
struct Rows {
    std::vector<float> data;
    int64_t count = 0;
};

Rows rows_argument(const Napi::CallbackInfo& info, size_t i, const char* what, int64_t columns);

template <class Element> auto typed_array(Napi::Env env, const std::vector<Element>& from) {
    auto out = Napi::TypedArrayOf<Element>::New(env, from.size());
    std::copy(from.begin(), from.end(), out.Data());
    return out;
}

} // namespace latdyn::addon
