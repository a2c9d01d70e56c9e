// Calls that take as long as reading a batch does, so they are no jobs.
#include "iteration_handle.h"

#include "functions.h"
#include "plan_handle.h"

namespace latdyn::addon {

Napi::Function IterationHandle::define(Napi::Env env) {
    return DefineClass(env, "NativeIteration",
                       {InstanceMethod<&IterationHandle::open>("open"),
                        InstanceMethod<&IterationHandle::points>("points"),
                        InstanceMethod<&IterationHandle::advance>("advance"),
                        InstanceAccessor<&IterationHandle::finished>("finished"),
                        InstanceAccessor<&IterationHandle::evaluations>("evaluations"),
                        InstanceMethod<&IterationHandle::close>("close")});
}

IterationHandle::Held::Held(Napi::Env env, Rows from, int64_t k, const IterateOptions& options)
    : initial(std::move(from)), arrays(env, initial.count, k, options.trace_rows.size()),
      iteration(initial.data.data(), initial.count, k, options, arrays.output()) {}

void IterationHandle::hold(Napi::Env env, Rows initial, int64_t k, const IterateOptions& options) {
    held = std::make_unique<Held>(env, std::move(initial), k, options);
}

IterationHandle::Held& IterationHandle::get() const {
    if (!held)
        throw Error("the iteration is closed");
    return *held;
}

int64_t IterationHandle::batch_argument(const Napi::CallbackInfo& info) const {
    return whole_argument(info, 0, "batch", 0, get().batches - 1);
}

Napi::Value IterationHandle::open(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
        Held& current = get();
        const int64_t batch = current.iteration.open(whole_argument(info, 0, "rows", 1, 2147483647));
        current.batches = batch + 1;
        return Napi::Number::New(info.Env(), static_cast<double>(batch));
    });
}

Napi::Value IterationHandle::points(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
        const std::span<const float> points = get().iteration.points(batch_argument(info));
        auto out = Napi::Float32Array::New(info.Env(), points.size());
        std::copy(points.begin(), points.end(), out.Data());
        return out;
    });
}

Napi::Value IterationHandle::advance(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
        const int64_t batch = batch_argument(info);
        const Napi::Float32Array mapped =
            floats(info.Length() > 1 ? info[1] : info.Env().Undefined(), "mapped");
        const size_t expected = get().iteration.points(batch).size();
        if (mapped.ElementLength() != expected)
            throw Error("mapped has " + std::to_string(mapped.ElementLength()) + " elements, expected " +
                        std::to_string(expected));
        get().iteration.advance(batch, mapped.Data());
        return info.Env().Undefined();
    });
}

Napi::Value IterationHandle::finished(const Napi::CallbackInfo& info) {
    return guarded(
        info, [&] { return Napi::Number::New(info.Env(), static_cast<double>(get().iteration.finished())); });
}

Napi::Value IterationHandle::evaluations(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
        return Napi::Number::New(info.Env(), static_cast<double>(get().iteration.evaluations()));
    });
}

Napi::Value IterationHandle::close(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
        Held& current = get();
        current.iteration.close();
        const Napi::Object result = current.arrays.result(info.Env(), current.iteration.evaluations());
        held.reset();
        return result;
    });
}

Napi::Value open_iteration(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
        const int64_t k = whole_argument(info, 1, "k", 1, 2147483647);
        Rows initial = rows_argument(info, 0, "initial", k);
        const IterateOptions options = iterate_options(object_argument(info, 2, "options"), initial.count);
        const Napi::Object handle = classes_of(info)->iteration.New({});
        IterationHandle::Unwrap(handle)->hold(info.Env(), std::move(initial), k, options);
        return handle;
    });
}

} // namespace latdyn::addon
