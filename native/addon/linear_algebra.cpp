// What a library of linear algebra answers: singular values, distances under a covariance, a basis.
#include "arguments.h"
#include "functions.h"
#include "job.h"
#include "latdyn/mahalanobis.h"
#include "latdyn/orthonormal.h"
#include "latdyn/singular_values.h"

namespace latdyn::addon {

Napi::Value start_singular_values(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
        const int64_t columns = whole_argument(info, 1, "columns", 1, 2147483647);
        auto rows = std::make_shared<Rows>(rows_argument(info, 0, "rows", columns));
        const Napi::Object given = object_argument(info, 2, "options");
        SingularValuesOptions options;
        options.centred = given.Get("centred").ToBoolean().Value();
        options.threads = threads_of(given);

        auto result = std::make_shared<SingularValuesResult>();
        JobSpec spec;
        spec.total = std::min(rows->count, columns);
        spec.on_progress = progress_argument(info, 3);
        spec.work = [rows, columns, options, result](JobCounters& counters) {
            *result = singular_values(rows->data.data(), rows->count, columns, options, counters);
        };
        spec.finish = [result](Napi::Env env) {
            Napi::Object out = Napi::Object::New(env);
            out["values"] = typed_array(env, result->values);
            return out;
        };
        return start_job(info.Env(), std::move(spec));
    });
}

Napi::Value start_mahalanobis(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
        const int64_t columns = whole_argument(info, 2, "columns", 1, 2147483647);
        auto reference = std::make_shared<Rows>(rows_argument(info, 0, "reference", columns));
        auto queries = std::make_shared<Rows>(rows_argument(info, 1, "queries", columns));
        const int threads = threads_of(object_argument(info, 3, "options"));

        auto result = std::make_shared<MahalanobisResult>();
        JobSpec spec;
        spec.total = queries->count;
        spec.on_progress = progress_argument(info, 4);
        spec.work = [reference, queries, columns, threads, result](JobCounters& counters) {
            *result = mahalanobis(reference->data.data(), reference->count, queries->data.data(),
                                  queries->count, columns, threads, counters);
        };
        spec.finish = [result](Napi::Env env) {
            Napi::Object out = Napi::Object::New(env);
            out["distance"] = typed_array(env, result->distance);
            out["shrinkage"] = result->shrinkage;
            out["singular"] = result->singular;
            return out;
        };
        return start_job(info.Env(), std::move(spec));
    });
}

Napi::Value start_orthonormal_basis(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
        const int64_t seed = whole_argument(info, 0, "randomSeed", 0, largest_whole);
        const int64_t first = whole_argument(info, 1, "firstRow", 0, largest_whole / 2);
        const int64_t k = whole_argument(info, 2, "k", 1, 16384);
        const int threads = threads_of(object_argument(info, 3, "options"));

        auto result = std::make_shared<OrthonormalResult>();
        JobSpec spec;
        spec.total = 2 * k;
        spec.on_progress = progress_argument(info, 4);
        spec.work = [seed, first, k, threads, result](JobCounters& counters) {
            *result = orthonormal_basis(static_cast<uint64_t>(seed), first, k, threads, counters);
        };
        spec.finish = [result](Napi::Env env) {
            Napi::Object out = Napi::Object::New(env);
            out["basis"] = typed_array(env, result->basis);
            return out;
        };
        return start_job(info.Env(), std::move(spec));
    });
}

} // namespace latdyn::addon
