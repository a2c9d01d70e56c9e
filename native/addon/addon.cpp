// The addon's face: argument checks and hand-over. See src/native.ts for the types of every call.
#include "graph_from_js.h"
#include "job.h"
#include "latdyn/dedup.h"
#include "latdyn/error.h"
#include "latdyn/measure.h"
#include "latdyn/noise.h"
#include "latdyn/plan.h"

#include <dnnl.h>
#include <napi.h>

#include <cmath>
#include <optional>
#include <thread>

namespace latdyn::addon {

namespace {

constexpr double largest_whole = 9007199254740991.0;

// Errors of ours become JavaScript errors here and nowhere else.
template <class Body>
auto guarded(const Napi::CallbackInfo& info, Body body) -> decltype(body()) {
    try {
        return body();
    } catch (const Error& error) {
        throw Napi::Error::New(info.Env(), error.what());
    } catch (const std::bad_alloc&) {
        throw Napi::Error::New(info.Env(), "out of memory");
    }
}

template <class T>
std::optional<T> named(const Napi::Object& options, const char* key, const std::vector<std::pair<std::string, T>>& names) {
    const Napi::Value value = options.Get(key);
    if (value.IsUndefined()) return std::nullopt;
    const std::string given = value.ToString().Utf8Value();
    std::string known;
    for (const auto& [name, meaning] : names) {
        if (name == given) return meaning;
        known += (known.empty() ? "" : ", ") + name;
    }
    throw Error(std::string(key) + " is \"" + given + "\", expected one of " + known);
}

const std::vector<std::pair<std::string, Isa>> isa_names = {
    {"avx512", Isa::avx512}, {"avx2", Isa::avx2}, {"portable", Isa::portable}};

Napi::Object object_argument(const Napi::CallbackInfo& info, size_t i, const char* what) {
    if (i >= info.Length() || !info[i].IsObject()) throw Error(std::string(what) + " should be an object");
    return info[i].As<Napi::Object>();
}

int threads_of(const Napi::Object& options) { return static_cast<int>(integer(options, "threads", "options", 1, 1024)); }

Napi::Function progress_argument(const Napi::CallbackInfo& info, size_t i) {
    return i < info.Length() && info[i].IsFunction() ? info[i].As<Napi::Function>() : Napi::Function();
}

// ---- plans ----

class PlanHandle : public Napi::ObjectWrap<PlanHandle> {
  public:
    static Napi::Function define(Napi::Env env) {
        return DefineClass(env, "NativePlan",
                           {InstanceMethod<&PlanHandle::dispose>("dispose"), InstanceAccessor<&PlanHandle::info>("info")});
    }

    explicit PlanHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<PlanHandle>(info) {}
    ~PlanHandle() override { release(); }

    void hold(Napi::Env env, std::shared_ptr<const Plan> held) {
        plan = std::move(held);
        counted = static_cast<int64_t>(plan->info.weight_bytes);
        Napi::MemoryManagement::AdjustExternalMemory(env, counted);
    }

    std::shared_ptr<const Plan> get() const {
        if (!plan) throw Error("the plan is disposed");
        return plan;
    }

  private:
    std::shared_ptr<const Plan> plan;
    int64_t counted = 0;

    void release() {
        if (counted) Napi::MemoryManagement::AdjustExternalMemory(Env(), -counted);
        counted = 0;
        plan.reset();
    }

    Napi::Value dispose(const Napi::CallbackInfo& info) {
        release();
        return info.Env().Undefined();
    }

    Napi::Value info(const Napi::CallbackInfo& info) {
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
};

struct Classes {
    Napi::FunctionReference plan;
};

Napi::FunctionReference& plan_class(const Napi::CallbackInfo& info) {
    return static_cast<Classes*>(info.Data())->plan;
}

Napi::Value compile_graph(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
        const Graph graph = graph_from_js(object_argument(info, 0, "graph"));
        const Napi::Object options = object_argument(info, 1, "options");
        CompileOptions compile_options;
        if (const auto layout = named<Layout>(options, "layout", {{"lanes", Layout::lanes}, {"onednn", Layout::onednn}}))
            compile_options.layout = static_cast<int>(*layout);
        if (const auto isa = named<Isa>(options, "isa", isa_names)) compile_options.isa = static_cast<int>(*isa);
        auto plan = compile(graph, compile_options);
        Napi::Object handle = plan_class(info).New({});
        PlanHandle::Unwrap(handle)->hold(info.Env(), std::move(plan));
        return handle;
    });
}

std::shared_ptr<const Plan> plan_argument(const Napi::CallbackInfo& info, size_t i) {
    const Napi::Object object = object_argument(info, i, "plan");
    if (!object.InstanceOf(plan_class(info).Value())) throw Error("plan should come from compile()");
    return PlanHandle::Unwrap(object)->get();
}

// Rows of `columns` floats, copied: the caller may write to or detach the array while the job runs.
struct Rows {
    std::vector<float> data;
    int64_t count = 0;
};

Rows rows_argument(const Napi::CallbackInfo& info, size_t i, const char* what, int64_t columns) {
    if (i >= info.Length()) throw Error(std::string(what) + " is missing");
    const Napi::Float32Array array = floats(info[i], what);
    const int64_t length = static_cast<int64_t>(array.ElementLength());
    if (length % columns != 0)
        throw Error(std::string(what) + " has " + std::to_string(length) + " elements, which do not make rows of " +
                    std::to_string(columns));
    if (length / columns > 2147483647) throw Error(std::string(what) + " has more than 2^31 − 1 rows");
    return {std::vector<float>(array.Data(), array.Data() + length), length / columns};
}

template <class Array>
Array result_array(Napi::Env env, JobSpec& spec, int64_t length) {
    Array array = Array::New(env, static_cast<size_t>(length));
    spec.keep.push_back(Napi::Reference<Napi::Value>::New(array, 1));
    return array;
}

Napi::Value start_apply(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
        const Napi::Env env = info.Env();
        const auto plan = plan_argument(info, 0);
        auto input = std::make_shared<Rows>(rows_argument(info, 1, "input", plan->info.input_elements));
        const int threads = threads_of(object_argument(info, 2, "options"));
        JobSpec spec;
        spec.total = input->count;
        spec.on_progress = progress_argument(info, 3);
        auto output = result_array<Napi::Float32Array>(env, spec, input->count * plan->info.output_elements);
        spec.work = [plan, input, threads, out = output.Data()](JobCounters& counters) {
            apply(*plan, input->data.data(), input->count, out, threads, counters);
        };
        spec.finish = [reference = std::make_shared<Napi::Reference<Napi::Float32Array>>(
                           Napi::Reference<Napi::Float32Array>::New(output, 1))](Napi::Env env) {
            Napi::Object result = Napi::Object::New(env);
            result["output"] = reference->Value();
            return result;
        };
        return start_job(env, std::move(spec));
    });
}

struct IterateArrays {
    Napi::Reference<Napi::Float32Array> endpoints, residual;
    Napi::Reference<Napi::Int32Array> iterations;
    Napi::Reference<Napi::Uint8Array> status, period;
};

template <class Array>
auto* hold_new(Napi::Env env, Napi::Reference<Array>& reference, int64_t length) {
    Array array = Array::New(env, static_cast<size_t>(length));
    reference = Napi::Reference<Array>::New(array, 1);
    return array.Data();
}

Napi::Value start_iterate(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
        const Napi::Env env = info.Env();
        const auto plan = plan_argument(info, 0);
        const int64_t k = plan->info.input_elements;
        auto initial = std::make_shared<Rows>(rows_argument(info, 1, "initial", k));
        const int64_t n = initial->count;
        const Napi::Object given = object_argument(info, 2, "options");

        IterateOptions options;
        options.tolerance = number(given, "tolerance", "options");
        if (!(options.tolerance >= 0) || std::isinf(options.tolerance))
            throw Error("options: \"tolerance\" should be a finite number of at least 0");
        options.max_iterations = static_cast<int32_t>(integer(given, "maxIterations", "options", 1, 2147483647));
        options.criterion = named<Criterion>(given, "criterion",
                                             {{"residual", Criterion::residual},
                                              {"relative", Criterion::relative},
                                              {"error-bound", Criterion::error_bound}})
                                .value_or(Criterion::residual);
        options.divergence_ratio = number(given, "divergenceRatio", "options");
        if (!(options.divergence_ratio > 0)) throw Error("options: \"divergenceRatio\" should be above 0");
        options.threads = threads_of(given);
        const Napi::Value traced = field(given, "traceRows", "options");
        if (!traced.IsTypedArray() || traced.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array)
            throw Error("options: \"traceRows\" should be an Int32Array");
        const auto rows = traced.As<Napi::Int32Array>();
        for (size_t i = 0; i < rows.ElementLength(); i++) {
            if (rows[i] < 0 || rows[i] >= n || (i > 0 && rows[i] <= rows[i - 1]))
                throw Error("options: \"traceRows\" should name rows of the initial points, ascending");
            options.trace_rows.push_back(rows[i]);
        }

        auto arrays = std::make_shared<IterateArrays>();
        auto traces = std::make_shared<std::vector<std::vector<float>>>(options.trace_rows.size());
        IterateOutput output{};
        output.endpoints = hold_new(env, arrays->endpoints, n * k);
        output.iterations = hold_new(env, arrays->iterations, n);
        output.residual = hold_new(env, arrays->residual, n);
        output.status = hold_new(env, arrays->status, n);
        output.period = hold_new(env, arrays->period, n);
        output.traces = traces.get();

        auto evaluations = std::make_shared<int64_t>(0);
        JobSpec spec;
        spec.total = n;
        spec.on_progress = progress_argument(info, 3);
        spec.work = [plan, initial, options, output, traces, evaluations](JobCounters& counters) {
            iterate(*plan, initial->data.data(), initial->count, options, output, counters);
            *evaluations = counters.evaluations;
        };
        spec.finish = [arrays, traces, evaluations](Napi::Env env) {
            Napi::Object result = Napi::Object::New(env);
            result["endpoints"] = arrays->endpoints.Value();
            result["iterations"] = arrays->iterations.Value();
            result["residual"] = arrays->residual.Value();
            result["status"] = arrays->status.Value();
            result["period"] = arrays->period.Value();
            Napi::Array lists = Napi::Array::New(env, traces->size());
            for (size_t i = 0; i < traces->size(); i++) {
                const auto& trace = (*traces)[i];
                auto list = Napi::Float32Array::New(env, trace.size());
                std::copy(trace.begin(), trace.end(), list.Data());
                lists[static_cast<uint32_t>(i)] = list;
            }
            result["traces"] = lists;
            result["evaluations"] = static_cast<double>(*evaluations);
            return result;
        };
        return start_job(env, std::move(spec));
    });
}

// ---- points ----

Napi::Value make_noise(const Napi::CallbackInfo& info) {
    return guarded(info, [&]() -> Napi::Value {
        const auto whole = [&](size_t i, const char* what, double most) {
            const double value = i < info.Length() && info[i].IsNumber() ? info[i].As<Napi::Number>().DoubleValue() : -1;
            if (!(value >= 0 && value <= most) || value != std::floor(value))
                throw Error(std::string(what) + " should be a whole number of at least 0");
            return static_cast<int64_t>(value);
        };
        const int64_t seed = whole(0, "randomSeed", largest_whole), first = whole(1, "firstRow", largest_whole / 2);
        const int64_t rows = whole(2, "rows", 2147483647), columns = whole(3, "columns", 2147483647);
        const double scale = info.Length() > 4 && info[4].IsNumber() ? info[4].As<Napi::Number>().DoubleValue() : NAN;
        if (!std::isfinite(scale)) throw Error("scale should be a finite number");
        auto out = Napi::Float32Array::New(info.Env(), static_cast<size_t>(rows) * static_cast<size_t>(columns));
        noise(static_cast<uint64_t>(seed), first, rows, columns, static_cast<float>(scale), out.Data());
        return out;
    });
}

Napi::Value start_deduplicate(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
        if (info.Length() < 2 || !info[1].IsNumber()) throw Error("columns should be a number");
        const double columns = info[1].As<Napi::Number>().DoubleValue();
        if (!(columns >= 1 && columns <= 2147483647) || columns != std::floor(columns))
            throw Error("columns should be a whole number of at least 1");
        auto points = std::make_shared<Rows>(rows_argument(info, 0, "points", static_cast<int64_t>(columns)));
        const Napi::Object given = object_argument(info, 2, "options");
        DedupOptions options;
        options.rule = named<DedupRule>(given, "rule",
                                        {{"greedy", DedupRule::greedy},
                                         {"components", DedupRule::components},
                                         {"euclidean", DedupRule::euclidean}})
                           .value_or(DedupRule::greedy);
        options.threshold = static_cast<float>(number(given, "threshold", "options"));
        options.distance = static_cast<float>(number(given, "distance", "options"));
        if (!(options.threshold >= -1 && options.threshold <= 1))
            throw Error("options: \"threshold\" is a cosine, expected a number from -1 to 1");
        if (!(options.distance >= 0) || !std::isfinite(options.distance))
            throw Error("options: \"distance\" should be a finite number of at least 0");
        options.threads = threads_of(given);

        auto result = std::make_shared<DedupResult>();
        JobSpec spec;
        spec.total = points->count;
        spec.work = [points, columns, options, result](JobCounters& counters) {
            *result = dedup(points->data.data(), points->count, static_cast<int64_t>(columns), options, &counters.abort);
        };
        spec.finish = [result](Napi::Env env) {
            const auto list = [&](const std::vector<int32_t>& from) {
                auto out = Napi::Int32Array::New(env, from.size());
                std::copy(from.begin(), from.end(), out.Data());
                return out;
            };
            Napi::Object out = Napi::Object::New(env);
            out["representatives"] = list(result->representatives);
            out["labels"] = list(result->labels);
            return out;
        };
        return start_job(info.Env(), std::move(spec));
    });
}

// ---- the machine ----

Napi::Value cpu_info(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    Napi::Object out = Napi::Object::New(env);
    out["isa"] = isa_name(widest_isa());
    Napi::Array available = Napi::Array::New(env);
    for (const auto& [name, isa] : isa_names)
        if (isa_available(isa)) available[available.Length()] = Napi::String::New(env, name);
    out["isas"] = available;
    out["threads"] = std::max(1u, std::thread::hardware_concurrency());
    out["l2Bytes"] = static_cast<double>(l2_bytes());
    const dnnl_version_t* version = dnnl_version();
    out["oneDnn"] = std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
                    std::to_string(version->patch);
    return out;
}

Napi::Value gemm_limit(const Napi::CallbackInfo& info) {
    return guarded(info, [&]() -> Napi::Value {
        const auto whole = [&](size_t i, const char* what, double most) {
            const double value = i < info.Length() && info[i].IsNumber() ? info[i].As<Napi::Number>().DoubleValue() : 0;
            if (!(value >= 1 && value <= most) || value != std::floor(value))
                throw Error(std::string(what) + " should be a whole number of at least 1");
            return static_cast<int>(value);
        };
        return Napi::Number::New(info.Env(),
                                 measure_gemm(whole(0, "size", 16384), whole(1, "threads", 1024), whole(2, "repeats", 1000)));
    });
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
    watch_environment(env);
    auto* classes = new Classes{Napi::Persistent(PlanHandle::define(env))}; // lives as long as the environment
    env.AddCleanupHook([classes] { delete classes; });
    const auto add = [&](const char* name, Napi::Value (*body)(const Napi::CallbackInfo&)) {
        exports[name] = Napi::Function::New(env, body, name, classes);
    };
    exports["version"] = LATDYN_VERSION;
    add("cpu", cpu_info);
    add("compile", compile_graph);
    add("apply", start_apply);
    add("iterate", start_iterate);
    add("noise", make_noise);
    add("deduplicate", start_deduplicate);
    add("measureGemm", gemm_limit);
    return exports;
}

} // namespace

NODE_API_MODULE(latent_dynamics, init)

} // namespace latdyn::addon
