#include "latdyn/isa.h"

#include <initializer_list>

#include <unistd.h>

namespace latdyn {

bool isa_available(Isa isa) {
#if defined(__x86_64__)
    if (isa == Isa::avx512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    if (isa == Isa::avx2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return isa == Isa::portable;
}

Isa widest_isa() {
    for (Isa isa : {Isa::avx512, Isa::avx2})
        if (isa_available(isa))
            return isa;
    return Isa::portable;
}

const char* isa_name(Isa isa) {
    switch (isa) {
    case Isa::avx512:
        return "avx512";
    case Isa::avx2:
        return "avx2";
    case Isa::portable:
        break;
    }
    return "portable";
}

size_t l2_bytes() {
#if defined(_SC_LEVEL2_CACHE_SIZE)
    const long size = sysconf(_SC_LEVEL2_CACHE_SIZE);
    if (size > 0)
        return static_cast<size_t>(size);
#endif
    // What a kernel that does not tell most likely runs on.
    return size_t{1} << 20;
}

} // namespace latdyn
