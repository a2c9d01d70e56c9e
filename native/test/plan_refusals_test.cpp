// What plans on the CPU refuse, in a sentence that names the node.
#include "latdyn/error.h"
#include "latdyn/plan.h"

#include "check.h"
#include "graphs.h"

#include <cmath>
#include <cstring>
#include <functional>

using namespace latdyn;
using namespace latdyn::test;

namespace {

void test_refusals() {
    Builder b;
    const int x = b.input({3});
    b.node("fourier", {x}, {3});
    b.graph.nodes.back().name = "the odd one";
    try {
        compile_onednn(b.graph, widest_isa());
        CHECK(false, "an unknown operator was accepted");
    } catch (const Error& error) {
        CHECK(std::strstr(error.what(), "the odd one") != nullptr, "the message does not name the node: %s",
              error.what());
    }
}

// The first node of the operators that sequences need, and what can be wrong with it.
void test_sequence_refusals() {
    struct Case {
        const char* what;
        const char* op;
        std::vector<Shape> inputs; // The first one is the row's, the others are constants …
        size_t computed;           // … from this one on.
        Shape out;
        Attributes attributes;
    };
    const Attributes norm{{"dimensions", {1}}, {"epsilon", {1e-5}}}, scale{{"scale", {0.5}}};
    const double nan = std::nan("");
    const std::vector<Case> cases = {
        {"no scale", "layerNorm", {{3, 4}}, 1, {3, 4}, norm},
        {"a scale of another length", "layerNorm", {{3, 4}, {3}, {4}}, 1, {3, 4}, norm},
        {"a bias of another shape", "layerNorm", {{3, 4}, {4}, {1, 4}}, 1, {3, 4}, norm},
        {"a scale that is not constant", "layerNorm", {{4}, {4}, {4}}, 3, {4}, norm},
        {"no axes", "layerNorm", {{3, 4}, {4}, {4}}, 1, {3, 4}, {{"dimensions", {0}}, {"epsilon", {0}}}},
        {"more axes than there are",
         "layerNorm",
         {{4}, {4}, {4}},
         1,
         {4},
         {{"dimensions", {2}}, {"epsilon", {0}}}},
        {"half an axis", "layerNorm", {{4}, {4}, {4}}, 1, {4}, {{"dimensions", {0.5}}, {"epsilon", {0}}}},
        {"no epsilon", "layerNorm", {{4}, {4}, {4}}, 1, {4}, {{"dimensions", {1}}}},
        {"another result", "layerNorm", {{3, 4}, {4}, {4}}, 1, {4, 3}, norm},
        {"a tangent of another shape", "layerNormGrad", {{3, 4}, {4, 3}}, 1, {3, 4}, norm},
        {"more axes than there are",
         "layerNormGrad",
         {{4}, {4}},
         1,
         {4},
         {{"dimensions", {3}}, {"epsilon", {0}}}},
        {"a scalar", "softmax", {{}}, 1, {}, {}},
        {"two inputs", "softmax", {{4}, {4}}, 1, {4}, {}},
        {"another shape", "softmaxGrad", {{4}, {2, 2}}, 1, {4}, {}},
        {"one input", "softmaxGrad", {{4}}, 1, {4}, {}},
        {"two inputs", "attention", {{5, 4}, {5, 4}}, 2, {5, 4}, scale},
        {"vectors", "attention", {{4}, {4}, {4}}, 1, {4}, scale},
        {"depths that differ", "attention", {{5, 4}, {6, 3}, {6, 7}}, 1, {5, 7}, scale},
        {"lengths that differ", "attention", {{5, 4}, {6, 4}, {7, 7}}, 1, {5, 7}, scale},
        {"heads that differ", "attention", {{2, 5, 4}, {1, 6, 4}, {2, 6, 7}}, 1, {2, 5, 7}, scale},
        {"ranks that differ", "attention", {{2, 5, 4}, {6, 4}, {6, 7}}, 1, {2, 5, 7}, scale},
        {"a bias that does not broadcast", "attention", {{5, 4}, {6, 4}, {6, 7}, {5, 5}}, 1, {5, 7}, scale},
        {"a bias that broadcasts further",
         "attention",
         {{5, 4}, {6, 4}, {6, 7}, {2, 5, 6}},
         1,
         {5, 7},
         scale},
        {"a bias that is not constant", "attention", {{6, 6}, {6, 6}, {6, 6}, {6, 6}}, 4, {6, 6}, scale},
        {"no scale", "attention", {{5, 4}, {6, 4}, {6, 7}}, 1, {5, 7}, {}},
        {"a scale of NaN", "attention", {{5, 4}, {6, 4}, {6, 7}}, 1, {5, 7}, {{"scale", {nan}}}},
        {"an axis beyond", "gather", {{3, 4}}, 1, {3, 1}, {{"axis", {2}}, {"indices", {0}}}},
        {"an axis before", "gather", {{3, 4}}, 1, {3, 1}, {{"axis", {-1}}, {"indices", {0}}}},
        {"an index beyond", "gather", {{3, 4}}, 1, {3, 2}, {{"axis", {1}}, {"indices", {0, 4}}}},
        {"an index before", "gather", {{3, 4}}, 1, {3, 2}, {{"axis", {1}}, {"indices", {-1, 0}}}},
        {"half an index", "gather", {{3, 4}}, 1, {3, 1}, {{"axis", {1}}, {"indices", {0.5}}}},
        {"an index that is NaN", "gather", {{3, 4}}, 1, {3, 1}, {{"axis", {1}}, {"indices", {nan}}}},
        {"an index past int32", "gather", {{3, 4}}, 1, {3, 1}, {{"axis", {1}}, {"indices", {4294967296.0}}}},
        {"no indices", "gather", {{3, 4}}, 1, {3, 1}, {{"axis", {1}}}},
        {"an empty list", "gather", {{3, 4}}, 1, {3, 1}, {{"axis", {1}}, {"indices", {}}}},
        {"another length", "gather", {{3, 4}}, 1, {3, 3}, {{"axis", {1}}, {"indices", {0, 1}}}},
        {"no size", "scatterAdd", {{3, 1}}, 1, {3, 4}, {{"axis", {1}}, {"indices", {0}}}},
        {"a size of 0", "scatterAdd", {{3, 1}}, 1, {3, 1}, {{"axis", {1}}, {"indices", {0}}, {"size", {0}}}},
        {"too few indices",
         "scatterAdd",
         {{3, 2}},
         1,
         {3, 4},
         {{"axis", {1}}, {"indices", {0}}, {"size", {4}}}},
        {"an index beyond",
         "scatterAdd",
         {{3, 1}},
         1,
         {3, 4},
         {{"axis", {1}}, {"indices", {4}}, {"size", {4}}}},
        {"k of 0", "topKMask", {{3, 4}}, 1, {3, 4}, {{"k", {0}}}},
        {"more than there are", "topKMask", {{3, 4}}, 1, {3, 4}, {{"k", {5}}}},
        {"no k", "topKMask", {{3, 4}}, 1, {3, 4}, {}},
        {"a scalar", "topKMask", {{}}, 1, {}, {{"k", {1}}}},
        {"shapes that do not broadcast", "greater", {{3, 4}, {3}}, 1, {3, 4}, {}},
        {"one input", "greater", {{3, 4}}, 1, {3, 4}, {}},
    };
    for (const Case& c : cases) {
        Builder b;
        std::vector<int> inputs{b.input(c.inputs[0])};
        for (size_t i = 1; i < c.inputs.size(); ++i)
            inputs.push_back(i < c.computed && c.inputs[i] == c.inputs[0] ? inputs[0]
                                                                          : b.constant(c.inputs[i]));
        b.node(c.op, inputs, c.out, c.attributes);
        b.graph.nodes.back().name = "the odd one";
        for (const auto& compile : {std::function(compile_lanes), std::function(compile_onednn)}) {
            try {
                b.graph.validate();
                compile(b.graph, widest_isa());
                CHECK(false, "%s with %s was accepted", c.op, c.what);
            } catch (const Error& error) {
                CHECK(std::strstr(error.what(), "the odd one") != nullptr,
                      "%s with %s: the message does not name the node: %s", c.op, c.what, error.what());
            }
        }
    }
}

// Nodes with shapes and attributes at random: refused in a sentence, or run without touching what is not
// theirs (which the sanitizers watch).
void test_sequence_mutations() {
    const char* ops[] = {"layerNorm", "layerNormGrad", "softmax",  "softmaxGrad", "attention",
                         "gather",    "scatterAdd",    "topKMask", "greater"};
    int accepted = 0;
    for (int seed = 0; seed < 4000; ++seed) {
        generator.seed(seed);
        const auto any_shape = [] {
            Shape s(between(0, 3));
            for (int64_t& d : s)
                d = between(1, 3);
            return s;
        };
        Builder b;
        const std::string op = ops[generator() % std::size(ops)];
        const Shape s = any_shape();
        std::vector<int> inputs{b.input(s)};
        for (int64_t i = between(0, 3); i > 0; --i)
            inputs.push_back(between(0, 1) ? inputs[0] : b.constant(between(0, 2) ? s : any_shape()));
        std::vector<double> indices;
        for (int64_t i = between(0, 3); i > 0; --i)
            indices.push_back(static_cast<double>(between(-1, 3)));
        const auto few = [] { return std::vector<double>{static_cast<double>(between(-1, 4))}; };
        b.node(op, inputs, between(0, 2) ? s : any_shape(),
               {{"dimensions", few()},
                {"epsilon", {1e-3}},
                {"scale", {0.5}},
                {"axis", few()},
                {"indices", indices},
                {"size", few()},
                {"k", few()}});
        try {
            b.graph.validate();
            for (const auto& plan :
                 {compile_lanes(b.graph, widest_isa()), compile_onednn(b.graph, widest_isa())}) {
                const auto workspace = plan->make_workspace();
                const int tile = plan->info.tile_rows;
                for (int64_t i = 0; i < plan->info.input_elements * tile; ++i)
                    workspace->input[i] = normal();
                plan->run(*workspace);
            }
            ++accepted;
        } catch (const Error&) {
        }
    }
    CHECK(accepted > 200, "only %d of the random nodes were accepted", accepted);
}

} // namespace

int main() {
    test_refusals();
    test_sequence_refusals();
    test_sequence_mutations();
    return finish("plan_refusals_test");
}
