// Points by themselves: noise, and which of them are the same attractor.
#include "arguments.h"
#include "cuda_library.h"
#include "functions.h"
#include "job.h"
#include "latdyn/dedup.h"
#include "latdyn/noise.h"

#include <cmath>

namespace latdyn::addon {

// Elements that a Float32Array may have: 2^32 bytes and more fail in some versions of V8.
constexpr int64_t largest_array = (int64_t{1} << 30) - 1;

namespace {

DedupResult dedup_on_cuda(int device, const Rows& points, int64_t columns, const DedupOptions& options,
                          JobCounters& counters) {
    DedupResult result;
    result.labels.resize(static_cast<size_t>(points.count));
    result.representatives.resize(static_cast<size_t>(points.count));
    int64_t kept = 0;
    const bool done = run_on_cuda(device, counters, [&](const auto& cuda, const latdyn_cuda_job* job) {
        return cuda.dedup(job, points.data.data(), points.count, columns, static_cast<int32_t>(options.rule),
                          options.threshold, options.distance, result.labels.data(),
                          result.representatives.data(), &kept);
    });
    result.representatives.resize(static_cast<size_t>(kept));
    if (done)
        return result;
    DedupResult aborted;
    aborted.aborted = true;
    return aborted;
}

} // namespace

Napi::Value make_noise(const Napi::CallbackInfo& info) {
    return guarded(info, [&]() -> Napi::Value {
        const int64_t seed = whole_argument(info, 0, "randomSeed", 0, largest_whole);
        const int64_t first = whole_argument(info, 1, "firstRow", 0, largest_whole / 2);
        const int64_t rows = whole_argument(info, 2, "rows", 0, 2147483647);
        const int64_t columns = whole_argument(info, 3, "columns", 0, 2147483647);
        if (rows * columns > largest_array)
            throw Error("noise of " + std::to_string(rows) + " rows of " + std::to_string(columns) +
                        " is more than one array holds (" + std::to_string(largest_array) + " elements)");
        const double scale =
            info.Length() > 4 && info[4].IsNumber() ? info[4].As<Napi::Number>().DoubleValue() : NAN;
        if (!std::isfinite(scale))
            throw Error("scale should be a finite number");
        auto out =
            Napi::Float32Array::New(info.Env(), static_cast<size_t>(rows) * static_cast<size_t>(columns));
        noise(static_cast<uint64_t>(seed), first, rows, columns, static_cast<float>(scale), out.Data());
        return out;
    });
}

Napi::Value start_deduplicate(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
        const int64_t columns = whole_argument(info, 1, "columns", 1, 2147483647);
        auto points = std::make_shared<Rows>(rows_argument(info, 0, "points", columns));
        const Napi::Object given = object_argument(info, 2, "options");
        DedupOptions options;
        options.rule = named<DedupRule>(given, "rule",
                                        {{"greedy", DedupRule::greedy},
                                         {"components", DedupRule::components},
                                         {"euclidean", DedupRule::euclidean}})
                           .value_or(DedupRule::greedy);
        options.threshold = number(given, "threshold", "options");
        options.distance = not_negative(given, "distance");
        if (!(options.threshold >= -1 && options.threshold <= 1))
            throw Error("options: \"threshold\" is a cosine, expected a number from -1 to 1");
        options.threads = threads_of(given);
        const int device = device_of(given);

        auto result = std::make_shared<DedupResult>();
        JobSpec spec;
        spec.total = points->count;
        spec.on_progress = progress_argument(info, 3);
        spec.work = [points, columns, options, device, result](JobCounters& counters) {
            *result = device >= 0 ? dedup_on_cuda(device, *points, columns, options, counters)
                                  : dedup(points->data.data(), points->count, columns, options,
                                          &counters.abort, &counters.finished);
        };
        spec.finish = [result](Napi::Env env) {
            Napi::Object out = Napi::Object::New(env);
            out["representatives"] = typed_array(env, result->representatives);
            out["labels"] = typed_array(env, result->labels);
            return out;
        };
        return start_job(info.Env(), std::move(spec));
    });
}

} // namespace latdyn::addon
