// Which points of an iteration converged, as a matrix on the device.
#pragma once

#include "device_rows.h"

#include <cstdint>

namespace latdyn::cuda {

// Rows of `endpoints` [rows, k] whose `status` [rows] is `converged`, in their order. Where all of them are,
// they stay where they lie; else they are copied to a matrix of their own, for which there has to be room
// beside the endpoints.
DeviceRows converged_rows(Buffer<float> endpoints, const Buffer<uint8_t>& status, int64_t rows, int64_t k);

} // namespace latdyn::cuda
