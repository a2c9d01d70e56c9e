// What the tests of native/cuda share. The same programs run in two ways: on the host, with the kernels as
// plain C++ (LATDYN_SIMT), under several orders of a block's threads; and on a device, where there is one.
#pragma once

#include "check.h"
#include "kernels.h"
#include "latdyn/error.h"

#ifdef LATDYN_SIMT
#include "simt.h"
#endif

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <string>

namespace latdyn::test {

constexpr int skipped = 77;

// False, and says so, where there is nothing to run on: the program is to end with `skipped`.
inline bool has_device() {
    try {
        cuda::use_device(0);
        return true;
    } catch (const cuda::DeviceError& error) {
        if (error.failure != cuda::Failure::missing)
            throw;
        std::printf("skipped: no CUDA device (%s)\n", error.what());
        return false;
    }
}

// What main() of such a program returns: runs `body` where there is something to run on.
template <class Body> int test_on_device(const char* name, Body body) {
    if (!has_device())
        return skipped;
    body();
    return finish(name);
}

// Runs `body(name of the order)` under every order of the threads; on a device twice, as it comes.
template <class Body> void in_every_order(Body body) {
#ifdef LATDYN_SIMT
    simt::use_schedule(simt::Schedule::reverse);
    body("reverse");
    simt::use_schedule(simt::Schedule::random, 1);
    body("random");
    simt::use_schedule(simt::Schedule::forward);
#else
    body("first");
    body("second");
#endif
}

// Runs `body` with products by warpgroups, where the device has them, and without.
template <class Body> void with_and_without_warpgroups(Body body) {
    for (bool offered : {false, true}) {
#ifdef LATDYN_SIMT
        simt::offer_warpgroups(offered);
#else
        setenv("LATDYN_CUDA_WARPGROUPS", offered ? "1" : "0", 1);
#endif
        body();
    }
}

// Large shapes take the host a hundred times as long as a device.
#ifdef LATDYN_SIMT
constexpr bool on_host = true;
#else
constexpr bool on_host = false;
#endif

template <class Body> std::string message_of(Body body) {
    try {
        body();
    } catch (const Error& error) {
        return error.what();
    } catch (const cuda::DeviceError& error) {
        return std::string("device: ") + error.what();
    }
    return "no error";
}

#ifdef LATDYN_SIMT
// `body` on a device that breaks at one of those launches after another; it works again afterwards.
template <class Body> void with_broken_launches(std::initializer_list<int64_t> launches, Body body) {
    for (int64_t launch : launches) {
        simt::fail_launch_after(launch);
        const std::string message = message_of(body);
        CHECK(message.find("illegal memory access") != std::string::npos, "%s", message.c_str());
    }
    simt::fail_launch_after(-1);
}
#endif

} // namespace latdyn::test
