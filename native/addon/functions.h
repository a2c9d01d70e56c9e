// Every function of the addon, one file for each room; see src/native.ts for the types.
#pragma once

#include <napi.h>

namespace latdyn::addon {

// plan_handle.cpp
Napi::Value compile_graph(const Napi::CallbackInfo& info);
// run_plan.cpp
Napi::Value start_apply(const Napi::CallbackInfo& info);
Napi::Value start_iterate(const Napi::CallbackInfo& info);
// iteration_handle.cpp
Napi::Value open_iteration(const Napi::CallbackInfo& info);
// points.cpp
Napi::Value make_noise(const Napi::CallbackInfo& info);
Napi::Value start_deduplicate(const Napi::CallbackInfo& info);
// nearest.cpp
Napi::Value start_nearest(const Napi::CallbackInfo& info);
// omp.cpp
Napi::Value start_omp(const Napi::CallbackInfo& info);
// linear_algebra.cpp
Napi::Value start_singular_values(const Napi::CallbackInfo& info);
Napi::Value start_mahalanobis(const Napi::CallbackInfo& info);
Napi::Value start_orthonormal_basis(const Napi::CallbackInfo& info);
// knn.cpp
Napi::Value start_knn_score(const Napi::CallbackInfo& info);
// eigenvalues.cpp
Napi::Value start_eigenvalues(const Napi::CallbackInfo& info);
// training.cpp
Napi::Value start_train_mlp(const Napi::CallbackInfo& info);
// trajectory.cpp
Napi::Value start_trajectory(const Napi::CallbackInfo& info);
Napi::Value start_score_paths(const Napi::CallbackInfo& info);
// machine.cpp
Napi::Value cpu_info(const Napi::CallbackInfo& info);
Napi::Value cuda_info(const Napi::CallbackInfo& info);
Napi::Value gemm_limit(const Napi::CallbackInfo& info);

} // namespace latdyn::addon
