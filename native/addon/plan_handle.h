#pragma once

#include "latdyn/plan.h"

#include <napi.h>

#include <memory>

namespace latdyn::addon {

// A plan as JavaScript holds it; V8 is told how much memory hangs on it.
class PlanHandle : public Napi::ObjectWrap<PlanHandle> {
  public:
    static Napi::Function define(Napi::Env env);
    explicit PlanHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<PlanHandle>(info) {}
    ~PlanHandle() override { release(); }

    void hold(Napi::Env env, std::shared_ptr<const Plan> held);
    // Throws Error after dispose().
    std::shared_ptr<const Plan> get() const;

  private:
    std::shared_ptr<const Plan> plan;
    int64_t counted = 0;

    void release();
    Napi::Value dispose(const Napi::CallbackInfo& info);
    Napi::Value info(const Napi::CallbackInfo& info);
};

// The addon's classes, handed to every function as its data.
struct Classes {
    Napi::FunctionReference plan, iteration;
};

// The plan at argument i. Throws Error for anything else.
std::shared_ptr<const Plan> plan_argument(const Napi::CallbackInfo& info, size_t i);

} // namespace latdyn::addon
