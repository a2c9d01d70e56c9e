// Matching pursuit on plain matrices.
#include "latdyn/omp.h"

#include "arguments.h"
#include "cuda_library.h"
#include "functions.h"
#include "job.h"

namespace latdyn::addon {

namespace {

std::vector<int32_t> sparsities_of(const Napi::Object& given) {
    const Napi::Value value = field(given, "sparsities", "options");
    if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array)
        throw Error("options: \"sparsities\" should be an Int32Array");
    const auto array = value.As<Napi::Int32Array>();
    return {array.Data(), array.Data() + array.ElementLength()};
}

OmpResult omp_on_cuda(int device, const Rows& dictionary, const Rows& signals, int64_t dimension,
                      const std::vector<int32_t>& sparsities, JobCounters& counters) {
    const size_t count = static_cast<size_t>(signals.count);
    size_t places = 0;
    for (int32_t sparsity : sparsities)
        places += count * static_cast<size_t>(std::max(sparsity, 0));
    std::vector<int32_t> support(places);
    std::vector<float> coefficients(places);
    std::vector<double> norms(count * sparsities.size()), errors(sparsities.size());
    std::vector<int64_t> stops(sparsities.size());
    OmpResult result;
    result.aborted = !run_on_cuda(device, counters, [&](const auto& cuda, const latdyn_cuda_job* job) {
        return cuda.omp(job, dictionary.data.data(), dictionary.count, signals.data.data(), signals.count,
                        dimension, sparsities.data(), static_cast<int32_t>(sparsities.size()), support.data(),
                        coefficients.data(), norms.data(), errors.data(), stops.data());
    });
    size_t at = 0;
    for (size_t q = 0; q < sparsities.size() && !result.aborted; q++) {
        const size_t size = count * static_cast<size_t>(sparsities[q]);
        OmpSelection selection;
        selection.sparsity = sparsities[q];
        selection.support.assign(support.begin() + at, support.begin() + at + size);
        selection.coefficients.assign(coefficients.begin() + at, coefficients.begin() + at + size);
        selection.residual_norm.assign(norms.begin() + q * count, norms.begin() + (q + 1) * count);
        selection.mean_squared_error = errors[q];
        selection.early_stops = stops[q];
        result.by_sparsity.push_back(std::move(selection));
        at += size;
    }
    return result;
}

Napi::Object selection_to_js(Napi::Env env, const OmpSelection& selection) {
    Napi::Object out = Napi::Object::New(env);
    out["sparsity"] = selection.sparsity;
    out["support"] = typed_array(env, selection.support);
    out["coefficients"] = typed_array(env, selection.coefficients);
    out["residualNorm"] = typed_array(env, selection.residual_norm);
    out["meanSquaredError"] = selection.mean_squared_error;
    out["earlyStops"] = static_cast<double>(selection.early_stops);
    return out;
}

} // namespace

Napi::Value start_omp(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
        const int64_t dimension = whole_argument(info, 2, "dimension", 1, 2147483647);
        auto dictionary = std::make_shared<Rows>(rows_argument(info, 0, "dictionary", dimension));
        auto signals = std::make_shared<Rows>(rows_argument(info, 1, "signals", dimension));
        const Napi::Object given = object_argument(info, 3, "options");
        OmpOptions options;
        options.sparsities = sparsities_of(given);
        options.threads = threads_of(given);
        const int device = device_of(given);
        options.memory_budget = integer(given, "memoryBudget", "options", 1, largest_whole);

        auto result = std::make_shared<OmpResult>();
        JobSpec spec;
        spec.total = signals->count;
        spec.on_progress = progress_argument(info, 4);
        spec.work = [dictionary, signals, dimension, options, device, result](JobCounters& counters) {
            *result = device >= 0 ? omp_on_cuda(device, *dictionary, *signals, dimension, options.sparsities,
                                                counters)
                                  : omp(dictionary->data.data(), dictionary->count, signals->data.data(),
                                        signals->count, dimension, options, counters);
        };
        spec.finish = [result](Napi::Env env) {
            Napi::Array list = Napi::Array::New(env, result->by_sparsity.size());
            for (size_t i = 0; i < result->by_sparsity.size(); i++)
                list[static_cast<uint32_t>(i)] = selection_to_js(env, result->by_sparsity[i]);
            Napi::Object out = Napi::Object::New(env);
            out["bySparsity"] = list;
            return out;
        };
        return start_job(info.Env(), std::move(spec));
    });
}

} // namespace latdyn::addon
