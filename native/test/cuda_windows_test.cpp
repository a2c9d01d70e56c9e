// Windows of activations on a device against a plain loop in double.
#include "window_cases.h"

using namespace latdyn;
using namespace latdyn::test;

namespace {

void known_windows() {
    // A kernel of ones over ones counts what is inside.
    WindowCase one{square(3, 1, 1, 3, 1, 1), std::vector<float>(9, 1), {}, {}, false};
    for (Precision precision : precisions) {
        const std::vector<float> found = run(one, precision, std::vector<float>(9, 1), {});
        CHECK((found == std::vector<float>{4, 6, 4, 6, 9, 6, 4, 6, 4}), "%s: a window of ones",
              name_of(precision));
    }
    // Turned round, it writes every input into every output that it touches.
    one = {square(2, 1, 1, 3, 2, 0, true), {1, 2, 3, 4, 5, 6, 7, 8, 9}, {}, {}, false};
    for (Precision precision : precisions) {
        const std::vector<float> found = run(one, precision, {1, 10, 100, 1000}, {});
        const std::vector<float> expected{1,    2,    13,  20,   30,   4,    5,   46,  50,
                                          60,   107,  208, 1379, 2080, 3090, 400, 500, 4600,
                                          5000, 6000, 700, 800,  7900, 8000, 9000};
        CHECK(found == expected, "%s: a transposed window", name_of(precision));
    }
    // Nothing but bias where no tap comes to.
    WindowShape apart = square(2, 1, 2, 1, 3, 0, true);
    one = {apart, {1, 2}, {5, 7}, {}, false};
    for (Precision precision : precisions) {
        const std::vector<float> found = run(one, precision, {1, 2, 3, 4}, {});
        for (int h = 0; h < 4; h++)
            for (int w = 0; w < 4; w++) {
                const int at = (h * 4 + w) * 2, x = h % 3 == 0 && w % 3 == 0 ? h / 3 * 2 + w / 3 + 1 : 0;
                CHECK(found[at] == 5 + x && found[at + 1] == 7 + 2 * x, "%s: apart, at %d, %d",
                      name_of(precision), h, w);
            }
    }
}

void chosen_windows() {
    compare_window("mnist decoder", window_case(square(2, 128, 64, 3, 2, 1, true), 1), 3, 10);
    compare_window("mnist decoder", window_case(square(8, 32, 16, 3, 2, 1, true), 2), 2, 11);
    compare_window("mnist decoder", window_case(square(9, 16, 1, 3, 2, 1, true), 3), 3, 12);
    compare_window("mnist encoder", window_case(square(16, 1, 16, 3, 2, 1), 4), 3, 13);
    compare_window("mnist encoder", window_case(square(8, 16, 32, 3, 2, 1), 5), 5, 14);
    compare_window("mnist latent", window_case(linear(1, 512, 16), 6), 5, 15);
    compare_window("mnist latent", window_case(linear(1, 16, 512), 7), 130, 16);
    compare_window("taef2", window_case(square(8, 64, 64, 3, 1, 1), 8, {ActivationKind::relu}, true, true), 3,
                   18);
    compare_window("taef2", window_case(square(9, 3, 64, 3, 1, 1), 9), 2, 19);
    compare_window("taef2", window_case(square(9, 64, 3, 3, 1, 1), 10), 2, 20);
    compare_window("vit", window_case(linear(17, 48, 144), 11, {ActivationKind::gelu}), 3, 21);
    compare_window("one of each", window_case(square(1, 1, 1, 1), 12), 1, 22);
    compare_window("depthwise", window_case(square(7, 12, 12, 3, 1, 1, false, 12), 13), 2, 23);
    compare_window("depthwise", window_case(square(5, 6, 12, 4, 2, 1, true, 6), 14), 2, 24);
    compare_window("groups", window_case(square(6, 16, 24, 3, 1, 1, false, 4), 15), 2, 25);
    compare_window("patches", window_case(square(12, 3, 40, 4, 4), 16), 3, 26);
    compare_window("all outside", window_case(square(4, 4, 4, 2, 3, 5), 17), 2, 27);
    WindowShape shape = square(6, 5, 7, 3, 2, 1);
    shape.dilation_h = 2;
    shape.stride_w = 1;
    shape.left = 4;
    shape.out_height = 3;
    shape.out_width = 9;
    compare_window("uneven", window_case(shape, 18), 3, 28);
    shape = square(5, 8, 10, 2, 5, 0, true);
    shape.top = -3;
    shape.out_height = shape.out_width = 30;
    compare_window("gaps", window_case(shape, 19), 2, 29);
    compare_window("many rows", window_case(linear(1, 4, 3), 20), 1000, 30);
    if (!on_host) {
        compare_window("large", window_case(square(64, 64, 64, 3, 1, 1), 21), 20, 31);
        compare_window("large", window_case(square(16, 128, 64, 3, 2, 1, true), 22), 100, 32);
        compare_window("large", window_case(linear(197, 768, 192), 23), 20, 33);
    }
}

void random_windows() {
    const int rounds = on_host ? 40 : 200;
    const auto all = [] {
        std::vector<Activation> list;
        for (int kind = 0; kind <= static_cast<int>(ActivationKind::pow); kind++) {
            Activation one{static_cast<ActivationKind>(kind), 0.25f, 0.75f};
            if (one.kind == ActivationKind::pow)
                one.alpha = 2;
            list.push_back(one);
        }
        return list;
    }();
    for (int i = 0; i < rounds; i++) {
        const uint64_t seed = 1000 + static_cast<uint64_t>(i);
        auto some = [seed, at = uint64_t{0}](int32_t least, int32_t most) mutable {
            return least + static_cast<int32_t>(pick(seed, at++, static_cast<uint64_t>(most - least + 1)));
        };
        WindowShape s;
        s.groups = some(0, 2) == 0 ? some(2, 3) : 1;
        s.channels = s.groups * (some(0, 1) ? some(1, 9) : 4 * some(1, 9));
        s.out_channels = s.groups * some(1, some(0, 3) == 0 ? 70 : 20);
        s.height = some(1, 9);
        s.width = some(1, 9);
        s.kernel_h = some(1, 4);
        s.kernel_w = some(1, 4);
        s.stride_h = some(1, 3);
        s.stride_w = some(1, 3);
        s.dilation_h = some(1, 2);
        s.dilation_w = some(1, 3);
        s.top = some(-1, 3);
        s.left = some(-1, 3);
        s.transposed = some(0, 1);
        s.out_height = some(1, 10);
        s.out_width = some(1, 10);
        // Functions that are wild near 0, or have a kink, are tried with sums that are wide of it.
        const Activation activation = all[static_cast<size_t>(i) % all.size()];
        WindowCase one = window_case(s, seed, activation, some(0, 3) > 0, some(0, 1));
        const bool positive =
            activation.kind == ActivationKind::log || activation.kind == ActivationKind::sqrt ||
            activation.kind == ActivationKind::reciprocal || activation.kind == ActivationKind::exp;
        if (positive) {
            one.residual = false;
            one.bias.assign(static_cast<size_t>(s.out_channels), 3);
            for (float& w : one.weights)
                w *= 0.01f;
        }
        compare_window("random", one, some(1, some(0, 2) == 0 ? 40 : 4), 2 * seed + (i / 2) % 2);
    }
}

// ---- what holds of bits ----

void bits() {
    alone(window_case(square(6, 20, 12, 3, 1, 1), 70, {ActivationKind::tanh}, true, true), 7, {0, 3, 6});
    alone(window_case(square(5, 3, 40, 4, 2, 1, true), 71, {ActivationKind::silu}), 9, {0, 8});
    alone(window_case(square(5, 6, 6, 3, 1, 1, false, 2), 72), 5, {1, 4});
    // Enough rows for the large tiles, and a row for which there are smaller ones.
    const int64_t many = on_host ? 300 : 40000;
    alone(window_case(linear(1, 36, 128), 73, {ActivationKind::relu}), many, {0, 255, many - 1});
    alone(window_case(linear(2, 20, 32), 77), 2 * many, {0, 255, 2 * many - 1});
    alone(window_case(linear(1, 20, 192), 74), many, {0, 255, many - 1});
}

// ---- what is not a number, or does not work ----

void extremes() {
    WindowCase one = window_case(square(4, 5, 6, 3, 1, 1), 80);
    for (float& w : one.weights)
        w = std::abs(w) + 0.01f;
    for (Precision precision : precisions)
        for (float v : not_finite()) {
            std::vector<float> x = gaussian(3, one.inputs(), 81).data;
            // A corner of row 1: four output positions of it see that.
            x[one.inputs()] = v;
            const std::vector<float> found = run(one, precision, x, {});
            for (int64_t i = 0; i < 3 * one.outputs(); i++) {
                const int64_t row = i / one.outputs(), h = i % one.outputs() / 24, w = i % 24 / 6;
                const bool sees = row == 1 && h < 2 && w < 2;
                CHECK(sees ? (std::isnan(v) ? std::isnan(found[i]) : found[i] == v) : std::isfinite(found[i]),
                      "%s: %g became %g at row %lld, %lld, %lld", name_of(precision), v, found[i],
                      static_cast<long long>(row), static_cast<long long>(h), static_cast<long long>(w));
            }
        }
}

void abuse() {
    const auto message = [](WindowShape shape, size_t weights, size_t bias) {
        return message_of([&] {
            Window(shape, std::vector<float>(weights), std::vector<float>(bias), {}, Precision::float32);
        });
    };
    WindowShape shape = square(3, 4, 6, 3);
    std::string found = message(shape, 215, 6);
    CHECK(found == "a window has 215 weights, expected 216", "%s", found.c_str());
    found = message(shape, 216, 5);
    CHECK(found == "a window has 5 biases, expected 6", "%s", found.c_str());
    shape.groups = 4;
    found = message(shape, 216, 6);
    CHECK(found == "a window of 4 → 6 channels does not have 4 groups", "%s", found.c_str());
    shape.groups = 0;
    found = message(shape, 216, 6);
    CHECK(found == "a window has a size of 0, expected at least 1", "%s", found.c_str());
    // No rows: nothing is started.
    const Window window(square(2, 1, 1, 1), std::vector<float>(1), {}, {}, Precision::tf32);
    window.run(nullptr, nullptr, nullptr, 0);
    CHECK(window.launches() == 1 && window.weight_bytes() > 0, "a window's size");
#ifdef LATDYN_SIMT
    const WindowCase one = window_case(square(4, 4, 4, 3, 2, 1, true), 90);
    for (Precision precision : precisions)
        with_broken_launches({0}, [&] { run(one, precision, gaussian(2, one.inputs(), 91).data, {}); });
    simt::limit_memory(100);
    found = message_of([&] { run(one, Precision::float32, gaussian(2, one.inputs(), 91).data, {}); });
    CHECK(found.find("device: CUDA: allocating ") == 0, "%s", found.c_str());
    simt::limit_memory(int64_t{1} << 40);
    compare_window("after all that", one, 2, 92);
    // Devices between sm_80 and sm_90 have 99 KiB.
    simt::limit_shared_memory(99 << 10);
    compare_window("little shared memory", window_case(linear(1, 20, 128), 93), 300, 94);
    simt::limit_shared_memory(227 << 10);
#endif
}

} // namespace

int main() {
    return test_products("cuda_windows", [] {
        known_windows();
        chosen_windows();
        random_windows();
        bits();
        extremes();
        abuse();
    });
}
