#include "cuda_library.h"

#include "latdyn/error.h"

#include <dlfcn.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <mutex>

namespace latdyn::addon {

namespace {

struct Library {
    std::mutex mutex;
    bool looked = false;
    CudaState state;
    const latdyn_cuda_functions* functions = nullptr;
};

Library& library() {
    // Never closed: threads may be in it when the process ends.
    static Library* const one = new Library;
    return *one;
}

// The file beside the one that this code is in.
std::filesystem::path library_file() {
    Dl_info self{};
    if (dladdr(reinterpret_cast<const void*>(&library_file), &self) == 0 || self.dli_fname == nullptr)
        return {};
    return std::filesystem::absolute(self.dli_fname).parent_path() / "liblatdyn_cuda.so";
}

// The reason why not; empty where it went well.
std::string open(Library& one) {
    const char* given = std::getenv("LATDYN_CUDA_LIBRARY");
    one.state.given = given != nullptr && *given != 0;
    const std::filesystem::path file = one.state.given ? std::filesystem::path(given) : library_file();
    one.state.library = file.string();
    std::error_code ignored;
    one.state.built = std::filesystem::exists(file, ignored);
    if (!one.state.built)
        return one.state.given ? "LATDYN_CUDA_LIBRARY names " + file.string() + ", which is not there"
                               : "this build has no CUDA library: nvcc was not found when it was made";
    if (!one.state.given && dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL) == nullptr)
        return "there is no NVIDIA driver (libcuda.so.1 was not found)";
    void* opened = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (opened == nullptr)
        return std::string("the CUDA library does not load: ") + dlerror();
    const auto api = reinterpret_cast<latdyn_cuda_api_function>(dlsym(opened, "latdyn_cuda_api"));
    const latdyn_cuda_functions* functions = api == nullptr ? nullptr : api(LATDYN_CUDA_API_VERSION);
    if (functions == nullptr)
        return file.string() + " is of another version than the addon: build both again";
    std::array<char, 512> message{};
    latdyn_cuda_job job{};
    job.message = message.data();
    job.message_size = message.size();
    std::array<latdyn_cuda_device, 64> found{};
    int32_t count = 0;
    if (functions->devices(&job, found.data(), found.size(), &count) != LATDYN_CUDA_OK)
        return message.data();
    one.state.devices.assign(found.begin(), found.begin() + std::min<size_t>(count, found.size()));
    one.functions = functions;
    return {};
}

struct Call {
    JobCounters& counters;
};

int32_t go_on(void* context, int64_t finished, int64_t evaluations) {
    JobCounters& counters = static_cast<Call*>(context)->counters;
    counters.finished.store(finished, std::memory_order_relaxed);
    counters.evaluations.store(evaluations, std::memory_order_relaxed);
    return !counters.abort.load(std::memory_order_relaxed);
}

void note(void*, const char* sentence) {
    std::fprintf(stderr, "latdyn: %s\n", sentence);
}

// With the lock held.
void look(Library& one) {
    if (!one.looked)
        one.state.reason = open(one);
    one.looked = true;
}

} // namespace

CudaState cuda_state() {
    Library& one = library();
    const std::lock_guard lock(one.mutex);
    look(one);
    return one.state;
}

const latdyn_cuda_functions& cuda_functions() {
    Library& one = library();
    const std::lock_guard lock(one.mutex);
    look(one);
    if (!one.state.reason.empty())
        throw DeviceFailure("CUDA cannot be used: " + one.state.reason);
    return *one.functions;
}

bool run_on_cuda(int index, JobCounters& counters,
                 const std::function<int32_t(const latdyn_cuda_functions&, const latdyn_cuda_job*)>& body) {
    const latdyn_cuda_functions& functions = cuda_functions();
    Call call{counters};
    std::array<char, 1024> message{};
    const latdyn_cuda_job job{index, 0, go_on, note, &call, message.data(), message.size()};
    const int32_t status = body(functions, &job);
    if (status == LATDYN_CUDA_OK)
        return true;
    if (status == LATDYN_CUDA_ABORTED)
        return false;
    if (status == LATDYN_CUDA_INVALID)
        throw Error(message.data());
    if (status == LATDYN_CUDA_DEVICE_FAILED) {
        // What failed once fails for good in this process: the next job is told so at once.
        Library& one = library();
        const std::lock_guard lock(one.mutex);
        one.state.reason = std::string("a device failed earlier in this process (") + message.data() + ")";
        one.state.devices.clear();
    }
    throw DeviceFailure(message.data());
}

} // namespace latdyn::addon
