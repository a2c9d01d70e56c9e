#include "runtime.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>

namespace latdyn::cuda {

namespace {

constexpr int oldest_major = 8;

// Two events of this thread.
struct Marks {
    cudaEvent_t at[2] = {};
};

Marks& marks() {
    thread_local Marks of_thread;
    return of_thread;
}

} // namespace

void check(cudaError_t status, const char* what) {
    if (status == cudaSuccess)
        return;
    // An error of one call is not to be found again by the next one.
    (void)cudaGetLastError();
    throw DeviceError(status == cudaErrorMemoryAllocation ? Failure::out_of_memory : Failure::device,
                      std::string("CUDA: ") + what + ": " + cudaGetErrorString(status));
}

std::vector<DeviceInfo> devices() {
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status != cudaSuccess) {
        (void)cudaGetLastError();
        throw DeviceError(Failure::missing, cudaGetErrorString(status));
    }
    int driver = 0;
    check(cudaDriverGetVersion(&driver), "asking for the driver's version");
    std::vector<DeviceInfo> found;
    for (int i = 0; i < count; i++) {
        cudaDeviceProp properties{};
        check(cudaGetDeviceProperties(&properties, i), "asking for a device's properties");
        found.push_back({properties.name, static_cast<int64_t>(properties.totalGlobalMem), properties.major,
                         properties.minor, properties.multiProcessorCount, driver});
    }
    if (found.empty())
        throw DeviceError(Failure::missing, "the driver knows no device");
    if (std::none_of(found.begin(), found.end(), [](const DeviceInfo& d) { return d.major >= oldest_major; }))
        throw DeviceError(Failure::missing, found[0].name + " is of compute capability " +
                                                std::to_string(found[0].major) + "." +
                                                std::to_string(found[0].minor) + ", expected 8.0 or newer");
    return found;
}

void use_device(int index) {
    const std::vector<DeviceInfo> all = devices();
    if (index < 0 || index >= static_cast<int>(all.size()))
        throw DeviceError(Failure::missing, "there is no device " + std::to_string(index) +
                                                ": the driver knows " + std::to_string(all.size()));
    if (all[index].major < oldest_major)
        throw DeviceError(Failure::missing, all[index].name + " is of compute capability " +
                                                std::to_string(all[index].major) + "." +
                                                std::to_string(all[index].minor) + ", expected 8.0 or newer");
    check(cudaSetDevice(index), "choosing the device");
}

int64_t free_memory() {
    size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "asking for free memory");
    return static_cast<int64_t>(free);
}

void* allocate(size_t bytes) {
    void* memory = nullptr;
    check(cudaMalloc(&memory, std::max<size_t>(bytes, 16)),
          ("allocating " + std::to_string(bytes) + " bytes").c_str());
    return memory;
}

void release(void* memory) noexcept {
    // What fails here has failed before, and was reported then.
    if (memory != nullptr && cudaFree(memory) != cudaSuccess)
        (void)cudaGetLastError();
}

void upload(void* to, const void* from, size_t bytes) {
    if (bytes > 0)
        check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, cudaStreamPerThread),
              "copying to the device");
    // The host's memory is pageable and may go away.
    synchronize();
}

void download(void* to, const void* from, size_t bytes) {
    if (bytes > 0)
        check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, cudaStreamPerThread),
              "copying from the device");
    synchronize();
}

void copy(void* to, const void* from, size_t bytes) {
    if (bytes > 0)
        check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, cudaStreamPerThread),
              "copying on the device");
}

void fill(void* to, int byte, size_t bytes) {
    if (bytes > 0)
        check(cudaMemsetAsync(to, byte, bytes, cudaStreamPerThread), "filling memory");
}

void synchronize() {
    check(cudaStreamSynchronize(cudaStreamPerThread), "waiting for the device");
}

void wait(const std::function<void()>& meanwhile) {
    using namespace std::chrono_literals;
    using Clock = std::chrono::steady_clock;
    Clock::time_point called = Clock::now();
    for (;;) {
        const cudaError_t status = cudaStreamQuery(cudaStreamPerThread);
        if (status != cudaErrorNotReady)
            return check(status, "waiting for the device");
        if (Clock::now() - called > 5ms) {
            meanwhile();
            called = Clock::now();
        }
        std::this_thread::sleep_for(20us);
    }
}

int32_t multiprocessors() {
    int device = 0, count = 0;
    check(cudaGetDevice(&device), "asking for the device");
    check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device),
          "asking for a device's properties");
    return count;
}

int64_t shared_memory_limit() {
    int device = 0, bytes = 0;
    check(cudaGetDevice(&device), "asking for the device");
    check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
          "asking for a device's properties");
    return bytes;
}

bool warpgroups() {
#ifdef LATDYN_SM_90A
    const char* wanted = std::getenv("LATDYN_CUDA_WARPGROUPS");
    if (wanted != nullptr && std::strcmp(wanted, "0") == 0)
        return false;
    int device = 0, major = 0, minor = 0;
    check(cudaGetDevice(&device), "asking for the device");
    check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device),
          "asking for a device's properties");
    check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device),
          "asking for a device's properties");
    return major == 9 && minor == 0;
#else
    return false;
#endif
}

void* allocate_mapped(size_t bytes) {
    void* memory = nullptr;
    check(cudaHostAlloc(&memory, bytes, cudaHostAllocMapped | cudaHostAllocPortable),
          ("allocating " + std::to_string(bytes) + " bytes of the host").c_str());
    std::memset(memory, 0, bytes);
    return memory;
}

void release_mapped(void* memory) noexcept {
    if (memory != nullptr && cudaFreeHost(memory) != cudaSuccess)
        (void)cudaGetLastError();
}

void mark(int which) {
    cudaEvent_t& event = marks().at[which];
    if (event == nullptr)
        check(cudaEventCreate(&event), "making an event");
    check(cudaEventRecord(event, cudaStreamPerThread), "recording an event");
}

double seconds_between_marks() {
    float milliseconds = 0;
    check(cudaEventSynchronize(marks().at[1]), "waiting for an event");
    check(cudaEventElapsedTime(&milliseconds, marks().at[0], marks().at[1]), "reading an event");
    return milliseconds / 1e3;
}

} // namespace latdyn::cuda
