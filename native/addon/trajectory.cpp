// Paths of a fixed length: their scores, curves and chosen points.
#include "latdyn/trajectory.h"

#include "arguments.h"
#include "cuda_library.h"
#include "functions.h"
#include "job.h"
#include "plan_handle.h"

namespace latdyn::addon {

namespace {

// Whole numbers in [0, end) at options[key], ascending.
std::vector<int32_t> ascending(const Napi::Object& options, const char* key, int64_t end) {
    const Napi::Value value = field(options, key, "options");
    if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array)
        throw Error(std::string("options: \"") + key + "\" should be an Int32Array");
    const auto given = value.As<Napi::Int32Array>();
    std::vector<int32_t> out(given.Data(), given.Data() + given.ElementLength());
    for (size_t i = 0; i < out.size(); i++)
        if (out[i] < 0 || out[i] >= end || (i > 0 && out[i] <= out[i - 1]))
            throw Error(std::string("options: \"") + key + "\" should ascend from 0 or more to less than " +
                        std::to_string(end));
    return out;
}

} // namespace

Napi::Value start_trajectory(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
        const Napi::Env env = info.Env();
        const AnyPlan plan = plan_argument(info, 0);
        const int64_t k = elements_of(plan).first;
        auto initial = std::make_shared<Rows>(rows_argument(info, 1, "initial", k));
        auto attractors = std::make_shared<Rows>(rows_argument(info, 2, "attractors", k));
        const Napi::Object given = object_argument(info, 3, "options");
        TrajectoryOptions options;
        options.steps = static_cast<int32_t>(integer(given, "steps", "options", 0, 2147483646));
        options.store_steps = ascending(given, "storeSteps", int64_t{options.steps} + 1);
        options.curve_rows = ascending(given, "curveRows", initial->count);
        options.threads = threads_of(given);

        struct Arrays {
            Napi::Reference<Napi::Float64Array> score;
            Napi::Reference<Napi::Float32Array> stored;
        };
        auto arrays = std::make_shared<Arrays>();
        auto curves = std::make_shared<std::vector<Curve>>(options.curve_rows.size());
        const size_t scored = attractors->count > 0 ? static_cast<size_t>(initial->count) : 0;
        auto score = Napi::Float64Array::New(env, scored);
        auto stored = Napi::Float32Array::New(env, static_cast<size_t>(initial->count) *
                                                       options.store_steps.size() * static_cast<size_t>(k));
        arrays->score = Napi::Persistent(score);
        arrays->stored = Napi::Persistent(stored);
        const TrajectoryOutput output{scored > 0 ? score.Data() : nullptr, stored.Data(), curves.get()};

        auto evaluations = std::make_shared<int64_t>(0);
        JobSpec spec;
        spec.total = initial->count;
        spec.on_progress = progress_argument(info, 4);
        spec.work = [plan, initial, attractors, options, output, curves, evaluations](JobCounters& counters) {
            with_plan(plan, [&](const auto& held) {
                trajectory(held, initial->data.data(), initial->count,
                           {attractors->data.data(), attractors->count}, options, output, counters);
            });
            *evaluations = counters.evaluations;
        };
        spec.finish = [arrays, curves, evaluations](Napi::Env env) {
            Napi::Object out = Napi::Object::New(env);
            out["score"] = arrays->score.Value();
            out["stored"] = arrays->stored.Value();
            Napi::Array list = Napi::Array::New(env, curves->size());
            for (size_t i = 0; i < curves->size(); i++) {
                Napi::Object curve = Napi::Object::New(env);
                curve["residual"] = typed_array(env, (*curves)[i].residual);
                curve["norm"] = typed_array(env, (*curves)[i].norm);
                curve["distance"] = typed_array(env, (*curves)[i].distance);
                list[static_cast<uint32_t>(i)] = curve;
            }
            out["curves"] = list;
            out["evaluations"] = static_cast<double>(*evaluations);
            return out;
        };
        return start_job(env, std::move(spec));
    });
}

Napi::Value start_score_paths(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
        const int64_t points = whole_argument(info, 1, "points", 1, 2147483647);
        const int64_t columns = whole_argument(info, 2, "columns", 1, 2147483647 / points);
        auto paths = std::make_shared<Rows>(rows_argument(info, 0, "paths", points * columns));
        auto attractors = std::make_shared<Rows>(rows_argument(info, 3, "attractors", columns));
        const Napi::Object given = object_argument(info, 4, "options");
        const int threads = threads_of(given), device = device_of(given);
        auto score = std::make_shared<std::vector<double>>(static_cast<size_t>(paths->count));
        JobSpec spec;
        spec.total = paths->count;
        spec.on_progress = progress_argument(info, 5);
        spec.work = [paths, points, columns, attractors, threads, device, score](JobCounters& counters) {
            if (device >= 0) {
                run_on_cuda(device, counters, [&](const auto& cuda, const latdyn_cuda_job* job) {
                    return cuda.score_paths(job, paths->data.data(), paths->count, points, columns,
                                            attractors->data.data(), attractors->count, score->data());
                });
                return;
            }
            score_paths(paths->data.data(), paths->count, points, columns,
                        {attractors->data.data(), attractors->count}, threads, score->data(), counters);
        };
        spec.finish = [score](Napi::Env env) {
            Napi::Object out = Napi::Object::New(env);
            out["score"] = typed_array(env, *score);
            return out;
        };
        return start_job(info.Env(), std::move(spec));
    });
}

} // namespace latdyn::addon
