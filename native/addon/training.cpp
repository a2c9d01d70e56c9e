// Networks that learn to give back their input.
#include "arguments.h"
#include "functions.h"
#include "job.h"
#include "latdyn/train_mlp.h"

namespace latdyn::addon {

namespace {

MlpShape shape_of(const Napi::Object& given) {
    MlpShape shape;
    const Napi::Value widths = field(given, "widths", "options");
    const Napi::Value activated = field(given, "activated", "options");
    if (!widths.IsArray() || !activated.IsArray())
        throw Error("options: \"widths\" and \"activated\" should be arrays");
    const auto sizes = widths.As<Napi::Array>(), flags = activated.As<Napi::Array>();
    constexpr double widest = 1 << 24;
    for (uint32_t i = 0; i < sizes.Length(); i++) {
        const Napi::Value value = sizes.Get(i);
        const double width = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : 0;
        if (!(width >= 1 && width <= widest))
            throw Error("options: \"widths\" should hold whole numbers from 1 to 16777216");
        shape.widths.push_back(static_cast<int64_t>(width));
    }
    for (uint32_t i = 0; i < flags.Length(); i++)
        shape.activated.push_back(flags.Get(i).ToBoolean() ? 1 : 0);
    shape.activation = named<ActivationKind>(given, "activation",
                                             {{"relu", ActivationKind::relu},
                                              {"tanh", ActivationKind::tanh},
                                              {"gelu", ActivationKind::gelu},
                                              {"silu", ActivationKind::silu}})
                           .value_or(ActivationKind::relu);
    return shape;
}

} // namespace

Napi::Value start_train_mlp(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
        const Napi::Object given = object_argument(info, 2, "options");
        const MlpShape shape = shape_of(given);
        if (shape.layers() < 1)
            throw Error("options: \"widths\" should hold at least two widths");
        auto rows = std::make_shared<Rows>(rows_argument(info, 0, "rows", shape.widths[0]));
        auto parameters = std::make_shared<Rows>(rows_argument(info, 1, "parameters", shape.parameters()));
        if (parameters->count != 1)
            throw Error("parameters should hold " + std::to_string(shape.parameters()) + " numbers");
        TrainOptions options;
        options.epochs = static_cast<int32_t>(integer(given, "epochs", "options", 0, 1000000));
        options.batch_rows = integer(given, "batchRows", "options", 1, 2147483647);
        options.learning_rate = not_negative(given, "learningRate");
        options.weight_decay = not_negative(given, "weightDecay");
        options.seed = static_cast<uint64_t>(integer(given, "randomSeed", "options", 0, largest_whole));
        options.threads = threads_of(given);

        auto result = std::make_shared<TrainResult>();
        JobSpec spec;
        spec.total = rows->count * options.epochs;
        spec.on_progress = progress_argument(info, 3);
        spec.work = [rows, parameters, shape, options, result](JobCounters& counters) {
            *result =
                train_mlp(shape, rows->data.data(), rows->count, options, parameters->data.data(), counters);
        };
        spec.finish = [parameters, result](Napi::Env env) {
            Napi::Object out = Napi::Object::New(env);
            out["parameters"] = typed_array(env, parameters->data);
            out["losses"] = typed_array(env, result->losses);
            return out;
        };
        return start_job(info.Env(), std::move(spec));
    });
}

} // namespace latdyn::addon
