// The measured limit: a number that can be one, for any number of threads, and refusals.
#include "latdyn/measure.h"

#include "latdyn/error.h"

#include "check.h"

#include <array>
#include <cmath>
#include <initializer_list>

int main() {
    for (int threads : {1, 2}) {
        const double speed = latdyn::measure_gemm(256, threads, 3);
        // From an emulated processor to the fastest there is.
        CHECK(std::isfinite(speed) && speed > 0.01 && speed < 1e6, "%d threads: %g GFLOP/s", threads, speed);
    }
    for (const auto& [size, threads, repeats] :
         {std::array{0, 1, 1}, std::array{16, 0, 1}, std::array{16, 1, 0}, std::array{100000, 1, 1}}) {
        bool refused = false;
        try {
            latdyn::measure_gemm(size, threads, repeats);
        } catch (const latdyn::Error&) {
            refused = true;
        }
        CHECK(refused, "size %d, threads %d, repeats %d was accepted", size, threads, repeats);
    }
    return latdyn::test::finish("measure_gemm_test");
}
