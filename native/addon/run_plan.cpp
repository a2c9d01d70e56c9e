// The calls that run a plan: once over rows, or until every point is done.
#include "arguments.h"
#include "functions.h"
#include "job.h"
#include "plan_handle.h"

namespace latdyn::addon {

namespace {

struct IterateArrays {
    Napi::Reference<Napi::Float32Array> endpoints, residual;
    Napi::Reference<Napi::Int32Array> iterations;
    Napi::Reference<Napi::Uint8Array> status, period;
};

// A new array that outlives the call that makes it, and where its elements are.
template <class Array> auto* hold_new(Napi::Env env, Napi::Reference<Array>& reference, int64_t length) {
    Array array = Array::New(env, static_cast<size_t>(length));
    reference = Napi::Reference<Array>::New(array, 1);
    return array.Data();
}

} // namespace

Napi::Value start_apply(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
        const Napi::Env env = info.Env();
        const auto plan = plan_argument(info, 0);
        auto input = std::make_shared<Rows>(rows_argument(info, 1, "input", plan->info.input_elements));
        const int threads = threads_of(object_argument(info, 2, "options"));
        JobSpec spec;
        spec.total = input->count;
        spec.on_progress = progress_argument(info, 3);
        auto output = std::make_shared<Napi::Reference<Napi::Float32Array>>();
        float* out = hold_new(env, *output, input->count * plan->info.output_elements);
        spec.work = [plan, input, threads, out](JobCounters& counters) {
            apply(*plan, input->data.data(), input->count, out, threads, counters);
        };
        spec.finish = [output](Napi::Env env) {
            Napi::Object result = Napi::Object::New(env);
            result["output"] = output->Value();
            return result;
        };
        return start_job(env, std::move(spec));
    });
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
        options.tolerance = not_negative(given, "tolerance");
        options.max_iterations =
            static_cast<int32_t>(integer(given, "maxIterations", "options", 1, 2147483647));
        options.criterion = named<Criterion>(given, "criterion",
                                             {{"residual", Criterion::residual},
                                              {"relative", Criterion::relative},
                                              {"error-bound", Criterion::error_bound}})
                                .value_or(Criterion::residual);
        options.divergence_ratio = number(given, "divergenceRatio", "options");
        if (!(options.divergence_ratio > 0))
            throw Error("options: \"divergenceRatio\" should be above 0");
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
            for (size_t i = 0; i < traces->size(); i++)
                lists[static_cast<uint32_t>(i)] = typed_array(env, (*traces)[i]);
            result["traces"] = lists;
            result["evaluations"] = static_cast<double>(*evaluations);
            return result;
        };
        return start_job(env, std::move(spec));
    });
}

} // namespace latdyn::addon
