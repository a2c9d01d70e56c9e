// Of the library for programs that cannot call simt.h: what its tests bring about comes from the environment.
//   LATDYN_SIMT_FAIL_LAUNCH=N   the launch after N further ones fails, once
//   LATDYN_SIMT_MEMORY=BYTES    what Buffers may hold together
#include "simt.h"

#include <cstdlib>

namespace simt {

namespace {

const bool read = [] {
    if (const char* launches = std::getenv("LATDYN_SIMT_FAIL_LAUNCH"))
        fail_launch_after(std::atoll(launches));
    if (const char* bytes = std::getenv("LATDYN_SIMT_MEMORY"))
        limit_memory(std::atoll(bytes));
    return true;
}();

} // namespace

} // namespace simt
