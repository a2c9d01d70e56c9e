// runtime.h over the host's memory.
#include "runtime.h"

#include "recording.h"
#include "simt.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <map>
#include <mutex>

namespace simt {

namespace {

// Of what follows but for the marks: jobs allocate and release at the same time.
std::mutex memory_busy;
int64_t limit = std::numeric_limits<int64_t>::max();
int64_t used = 0;
int64_t uploaded = 0;
std::map<void*, std::pair<int64_t, std::pair<void*, size_t>>> blocks;
thread_local std::chrono::steady_clock::time_point marks[2];

} // namespace

void limit_memory(int64_t bytes) {
    const std::lock_guard lock(memory_busy);
    limit = bytes;
}

int64_t memory_in_use() {
    const std::lock_guard lock(memory_busy);
    return used;
}

int64_t bytes_uploaded() {
    const std::lock_guard lock(memory_busy);
    return uploaded;
}

} // namespace simt

namespace latdyn::cuda {

using namespace simt;

std::vector<DeviceInfo> devices() {
    return {{"the test machine", int64_t{1} << 30, 9, 0, 2, 13000}};
}

void use_device(int index) {
    if (index != 0)
        throw DeviceError(Failure::missing, "there is no device " + std::to_string(index));
}

int64_t free_memory() {
    const std::lock_guard lock(memory_busy);
    // Little, so that lists and blocks are small: every one of their bytes is written before it is used.
    return std::min<int64_t>(limit - used, int64_t{8} << 20);
}

void* allocate(size_t bytes) {
    refuse_while_recording("allocating memory");
    const int64_t size = static_cast<int64_t>(bytes);
    const std::lock_guard lock(memory_busy);
    if (size > limit - used)
        throw DeviceError(Failure::out_of_memory,
                          "CUDA: allocating " + std::to_string(bytes) + " bytes: out of memory");
    // What is behind the end is a page without rights.
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t rounded = (std::max<size_t>(bytes, 1) + 15) / 16 * 16;
    const size_t whole = (rounded + page - 1) / page * page + page;
    auto* base = static_cast<unsigned char*>(
        mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base == MAP_FAILED)
        throw std::bad_alloc();
    mprotect(base + whole - page, page, PROT_NONE);
    unsigned char* data = base + whole - page - rounded;
    std::memset(data, 0xff, rounded);
    used += size;
    blocks[data] = {size, {base, whole}};
    return data;
}

void release(void* memory) noexcept {
    const std::lock_guard lock(memory_busy);
    const auto found = blocks.find(memory);
    if (found == blocks.end())
        return;
    used -= found->second.first;
    munmap(found->second.second.first, found->second.second.second);
    blocks.erase(found);
}

void upload(void* to, const void* from, size_t bytes) {
    refuse_while_recording("copying to the device");
    if (bytes > 0)
        std::memcpy(to, from, bytes);
    const std::lock_guard lock(memory_busy);
    uploaded += static_cast<int64_t>(bytes);
}
void download(void* to, const void* from, size_t bytes) {
    refuse_while_recording("copying from the device");
    if (bytes > 0)
        std::memcpy(to, from, bytes);
}
void copy(void* to, const void* from, size_t bytes) {
    if (bytes > 0)
        enqueue([=] { std::memmove(to, from, bytes); });
}
void fill(void* to, int byte, size_t bytes) {
    if (bytes > 0)
        enqueue([=] { std::memset(to, byte, bytes); });
}
void synchronize() {
    refuse_while_recording("waiting for the device");
}
void wait(const std::function<void()>& meanwhile) {
    refuse_while_recording("waiting for the device");
    meanwhile();
}
int32_t multiprocessors() {
    return devices()[0].multiprocessors;
}
bool warpgroups() {
    return simt::warpgroups();
}
int64_t shared_memory_limit() {
    return static_cast<int64_t>(simt::shared_memory_limit());
}

void* allocate_mapped(size_t bytes) {
    void* memory = allocate(bytes);
    std::memset(memory, 0, bytes);
    return memory;
}
void release_mapped(void* memory) noexcept {
    release(memory);
}

void mark(int which) {
    marks[which] = std::chrono::steady_clock::now();
}
double seconds_between_marks() {
    return std::chrono::duration<double>(marks[1] - marks[0]).count();
}

} // namespace latdyn::cuda
