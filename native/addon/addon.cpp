// The addon's face. Arguments are checked in the files behind it; nothing here or there is numeric.
#include "functions.h"
#include "iteration_handle.h"
#include "job.h"
#include "plan_handle.h"
#include "points_handle.h"

#include <napi.h>

namespace latdyn::addon {

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
    watch_environment(env);
    // Lives as long as the environment.
    auto* classes =
        new Classes{Napi::Persistent(PlanHandle::define(env)), Napi::Persistent(IterationHandle::define(env)),
                    Napi::Persistent(PointsHandle::define(env))};
    env.AddCleanupHook([classes] { delete classes; });
    const auto add = [&](const char* name, Napi::Value (*body)(const Napi::CallbackInfo&)) {
        exports[name] = Napi::Function::New(env, body, name, classes);
    };
    exports["version"] = LATDYN_VERSION;
    add("cpu", cpu_info);
    add("cuda", cuda_info);
    add("compile", compile_graph);
    add("apply", start_apply);
    add("iterate", start_iterate);
    add("openIteration", open_iteration);
    add("noise", make_noise);
    add("deduplicate", start_deduplicate);
    add("nearest", start_nearest);
    add("omp", start_omp);
    add("singularValues", start_singular_values);
    add("mahalanobis", start_mahalanobis);
    add("orthonormalBasis", start_orthonormal_basis);
    add("knnScore", start_knn_score);
    add("eigenvalues", start_eigenvalues);
    add("trainMlp", start_train_mlp);
    add("trajectory", start_trajectory);
    add("scorePaths", start_score_paths);
    add("measureGemm", gemm_limit);
    return exports;
}

} // namespace

NODE_API_MODULE(latent_dynamics, init)

} // namespace latdyn::addon
