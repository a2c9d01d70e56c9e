// Rows on the device: as given, measured, and packed for tensor cores.
#pragma once

#include "layout.h"
#include "runtime.h"

#include <cstdint>
#include <string>
#include <vector>

namespace latdyn::cuda {

// [count, columns], resident, with squared lengths that have the bits of rows.h.
struct DeviceRows {
    int64_t count = 0, columns = 0;
    Buffer<float> data;
    Buffer<double> squares;
    std::vector<double> host_squares;
};

// Throws Error, which names `what`, where there are 2³¹ rows or more or an element is not finite.
DeviceRows finite_rows(const float* data, int64_t count, int64_t columns, const std::string& what);
// The same without the check: a row that is not finite has a square that is not.
DeviceRows any_rows(const float* data, int64_t count, int64_t columns, const std::string& what);

// The same of the first `count` rows of what is on the device.
DeviceRows resident_rows(Buffer<float> data, int64_t count, int64_t columns);

// |x|² of `count` rows on the device, to `squares` there.
void square_rows(const float* rows, int64_t count, int64_t columns, double* squares);

// 1 / length by row; 0 for zeros.
Buffer<double> unit_scales(const DeviceRows& rows);

// |x − centre|² of every row in double; `centre` is on the device.
std::vector<double> centred_squares(const DeviceRows& rows, const float* centre);

// The mean of some rows of either set, one of which may be null, in float: what rows are moved by before
// distances, which do not change by it, are bounded; 0 where it is not finite. Any vector is right; the
// nearer to the rows, the closer are the bounds.
Buffer<float> centre_of(const DeviceRows* one, const DeviceRows* other);

// What rows become before they are packed: (row − centre)·scale·scales[row]. Either pointer may be null.
struct Change {
    const float* centre = nullptr;
    const double* scales = nullptr;
    double scale = 1;
};

inline int64_t panels_of(int64_t rows) {
    return (rows + tile_rows - 1) / tile_rows;
}
inline int64_t stages_of(int64_t columns) {
    return (columns + tile_depth - 1) / tile_depth;
}
// Floats of `rows` packed rows.
inline int64_t packed_size(int64_t rows, int64_t columns) {
    return panels_of(rows) * stages_of(columns) * panel_floats;
}

// Packs panels [first_panel, panels_of(count)): see tile.h. Place p holds row which[p] (p itself where
// `which` is null); places from `count` on hold zeros.
void pack(const float* rows, int64_t columns, const int32_t* which, int64_t count, const Change& change,
          float* packed, int64_t first_panel = 0);

} // namespace latdyn::cuda
