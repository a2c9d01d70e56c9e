// Noise of the device against the CPU's, bit by bit.
#include "latdyn/noise.h"

#include "on_device.h"

#include <cstring>
#include <vector>

using namespace latdyn;
using namespace latdyn::test;

namespace {

void compare(uint64_t seed, int64_t first_row, int64_t rows, int64_t columns, float scale) {
    const size_t size = static_cast<size_t>(rows * columns);
    std::vector<float> expected(size), found(size);
    noise(seed, first_row, rows, columns, scale, expected.data());
    in_every_order([&](const char* order) {
        std::fill(found.begin(), found.end(), 77.0f);
        cuda::noise(seed, first_row, rows, columns, scale, found.data());
        CHECK(size == 0 || std::memcmp(expected.data(), found.data(), size * sizeof(float)) == 0,
              "[%lld, %lld] from row %lld, seed %llu, %s", static_cast<long long>(rows),
              static_cast<long long>(columns), static_cast<long long>(first_row),
              static_cast<unsigned long long>(seed), order);
    });
}

} // namespace

int main() {
    return test_on_device("cuda_noise", [] {
        for (int64_t columns : {1, 2, 3, 4, 5, 16, 33, 257})
            for (int64_t rows : {1, 2, 100})
                compare(7, 0, rows, columns, 1);
        compare(0, 0, 1000, 16, 0.25f);
        compare(9007199254740991, 4294967290, 20, 6, 3);
        compare(1, int64_t{1} << 40, 3, 1000, 1e-3f);
        compare(1, 0, 0, 4, 1);
        if (!on_host)
            compare(5, 12345, 200000, 130, 1);
    });
}
