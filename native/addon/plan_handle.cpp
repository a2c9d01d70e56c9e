#include "plan_handle.h"

#include "arguments.h"
#include "functions.h"

#include <algorithm>

namespace latdyn::addon {

const std::vector<std::pair<std::string, Isa>> isa_names = {
    {"avx512", Isa::avx512}, {"avx2", Isa::avx2}, {"portable", Isa::portable}};
const std::vector<std::pair<std::string, int32_t>> precision_names = {
    {"float32", LATDYN_CUDA_FLOAT32}, {"tf32", LATDYN_CUDA_TF32}, {"bf16", LATDYN_CUDA_BF16}};

namespace {

// Numbers and names of every kind of plan.
template <class Info> Napi::Object shared_info(Napi::Env env, const char* device, const Info& from) {
    Napi::Object out = Napi::Object::New(env);
    out["device"] = device;
    out["inputElements"] = static_cast<double>(from.input_elements);
    out["outputElements"] = static_cast<double>(from.output_elements);
    out["weightBytes"] = static_cast<double>(from.weight_bytes);
    out["flopsPerRow"] = from.flops_per_row;
    out["reason"] = Napi::String::New(env, from.reason);
    return out;
}

Napi::Object describe(Napi::Env env, const Plan& plan) {
    const PlanInfo& from = plan.info;
    Napi::Object out = shared_info(env, "cpu", from);
    out["layout"] = from.layout == Layout::lanes ? "lanes" : "onednn";
    out["isa"] = isa_name(from.isa);
    out["tileRows"] = from.tile_rows;
    out["arenaBytes"] = static_cast<double>(from.arena_bytes);
    return out;
}

Napi::Object describe(Napi::Env env, const CudaPlan& plan) {
    const latdyn_cuda_plan_info& from = plan.info;
    Napi::Object out = shared_info(env, "cuda", from);
    out["index"] = plan.index;
    out["layout"] = from.fused ? "fused" : "kernels";
    out["precision"] = std::find_if(precision_names.begin(), precision_names.end(), [&](const auto& one) {
                           return one.second == plan.fast;
                       })->first;
    out["rowBytes"] = static_cast<double>(from.row_bytes);
    out["launches"] = from.launches;
    return out;
}

} // namespace

std::pair<int64_t, int64_t> elements_of(const AnyPlan& plan) {
    return with_plan(plan, [](const auto& held) -> std::pair<int64_t, int64_t> {
        return {held.info.input_elements, held.info.output_elements};
    });
}

Napi::Function PlanHandle::define(Napi::Env env) {
    return DefineClass(
        env, "NativePlan",
        {InstanceMethod<&PlanHandle::dispose>("dispose"), InstanceAccessor<&PlanHandle::info>("info")});
}

void PlanHandle::hold(Napi::Env env, AnyPlan held) {
    memory = ExternalMemory(
        env, with_plan(held, [](const auto& one) { return static_cast<int64_t>(one.info.weight_bytes); }));
    plan = std::move(held);
}

const AnyPlan& PlanHandle::get() const {
    if (!plan)
        throw Error("the plan is disposed");
    return *plan;
}

Napi::Value PlanHandle::dispose(const Napi::CallbackInfo& info) {
    plan.reset();
    memory = {};
    return info.Env().Undefined();
}

Napi::Value PlanHandle::info(const Napi::CallbackInfo& info) {
    return guarded(
        info, [&] { return with_plan(get(), [&](const auto& held) { return describe(info.Env(), held); }); });
}

namespace {

Napi::FunctionReference& plan_class(const Napi::CallbackInfo& info) {
    return classes_of(info)->plan;
}

AnyPlan compile_for_cpu(const Graph& graph, const Napi::Object& options) {
    if (!options.Get("precision").IsUndefined())
        throw Error("options: \"precision\" goes with a CUDA device");
    CompileOptions compile_options;
    if (const auto layout =
            named<Layout>(options, "layout", {{"lanes", Layout::lanes}, {"onednn", Layout::onednn}}))
        compile_options.layout = static_cast<int>(*layout);
    if (const auto isa = named<Isa>(options, "isa", isa_names))
        compile_options.isa = static_cast<int>(*isa);
    return compile(graph, compile_options);
}

AnyPlan compile_for_cuda(int device, const Graph& graph, const Napi::Object& options) {
    for (const char* key : {"layout", "isa"})
        if (!options.Get(key).IsUndefined())
            throw Error(std::string("options: \"") + key + "\" goes with the CPU");
    const int32_t fast = named<int32_t>(options, "precision", precision_names).value_or(LATDYN_CUDA_FLOAT32);
    return std::make_shared<const CudaPlan>(device, fast, graph);
}

} // namespace

Napi::Value compile_graph(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
        const Graph graph = graph_from_js(object_argument(info, 0, "graph"));
        const Napi::Object options = object_argument(info, 1, "options");
        const int device = device_of(options);
        AnyPlan plan =
            device < 0 ? compile_for_cpu(graph, options) : compile_for_cuda(device, graph, options);
        Napi::Object handle = plan_class(info).New({});
        PlanHandle::Unwrap(handle)->hold(info.Env(), std::move(plan));
        return handle;
    });
}

AnyPlan plan_argument(const Napi::CallbackInfo& info, size_t i) {
    const Napi::Object object = object_argument(info, i, "plan");
    if (!object.InstanceOf(plan_class(info).Value()))
        throw Error("plan should come from compile()");
    return PlanHandle::Unwrap(object)->get();
}

} // namespace latdyn::addon
