// Every other operator of oneDNN's plan, on random shapes.
#include "movement_graphs.h"
#include "onednn_reference.h"

using namespace latdyn;
using namespace latdyn::test;

namespace {

void test_arithmetic() {
    for (int seed = 0; seed < 240; ++seed) {
        generator.seed(seed);
        Builder b;
        const char* op = std::vector<const char*>{"add", "sub", "mul", "div"}[seed % 4];
        Shape full;
        if (between(0, 1))
            full = image(channels());
        else
            for (int64_t rank = between(0, 6); rank > 0; --rank)
                full.push_back(between(1, 4));
        Shape left = full, right = full;
        // Broadcast one side, or both on different axes.
        for (Shape* side : {&left, &right}) {
            if (between(0, 2) != 0)
                continue;
            for (size_t i = 0; i < side->size(); ++i)
                if (between(0, 1) && left[i] == right[i])
                    (*side)[i] = 1;
            if (between(0, 1) && side == &right) {
                while (!right.empty() && (right[0] == 1 || left[left.size() - right.size()] == right[0]) &&
                       between(0, 2))
                    right.erase(right.begin());
            }
        }
        Shape out = left;
        for (size_t i = 0; i < right.size(); ++i) {
            const size_t at = left.size() - right.size() + i;
            out[at] = left[at] == 1 ? right[i] : left[at];
        }
        const int x = source(b, left);
        // Away from zero, since it may divide; a function of the row or a constant.
        int y = b.constant(right, 0.2f, 2);
        if (left == right && between(0, 1)) {
            y = left.size() == 3 && between(0, 1)
                    ? mix(b, x, left[0], {ActivationKind::clip, 1, 2})
                    : b.node("activate", {x}, left, {}, {ActivationKind::clip, 1, 2});
        } else if (between(0, 3) == 0) {
            y = b.node(
                "add",
                {b.node("activate", {b.node("mul", {x, x}, left)}, left, {}, {ActivationKind::sigmoid, 0, 0}),
                 b.constant({}, 0, 1)},
                left);
        }
        if (b.shape(y) != right)
            out = left;
        if (between(0, 3) == 0 && op[0] != 'd')
            b.node(op, {y, x}, out, {}, any_activation());
        else
            b.node(op, {x, y}, out, {}, any_activation());
        check(op, b.graph);
    }
    Builder b;
    const int x = b.input({20, 3, 3});
    const int y = mix(b, x, 20);
    b.node("mul", {y, y}, {20, 3, 3});
    check("square", b.graph);
}

void test_activations() {
    for (const Activation& f : activations()) {
        for (int64_t c : {1, 3, 5, 16, 20, 64}) {
            generator.seed(c);
            Builder b;
            const int x = source(b, {c, 3, 5});
            const int y = b.node("activate", {x}, {c, 3, 5}, {}, f);
            if (c % 2 == 0)
                b.node("add", {y, x}, {c, 3, 5});
            check("activate", b.graph);
        }
        Builder b;
        const int x = b.input({});
        b.node("activate", {x}, {}, {}, f);
        check("activate a scalar", b.graph);
    }
}

void test_normalization() {
    for (int seed = 0; seed < 100; ++seed) {
        generator.seed(seed);
        const int64_t groups = pick({1, 2, 4, 5, 8}), c = groups * pick({1, 3, 4, 8, 16, 64});
        Builder b;
        Shape s = image(c);
        if (between(0, 4) == 0)
            s.resize(between(1, 2));
        if (count(s) == groups)
            s.push_back(7); // One element has no variance.
        const int x = source(b, s);
        const int y =
            b.node("groupNorm", {x, b.constant({c}), b.constant({c})}, s,
                   {{"groups", {static_cast<double>(between(0, 3) ? groups : c)}}, {"epsilon", {1e-5}}},
                   any_activation());
        if (s.size() == 3 && between(0, 1))
            mix(b, y, channels());
        check("groupNorm", b.graph);
    }
    // A mean far from zero must not swallow the variance.
    Builder b;
    const int x = b.input({64, 4, 4});
    const int far = b.node("add", {x, b.constant({}, 0, 300)}, {64, 4, 4});
    b.node("groupNorm", {far, b.constant({64}), b.constant({64})}, {64, 4, 4},
           {{"groups", {4}}, {"epsilon", {1e-5}}});
    generator.seed(1);
    const auto plan = compile_onednn(b.graph, widest_isa());
    const auto workspace = plan->make_workspace();
    std::vector<float> input = random_input(b.graph);
    for (float& v : input)
        v = std::round(v * 4096) / 4096; // So that adding 300 is exact.
    const auto y = run(*plan, *workspace, input);
    const Doubles expected = reference(b.graph, input);
    for (size_t i = 0; i < y.size(); ++i)
        CHECK(std::fabs(y[i] - expected[i]) < 1e-5, "groupNorm far from zero: %g", y[i] - expected[i]);
}

void test_movement() {
    for (int seed = 0; seed < 100; ++seed) {
        generator.seed(seed);
        Builder b;
        const int y = resized(b, source(b, image(channels())));
        if (between(0, 1))
            mix(b, y, channels());
        check("resizeNearest", b.graph);
    }
    for (int seed = 0; seed < 160; ++seed) {
        generator.seed(seed);
        Builder b;
        const Shape s = image(channels());
        const int x = source(b, s);
        Shape out = s;
        std::vector<double> kernel, strides, dilations, pads(4);
        for (int d = 0; d < 2; ++d) {
            const int64_t k = std::min(between(1, 3), s[1 + d]), step = between(1, 3), apart = between(1, 2);
            const int64_t reach = (k - 1) * apart + 1;
            int64_t before = between(0, reach / 2), after = between(0, reach / 2);
            if (s[1 + d] + before + after < reach)
                before = after = reach - 1;
            // Rounded up in half of the cases, as long as the last window begins inside.
            const int64_t room = s[1 + d] + before + after - reach;
            out[1 + d] = room / step + 1;
            if (between(0, 1) && room % step != 0 && out[1 + d] * step < s[1 + d] + before)
                ++out[1 + d];
            kernel.push_back(k), strides.push_back(step), dilations.push_back(apart);
            pads[d] = before, pads[2 + d] = after;
        }
        // A window whose taps all step over a one-pixel image has nothing to pool.
        const char* op = seed % 2 ? "maxPool" : "averagePool";
        b.node(op, {x}, out,
               {{"kernel", kernel},
                {"strides", strides},
                {"dilations", dilations},
                {"pads", pads},
                {"countIncludePad", {static_cast<double>(between(0, 1))}}});
        const Doubles expected = reference(b.graph, random_input(b.graph));
        if (std::all_of(expected.begin(), expected.end(), [](double v) { return std::isfinite(v); }))
            check(op, b.graph);
    }
    for (int seed = 0; seed < 100; ++seed) {
        generator.seed(seed);
        Builder b;
        Shape s = image(channels());
        if (between(0, 3) == 0)
            s.push_back(between(1, 3));
        averaged(b, source(b, s));
        check("reduceMean", b.graph);
    }
    for (int seed = 0; seed < 100; ++seed) {
        generator.seed(seed);
        Builder b;
        padded(b, source(b, image(channels())));
        check("pad", b.graph);
    }
    for (int seed = 0; seed < 100; ++seed) {
        generator.seed(seed);
        Builder b;
        Shape s;
        if (between(0, 1))
            s = image(channels());
        else
            for (int64_t rank = between(0, 6); rank > 0; --rank)
                s.push_back(between(1, 4));
        const int y = transposed(b, source(b, s));
        if (between(0, 1))
            b.node("reshape", {y}, {count(s)});
        check("transpose", b.graph);
    }
    for (int seed = 0; seed < 100; ++seed) {
        generator.seed(seed);
        Builder b;
        const Shape s = image(channels());
        const int64_t axis = between(0, 2);
        const int x = b.input(s);
        std::vector<int> inputs;
        Shape out = s;
        out[axis] = 0;
        for (int64_t i = between(2, 4); i > 0; --i) {
            if (between(0, 1))
                inputs.push_back(mix(b, x, axis == 0 ? pick({16, 64, 5}) : s[0]));
            else if (between(0, 1))
                inputs.push_back(x);
            else
                inputs.push_back(b.constant(s));
            out[axis] += b.shape(inputs.back())[axis];
        }
        b.node("concat", inputs, out, {{"axis", {static_cast<double>(axis)}}});
        check("concat", b.graph);
    }
    {
        generator.seed(3);
        Builder b;
        const int x = b.input(Shape(14, 2));
        const int y = b.node("transpose", {x}, Shape(14, 2),
                             {{"permutation", {13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0}}});
        const int z = b.node("activate", {y}, Shape(14, 2), {}, {ActivationKind::tanh, 0, 0});
        b.node("add", {z, x}, Shape(14, 2));
        check("fourteen axes", b.graph);
    }
}

} // namespace

int main() {
    test_arithmetic();
    test_activations();
    test_normalization();
    test_movement();
    return finish("onednn_operators_test");
}
