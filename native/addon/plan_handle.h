#pragma once

#include "cuda_plan.h"
#include "external_memory.h"
#include "latdyn/plan.h"

#include <napi.h>

#include <memory>
#include <optional>
#include <variant>

namespace latdyn::addon {

// What a graph was compiled to: for the CPU, or for a device.
using AnyPlan = std::variant<std::shared_ptr<const Plan>, std::shared_ptr<const CudaPlan>>;

// Calls body(plan) with the one that it is.
template <class Body> auto with_plan(const AnyPlan& plan, Body body) {
    return std::visit([&](const auto& held) { return body(*held); }, plan);
}

// Elements of an input and of an output.
std::pair<int64_t, int64_t> elements_of(const AnyPlan& plan);

// A plan as JavaScript holds it; V8 is told how much memory hangs on it.
class PlanHandle : public Napi::ObjectWrap<PlanHandle> {
  public:
    static Napi::Function define(Napi::Env env);
    explicit PlanHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<PlanHandle>(info) {}

    void hold(Napi::Env env, AnyPlan held);
    // Throws Error after dispose().
    const AnyPlan& get() const;

  private:
    std::optional<AnyPlan> plan;
    ExternalMemory memory;

    Napi::Value dispose(const Napi::CallbackInfo& info);
    Napi::Value info(const Napi::CallbackInfo& info);
};

// The addon's classes, handed to every function as its data.
struct Classes {
    Napi::FunctionReference plan, iteration, points;
};

inline Classes* classes_of(const Napi::CallbackInfo& info) {
    return static_cast<Classes*>(info.Data());
}

// The plan at argument i. Throws Error for anything else.
AnyPlan plan_argument(const Napi::CallbackInfo& info, size_t i);

} // namespace latdyn::addon
