#include "iterate_io.h"

#include "arguments.h"

namespace latdyn::addon {

IterateOptions iterate_options(const Napi::Object& given, int64_t rows) {
    IterateOptions options;
    options.tolerance = not_negative(given, "tolerance");
    options.max_iterations = static_cast<int32_t>(integer(given, "maxIterations", "options", 1, 2147483647));
    options.criterion = named<Criterion>(given, "criterion",
                                         {{"residual", Criterion::residual},
                                          {"relative", Criterion::relative},
                                          {"error-bound", Criterion::error_bound}})
                            .value_or(Criterion::residual);
    options.divergence_ratio = number(given, "divergenceRatio", "options");
    if (!(options.divergence_ratio > 0))
        throw Error("options: \"divergenceRatio\" should be above 0");
    const Napi::Value traced = field(given, "traceRows", "options");
    if (!traced.IsTypedArray() || traced.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array)
        throw Error("options: \"traceRows\" should be an Int32Array");
    const auto trace_rows = traced.As<Napi::Int32Array>();
    for (size_t i = 0; i < trace_rows.ElementLength(); i++) {
        const int32_t row = trace_rows[i];
        if (row < 0 || row >= rows || (i > 0 && row <= options.trace_rows.back()))
            throw Error("options: \"traceRows\" should name rows of the initial points, ascending");
        options.trace_rows.push_back(row);
    }
    return options;
}

IterateArrays::IterateArrays(Napi::Env env, int64_t rows, int64_t k, size_t traces)
    : traces(std::make_unique<std::vector<std::vector<float>>>(traces)) {
    where.endpoints = hold_new(env, endpoints, rows * k);
    where.iterations = hold_new(env, iterations, rows);
    where.residual = hold_new(env, residual, rows);
    where.status = hold_new(env, status, rows);
    where.period = hold_new(env, period, rows);
    where.traces = this->traces.get();
}

Napi::Object IterateArrays::result(Napi::Env env, int64_t evaluations) const {
    Napi::Object result = Napi::Object::New(env);
    result["endpoints"] = endpoints.Value();
    result["iterations"] = iterations.Value();
    result["residual"] = residual.Value();
    result["status"] = status.Value();
    result["period"] = period.Value();
    Napi::Array lists = Napi::Array::New(env, traces->size());
    for (size_t i = 0; i < traces->size(); i++)
        lists[static_cast<uint32_t>(i)] = typed_array(env, (*traces)[i]);
    result["traces"] = lists;
    result["evaluations"] = static_cast<double>(evaluations);
    return result;
}

} // namespace latdyn::addon
