// Spectra of small square matrices.
#include "latdyn/eigenvalues.h"

#include "arguments.h"
#include "functions.h"
#include "job.h"

namespace latdyn::addon {

Napi::Value start_eigenvalues(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
        const int64_t k = whole_argument(info, 1, "k", 1, 16384);
        if (info.Length() < 1 || !info[0].IsTypedArray() ||
            info[0].As<Napi::TypedArray>().TypedArrayType() != napi_float64_array)
            throw Error("matrices should be a Float64Array");
        const auto array = info[0].As<Napi::Float64Array>();
        const auto length = static_cast<int64_t>(array.ElementLength());
        if (length % (k * k) != 0)
            throw Error("matrices has " + std::to_string(length) +
                        " elements, which do not make matrices of " + std::to_string(k) + "×" +
                        std::to_string(k));
        const Napi::Object given = object_argument(info, 2, "options");
        EigenvaluesOptions options;
        options.last_components = given.Get("lastComponents").ToBoolean().Value();
        options.norm = given.Get("norm").ToBoolean().Value();
        options.threads = threads_of(given);

        // Copied: the caller may write to or detach the array while the job runs.
        auto data = std::make_shared<std::vector<double>>(array.Data(), array.Data() + length);
        auto result = std::make_shared<Eigenvalues>();
        JobSpec spec;
        spec.total = length / (k * k);
        spec.on_progress = progress_argument(info, 3);
        spec.work = [data, k, count = spec.total, options, result](JobCounters& counters) {
            *result = eigenvalues(data->data(), count, k, options, counters);
        };
        spec.finish = [result](Napi::Env env) {
            Napi::Object out = Napi::Object::New(env);
            out["real"] = typed_array(env, result->real);
            out["imaginary"] = typed_array(env, result->imaginary);
            out["lastComponents"] = typed_array(env, result->last);
            out["norm"] = typed_array(env, result->norm);
            return out;
        };
        return start_job(info.Env(), std::move(spec));
    });
}

} // namespace latdyn::addon
