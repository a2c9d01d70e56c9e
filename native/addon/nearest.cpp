// Nearest neighbours of two sets, both ways.
#include "latdyn/nearest.h"

#include "arguments.h"
#include "cuda_library.h"
#include "functions.h"
#include "job.h"

namespace latdyn::addon {

namespace {

NearestResult nearest_on_cuda(int device, const Rows& a, const Rows& b, int64_t columns, Metric metric,
                              JobCounters& counters) {
    NearestResult result;
    for (const auto& [of, rows] : {std::pair(&result.of_a, &a), std::pair(&result.of_b, &b)}) {
        of->index.resize(static_cast<size_t>(rows->count));
        of->value.resize(static_cast<size_t>(rows->count));
    }
    const bool done = run_on_cuda(device, counters, [&](const auto& cuda, const latdyn_cuda_job* job) {
        return cuda.nearest(job, a.data.data(), a.count, b.data.data(), b.count, columns,
                            metric == Metric::euclidean, result.of_a.index.data(), result.of_a.value.data(),
                            result.of_b.index.data(), result.of_b.value.data());
    });
    if (done)
        return result;
    NearestResult aborted;
    aborted.aborted = true;
    return aborted;
}

} // namespace

Napi::Value start_nearest(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
        const int64_t columns = whole_argument(info, 2, "columns", 1, 2147483647);
        auto a = std::make_shared<Rows>(rows_argument(info, 0, "a", columns));
        auto b = std::make_shared<Rows>(rows_argument(info, 1, "b", columns));
        const Napi::Object given = object_argument(info, 3, "options");
        NearestOptions options;
        options.metric =
            named<Metric>(given, "metric", {{"cosine", Metric::cosine}, {"euclidean", Metric::euclidean}})
                .value_or(Metric::cosine);
        options.threads = threads_of(given);
        const int device = device_of(given);

        auto result = std::make_shared<NearestResult>();
        JobSpec spec;
        spec.total = std::max(a->count, b->count);
        spec.on_progress = progress_argument(info, 4);
        spec.work = [a, b, columns, options, device, result](JobCounters& counters) {
            *result = device >= 0 ? nearest_on_cuda(device, *a, *b, columns, options.metric, counters)
                                  : nearest(a->data.data(), a->count, b->data.data(), b->count, columns,
                                            options, counters);
        };
        spec.finish = [result](Napi::Env env) {
            Napi::Object out = Napi::Object::New(env);
            out["aIndex"] = typed_array(env, result->of_a.index);
            out["aValue"] = typed_array(env, result->of_a.value);
            out["bIndex"] = typed_array(env, result->of_b.index);
            out["bValue"] = typed_array(env, result->of_b.value);
            return out;
        };
        return start_job(info.Env(), std::move(spec));
    });
}

} // namespace latdyn::addon
