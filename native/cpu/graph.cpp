#include "latdyn/graph.h"

#include "latdyn/error.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>

namespace latdyn {

namespace {

std::string describe(const Node& node) {
    return "node \"" + node.name + "\" (" + node.op + ")";
}

[[noreturn]] void refuse(const Node& node, const std::string& what) {
    throw Error(describe(node) + ": " + what);
}

const std::set<std::string> known_ops = {
    "conv",         "convTranspose", "linear",      "matmul",         "add",           "sub",
    "mul",          "div",           "activate",    "groupNorm",      "resizeNearest", "maxPool",
    "averagePool",  "reduceMean",    "pad",         "reshape",        "transpose",     "concat",
    "activateGrad", "groupNormGrad", "maxPoolGrad", "maxPoolAdjoint", "layerNorm",     "layerNormGrad",
    "softmax",      "softmaxGrad",   "attention",   "gather",         "scatterAdd",    "topKMask",
    "greater",
};

// In the order of ActivationKind.
constexpr const char* activation_names[] = {
    "none", "relu", "leakyRelu", "elu", "selu", "sigmoid", "tanh",       "softplus", "gelu", "geluTanh",
    "silu", "clip", "erf",       "exp", "log",  "sqrt",    "reciprocal", "abs",      "pow",
};
static_assert(std::size(activation_names) == static_cast<size_t>(ActivationKind::pow) + 1);

} // namespace

std::optional<ActivationKind> activation_named(const std::string& name) {
    const auto found = std::find(std::begin(activation_names), std::end(activation_names), name);
    if (found == std::end(activation_names))
        return {};
    return static_cast<ActivationKind>(found - std::begin(activation_names));
}

const std::vector<double>& attribute(const Node& node, const std::string& key) {
    const auto found = node.attributes.find(key);
    if (found == node.attributes.end())
        refuse(node, "attribute \"" + key + "\" is missing");
    return found->second;
}

std::vector<int64_t> Node::ints(const std::string& key) const {
    std::vector<int64_t> out;
    for (double v : attribute(*this, key)) {
        if (!(std::abs(v) < 2147483648.0) || v != std::floor(v))
            refuse(*this, "attribute \"" + key + "\" is " + std::to_string(v) + ", expected a whole number");
        out.push_back(static_cast<int64_t>(v));
    }
    return out;
}

int64_t Node::integer(const std::string& key) const {
    const auto list = ints(key);
    if (list.size() != 1)
        refuse(*this, "attribute \"" + key + "\" should be one number");
    return list[0];
}

double Node::number(const std::string& key) const {
    const auto& list = attribute(*this, key);
    if (list.size() != 1)
        refuse(*this, "attribute \"" + key + "\" should be one number");
    return list[0];
}

namespace {

using Shape = std::vector<int64_t>;

std::string format(const Shape& shape) {
    if (shape.empty())
        return "scalar";
    std::string out;
    for (size_t i = 0; i < shape.size(); i++)
        out += (i ? "×" : "") + std::to_string(shape[i]);
    return out;
}

Shape broadcast(const Node& node, const Shape& a, const Shape& b) {
    Shape out(std::max(a.size(), b.size()));
    for (size_t i = 0; i < out.size(); i++) {
        const int64_t x = i < a.size() ? a[a.size() - 1 - i] : 1;
        const int64_t y = i < b.size() ? b[b.size() - 1 - i] : 1;
        if (x != y && x != 1 && y != 1)
            refuse(node, "shapes " + format(a) + " and " + format(b) + " do not broadcast");
        out[out.size() - 1 - i] = x == 1 ? y : x;
    }
    return out;
}

std::vector<int64_t> sized(const Node& node, const std::string& key, size_t size, int64_t least) {
    const auto list = node.ints(key);
    if (list.size() != size)
        refuse(node, "attribute \"" + key + "\" has " + std::to_string(list.size()) + " numbers, expected " +
                         std::to_string(size));
    for (int64_t v : list)
        if (v < least)
            refuse(node, "attribute \"" + key + "\" holds " + std::to_string(v) + ", expected at least " +
                             std::to_string(least));
    return list;
}

// The shape that `node` gives for its inputs; throws where they do not fit.
Shape infer(const Graph& graph, const Node& node) {
    const auto input = [&](size_t i) -> const Value& { return graph.values[node.inputs[i]]; };
    const auto& op = node.op;
    const auto arity = [&](size_t least, size_t most) {
        if (node.inputs.size() < least || node.inputs.size() > most)
            refuse(node, "has " + std::to_string(node.inputs.size()) + " inputs");
    };
    const auto rank = [&](size_t i, size_t r) {
        if (input(i).shape.size() != r)
            refuse(node, "input " + std::to_string(i) + " has shape " + format(input(i).shape) +
                             ", expected rank " + std::to_string(r));
    };
    const auto constant = [&](size_t i) {
        if (!input(i).is_constant)
            refuse(node, "input " + std::to_string(i) + " should be a constant");
    };
    const auto want = [&](size_t i, const Shape& shape) {
        if (input(i).shape != shape)
            refuse(node, "input " + std::to_string(i) + " has shape " + format(input(i).shape) +
                             ", expected " + format(shape));
    };
    if (op == "conv" || op == "convTranspose") {
        arity(2, 3);
        rank(0, 3);
        rank(1, 4);
        for (size_t i = 1; i < node.inputs.size(); i++)
            constant(i);
        const auto strides = sized(node, "strides", 2, 1), pads = sized(node, "pads", 4, 0),
                   dilations = sized(node, "dilations", 2, 1);
        const int64_t groups = sized(node, "groups", 1, 1)[0];
        const Shape &x = input(0).shape, &w = input(1).shape;
        const bool transposed = op == "convTranspose";
        const int64_t in = transposed ? w[0] : w[1] * groups;
        const int64_t out = transposed ? w[1] * groups : w[0];
        if (in != x[0] || x[0] % groups || out % groups)
            refuse(node, "input of shape " + format(x) + " does not fit weights of shape " + format(w) +
                             " in " + std::to_string(groups) + " groups");
        if (node.inputs.size() == 3)
            want(2, {out});
        Shape y{out, 0, 0};
        const auto extra = transposed ? sized(node, "outputPadding", 2, 0) : Shape{0, 0};
        for (int d = 0; d < 2; d++) {
            const int64_t reach = (w[2 + d] - 1) * dilations[d] + 1, padding = pads[d] + pads[2 + d];
            y[1 + d] = transposed
                           ? (x[1 + d] - 1) * strides[d] - padding + reach + extra[d]
                           : (x[1 + d] + padding < reach ? 0 : (x[1 + d] + padding - reach) / strides[d] + 1);
        }
        return y;
    }
    if (op == "linear") {
        arity(2, 3);
        rank(1, 2);
        for (size_t i = 1; i < node.inputs.size(); i++)
            constant(i);
        Shape y = input(0).shape;
        const Shape& w = input(1).shape;
        if (y.empty() || y.back() != w[1])
            refuse(node, "input of shape " + format(y) + " does not fit weights of shape " + format(w));
        if (node.inputs.size() == 3)
            want(2, {w[0]});
        y.back() = w[0];
        return y;
    }
    if (op == "matmul") {
        arity(2, 2);
        Shape a = input(0).shape, b = input(1).shape;
        if (a.size() < 2 || b.size() < 2 || a.back() != b[b.size() - 2])
            refuse(node, "shapes " + format(a) + " and " + format(b) + " do not multiply");
        const int64_t m = a[a.size() - 2], n = b.back();
        a.resize(a.size() - 2);
        b.resize(b.size() - 2);
        Shape y = broadcast(node, a, b);
        y.push_back(m);
        y.push_back(n);
        return y;
    }
    if (op == "add" || op == "sub" || op == "mul" || op == "div" || op == "greater") {
        arity(2, 2);
        return broadcast(node, input(0).shape, input(1).shape);
    }
    if (op == "concat") {
        if (node.inputs.size() < 2)
            refuse(node, "has fewer than two inputs");
        Shape y = input(0).shape;
        const int64_t axis = node.integer("axis");
        if (axis < 0 || axis >= static_cast<int64_t>(y.size()))
            refuse(node, "axis " + std::to_string(axis) + " is not one of " + format(y));
        for (size_t i = 1; i < node.inputs.size(); i++) {
            Shape other = input(i).shape;
            if (other.size() != y.size())
                refuse(node, "inputs differ in rank");
            y[axis] += other[axis];
            other[axis] = y[axis];
            if (other != y)
                refuse(node, "shapes of inputs differ beside axis " + std::to_string(axis));
        }
        return y;
    }
    // Every window of pooling x to y holds an element: ceil_mode is settled at import.
    const auto pools = [&](const Shape& x, const Shape& y) {
        const auto kernel = sized(node, "kernel", 2, 1), strides = sized(node, "strides", 2, 1),
                   pads = sized(node, "pads", 4, 0), dilations = sized(node, "dilations", 2, 1);
        if (y.size() != 3 || y[0] != x[0])
            refuse(node, "pools " + format(x) + " to " + format(y));
        for (int d = 0; d < 2; d++) {
            // Loops over taps are as long as the kernel: no longer than the padded input.
            if ((kernel[d] - 1) * dilations[d] >= x[1 + d] + pads[d] + pads[d + 2])
                refuse(node, "a window of " + format(y) + " lies outside the input " + format(x));
            for (int64_t position = 0; position < y[1 + d]; position++) {
                const int64_t start = position * strides[d] - pads[d];
                // The first tap that is not in the padding before the input.
                const int64_t tap = start >= 0 ? 0 : (dilations[d] - 1 - start) / dilations[d];
                if (tap >= kernel[d] || start + tap * dilations[d] >= x[1 + d])
                    refuse(node, "a window of " + format(y) + " lies outside the input " + format(x));
            }
        }
    };
    const auto groups_divide = [&](const Shape& x) {
        if (x.empty())
            refuse(node, "input is a scalar");
        const int64_t groups = sized(node, "groups", 1, 1)[0];
        if (x[0] % groups)
            refuse(node,
                   std::to_string(x[0]) + " channels do not make " + std::to_string(groups) + " groups");
        node.number("epsilon");
    };
    if (op == "groupNorm") {
        arity(3, 3);
        constant(1);
        constant(2);
        const Shape& x = input(0).shape;
        groups_divide(x);
        want(1, {x[0]});
        want(2, {x[0]});
        return x;
    }
    // The last `dimensions` axes of x.
    const auto trailing = [&](const Shape& x) -> Shape {
        const int64_t dimensions = node.integer("dimensions");
        if (dimensions < 1 || dimensions > static_cast<int64_t>(x.size()))
            refuse(node, "normalises " + std::to_string(dimensions) + " axes of " + format(x));
        node.number("epsilon");
        return Shape(x.end() - dimensions, x.end());
    };
    if (op == "layerNorm") {
        arity(3, 3);
        constant(1);
        constant(2);
        const Shape normalised = trailing(input(0).shape);
        want(1, normalised);
        want(2, normalised);
        return input(0).shape;
    }
    if (op == "attention") {
        arity(3, 4);
        const Shape &q = input(0).shape, &k = input(1).shape, &v = input(2).shape;
        const size_t rank = q.size();
        const bool fits = rank >= 2 && k.size() == rank && v.size() == rank &&
                          std::equal(q.begin(), q.end() - 2, k.begin()) &&
                          std::equal(q.begin(), q.end() - 2, v.begin()) && q.back() == k.back() &&
                          k[rank - 2] == v[rank - 2];
        if (!fits)
            refuse(node, "does not attend from " + format(q) + " to " + format(k) + " and " + format(v));
        if (!std::isfinite(node.number("scale")))
            refuse(node, "scale is not finite");
        Shape scores = q;
        scores.back() = k[rank - 2];
        if (node.inputs.size() == 4) {
            constant(3);
            if (broadcast(node, input(3).shape, scores) != scores)
                refuse(node, "bias of shape " + format(input(3).shape) + " does not broadcast to " +
                                 format(scores));
        }
        scores.back() = v.back();
        return scores;
    }
    if (op == "activateGrad" || op == "groupNormGrad" || op == "maxPoolGrad" || op == "maxPoolAdjoint" ||
        op == "layerNormGrad" || op == "softmaxGrad") {
        arity(2, 2);
        const Shape& x = input(0).shape;
        if (op == "maxPoolAdjoint") {
            rank(0, 3);
            pools(x, input(1).shape);
            return x;
        }
        want(1, x);
        if (op == "activateGrad" && node.activation.kind == ActivationKind::none)
            refuse(node, "has no function");
        if (op == "groupNormGrad")
            groups_divide(x);
        if (op == "layerNormGrad")
            trailing(x);
        if (op == "softmaxGrad" && x.empty())
            refuse(node, "input is a scalar");
        if (op != "maxPoolGrad")
            return x;
        rank(0, 3);
        pools(x, graph.values[node.output].shape);
        return graph.values[node.output].shape;
    }
    arity(1, 1);
    const Shape& x = input(0).shape;
    if (op == "activate") {
        if (node.activation.kind == ActivationKind::none)
            refuse(node, "has no function");
        return x;
    }
    if (op == "softmax" || op == "topKMask") {
        if (x.empty())
            refuse(node, "input is a scalar");
        if (op == "topKMask") {
            const int64_t k = node.integer("k");
            if (k < 1 || k > x.back())
                refuse(node, "k is " + std::to_string(k) + " on an axis of " + std::to_string(x.back()));
        }
        return x;
    }
    if (op == "gather" || op == "scatterAdd") {
        const int64_t axis = node.integer("axis");
        if (axis < 0 || axis >= static_cast<int64_t>(x.size()))
            refuse(node, "axis " + std::to_string(axis) + " is not one of " + format(x));
        const auto indices = node.ints("indices");
        const int64_t picked = static_cast<int64_t>(indices.size());
        const int64_t size = op == "gather" ? x[axis] : node.integer("size");
        if (size < 1)
            refuse(node, "size is " + std::to_string(size));
        if (op == "scatterAdd" && picked != x[axis])
            refuse(node, "has " + std::to_string(picked) + " indices for axis " + std::to_string(axis) +
                             " of " + format(x));
        for (int64_t index : indices)
            if (index < 0 || index >= size)
                refuse(node,
                       "index " + std::to_string(index) + " is outside an axis of " + std::to_string(size));
        Shape out = x;
        out[axis] = op == "gather" ? picked : size;
        return out;
    }
    const Shape& y = graph.values[node.output].shape;
    if (op == "resizeNearest") {
        rank(0, 3);
        const auto scales = sized(node, "scales", 2, 1);
        return {x[0], x[1] * scales[0], x[2] * scales[1]};
    }
    if (op == "maxPool" || op == "averagePool") {
        rank(0, 3);
        node.integer("countIncludePad");
        pools(x, y);
        return y;
    }
    if (op == "reduceMean") {
        std::vector<bool> reduced(x.size());
        for (int64_t axis : node.ints("axes")) {
            if (axis < 0 || axis >= static_cast<int64_t>(x.size()))
                refuse(node, "axis " + std::to_string(axis) + " is not one of " + format(x));
            reduced[axis] = true;
        }
        Shape kept, dropped;
        for (size_t i = 0; i < x.size(); i++) {
            kept.push_back(reduced[i] ? 1 : x[i]);
            if (!reduced[i])
                dropped.push_back(x[i]);
        }
        return y == kept ? kept : dropped;
    }
    if (op == "pad") {
        const auto before = sized(node, "before", x.size(), -2147483647),
                   after = sized(node, "after", x.size(), -2147483647);
        const int64_t mode = node.integer("mode");
        if (mode < 0 || mode > 2)
            refuse(node, "mode is " + std::to_string(mode));
        node.number("value");
        Shape out = x;
        for (size_t i = 0; i < x.size(); i++) {
            out[i] += before[i] + after[i];
            if (mode == 1 && (before[i] >= x[i] || after[i] >= x[i]))
                refuse(node, "reflects more than the input " + format(x) + " holds");
        }
        return out;
    }
    if (op == "reshape")
        return y;
    if (op == "transpose") {
        const auto permutation = sized(node, "permutation", x.size(), 0);
        Shape out;
        std::set<int64_t> seen;
        for (int64_t axis : permutation) {
            if (axis >= static_cast<int64_t>(x.size()) || !seen.insert(axis).second)
                refuse(node, "permutation does not name each axis of " + format(x) + " once");
            out.push_back(x[axis]);
        }
        return out;
    }
    refuse(node, "is not an operator of this build");
}

} // namespace

void Graph::validate() const {
    const int count = static_cast<int>(values.size());
    const auto check = [&](int id, const std::string& what) {
        if (id < 0 || id >= count)
            throw Error(what + " is value " + std::to_string(id) + " of " + std::to_string(count));
    };
    for (size_t i = 0; i < values.size(); i++) {
        int64_t n = 1;
        for (int64_t d : values[i].shape) {
            // 2^31 elements of one row are past any use and keep every later index within int32.
            if (d < 1 || n > 2147483647 / d)
                throw Error("value " + std::to_string(i) + " has shape " + format(values[i].shape) +
                            ", expected dimensions of at least 1 and fewer than 2^31 elements");
            n *= d;
        }
        if (values[i].is_constant && static_cast<int64_t>(values[i].constant.size()) != n)
            throw Error("constant " + std::to_string(i) + " of shape " + format(values[i].shape) + " has " +
                        std::to_string(values[i].constant.size()) + " elements");
    }
    check(input, "the graph's input");
    check(output, "the graph's output");
    std::vector<bool> ready(values.size());
    for (int i = 0; i < count; i++)
        ready[i] = values[i].is_constant;
    if (ready[input])
        throw Error("the graph's input is a constant");
    ready[input] = true;
    for (const Node& node : nodes) {
        if (!known_ops.count(node.op))
            refuse(node, "is not an operator of this build");
        for (int id : node.inputs) {
            check(id, describe(node) + ": an input");
            if (!ready[id])
                refuse(node, "uses value " + std::to_string(id) + " before it is computed");
        }
        if (node.inputs.empty())
            refuse(node, "has no inputs");
        check(node.output, describe(node) + ": the output");
        if (ready[node.output])
            refuse(node, "computes value " + std::to_string(node.output) + " a second time");
        const Shape shape = infer(*this, node);
        if (shape != values[node.output].shape && node.op != "reshape")
            refuse(node, "gives shape " + format(shape) + " where " + format(values[node.output].shape) +
                             " is declared");
        if (node.op == "reshape" && values[node.inputs[0]].elements() != values[node.output].elements())
            refuse(node, "reshapes " + format(values[node.inputs[0]].shape) + " to " + format(shape));
        if (node.residual >= 0) {
            check(node.residual, describe(node) + ": the residual");
            if (!ready[node.residual] || values[node.residual].is_constant ||
                values[node.residual].shape != shape)
                refuse(node, "residual does not have the output's shape " + format(shape));
        }
        ready[node.output] = true;
    }
    if (!ready[output])
        throw Error("the graph's output is never computed");
}

double Graph::nominal_flops() const {
    double flops = 0;
    for (const Node& node : nodes) {
        const auto elements = [&](int id) { return static_cast<double>(values[id].elements()); };
        if (node.op == "conv" || node.op == "linear") {
            const auto& w = values[node.inputs[1]];
            flops += 2 * elements(node.output) * static_cast<double>(w.elements()) /
                     static_cast<double>(w.shape[0]);
        } else if (node.op == "convTranspose") {
            const auto& w = values[node.inputs[1]];
            flops += 2 * elements(node.inputs[0]) * static_cast<double>(w.elements()) /
                     static_cast<double>(w.shape[0]);
        } else if (node.op == "matmul") {
            flops += 2 * elements(node.output) * static_cast<double>(values[node.inputs[0]].shape.back());
        } else if (node.op == "attention") {
            // q·kᵀ and the product with v.
            const auto &q = values[node.inputs[0]].shape, &v = values[node.inputs[2]].shape;
            const double sources = static_cast<double>(v[v.size() - 2]);
            flops += 2 * sources *
                     (elements(node.inputs[0]) + elements(node.inputs[0]) / static_cast<double>(q.back()) *
                                                     static_cast<double>(v.back()));
        }
    }
    return flops;
}

} // namespace latdyn
