// The calls that run a plan: once over rows, or until every point is done.
#include "arguments.h"
#include "functions.h"
#include "iterate_io.h"
#include "job.h"
#include "plan_handle.h"
#include "points_handle.h"

namespace latdyn::addon {

Napi::Value start_apply(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
        const Napi::Env env = info.Env();
        const AnyPlan plan = plan_argument(info, 0);
        const auto [inputs, outputs] = elements_of(plan);
        auto input = std::make_shared<Rows>(rows_argument(info, 1, "input", inputs));
        const int threads = threads_of(object_argument(info, 2, "options"));
        JobSpec spec;
        spec.total = input->count;
        spec.on_progress = progress_argument(info, 3);
        auto output = std::make_shared<Napi::Reference<Napi::Float32Array>>();
        float* out = hold_new(env, *output, input->count * outputs);
        spec.work = [plan, input, threads, out](JobCounters& counters) {
            with_plan(plan, [&](const auto& held) {
                apply(held, input->data.data(), input->count, out, threads, counters);
            });
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
        const AnyPlan plan = plan_argument(info, 0);
        const int64_t k = elements_of(plan).first;
        auto initial = std::make_shared<Rows>(rows_argument(info, 1, "initial", k));
        const int64_t n = initial->count;
        const Napi::Object given = object_argument(info, 2, "options");

        IterateOptions options = iterate_options(given, n);
        options.threads = threads_of(given);
        auto arrays = std::make_shared<IterateArrays>(env, n, k, options.trace_rows.size());
        auto evaluations = std::make_shared<int64_t>(0);
        const bool keep = flag(given, "keepConverged");
        auto kept = std::make_shared<std::shared_ptr<const CudaPoints>>();
        JobSpec spec;
        spec.total = n;
        spec.on_progress = progress_argument(info, 3);
        // Not the arrays themselves: what JavaScript owns is let go of on the event loop.
        spec.work = [plan, initial, options, output = arrays->output(), evaluations, keep,
                     kept](JobCounters& counters) {
            const float* from = initial->data.data();
            if (const auto* held = std::get_if<std::shared_ptr<const CudaPlan>>(&plan))
                *kept = iterate(**held, from, initial->count, options, output, counters, keep);
            else
                iterate(*std::get<std::shared_ptr<const Plan>>(plan), from, initial->count, options, output,
                        counters);
            *evaluations = counters.evaluations;
        };
        spec.finish = [arrays, evaluations, kept, classes = classes_of(info)](Napi::Env env) {
            Napi::Object result = arrays->result(env, *evaluations);
            if (*kept) {
                const Napi::Object handle = classes->points.New({});
                PointsHandle::Unwrap(handle)->hold(env, std::move(*kept));
                result["converged"] = handle;
            }
            return result;
        };
        return start_job(env, std::move(spec));
    });
}

} // namespace latdyn::addon
