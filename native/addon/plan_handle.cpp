#include "plan_handle.h"

#include "arguments.h"
#include "functions.h"

namespace latdyn::addon {

const std::vector<std::pair<std::string, Isa>> isa_names = {
    {"avx512", Isa::avx512}, {"avx2", Isa::avx2}, {"portable", Isa::portable}};

Napi::Function PlanHandle::define(Napi::Env env) {
    return DefineClass(
        env, "NativePlan",
        {InstanceMethod<&PlanHandle::dispose>("dispose"), InstanceAccessor<&PlanHandle::info>("info")});
}

void PlanHandle::hold(Napi::Env env, std::shared_ptr<const Plan> held) {
    plan = std::move(held);
    counted = static_cast<int64_t>(plan->info.weight_bytes);
    Napi::MemoryManagement::AdjustExternalMemory(env, counted);
}

std::shared_ptr<const Plan> PlanHandle::get() const {
    if (!plan)
        throw Error("the plan is disposed");
    return plan;
}

void PlanHandle::release() {
    if (counted)
        Napi::MemoryManagement::AdjustExternalMemory(Env(), -counted);
    counted = 0;
    plan.reset();
}

Napi::Value PlanHandle::dispose(const Napi::CallbackInfo& info) {
    release();
    return info.Env().Undefined();
}

Napi::Value PlanHandle::info(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
        const PlanInfo& from = get()->info;
        Napi::Object out = Napi::Object::New(info.Env());
        out["layout"] = from.layout == Layout::lanes ? "lanes" : "onednn";
        out["isa"] = isa_name(from.isa);
        out["tileRows"] = from.tile_rows;
        out["inputElements"] = static_cast<double>(from.input_elements);
        out["outputElements"] = static_cast<double>(from.output_elements);
        out["arenaBytes"] = static_cast<double>(from.arena_bytes);
        out["weightBytes"] = static_cast<double>(from.weight_bytes);
        out["flopsPerRow"] = from.flops_per_row;
        out["reason"] = from.reason;
        return out;
    });
}

namespace {

Napi::FunctionReference& plan_class(const Napi::CallbackInfo& info) {
    return static_cast<Classes*>(info.Data())->plan;
}

} // namespace

Napi::Value compile_graph(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
        const Graph graph = graph_from_js(object_argument(info, 0, "graph"));
        const Napi::Object options = object_argument(info, 1, "options");
        CompileOptions compile_options;
        if (const auto layout =
                named<Layout>(options, "layout", {{"lanes", Layout::lanes}, {"onednn", Layout::onednn}}))
            compile_options.layout = static_cast<int>(*layout);
        if (const auto isa = named<Isa>(options, "isa", isa_names))
            compile_options.isa = static_cast<int>(*isa);
        auto plan = compile(graph, compile_options);
        Napi::Object handle = plan_class(info).New({});
        PlanHandle::Unwrap(handle)->hold(info.Env(), std::move(plan));
        return handle;
    });
}

std::shared_ptr<const Plan> plan_argument(const Napi::CallbackInfo& info, size_t i) {
    const Napi::Object object = object_argument(info, i, "plan");
    if (!object.InstanceOf(plan_class(info).Value()))
        throw Error("plan should come from compile()");
    return PlanHandle::Unwrap(object)->get();
}

} // namespace latdyn::addon
