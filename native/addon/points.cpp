// Points by themselves: noise, and which of them are the same attractor.
#include "arguments.h"
#include "functions.h"
#include "job.h"
#include "latdyn/dedup.h"
#include "latdyn/noise.h"
#include "plan_handle.h"
#include "points_handle.h"

#include <cmath>

namespace latdyn::addon {

// Elements that a Float32Array may have: 2^32 bytes and more fail in some versions of V8.
constexpr int64_t largest_array = (int64_t{1} << 30) - 1;

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

namespace {

// The points at argument 0 where they are on a device; null where they are an array.
std::shared_ptr<const CudaPoints> points_there(const Napi::CallbackInfo& info, int64_t columns, int device) {
    if (!info[0].IsObject() || !info[0].As<Napi::Object>().InstanceOf(classes_of(info)->points.Value()))
        return nullptr;
    auto there = PointsHandle::Unwrap(info[0].As<Napi::Object>())->get();
    if (there->info.columns != columns)
        throw Error("columns is " + std::to_string(columns) + ", but the points have " +
                    std::to_string(there->info.columns));
    if (there->index != device)
        throw Error("options: \"device\" is " + std::to_string(device) + ", but the points are on device " +
                    std::to_string(there->index));
    return there;
}

} // namespace

Napi::Value start_deduplicate(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
        const int64_t columns = whole_argument(info, 1, "columns", 1, 2147483647);
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
        const auto there = points_there(info, columns, device);
        const auto points =
            std::make_shared<Rows>(there ? Rows() : rows_argument(info, 0, "points", columns));

        auto result = std::make_shared<DedupResult>();
        JobSpec spec;
        spec.total = there ? there->info.rows : points->count;
        spec.on_progress = progress_argument(info, 3);
        spec.work = [there, points, columns, options, device, result](JobCounters& counters) {
            const float* given = points->data.data();
            *result = there         ? dedup_on_cuda(*there, options, counters)
                      : device >= 0 ? dedup_on_cuda(device, given, points->count, columns, options, counters)
                                    : dedup(given, points->count, columns, options, &counters.abort,
                                            &counters.finished);
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
