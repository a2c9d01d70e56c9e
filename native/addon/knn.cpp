// Scores from the nearest rows of a reference set.
#include "latdyn/knn.h"

#include "arguments.h"
#include "cuda_library.h"
#include "functions.h"
#include "job.h"

namespace latdyn::addon {

namespace {

KnnResult knn_on_cuda(int device, const Rows& reference, const Rows& queries, int64_t columns,
                      const KnnOptions& options, JobCounters& counters) {
    KnnResult result;
    result.score.resize(static_cast<size_t>(queries.count));
    result.aborted = !run_on_cuda(device, counters, [&](const auto& cuda, const latdyn_cuda_job* job) {
        return cuda.knn(job, reference.data.data(), reference.count, queries.data.data(), queries.count,
                        columns, options.neighbours, options.rule == KnnRule::kth, options.normalise,
                        result.score.data(), &result.neighbours);
    });
    return result;
}

} // namespace

Napi::Value start_knn_score(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
        const int64_t columns = whole_argument(info, 2, "columns", 1, 2147483647);
        auto reference = std::make_shared<Rows>(rows_argument(info, 0, "reference", columns));
        auto queries = std::make_shared<Rows>(rows_argument(info, 1, "queries", columns));
        const Napi::Object given = object_argument(info, 3, "options");
        KnnOptions options;
        options.neighbours = integer(given, "neighbours", "options", 1, 2147483647);
        options.rule = named<KnnRule>(given, "rule", {{"mean", KnnRule::mean}, {"kth", KnnRule::kth}})
                           .value_or(KnnRule::mean);
        options.normalise = given.Get("normalise").ToBoolean();
        options.threads = threads_of(given);
        const int device = device_of(given);

        auto result = std::make_shared<KnnResult>();
        JobSpec spec;
        spec.total = queries->count;
        spec.on_progress = progress_argument(info, 4);
        spec.work = [reference, queries, columns, options, device, result](JobCounters& counters) {
            *result = device >= 0 ? knn_on_cuda(device, *reference, *queries, columns, options, counters)
                                  : knn_score(reference->data.data(), reference->count, queries->data.data(),
                                              queries->count, columns, options, counters);
        };
        spec.finish = [result, asked = options.neighbours](Napi::Env env) {
            Napi::Object out = Napi::Object::New(env);
            out["score"] = typed_array(env, result->score);
            out["neighbours"] = static_cast<double>(result->neighbours);
            out["wholeReference"] = asked > result->neighbours;
            return out;
        };
        return start_job(info.Env(), std::move(spec));
    });
}

} // namespace latdyn::addon
