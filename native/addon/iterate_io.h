// What goes into an iteration and what comes out of it, whoever computes f.
#pragma once

#include "latdyn/iterate.h"

#include <napi.h>

#include <memory>
#include <vector>

namespace latdyn::addon {

// The options of iterate() in src/native.ts but for the threads, for `rows` initial points. Throws Error.
IterateOptions iterate_options(const Napi::Object& given, int64_t rows);

// A new array that outlives the call that makes it, and where its elements are.
template <class Array> auto* hold_new(Napi::Env env, Napi::Reference<Array>& reference, int64_t length) {
    Array array = Array::New(env, static_cast<size_t>(length));
    reference = Napi::Reference<Array>::New(array, 1);
    return array.Data();
}

// The arrays of a result: made before the work, written by it, handed over at the end.
class IterateArrays {
  public:
    IterateArrays(Napi::Env env, int64_t rows, int64_t k, size_t traces);
    const IterateOutput& output() const { return where; }
    Napi::Object result(Napi::Env env, int64_t evaluations) const;

  private:
    Napi::Reference<Napi::Float32Array> endpoints, residual;
    Napi::Reference<Napi::Int32Array> iterations;
    Napi::Reference<Napi::Uint8Array> status, period;
    std::unique_ptr<std::vector<std::vector<float>>> traces;
    IterateOutput where{};
};

} // namespace latdyn::addon
