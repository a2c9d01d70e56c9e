// oneDNN's plans of whole graphs: odd wirings and small networks, the same bits on every thread, and NaN.
#include "onednn_reference.h"

#include <thread>

using namespace latdyn;
using namespace latdyn::test;

namespace {

// Windows of 3 × 3 that keep the image's size.
const Attributes same_size{
    {"strides", {1, 1}}, {"pads", {1, 1, 1, 1}}, {"dilations", {1, 1}}, {"groups", {1}}};

void test_wiring() {
    {
        Builder b;
        b.graph.output = b.input({3, 4});
        check("the input is the output", b.graph);
    }
    {
        Builder b;
        b.input({3, 4});
        b.graph.output = b.constant({5});
        check("the output is a constant", b.graph);
    }
    {
        Builder b;
        const int x = b.input({6});
        b.node("reshape", {x}, {2, 3});
        check("the output is the input under another shape", b.graph);
    }
    {
        Builder b;
        const int x = b.input({6});
        b.node("add", {b.constant({6}), b.constant({6})}, {6});
        const int y = b.graph.output;
        b.node("mul", {y, x}, {6});
        check("two constants", b.graph);
    }
    {
        // The residual is the input; the value after it is used twice, once as the output.
        Builder b;
        const int x = b.input({16, 8, 8});
        const int w = b.constant({16, 16, 3, 3}, 0.1f);
        const int y = b.node("conv", {x, w}, {16, 8, 8}, same_size, {ActivationKind::relu, 0, 0}, x);
        b.node("conv", {y, w}, {16, 8, 8}, same_size, {}, y);
        b.node("conv", {y, w}, {16, 8, 8}, same_size, {}, b.graph.output);
        b.graph.output = y;
        check("residual is the input", b.graph);
    }
    {
        // What the convolution reads is its residual too, for the last time.
        Builder b;
        const int x = mix(b, b.input({64, 8, 8}), 64);
        b.node("conv", {x, b.constant({64, 64, 5, 5}, 0.02f)}, {64, 8, 8},
               {{"strides", {1, 1}}, {"pads", {2, 2, 2, 2}}, {"dilations", {1, 1}}, {"groups", {1}}}, {}, x);
        check("residual is the convolution's input", b.graph);
    }
    {
        // A reshape names the memory of a residual, and is read after it.
        Builder b;
        const int x = b.input({16, 8, 8});
        const int w = b.constant({16, 16, 3, 3}, 0.1f);
        const int t = b.node("activate", {x}, {16, 8, 8}, {}, {ActivationKind::tanh, 0, 0});
        const int flat = b.node("reshape", {t}, {1024});
        const int y = b.node("conv", {x, w}, {16, 8, 8}, same_size, {}, t);
        const int z = b.node("reshape", {y}, {1024});
        b.node("sub", {z, flat}, {1024});
        check("a view outlives a residual", b.graph);
    }
    for (int seed = 0; seed < 40; ++seed) {
        // A small residual network down and up, as autoencoders are.
        generator.seed(seed);
        Builder b;
        const int64_t c = pick({16, 20, 32, 64});
        const Activation f = any_activation();
        const auto conv = [&](int v, int64_t o, const Activation& g, int residual) {
            const Shape s = b.shape(v);
            return b.node("conv",
                          {v, b.constant({o, s[0], 3, 3}, 1 / std::sqrt(9.0f * s[0])), b.constant({o})},
                          {o, s[1], s[2]}, same_size, g, residual);
        };
        int v = conv(b.input({3, 8, 8}), c, f, -1);
        for (int block = 0; block < 2; ++block) {
            const int first = conv(v, c, f, -1);
            v = conv(conv(first, c, f, -1), c, f, v);
        }
        v = b.node("groupNorm", {v, b.constant({c}), b.constant({c})}, {c, 8, 8},
                   {{"groups", {4}}, {"epsilon", {1e-5}}}, f);
        v = b.node("maxPool", {v}, {c, 4, 4},
                   {{"kernel", {2, 2}},
                    {"strides", {2, 2}},
                    {"dilations", {1, 1}},
                    {"pads", {0, 0, 0, 0}},
                    {"countIncludePad", {0}}});
        v = b.node("reshape", {v}, {c * 16});
        v = b.node("linear", {v, b.constant({10, c * 16}, 1 / std::sqrt(16.0f * c)), b.constant({10})}, {10});
        v = b.node("linear", {v, b.constant({c * 16, 10}, 0.3f), b.constant({c * 16})}, {c * 16}, {}, f);
        v = b.node("reshape", {v}, {c, 4, 4});
        v = b.node("resizeNearest", {v}, {c, 8, 8}, {{"scales", {2, 2}}});
        conv(v, 3, {ActivationKind::sigmoid, 0, 0}, -1);
        check("network", b.graph);
    }
}

// ---- the same bits, on two threads at once ----

int threads_now() {
    int threads = 0;
    if (std::FILE* file = std::fopen("/proc/self/status", "r")) {
        char line[256];
        while (std::fgets(line, sizeof line, file))
            std::sscanf(line, "Threads: %d", &threads);
        std::fclose(file);
    }
    return threads;
}

void test_threads() {
    generator.seed(7);
    Builder b;
    int v = b.input({64, 16, 16});
    for (int i = 0; i < 4; ++i) {
        v = b.node("conv", {v, b.constant({64, 64, 3, 3}, 0.05f), b.constant({64})}, {64, 16, 16}, same_size,
                   {ActivationKind::relu, 0, 0});
    }
    v = mix(b, v, 256);
    v = b.node("groupNorm", {v, b.constant({256}), b.constant({256})}, {256, 16, 16},
               {{"groups", {4}}, {"epsilon", {1e-5}}}, {ActivationKind::gelu, 0, 0});
    mix(b, v, 5, {ActivationKind::tanh, 0, 0});
    const auto plan = compile_onednn(b.graph, widest_isa());
    CHECK(plan->info.tile_rows == 1 && plan->info.layout == Layout::onednn && plan->info.arena_bytes > 0 &&
              plan->info.weight_bytes >= 4 * 64 * 64 * 9 * sizeof(float),
          "plan info");
    CHECK(plan->info.flops_per_row == b.graph.nominal_flops(), "%g flops", plan->info.flops_per_row);
    constexpr int rows = 12;
    std::vector<std::vector<float>> inputs;
    for (int i = 0; i < rows; ++i)
        inputs.push_back(random_input(b.graph));
    std::vector<std::vector<float>> outputs[2];
    const auto work = [&](int thread) {
        const auto workspace = plan->make_workspace();
        outputs[thread].resize(rows);
        // In opposite orders.
        for (int i = 0; i < rows; ++i) {
            const int row = thread == 0 ? i : rows - 1 - i;
            outputs[thread][row] = run(*plan, *workspace, inputs[row]);
        }
    };
    std::thread first(work, 0), second(work, 1);
    first.join();
    second.join();
    for (int i = 0; i < rows; ++i) {
        CHECK(same_bits(outputs[0][i], outputs[1][i]), "row %d has other bits on another thread", i);
    }
    // A second plan of the same graph has them too.
    const auto again = compile_onednn(b.graph, widest_isa());
    const auto workspace = again->make_workspace();
    CHECK(same_bits(run(*again, *workspace, inputs[3]), outputs[0][3]), "another plan, other bits");
    const int threads = threads_now();
    CHECK(threads <= 1, "%d threads are left where none was asked for", threads);
}

// ---- NaN ----

void test_nan() {
    const auto poisoned = [](const char* what, const Graph& graph) {
        try {
            const auto plan = compile_onednn(graph, widest_isa());
            const auto workspace = plan->make_workspace();
            std::vector<float> input = random_input(graph);
            input[input.size() / 2] = std::numeric_limits<float>::quiet_NaN();
            const auto y = run(*plan, *workspace, input);
            const Doubles expected = reference(graph, input);
            for (size_t i = 0; i < y.size(); ++i) {
                // Winograd spreads NaN over a tile of outputs: more is no harm, less is.
                if (std::isnan(expected[i]) && !std::isnan(y[i])) {
                    CHECK(false, "%s hides NaN at %zu: %s", what, i, describe(graph).c_str());
                    return;
                }
            }
        } catch (const Error& error) {
            CHECK(false, "%s: %s", what, error.what());
        }
    };
    auto all = activations();
    all.push_back({});
    for (const Activation& f : all)
        for (int64_t c : {3, 20, 64})
            for (bool residual : {false, true}) {
                generator.seed(c);
                {
                    Builder b;
                    const int x = b.input({c, 8, 8});
                    b.node("conv", {x, b.constant({c, c, 3, 3}), b.constant({c})}, {c, 8, 8}, same_size, f,
                           residual ? x : -1);
                    poisoned("conv", b.graph);
                }
                {
                    Builder b;
                    const int x = b.input({c, 8, 8});
                    Attributes a = same_size;
                    a["outputPadding"] = {0, 0};
                    b.node("convTranspose", {x, b.constant({c, c, 3, 3}), b.constant({c})}, {c, 8, 8}, a, f,
                           residual ? x : -1);
                    poisoned("convTranspose", b.graph);
                }
                {
                    Builder b;
                    const int x = b.input({c});
                    b.node("linear", {x, b.constant({c, c})}, {c}, {}, f, residual ? x : -1);
                    poisoned("linear", b.graph);
                }
                {
                    Builder b;
                    const int x = b.input({c, c});
                    b.node("matmul", {x, x}, {c, c}, {}, f);
                    poisoned("matmul", b.graph);
                }
                {
                    Builder b;
                    const int x = b.input({c, 3, 3});
                    b.node("groupNorm", {mix(b, x, c), b.constant({c}), b.constant({c})}, {c, 3, 3},
                           {{"groups", {1}}, {"epsilon", {1e-5}}}, f);
                    poisoned("groupNorm", b.graph);
                }
                {
                    Builder b;
                    const int x = b.input({c, 3, 3});
                    const int y = residual ? mix(b, x, c) : x;
                    b.node("sub", {y, x}, {c, 3, 3}, {}, f);
                    poisoned("sub", b.graph);
                }
                if (f.kind != ActivationKind::none) {
                    Builder b;
                    const int x = b.input({c, 3, 3});
                    b.node("activate", {residual ? mix(b, x, c) : x}, {c, 3, 3}, {}, f);
                    poisoned("activate", b.graph);
                }
            }
    for (const char* op : {"maxPool", "averagePool"})
        for (int64_t c : {1, 3, 16, 20, 64}) {
            Builder b;
            const int x = b.input({c, 4, 4});
            b.node(op, {c % 2 ? x : mix(b, x, c)}, {c, 2, 2},
                   {{"kernel", {2, 2}},
                    {"strides", {2, 2}},
                    {"dilations", {1, 1}},
                    {"pads", {0, 0, 0, 0}},
                    {"countIncludePad", {0}}});
            poisoned(op, b.graph);
        }
}

} // namespace

int main() {
    test_threads(); // First: it counts the threads of the process.
    test_wiring();
    test_nan();
    return finish("onednn_plan_test");
}
