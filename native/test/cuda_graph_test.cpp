// Plans of a graph on the device against the CPU's: every operator on random shapes and orders, whole graphs,
// rows that do not touch one another, NaN and infinity, little memory, a device that breaks.
#include "graph/operators.h"
#include "operator_graphs.h"
#include "plans.h"

using namespace latdyn;
using namespace latdyn::test;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

// Float sums of some hundred terms of either sign, in one order here and in others on the CPU.
constexpr double tolerance = 8e-6;

void compare(const char* what, const Graph& graph, int64_t rows = 3, bool orders = true) {
    const std::string text = describe(graph);
    try {
        graph.validate();
        const Floats input = rows_of(graph, rows);
        const int64_t in = graph.values[graph.input].elements(), out = graph.values[graph.output].elements();
        const auto plan = cuda::compile_plan(graph, cuda::Precision::float32);
        CHECK(plan->info.input_elements == in && plan->info.output_elements == out &&
                  plan->info.row_bytes % 256 == 0 && plan->info.flops_per_row == graph.nominal_flops(),
              "%s: info of %s", what, text.c_str());
        const Floats found = on_device(*plan, input, rows);
        for (const auto& cpu : {compile_lanes(graph, widest_isa()), compile_onednn(graph, widest_isa())}) {
            const double error = apart(found, on_cpu(*cpu, input, rows));
            CHECK(error <= tolerance, "%s: %g of the scale from the CPU's %s: %s", what, error,
                  cpu->info.layout == Layout::lanes ? "lanes" : "oneDNN", text.c_str());
        }
        // A row alone, and among others: the same bits, whatever the order of threads is.
        const Floats last(input.end() - in, input.end()), expected(found.end() - out, found.end());
        CHECK(same_bits(on_device(*plan, last, 1), expected), "%s: other bits alone: %s", what, text.c_str());
        if (orders)
            in_every_order([&](const char* order) {
                CHECK(same_bits(on_device(*plan, input, rows), found), "%s: other bits, %s: %s", what, order,
                      text.c_str());
            });
    } catch (const std::exception& error) {
        CHECK(false, "%s: %s: %s", what, error.what(), text.c_str());
    }
}

void every_operator() {
    const int seeds = on_host ? 12 : 60;
    for (const OperatorCase& c : operator_cases())
        for (int seed = 0; seed < seeds; seed++) {
            reseed(seed);
            Builder b;
            c.build(b);
            compare(c.name, b.graph, between(1, 4), seed < 2);
        }
}

// Where the CPU's numbers are NaN or infinite, and nowhere else.
void not_numbers() {
    constexpr float nan = std::numeric_limits<float>::quiet_NaN();
    const Floats odd{nan, infinity, -infinity};
    for (const OperatorCase& c : operator_cases())
        for (int seed = 0; seed < 6; seed++) {
            reseed(1000 + seed);
            Builder b;
            c.build(b);
            const std::string text = describe(b.graph);
            const Floats clean = rows_of(b.graph, 2);
            Floats input = clean;
            const size_t half = input.size() / 2;
            input[generator() % half] = odd[seed % 3];
            const auto plan = cuda::compile_plan(b.graph, cuda::Precision::float32);
            const auto cpu = compile_lanes(b.graph, widest_isa());
            const Floats found = on_device(*plan, input, 2);
            const double error = apart(found, on_cpu(*cpu, input, 2));
            CHECK(error <= 1e-5, "%s of %g: %g of the scale from the CPU's: %s", c.name, odd[seed % 3], error,
                  text.c_str());
            // What the first row holds is nothing to the second.
            const Floats other = on_device(*plan, clean, 2);
            CHECK(std::memcmp(&found[found.size() / 2], &other[other.size() / 2],
                              found.size() / 2 * sizeof(float)) == 0,
                  "%s: a row meets its neighbour: %s", c.name, text.c_str());
        }
}

// Functions and their derivatives where they bend, far out, and at what is no number.
void special_values() {
    Floats points;
    for (float x : {0.0f,   1e-40f, 1e-30f, 1e-7f, 1e-3f,    0.2f,
                    0.5f,   0.7f,   0.8f,   0.9f,  1.0f,     2.0f,
                    5.0f,   9.0f,   12.9f,  13.1f, 14.4f,    14.6f,
                    20.0f,  40.0f,  88.0f,  89.0f, 104.0f,   199.0f,
                    201.0f, 1e4f,   1e20f,  3e38f, infinity, std::numeric_limits<float>::quiet_NaN()})
        points.insert(points.end(), {x, -x});
    for (int i = 0; i < 400; i++)
        points.push_back(-20 + 0.1f * static_cast<float>(i));
    const Shape s{static_cast<int64_t>(points.size())};
    auto functions = all_functions();
    functions.push_back({ActivationKind::leaky_relu, 0, 0});
    functions.push_back({ActivationKind::pow, 0, 0});
    functions.push_back({ActivationKind::pow, -2, 0});
    for (const Activation& f : functions)
        for (bool derivative : {false, true}) {
            Builder b;
            const int x = b.input(s);
            if (derivative) {
                const int one = b.constant(s, 0, 1);
                b.node("activateGrad", {x, one}, s, {}, f);
            } else {
                b.node("activate", {x}, s, {}, f);
            }
            const Floats found = on_device(*cuda::compile_plan(b.graph, cuda::Precision::float32), points, 1);
            const Floats expected = on_cpu(*compile_lanes(b.graph, widest_isa()), points, 1);
            for (size_t i = 0; i < points.size(); i++) {
                const float y = found[i], z = expected[i];
                // In the tails of e^(−x²), a rounding of x² is one of x² units in the last place.
                const float units = 4e-6f + 2e-7f * std::min(points[i] * points[i], 200.0f);
                const bool same = (std::isnan(y) && std::isnan(z)) || y == z ||
                                  std::fabs(y - z) <= units * std::fabs(z) + 1e-37f ||
                                  // Slopes change sign somewhere: there their terms cancel.
                                  (derivative && std::fabs(y - z) <= 3e-7f);
                CHECK(same, "%s %d at %g: %.9g, on the CPU %.9g", derivative ? "derivative of" : "function",
                      static_cast<int>(f.kind), points[i], y, z);
            }
        }
}

void odd_wiring() {
    Builder b;
    const auto next = [&](const char* what) {
        compare(what, b.graph);
        b = {};
    };
    reseed(5);
    b.graph.output = b.input({3, 4});
    next("the input is the output");
    b.input({3, 4});
    b.graph.output = b.constant({5});
    next("the output is a constant");
    b.node("reshape", {b.input({6})}, {2, 3});
    next("the output is the input under another shape");
    int x = b.input({6});
    b.node("mul", {b.node("add", {b.constant({6}), b.constant({6})}, {6}), x}, {6});
    next("two constants");
    x = b.input({4});
    b.node("linear", {b.constant({3, 4}), b.constant({2, 4})}, {3, 2});
    next("a product of constants");
    b.input({4});
    b.node("transpose", {b.constant({20, 30})}, {30, 20}, {{"permutation", {1, 0}}});
    next("a constant turned");
    // The residual is the input; the value after it is read twice, and is the output.
    const Attributes same{
        {"strides", {1, 1}}, {"pads", {1, 1, 1, 1}}, {"dilations", {1, 1}}, {"groups", {1}}};
    x = b.input({8, 4, 4});
    const int w = b.constant({8, 8, 3, 3}, 0.1f);
    const int y = b.node("conv", {x, w}, {8, 4, 4}, same, {ActivationKind::relu, 0, 0}, x);
    b.node("conv", {b.node("conv", {y, w}, {8, 4, 4}, same, {}, y), w}, {8, 4, 4}, same, {}, y);
    b.graph.output = y;
    next("the output is read on");
    b.node("transpose", {b.input(Shape(14, 2))}, Shape(14, 2),
           {{"permutation", {13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0}}});
    next("fourteen axes");
    // A mean far from zero takes no digits from the deviation.
    x = b.input({64, 4, 4});
    const int far = b.node("add", {x, b.constant({}, 0, 4096)}, {64, 4, 4});
    b.node("sub", {far, b.constant({}, 0, 4096)}, {64, 4, 4});
    const int rounded = b.graph.output;
    const int scale = b.constant({64}), bias = b.constant({64});
    const Attributes norm{{"groups", {4}}, {"epsilon", {1e-5}}};
    const int of_far = b.node("groupNorm", {far, scale, bias}, {64, 4, 4}, norm);
    b.node("sub", {of_far, b.node("groupNorm", {rounded, scale, bias}, {64, 4, 4}, norm)}, {64, 4, 4});
    const Floats input = random_input(b.graph);
    for (float d : on_device(*cuda::compile_plan(b.graph, cuda::Precision::float32), input, 1))
        CHECK(std::fabs(d) < 3e-6f, "groupNorm far from zero is off by %g", d);
}

// Convolutions, norms, attention over positions, pooling, and the way back.
void networks() {
    const Attributes same{
        {"strides", {1, 1}}, {"pads", {1, 1, 1, 1}}, {"dilations", {1, 1}}, {"groups", {1}}};
    for (int seed = 0; seed < (on_host ? 8 : 40); seed++) {
        reseed(seed);
        Builder b;
        const int64_t c = pick({8, 12, 32});
        const Activation f = any_activation();
        const auto conv = [&](int v, int64_t o, const Activation& g, int residual = -1) {
            const Shape s = b.shape(v);
            return b.node("conv",
                          {v, b.constant({o, s[0], 3, 3}, 1 / std::sqrt(9.0f * s[0])), b.constant({o})},
                          {o, s[1], s[2]}, same, g, residual);
        };
        int v = conv(b.input({3, 6, 6}), c, f);
        v = conv(conv(v, c, f), c, f, v);
        v = b.node("groupNorm", {v, b.constant({c}), b.constant({c})}, {c, 6, 6},
                   {{"groups", {4}}, {"epsilon", {1e-5}}}, f);
        // Positions attend to one another: [c, 36] → [36, c], in two heads.
        const int tokens =
            b.node("transpose", {b.node("reshape", {v}, {c, 36})}, {36, c}, {{"permutation", {1, 0}}});
        const int normal = b.node("layerNorm", {tokens, b.constant({c}), b.constant({c})}, {36, c},
                                  {{"dimensions", {1}}, {"epsilon", {1e-5}}});
        const auto heads = [&] {
            const int all = b.node("linear", {normal, b.constant({c, c}, 1 / std::sqrt(float(c)))}, {36, c});
            return b.node("transpose", {b.node("reshape", {all}, {36, 2, c / 2})}, {2, 36, c / 2},
                          {{"permutation", {1, 0, 2}}});
        };
        const int q = heads(), k = heads(), w = heads();
        int a = b.node("attention", {q, k, w}, {2, 36, c / 2}, {{"scale", {1 / std::sqrt(c / 2.0)}}});
        a = b.node("reshape", {b.node("transpose", {a}, {36, 2, c / 2}, {{"permutation", {1, 0, 2}}})},
                   {36, c});
        a = b.node("linear", {a, b.constant({c, c}, 0.2f)}, {36, c}, {}, {}, tokens);
        v = b.node("reshape", {b.node("transpose", {a}, {c, 36}, {{"permutation", {1, 0}}})}, {c, 6, 6});
        const Attributes halves{{"kernel", {2, 2}},
                                {"strides", {2, 2}},
                                {"dilations", {1, 1}},
                                {"pads", {0, 0, 0, 0}},
                                {"countIncludePad", {0}}};
        v = b.node(seed % 2 ? "maxPool" : "averagePool", {conv(v, c, f)}, {c, 3, 3}, halves);
        const int mean = b.node("reduceMean", {v}, {c, 1, 1}, {{"axes", {1, 2}}});
        v = b.node("mul", {v, b.node("activate", {mean}, {c, 1, 1}, {}, {ActivationKind::sigmoid, 0, 0})},
                   {c, 3, 3});
        v = b.node("resizeNearest", {v}, {c, 6, 6}, {{"scales", {2, 2}}});
        v = b.node("concat", {v, b.graph.input}, {c + 3, 6, 6}, {{"axis", {0}}});
        conv(v, 3, {ActivationKind::sigmoid, 0, 0});
        compare("network", b.graph, 3, seed < 2);
    }
}

// f = E∘D of a small convolutional autoencoder, and J_f·v of (z, v), as differentiation writes it.
struct Autoencoder {
    Builder b;
    int z, v = -1;

    explicit Autoencoder(bool derivative) {
        reseed(77);
        constexpr int64_t k = 6;
        const int input = b.input({derivative ? 2 * k : k});
        z = input;
        if (derivative) {
            std::vector<double> first(k), second(k);
            std::iota(first.begin(), first.end(), 0);
            std::iota(second.begin(), second.end(), k);
            z = b.node("gather", {input}, {k}, {{"axis", {0}}, {"indices", first}});
            v = b.node("gather", {input}, {k}, {{"axis", {0}}, {"indices", second}});
        }
        const Attributes halves{
            {"strides", {2, 2}}, {"pads", {1, 1, 1, 1}}, {"dilations", {1, 1}}, {"groups", {1}}};
        Attributes doubles = halves;
        doubles["outputPadding"] = {1, 1};
        affine("linear", {36, k}, 36, {36}, {});
        both("reshape", {4, 3, 3});
        function({ActivationKind::elu, 1, 0}, "groupNorm");
        affine("convTranspose", {4, 3, 3, 3}, 3, {3, 6, 6}, doubles);
        function({ActivationKind::silu, 0, 0}, "");
        affine("conv", {4, 3, 3, 3}, 4, {4, 3, 3}, halves);
        function({ActivationKind::tanh, 0, 0}, "");
        both("reshape", {36});
        affine("linear", {k, 36}, k, {k}, {});
        b.graph.output = derivative ? v : z;
    }

    void affine(const char* op, const Shape& weights, int64_t outputs, const Shape& out,
                const Attributes& a) {
        const int w = b.constant(weights, 0.3f), bias = b.constant({outputs}, 0.3f);
        z = b.node(op, {z, w, bias}, out, a);
        if (v >= 0)
            v = b.node(op, {v, w}, out, a);
    }
    void both(const char* op, const Shape& out) {
        z = b.node(op, {z}, out);
        if (v >= 0)
            v = b.node(op, {v}, out);
    }
    void function(const Activation& f, const std::string& norm) {
        const Shape s = b.shape(z);
        if (!norm.empty()) {
            const Attributes a{{"groups", {2}}, {"epsilon", {0.01}}};
            const int scale = b.constant({s[0]}, 0.1f, 1), bias = b.constant({s[0]});
            if (v >= 0)
                v = b.node("mul",
                           {b.node("groupNormGrad", {z, v}, s, a), b.node("reshape", {scale}, {s[0], 1, 1})},
                           s);
            z = b.node("groupNorm", {z, scale, bias}, s, a);
        }
        if (v >= 0)
            v = b.node("activateGrad", {z, v}, s, {}, f);
        z = b.node("activate", {z}, s, {}, f);
    }
};

void jacobian_products() {
    const Autoencoder map(false), product(true);
    compare("autoencoder", map.b.graph, 50);
    compare("Jacobian product", product.b.graph, 20);
    const auto f = cuda::compile_plan(map.b.graph, cuda::Precision::float32),
               jacobian = cuda::compile_plan(product.b.graph, cuda::Precision::float32);
    const Floats both = random_input(product.b.graph);
    const Floats z(both.begin(), both.begin() + 6), v(both.begin() + 6, both.end());
    Floats ends;
    for (float step : {0.01f, -0.01f})
        for (int i = 0; i < 6; i++)
            ends.push_back(z[i] + step * v[i]);
    const Floats values = on_device(*f, ends, 2), slopes = on_device(*jacobian, both, 1);
    for (int i = 0; i < 6; i++)
        CHECK(std::fabs((values[i] - values[6 + i]) / 0.02f - slopes[i]) < 2e-3f,
              "J·v[%d]: %g, by differences %g", i, slopes[i], (values[i] - values[6 + i]) / 0.02f);
}

// Images that a linear layer writes or reads under another shape are not moved.
void flat_images() {
    const Attributes same{
        {"strides", {1, 1}}, {"pads", {1, 1, 1, 1}}, {"dilations", {1, 1}}, {"groups", {1}}};
    for (bool residual : {false, true})
        for (bool twice : {false, true}) {
            reseed(9);
            Builder b;
            int v = b.node("linear", {b.input({5}), b.constant({60, 5}), b.constant({60})}, {60}, {},
                           {ActivationKind::elu, 1, 0});
            const int flat = v;
            v = b.node("reshape", {v}, {5, 3, 4});
            const int w = b.constant({5, 5, 3, 3}, 0.2f);
            v = b.node("conv", {v, w}, {5, 3, 4}, same, {ActivationKind::relu, 0, 0}, residual ? v : -1);
            v = b.node("conv", {v, w}, {5, 3, 4}, same);
            const int image = v;
            v = b.node("reshape", {b.node("reshape", {v}, {5, 12})}, {60});
            v = b.node("linear", {v, b.constant({7, 60}, 0.1f), b.constant({7})}, {7});
            if (twice) {
                v = b.node("concat", {v, flat, b.node("reshape", {image}, {60})}, {127}, {{"axis", {0}}});
                v = b.node("linear", {v, b.constant({7, 127}, 0.1f)}, {7});
            }
            compare("flat image", b.graph);
            const int launches = cuda::compile_plan(b.graph, cuda::Precision::float32)->info.launches;
            if (!twice)
                CHECK(launches == (residual ? 5 : 4), "%d launches of a small autoencoder", launches);
        }
}

// Products on tensor cores: operands of 11 and of 8 digits.
void fast_products() {
    const Autoencoder map(false);
    const Floats input = rows_of(map.b.graph, 40), one(input.begin() + 6, input.begin() + 12);
    const Floats strict = on_device(*cuda::compile_plan(map.b.graph, cuda::Precision::float32), input, 40);
    for (const auto& [precision, most] :
         {std::pair(cuda::Precision::tf32, 3e-3), std::pair(cuda::Precision::bf16, 3e-2)}) {
        const auto plan = cuda::compile_plan(map.b.graph, precision);
        const Floats found = on_device(*plan, input, 40);
        const double error = apart(found, strict);
        CHECK(plan->info.precision == precision && error <= most && error > 1e-6,
              "precision %d: %g of the scale from float32", static_cast<int>(precision), error);
        CHECK(same_bits(on_device(*plan, one, 1), Floats(found.begin() + 6, found.begin() + 12)),
              "precision %d: a row has other bits alone", static_cast<int>(precision));
    }
}

void tables() {
    for (int64_t d :
         {1, 2, 3, 5, 7, 10, 12, 641, 1023, 1024, 1025, 65537, 715827883, 1073741824, 2147483647}) {
        const cuda::Divisor by = cuda::divisor(d);
        const auto quotient = [&](int64_t x) {
            return static_cast<int64_t>(static_cast<uint64_t>(x) * by.magic >> (31 + by.shift));
        };
        for (int64_t x : {int64_t{0}, d - 1, d, 2 * d - 1, 1000 * d - 1, int64_t{2147483647} / d * d - 1,
                          int64_t{2147483647} / d * d, int64_t{2147483647}})
            if (x <= 2147483647)
                CHECK(quotient(x) == x / d, "%lld / %lld = %lld", static_cast<long long>(x),
                      static_cast<long long>(d), static_cast<long long>(quotient(x)));
    }
    // Lists that are axes, and lists that are almost.
    for (int seed = 0; seed < 300; seed++) {
        reseed(seed);
        std::vector<int32_t> list{static_cast<int32_t>(between(0, 3))};
        for (int64_t axes = between(0, 5); axes > 0; axes--) {
            const int64_t extent = between(1, 4), stride = between(-3, 30);
            const std::vector<int32_t> inner = list;
            for (int64_t i = 1; i < extent; i++)
                for (int32_t v : inner)
                    list.push_back(v + static_cast<int32_t>(i * stride));
        }
        const bool broken = list.size() > 3 && seed % 5 == 0;
        if (broken)
            list[generator() % list.size()] += 1000;
        cuda::Map map;
        if (!cuda::as_axes(list, &map)) {
            CHECK(broken, "axes were not found, seed %d", seed);
            continue;
        }
        for (size_t i = 0; i < list.size(); i++) {
            int64_t at = map.axes == 0 ? static_cast<int64_t>(i) : map.first, rest = static_cast<int64_t>(i);
            for (int axis = 0; axis < map.axes; axis++) {
                at += rest % map.extent[axis].value * map.stride[axis];
                rest /= map.extent[axis].value;
            }
            CHECK(at == list[i], "seed %d: place %zu is %lld", seed, i, static_cast<long long>(at));
        }
    }
}

void refusals() {
    const auto message = [](Builder& b) {
        b.graph.nodes.back().name = "the odd one";
        return message_of([&] { cuda::compile_plan(b.graph, cuda::Precision::float32); });
    };
    Builder b;
    b.node("fourier", {b.input({3})}, {3});
    CHECK(message(b) == "node \"the odd one\" (fourier): no kernel of CUDA does it", "%s",
          message(b).c_str());
    b = {};
    int x = b.input({3});
    b.node("add", {x, x}, {3}, {}, {}, x);
    CHECK(message(b) == "node \"the odd one\" (add): adds a residual, which no kernel of it does", "%s",
          message(b).c_str());
    b = {};
    b.node("softmax", {b.input({3})}, {3}, {}, {ActivationKind::relu, 0, 0});
    CHECK(message(b) == "node \"the odd one\" (softmax): has an activation, which no kernel of it does", "%s",
          message(b).c_str());
    b = {};
    x = b.input({40000, 40000});
    b.node("activate", {x}, {40000, 40000}, {}, {ActivationKind::relu, 0, 0});
    CHECK(message(b) ==
              "node \"the odd one\" (activate): a value of 1600000000 elements a row, expected at most "
              "1073741824",
          "%s", message(b).c_str());
}

void limits() {
    const Autoencoder map(false);
    const Floats input = rows_of(map.b.graph, 5);
    const auto plan = cuda::compile_plan(map.b.graph, cuda::Precision::float32);
    const Floats expected = on_device(*plan, input, 5);
    CHECK(on_device(*plan, {}, 0).empty(), "no rows");
#ifdef LATDYN_SIMT
    // As many launches as the plan says.
    with_broken_launches({0, 2, plan->info.launches - 1}, [&] { on_device(*plan, input, 5); });
    simt::fail_launch_after(plan->info.launches);
    CHECK(same_bits(on_device(*plan, input, 5), expected), "more launches than the plan says");
    simt::fail_launch_after(-1);
    simt::limit_memory(500);
    const std::string message =
        message_of([&] { cuda::compile_plan(map.b.graph, cuda::Precision::float32); });
    CHECK(message.find("device: CUDA: allocating ") == 0, "%s", message.c_str());
    simt::limit_memory(int64_t{1} << 40);
#else
    // Sequences of some thousands, values of some millions.
    Builder b;
    const int q = b.input({2, 3000, 64});
    b.node("attention", {q, q, q}, {2, 3000, 64}, {{"scale", {0.125}}});
    compare("long attention", b.graph, 2);
    b = {};
    int v = mix(b, b.input({64, 150, 130}), 64);
    v = b.node("groupNorm", {v, b.constant({64}), b.constant({64})}, {64, 150, 130},
               {{"groups", {32}}, {"epsilon", {1e-5}}}, {ActivationKind::silu, 0, 0});
    b.node("groupNorm", {b.node("reshape", {v}, {64, 19500}), b.constant({64}), b.constant({64})},
           {64, 19500}, {{"groups", {2}}, {"epsilon", {1e-5}}});
    compare("large norms", b.graph, 3);
#endif
    CHECK(same_bits(on_device(*plan, input, 5), expected), "other bits after all that");
}

} // namespace

int main() {
    return test_on_device("cuda_graph", [] {
        tables();
        every_operator();
        special_values();
        not_numbers();
        odd_wiring();
        networks();
        jacobian_products();
        flat_images();
        fast_products();
        refusals();
        limits();
    });
}
