// What -fsanitize=thread calls for every access to memory, in place of the sanitizer's own library.
#include "races.h"

#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>

using simt::races::access;
using simt::races::Kind;

namespace simt::races {

uint32_t place_of(const void* address) {
    static const uintptr_t beginning = [] {
        uintptr_t first = 0;
        // The program is the first of what is loaded.
        dl_iterate_phdr(
            [](dl_phdr_info* info, size_t, void* to) {
                *static_cast<uintptr_t*>(to) = info->dlpi_addr;
                return 1;
            },
            &first);
        return first;
    }();
    return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(address) - beginning);
}

// By binutils.
std::string line_of(uint32_t place) {
    char number[16], program[4096];
    std::snprintf(number, sizeof number, "0x%x", place - 1);
    const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    const std::string command = "addr2line -i -e '" +
                                std::string(program, static_cast<size_t>(std::max<ssize_t>(length, 0))) +
                                "' " + number + " 2>/dev/null";
    std::string places;
    if (FILE* pipe = popen(command.c_str(), "r")) {
        char part[4096];
        while (std::fgets(part, sizeof part, pipe)) {
            // Not those of the standard library, which called the kernel.
            const std::string line = part;
            const size_t ours = line.rfind("native/");
            if (ours == std::string::npos)
                continue;
            places +=
                (places.empty() ? "" : ", in ") + line.substr(ours, line.find_first_of(" \n", ours) - ours);
        }
        pclose(pipe);
    }
    return places.empty() ? number : places;
}

} // namespace simt::races

#define LATDYN_ACCESS(name, bytes, kind)                                                                     \
    extern "C" void __tsan_##name(const void* at) {                                                          \
        access(at, bytes, kind, __builtin_return_address(0));                                                \
    }
#define LATDYN_ACCESSES(bytes)                                                                               \
    LATDYN_ACCESS(read##bytes, bytes, Kind::read)                                                            \
    LATDYN_ACCESS(write##bytes, bytes, Kind::write)                                                          \
    LATDYN_ACCESS(unaligned_read##bytes, bytes, Kind::read)                                                  \
    LATDYN_ACCESS(unaligned_write##bytes, bytes, Kind::write)                                                \
    LATDYN_ACCESS(volatile_read##bytes, bytes, Kind::look)                                                   \
    LATDYN_ACCESS(volatile_write##bytes, bytes, Kind::change)

LATDYN_ACCESSES(1)
LATDYN_ACCESSES(2)
LATDYN_ACCESSES(4)
LATDYN_ACCESSES(8)
LATDYN_ACCESSES(16)

extern "C" void __tsan_init() {}
extern "C" void __tsan_read_range(const void* at, size_t bytes) {
    access(at, bytes, Kind::read, __builtin_return_address(0));
}
extern "C" void __tsan_write_range(const void* at, size_t bytes) {
    access(at, bytes, Kind::write, __builtin_return_address(0));
}
// Tables of virtual functions are no memory of kernels.
extern "C" void __tsan_vptr_update(void**, void*) {}
extern "C" void __tsan_vptr_read(void**) {}

// Of the host's code, too.
#define LATDYN_ATOMICS(bits, Word)                                                                           \
    extern "C" Word __tsan_atomic##bits##_load(const volatile Word* at, int) {                               \
        access(const_cast<const Word*>(at), bits / 8, Kind::look, __builtin_return_address(0));              \
        return __atomic_load_n(at, __ATOMIC_SEQ_CST);                                                        \
    }                                                                                                        \
    extern "C" void __tsan_atomic##bits##_store(volatile Word* at, Word value, int) {                        \
        access(const_cast<Word*>(at), bits / 8, Kind::change, __builtin_return_address(0));                  \
        __atomic_store_n(at, value, __ATOMIC_SEQ_CST);                                                       \
    }                                                                                                        \
    extern "C" Word __tsan_atomic##bits##_fetch_add(volatile Word* at, Word value, int) {                    \
        access(const_cast<Word*>(at), bits / 8, Kind::change, __builtin_return_address(0));                  \
        return __atomic_fetch_add(at, value, __ATOMIC_SEQ_CST);                                              \
    }

LATDYN_ATOMICS(8, uint8_t)
LATDYN_ATOMICS(16, uint16_t)
LATDYN_ATOMICS(32, uint32_t)
LATDYN_ATOMICS(64, uint64_t)
