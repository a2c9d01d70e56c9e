// liblatdyn_cuda, opened at run time where there is a driver: the addon loads and works without either.
#pragma once

#include "latdyn/cuda_api.h"
#include "latdyn/iterate.h"

#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace latdyn::addon {

// What a device did; becomes a JavaScript error whose `code` is "ERR_LATDYN_DEVICE".
struct DeviceFailure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct CudaState {
    // The file that is opened: LATDYN_CUDA_LIBRARY, or the one beside the addon.
    std::string library;
    // LATDYN_CUDA_LIBRARY names it: it is opened whether or not there is a driver.
    bool given = false;
    // It exists.
    bool built = false;
    // Why it cannot be used; empty where it can.
    std::string reason;
    std::vector<latdyn_cuda_device> devices;
};

// Looks once, at the first call; any thread may ask. After a device has failed there is no device any more.
CudaState cuda_state();

// The table of functions. Throws DeviceFailure where CUDA cannot be used.
const latdyn_cuda_functions& cuda_functions();

// Calls body(functions, job), a function of the table, on device `index`; progress and abort go through
// `counters`, notes to stderr. False where aborted. Throws Error for what the caller gave, DeviceFailure for
// everything else.
bool run_on_cuda(int index, JobCounters& counters,
                 const std::function<int32_t(const latdyn_cuda_functions&, const latdyn_cuda_job*)>& body);

} // namespace latdyn::addon
