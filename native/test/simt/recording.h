// What stands between launches and the machine that runs them: a list, while work is recorded.
#pragma once

namespace simt {

// Throws DeviceError where work is being recorded, as CUDA does.
void refuse_while_recording(const char* what);

} // namespace simt
