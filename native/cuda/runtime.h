// The device as the host sees it: memory that frees itself, copies, errors with a type. One implementation
// over CUDA's runtime (runtime.cu), one over the host's memory for tests (native/test/simt).
//
// Work of one host thread is in one stream, so launches and copies keep their order.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#ifdef __CUDACC__
#include <driver_types.h>
#endif

namespace latdyn::cuda {

enum class Failure {
    // The device has no room; less may fit.
    out_of_memory,
    // A launch or a copy failed; nothing more can be done in this process.
    device,
    // There is no device, or no driver that this build can work with.
    missing,
};

struct DeviceError : std::runtime_error {
    Failure failure;

    DeviceError(Failure failure, const std::string& what) : std::runtime_error(what), failure(failure) {}
};

struct DeviceInfo {
    std::string name;
    int64_t memory = 0;
    int32_t major = 0, minor = 0, multiprocessors = 0;
    // Version of CUDA that the driver can run, 1000·major + 10·minor.
    int32_t driver = 0;
};

#ifdef __CUDACC__
// Throws where `status` is an error; `what` is what was tried.
void check(cudaError_t status, const char* what);
#endif

// Those that this build has code for. Throws DeviceError (missing) that says why there is none.
std::vector<DeviceInfo> devices();
// For this thread, from here on.
void use_device(int index);
int64_t free_memory();
void* allocate(size_t bytes);
void release(void* memory) noexcept;
void upload(void* to, const void* from, size_t bytes);
// Waits for everything before it.
void download(void* to, const void* from, size_t bytes);
void copy(void* to, const void* from, size_t bytes);
void fill(void* to, int byte, size_t bytes);
void synchronize();
// The same, and calls `meanwhile` every few milliseconds of it.
void wait(const std::function<void()>& meanwhile);
int32_t multiprocessors();
// Bytes of shared memory that a block may take.
int64_t shared_memory_limit();
// Whether products go by warpgroups (warpgroup.h): on devices of compute capability 9.0, for which this build
// has code; not where the environment has LATDYN_CUDA_WARPGROUPS=0.
bool warpgroups();
// Memory of the host that the device reads and writes where it lies, with the same address. Zeros.
void* allocate_mapped(size_t bytes);
void release_mapped(void* memory) noexcept;
// Seconds of the device between two calls of mark(): events, for the benches.
void mark(int which);
double seconds_between_marks();

// `size` elements on the device, not initialised.
template <class Element> class Buffer {
  public:
    Buffer() = default;
    explicit Buffer(int64_t size)
        : memory(static_cast<Element*>(allocate(static_cast<size_t>(size) * sizeof(Element)))), size_(size) {}
    explicit Buffer(std::span<const Element> from) : Buffer(static_cast<int64_t>(from.size())) { set(from); }
    ~Buffer() { release(memory); }
    Buffer(Buffer&& other) noexcept
        : memory(std::exchange(other.memory, nullptr)), size_(std::exchange(other.size_, 0)) {}
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(memory, other.memory);
        std::swap(size_, other.size_);
        return *this;
    }

    Element* get() const { return memory; }
    int64_t size() const { return size_; }
    void set(std::span<const Element> from, int64_t first = 0) {
        upload(memory + first, from.data(), from.size_bytes());
    }
    // Bytes of every element.
    void fill_bytes(int byte) { fill(memory, byte, static_cast<size_t>(size_) * sizeof(Element)); }
    std::vector<Element> read() const { return read(0, size_); }
    std::vector<Element> read(int64_t first, int64_t count) const {
        std::vector<Element> out(static_cast<size_t>(count));
        download(out.data(), memory + first, out.size() * sizeof(Element));
        return out;
    }

  private:
    Element* memory = nullptr;
    int64_t size_ = 0;
};

// One `Value` in memory of the host that the device reads and writes while both run.
template <class Value> class Mapped {
  public:
    Mapped() : memory(static_cast<Value*>(allocate_mapped(sizeof(Value)))) {}
    ~Mapped() { release_mapped(memory); }
    Mapped(Mapped&& other) noexcept : memory(std::exchange(other.memory, nullptr)) {}
    Mapped& operator=(Mapped&& other) noexcept {
        std::swap(memory, other.memory);
        return *this;
    }

    volatile Value* get() const { return memory; }
    volatile Value* operator->() const { return memory; }

  private:
    Value* memory;
};

// Where a job has come to: its inputs are on the device; nothing but the way back of its results is left.
enum class Stage { resident, computed };

// What a job may ask of whoever started it.
struct Job {
    // Called between launches with how many rows are finished, and how many evaluations of f that took where
    // there is one; false ends the job.
    std::function<bool(int64_t finished, int64_t evaluations)> report = [](int64_t, int64_t) { return true; };
    bool go_on(int64_t finished, int64_t evaluations = 0) const { return report(finished, evaluations); }
    // Called with a sentence where something is done otherwise than asked.
    std::function<void(const std::string&)> note = [](const std::string&) {};
    // Called twice, for whoever measures.
    std::function<void(Stage)> stage = [](Stage) {};
    // At most so many bytes for blocks that can be smaller; 0: three quarters of what is free.
    int64_t memory = 0;

    int64_t room() const { return memory > 0 ? memory : free_memory() / 4 * 3; }
};

// make(size) for the largest of wanted, wanted/2, … that there is memory for, at least `least`; `what` are
// counted. Says so where it is less than wanted.
template <class Make>
auto make_fitting(const Job& job, const char* what, int64_t wanted, int64_t least, Make make) {
    for (int64_t size = wanted;; size = std::max(least, size / 2)) {
        try {
            auto made = make(size);
            if (size < wanted)
                job.note("out of device memory: blocks of " + std::to_string(size) + " " + what +
                         " instead of " + std::to_string(wanted));
            return std::pair(std::move(made), size);
        } catch (const DeviceError& error) {
            if (error.failure != Failure::out_of_memory || size <= least)
                throw;
        }
    }
}

} // namespace latdyn::cuda
