// Windows of several taps over channels in whole stages go by patches: against the plain loop, and against
// what is gathered tap by tap.
#include "window_cases.h"

using namespace latdyn;
using namespace latdyn::test;

namespace {

void patches() {
    compare_window("patches", window_case(square(16, 16, 24, 3, 1, 1), 30, {}, true, true), 2, 100);
    compare_window("patches", window_case(square(20, 16, 8, 3, 1, 1), 31), 1, 101);
    compare_window("patches", window_case(square(8, 48, 16, 3, 1, 1), 32), 3, 102);
    compare_window("patches", window_case(square(4, 64, 128, 3, 1, 1), 33), 11, 103);
    compare_window("patches", window_case(square(17, 32, 64, 3, 2, 1), 34), 3, 104);
    compare_window("patches", window_case(square(12, 64, 40, 2, 1, 0, false, 2), 35), 2, 105);
    compare_window("patches", window_case(square(13, 16, 5, 5, 3, 2), 36), 3, 106);
    WindowShape shape = square(11, 32, 12, 3, 1, 1);
    shape.height = 7;
    shape.kernel_h = 5;
    shape.dilation_w = 2;
    shape.stride_h = 2;
    shape.top = 3;
    shape.left = -1;
    shape.out_height = 5;
    shape.out_width = 13;
    compare_window("patches", window_case(shape, 37), 4, 107);
    for (uint64_t seed = 400; seed < (on_host ? 416 : 500); seed++) {
        const auto some = [&](uint64_t at, int32_t least, int32_t most) {
            return least + static_cast<int32_t>(pick(seed, at, static_cast<uint64_t>(most - least + 1)));
        };
        WindowShape s;
        s.groups = some(0, 1, 2);
        s.channels = 16 * s.groups * some(1, 1, 3);
        s.out_channels = s.groups * some(2, 1, 40);
        s.height = some(3, 1, 12);
        s.width = some(4, 1, 12);
        s.kernel_h = some(5, 1, 4);
        s.kernel_w = some(6, 2, 4);
        s.stride_h = some(7, 1, 2);
        s.stride_w = some(8, 1, 2);
        s.dilation_h = some(9, 1, 2);
        s.dilation_w = some(10, 1, 2);
        s.top = some(11, -1, 3);
        s.left = some(12, -1, 3);
        s.out_height = some(13, 1, 12);
        s.out_width = some(14, 1, 12);
        compare_window("random patches", window_case(s, seed), some(15, 1, 6), 2 * seed);
    }
}

void bits() {
    // Enough rows for the large tiles, of several images, and a row for which there are smaller ones.
    const int64_t many = on_host ? 300 : 40000;
    alone(window_case(square(4, 16, 20, 3, 1, 1), 78), many / 4, {0, many / 4 - 1});
    alone(window_case(square(9, 16, 192, 2), 75, {ActivationKind::relu}, true, true), many / 30,
          {0, many / 30 - 1});
    alone(window_case(square(4, 16, 128, 3, 1, 1), 76), many / 12, {0, many / 12 - 1});
}

void little_shared_memory() {
#ifdef LATDYN_SIMT
    // Devices between sm_80 and sm_90 have 99 KiB.
    simt::limit_shared_memory(99 << 10);
    compare_window("little shared memory", window_case(square(4, 32, 128, 3, 1, 1), 95), 20, 96);
    compare_window("little shared memory", window_case(square(9, 32, 64, 3, 2, 1), 97), 20, 98);
    // With less there is no room for these patches, and what is gathered tap by tap has the same bits.
    for (const auto& [outputs, kibibytes] : {std::pair(64, 52), std::pair(6, 38)}) {
        const WindowCase small = window_case(square(4, 32, outputs, 3, 1, 1), 100, {}, true, true);
        const std::vector<float> x = gaussian(9, small.inputs(), 101).data;
        const std::vector<float> residual = gaussian(9, small.outputs(), 102).data;
        for (Precision precision : precisions) {
            simt::limit_shared_memory(227 << 10);
            const std::vector<float> patched = run(small, precision, x, residual);
            simt::limit_shared_memory(static_cast<size_t>(kibibytes) << 10);
            CHECK(same_bits(run(small, precision, x, residual), patched), "%s: bits of patches",
                  name_of(precision));
        }
    }
    simt::limit_shared_memory(227 << 10);
#endif
}

} // namespace

int main() {
    return test_products("cuda_patches", [] {
        patches();
        bits();
        little_shared_memory();
    });
}
