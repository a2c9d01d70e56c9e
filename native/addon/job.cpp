#include "job.h"

#include "arguments.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>

namespace latdyn::addon {

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto progress_interval = std::chrono::milliseconds(100);

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Job {
    JobSpec spec;
    JobCounters counters;
    Napi::Promise::Deferred deferred;
    Napi::ThreadSafeFunction to_event_loop;
    std::jthread thread;
    std::exception_ptr failure;
    Clock::time_point start = Clock::now();
    double seconds = 0;

    Job(Napi::Env env, JobSpec spec) : spec(std::move(spec)), deferred(Napi::Promise::Deferred::New(env)) {}
};

// The jobs of one environment (the main thread or a worker thread of Node).
struct Environment {
    std::set<std::shared_ptr<Job>> running;
    bool closing = false;

    ~Environment() { close(); }
    void close() {
        closing = true;
        for (const auto& job : running)
            job->counters.abort = true;
        for (const auto& job : running)
            if (job->thread.joinable())
                job->thread.join();
        running.clear();
    }
};

Napi::Object progress(Napi::Env env, const Job& job) {
    Napi::Object out = Napi::Object::New(env);
    out["finished"] = static_cast<double>(job.counters.finished.load());
    out["total"] = static_cast<double>(job.spec.total);
    out["evaluations"] = static_cast<double>(job.counters.evaluations.load());
    out["seconds"] = seconds_since(job.start);
    return out;
}

void settle(Napi::Env env, Job& job) {
    try {
        if (job.failure)
            std::rethrow_exception(job.failure);
        Napi::Object result = job.spec.finish(env);
        result["aborted"] = job.counters.abort.load();
        result["seconds"] = job.seconds;
        job.deferred.Resolve(result);
    } catch (const Napi::Error& error) {
        job.deferred.Reject(error.Value());
    } catch (const DeviceFailure& failure) {
        job.deferred.Reject(device_error(env, failure).Value());
    } catch (const std::bad_alloc&) {
        job.deferred.Reject(Napi::Error::New(env, "out of memory").Value());
    } catch (const std::exception& error) {
        job.deferred.Reject(Napi::Error::New(env, error.what()).Value());
    }
}

void run(const std::shared_ptr<Job>& job, Environment* environment) {
    std::mutex mutex;
    std::condition_variable_any changed;
    bool done = false;
    {
        std::jthread ticker;
        if (!job->spec.on_progress.IsEmpty())
            ticker = std::jthread([&] {
                std::unique_lock lock(mutex);
                while (!changed.wait_for(lock, progress_interval, [&] { return done; }))
                    job->to_event_loop.NonBlockingCall([job](Napi::Env env, Napi::Function callback) {
                        if (env != nullptr && callback != nullptr && !job->counters.abort)
                            callback.Call({progress(env, *job)});
                    });
            });
        try {
            job->spec.work(job->counters);
        } catch (...) {
            job->failure = std::current_exception();
        }
        const std::lock_guard lock(mutex);
        done = true;
        changed.notify_all();
    }
    job->seconds = seconds_since(job->start);
    job->to_event_loop.NonBlockingCall([job, environment](Napi::Env env, Napi::Function) {
        // Without an environment the arrays and the promise are gone, and `close` is waiting for the thread.
        if (env == nullptr || environment->closing)
            return;
        const Napi::HandleScope scope(env);
        job->thread.join();
        settle(env, *job);
        job->spec.finish = nullptr;
        environment->running.erase(job);
    });
    job->to_event_loop.Release();
}

} // namespace

void watch_environment(Napi::Env env) {
    auto* environment = new Environment; // owned by the environment: deleted when it goes away
    env.SetInstanceData<Environment>(environment);
    env.AddCleanupHook([environment] { environment->close(); });
}

Napi::Object start_job(Napi::Env env, JobSpec spec) {
    auto* environment = env.GetInstanceData<Environment>();
    auto job = std::make_shared<Job>(env, std::move(spec));
    const Napi::Function callback =
        job->spec.on_progress.IsEmpty() ? Napi::Function() : job->spec.on_progress;
    job->to_event_loop = Napi::ThreadSafeFunction::New(env, callback, "latdyn", 0, 1);
    environment->running.insert(job);
    job->thread = std::jthread([job, environment] { run(job, environment); });

    Napi::Object handle = Napi::Object::New(env);
    handle["promise"] = job->deferred.Promise();
    handle["abort"] = Napi::Function::New(env, [weak = std::weak_ptr<Job>(job)](const Napi::CallbackInfo&) {
        if (const auto running = weak.lock())
            running->counters.abort = true;
    });
    return handle;
}

} // namespace latdyn::addon
