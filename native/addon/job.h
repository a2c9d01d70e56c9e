// A long call: runs on threads of its own, reports at most ten times a second, can be aborted, settles a
// promise on the event loop. Nothing numeric here.
#pragma once

#include "latdyn/iterate.h"

#include <napi.h>

#include <functional>
#include <memory>

namespace latdyn::addon {

struct JobSpec {
    int64_t total = 0;
    // Off the event loop. May throw; reads `counters.abort`.
    std::function<void(JobCounters&)> work;
    // On the event loop, once work is done: the promise's value. `aborted` and `seconds` are added to it.
    std::function<Napi::Object(Napi::Env)> finish;
    // Called with { finished, total, evaluations, seconds }; may be empty.
    Napi::Function on_progress;
};

// Starts the job: { promise, abort() }.
Napi::Object start_job(Napi::Env env, JobSpec spec);

// Called once when the addon is loaded: aborts and joins what still runs when the environment goes away.
void watch_environment(Napi::Env env);

} // namespace latdyn::addon
