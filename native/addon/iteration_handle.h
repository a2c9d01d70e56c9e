#pragma once

#include "arguments.h"
#include "iterate_io.h"
#include "latdyn/batch_iteration.h"

#include <napi.h>

#include <memory>

namespace latdyn::addon {

// An iteration as JavaScript drives it; see NativeIteration in src/native.ts.
class IterationHandle : public Napi::ObjectWrap<IterationHandle> {
  public:
    static Napi::Function define(Napi::Env env);
    explicit IterationHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<IterationHandle>(info) {}

    void hold(Napi::Env env, Rows initial, int64_t k, const IterateOptions& options);

  private:
    // What the iteration reads and writes; its address does not change.
    struct Held {
        Held(Napi::Env env, Rows from, int64_t k, const IterateOptions& options);
        const Rows initial;
        IterateArrays arrays;
        BatchIteration iteration;
        int64_t batches = 0;
    };
    std::unique_ptr<Held> held;

    Held& get() const;
    int64_t batch_argument(const Napi::CallbackInfo& info) const;
    Napi::Value open(const Napi::CallbackInfo& info);
    Napi::Value points(const Napi::CallbackInfo& info);
    Napi::Value advance(const Napi::CallbackInfo& info);
    Napi::Value finished(const Napi::CallbackInfo& info);
    Napi::Value evaluations(const Napi::CallbackInfo& info);
    Napi::Value close(const Napi::CallbackInfo& info);
};

} // namespace latdyn::addon
