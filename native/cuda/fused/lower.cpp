#include "lower.h"

#include "row_order.h"
#include "view.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>

namespace latdyn::cuda::fused {

namespace {

bool is_product(const std::string& op) {
    return op == "conv" || op == "convTranspose" || op == "linear";
}

bool is_move(const std::string& op) {
    return op == "reshape" || op == "transpose" || op == "resizeNearest" || op == "pad" || op == "gather";
}

class Lowering {
  public:
    Lowering(const Graph& graph, Precision precision)
        : graph(graph), precision(precision), root(graph.values.size()), plain(graph.values.size(), -1),
          multiplied(graph.values.size(), -1), used_plainly(graph.values.size()),
          used_by_products(graph.values.size()) {}

    Lowered run() {
        find_uses();
        out.input_planar = view(graph.input).planar;
        out.output_planar = view(graph.output).planar;
        out.input = appear(graph.input);
        out.values[static_cast<size_t>(out.input)].first = -1;
        also_for_products(graph.input);
        for (const Node& node : graph.nodes)
            if (root[static_cast<size_t>(node.output)] == node.output)
                lower_node(node);
        out.output = plain[static_cast<size_t>(root[static_cast<size_t>(graph.output)])];
        find_lifetimes();
        return std::move(out);
    }

  private:
    const Graph& graph;
    const Precision precision;
    Lowered out;
    // The value whose place each one shares: another's where a reshape changes nothing in memory.
    std::vector<int> root;
    // By graph value: for operators at large, and as products want it.
    std::vector<int> plain, multiplied;
    std::vector<bool> used_plainly, used_by_products;

    [[noreturn]] void refuse(const Node& node, const std::string& why) const {
        throw Refused{"node \"" + node.name + "\" (" + node.op + ") " + why};
    }
    const Shape& shape(int value) const { return graph.values[static_cast<size_t>(value)].shape; }
    View view(int value) const { return View(shape(value)); }
    bool is_constant(int value) const { return graph.values[static_cast<size_t>(value)].is_constant; }
    const std::vector<float>& constant(int value) const {
        return graph.values[static_cast<size_t>(value)].constant;
    }

    bool is_alias(const Node& node) const {
        if (node.op != "reshape" || node.residual >= 0 || node.activation.kind != ActivationKind::none ||
            is_constant(node.inputs[0]))
            return false;
        const View x = view(node.inputs[0]), y = view(node.output);
        return x.positions == y.positions && x.channels == y.channels &&
               (x.planar == y.planar || x.positions == 1 || x.channels == 1);
    }

    void find_uses() {
        for (size_t i = 0; i < root.size(); i++)
            root[i] = static_cast<int>(i);
        for (const Node& node : graph.nodes) {
            if (is_alias(node)) {
                root[static_cast<size_t>(node.output)] = root[static_cast<size_t>(node.inputs[0])];
                continue;
            }
            for (size_t i = 0; i < node.inputs.size(); i++) {
                const size_t value = static_cast<size_t>(root[static_cast<size_t>(node.inputs[i])]);
                if (is_product(node.op) && i == 0)
                    used_by_products[value] = true;
                else
                    used_plainly[value] = true;
            }
            if (node.residual >= 0)
                used_plainly[static_cast<size_t>(root[static_cast<size_t>(node.residual)])] = true;
        }
        if (is_constant(graph.output))
            throw Refused{"the graph's output is a constant"};
        used_plainly[static_cast<size_t>(root[static_cast<size_t>(graph.output)])] = true;
    }

    Element product_element() const {
        return precision == Precision::bf16   ? Element::bf16
               : precision == Precision::tf32 ? Element::tf32
                                              : Element::float32;
    }
    int make(int value, Element element) {
        const View of = view(value);
        out.values.push_back({of.positions, of.channels, element});
        return static_cast<int>(out.values.size()) - 1;
    }
    // Where the producer of a value writes it.
    int appear(int value) {
        const size_t v = static_cast<size_t>(value);
        if (used_plainly[v] || !used_by_products[v])
            return plain[v] = make(value, Element::float32);
        return multiplied[v] = make(value, product_element());
    }
    // After it has been written: the second form, where both are read.
    void also_for_products(int value) {
        const size_t v = static_cast<size_t>(value);
        if (!used_by_products[v] || multiplied[v] >= 0)
            return;
        if (precision == Precision::float32) {
            multiplied[v] = plain[v];
            return;
        }
        Step step;
        step.x = plain[v];
        step.y = multiplied[v] = make(value, product_element());
        out.steps.push_back(std::move(step));
    }
    int place_of(const Node& node, int value) const {
        if (is_constant(value))
            refuse(node, "has a constant for an input");
        return plain[static_cast<size_t>(root[static_cast<size_t>(value)])];
    }

    void lower_node(const Node& node) {
        if (node.op == "concat") {
            lower_concat(node);
            also_for_products(node.output);
            return;
        }
        Step step;
        if (is_product(node.op))
            lower_product(node, step);
        else if (node.op == "add" || node.op == "sub" || node.op == "mul" || node.op == "div")
            lower_arithmetic(node, step);
        else if (node.op == "activate")
            step.x = place_of(node, node.inputs[0]);
        else if (node.op == "groupNorm")
            lower_group_norm(node, step);
        else if (node.op == "layerNorm")
            lower_layer_norm(node, step);
        else if (node.op == "maxPool" || node.op == "averagePool")
            lower_pool(node, step);
        else if (node.op == "reduceMean")
            lower_mean(node, step);
        else if (is_move(node.op))
            lower_move(node, step);
        else
            refuse(node, "is not one of the fused operators");
        add(node, std::move(step), appear(node.output));
        also_for_products(node.output);
    }

    void add(const Node& node, Step&& step, int y) {
        step.y = y;
        step.op.activation = node.activation;
        if (node.residual >= 0)
            step.residual = place_of(node, node.residual);
        out.steps.push_back(std::move(step));
    }

    void lower_product(const Node& node, Step& step) {
        if (is_constant(node.inputs[0]))
            refuse(node, "has a constant for an input");
        step.op.kind = Kind::product;
        step.x = multiplied[static_cast<size_t>(root[static_cast<size_t>(node.inputs[0])])];
        const Shape &x = shape(node.inputs[0]), &w = shape(node.inputs[1]), &y = shape(node.output);
        WindowShape& s = step.window;
        const auto whole = [](int64_t v) { return static_cast<int32_t>(v); };
        if (node.op == "linear") {
            if (x.size() == 3)
                refuse(node, "is a linear layer over the last of three axes");
            const View from = view(node.inputs[0]), to = view(node.output);
            s.height = s.out_height = from.positions;
            s.channels = from.channels;
            s.out_channels = to.channels;
        } else {
            const auto strides = node.ints("strides"), pads = node.ints("pads"),
                       dilations = node.ints("dilations");
            s = {whole(x[1]),
                 whole(x[2]),
                 whole(x[0]),
                 whole(y[1]),
                 whole(y[2]),
                 whole(y[0]),
                 whole(node.integer("groups")),
                 whole(w[2]),
                 whole(w[3]),
                 whole(strides[0]),
                 whole(strides[1]),
                 whole(dilations[0]),
                 whole(dilations[1]),
                 whole(pads[0]),
                 whole(pads[1]),
                 node.op == "convTranspose"};
        }
        step.weights = constant(node.inputs[1]);
        if (node.inputs.size() == 3)
            step.constants = constant(node.inputs[2]);
    }

    // How an operand's (position, channel) follows the result's; none where it is neither the same nor one.
    std::optional<Steps> steps_of(int operand, int result) const {
        const View x = view(operand), y = view(result);
        if (x.positions == 1 && x.channels == 1)
            return Steps{0, 0};
        if (x.planar != y.planar && x.positions > 1)
            return {};
        // A vector beside [C, H, W] lies along W.
        if (x.planar != y.planar && y.positions > 1)
            return {};
        if ((x.positions != 1 && x.positions != y.positions) || (x.channels != 1 && x.channels != y.channels))
            return {};
        return Steps{x.positions == 1 ? 0 : 1, x.channels == 1 ? 0 : 1};
    }

    // A constant repeated to the shape of a value, position by position; then without what repeats.
    std::vector<float> repeated(int operand, int result, Steps& steps) const {
        const View to = view(result);
        const Indices from = broadcast_index(shape(operand), shape(result));
        std::vector<float> whole;
        for (int64_t p = 0; p < to.positions; p++)
            for (int64_t c = 0; c < to.channels; c++)
                whole.push_back(
                    constant(operand)[static_cast<size_t>(from[static_cast<size_t>(to.flat(p, c))])]);
        return shortened(whole, to, steps);
    }

    static std::vector<float> shortened(const std::vector<float>& whole, const View& view, Steps& steps) {
        const size_t channels = static_cast<size_t>(view.channels), positions = whole.size() / channels;
        const auto same = [&](size_t a, size_t b) { return std::memcmp(&whole[a], &whole[b], 4) == 0; };
        bool positions_repeat = true, channels_repeat = true;
        for (size_t p = 0; p < positions; p++)
            for (size_t c = 0; c < channels; c++) {
                positions_repeat = positions_repeat && same(p * channels + c, c);
                channels_repeat = channels_repeat && same(p * channels + c, p * channels);
            }
        std::vector<float> kept;
        for (size_t p = 0; p < (positions_repeat ? 1 : positions); p++)
            for (size_t c = 0; c < (channels_repeat ? 1 : channels); c++)
                kept.push_back(whole[p * channels + c]);
        steps.channel = channels_repeat ? 0 : 1;
        steps.position = positions_repeat ? 0 : channels_repeat ? 1 : view.channels;
        return kept;
    }

    void lower_arithmetic(const Node& node, Step& step) {
        step.op.kind = node.op == "add"   ? Kind::add
                       : node.op == "sub" ? Kind::sub
                       : node.op == "mul" ? Kind::mul
                                          : Kind::div;
        for (int side = 0; side < 2; side++) {
            const int operand = node.inputs[static_cast<size_t>(side)];
            Steps& steps = side == 0 ? step.op.x_steps : step.op.b_steps;
            if (is_constant(operand)) {
                (side == 0 ? step.shifts : step.constants) = repeated(operand, node.output, steps);
                continue;
            }
            const auto found = steps_of(operand, node.output);
            if (!found)
                refuse(node, "repeats a value in a way that is not fused");
            steps = *found;
            (side == 0 ? step.x : step.b) = place_of(node, operand);
        }
    }

    void lower_group_norm(const Node& node, Step& step) {
        step.x = place_of(node, node.inputs[0]);
        const View x = view(node.inputs[0]);
        const int32_t groups = static_cast<int32_t>(node.integer("groups"));
        step.op.units = groups;
        // Channels are the first axis, which of two axes and more than three are positions.
        const Shape& full = shape(node.inputs[0]);
        const bool first_is_channels = x.planar || full.size() == 1;
        step.op.unit_positions = first_is_channels ? x.positions : x.positions / groups;
        step.op.unit_channels = first_is_channels ? x.channels / groups : x.channels;
        const auto spread = [&](int value) {
            std::vector<float> whole;
            for (int64_t p = 0; p < x.positions; p++)
                for (int64_t c = 0; c < x.channels; c++) {
                    const int64_t inner =
                        graph.values[static_cast<size_t>(node.inputs[0])].elements() / full[0];
                    whole.push_back(constant(value)[static_cast<size_t>(x.flat(p, c) / inner)]);
                }
            return whole;
        };
        norm(node, step, spread(node.inputs[1]), spread(node.inputs[2]));
    }

    void lower_layer_norm(const Node& node, Step& step) {
        step.x = place_of(node, node.inputs[0]);
        const View x = view(node.inputs[0]);
        const Shape& full = shape(node.inputs[0]);
        const size_t dimensions = static_cast<size_t>(node.integer("dimensions"));
        int64_t elements = 1;
        for (size_t i = full.size() - dimensions; i < full.size(); i++)
            elements *= full[i];
        if (dimensions == full.size()) {
            step.op.unit_positions = x.positions;
            step.op.unit_channels = x.channels;
        } else if (x.planar) {
            if (dimensions != 2)
                refuse(node, "normalises one of three axes");
            step.op.unit_positions = x.positions;
            step.op.unit_channels = 1;
        } else {
            step.op.unit_positions = static_cast<int32_t>(elements) / x.channels;
            step.op.unit_channels = x.channels;
        }
        step.op.units = static_cast<int32_t>(int64_t{x.positions} * x.channels / elements);
        const auto spread = [&](int value) {
            std::vector<float> whole;
            for (int64_t p = 0; p < x.positions; p++)
                for (int64_t c = 0; c < x.channels; c++)
                    whole.push_back(constant(value)[static_cast<size_t>(x.flat(p, c) % elements)]);
            return whole;
        };
        norm(node, step, spread(node.inputs[1]), spread(node.inputs[2]));
    }

    // Scale and shift, position by position, move together: what one of them does not repeat, neither does.
    void norm(const Node& node, Step& step, const std::vector<float>& scale,
              const std::vector<float>& shift) {
        step.op.kind = Kind::normalise;
        step.op.epsilon = static_cast<float>(node.number("epsilon"));
        const View x = view(node.inputs[0]);
        Steps of_scale, of_shift;
        step.constants = shortened(scale, x, of_scale);
        step.shifts = shortened(shift, x, of_shift);
        step.op.b_steps = of_scale;
        if (of_scale.position != of_shift.position || of_scale.channel != of_shift.channel) {
            step.constants = scale;
            step.shifts = shift;
            step.op.b_steps = {x.channels, 1};
        }
    }

    void lower_pool(const Node& node, Step& step) {
        step.x = place_of(node, node.inputs[0]);
        const Shape &x = shape(node.inputs[0]), &y = shape(node.output);
        const auto kernel = node.ints("kernel"), strides = node.ints("strides"), pads = node.ints("pads"),
                   dilations = node.ints("dilations");
        step.op.kind = node.op == "maxPool" ? Kind::max_pool : Kind::average_pool;
        step.op.taps = static_cast<int32_t>(kernel[0] * kernel[1]);
        const bool padded = node.integer("countIncludePad") != 0;
        for (int64_t i = 0; i < y[1]; i++)
            for (int64_t j = 0; j < y[2]; j++) {
                int count = 0;
                for (int64_t p = 0; p < kernel[0]; p++)
                    for (int64_t q = 0; q < kernel[1]; q++) {
                        const int64_t h = i * strides[0] - pads[0] + p * dilations[0],
                                      w = j * strides[1] - pads[1] + q * dilations[1];
                        const bool inside = h >= 0 && h < x[1] && w >= 0 && w < x[2];
                        // Beyond the padding too, where the last window is not whole.
                        const bool counted = h < x[1] + pads[2] && w < x[2] + pads[3];
                        count += padded ? counted : inside;
                        step.table.push_back(inside ? static_cast<int32_t>(h * x[2] + w) : -1);
                    }
                if (step.op.kind == Kind::average_pool)
                    step.constants.push_back(static_cast<float>(count));
            }
    }

    void lower_mean(const Node& node, Step& step) {
        step.x = place_of(node, node.inputs[0]);
        const View x = view(node.inputs[0]);
        std::vector<int64_t> axes = node.ints("axes"), all_but_channels;
        std::sort(axes.begin(), axes.end());
        for (size_t i = 0; i < shape(node.inputs[0]).size(); i++)
            if (i != (x.planar ? 0 : shape(node.inputs[0]).size() - 1))
                all_but_channels.push_back(static_cast<int64_t>(i));
        if (axes != all_but_channels)
            refuse(node, "is a mean over other axes than those of space");
        step.op.kind = Kind::average_pool;
        step.op.taps = x.positions;
        for (int32_t p = 0; p < x.positions; p++)
            step.table.push_back(p);
        step.constants = {static_cast<float>(x.positions)};
        // [1, 1, C] holds what [C] does; [C] of three axes with one position as well.
        const View y = view(node.output);
        if (y.positions != 1 || y.channels != x.channels)
            refuse(node, "keeps its axes in another order than values lie in");
    }

    void lower_move(const Node& node, Step& step) {
        step.x = place_of(node, node.inputs[0]);
        Indices from;
        if (node.op == "reshape") {
            from.resize(static_cast<size_t>(graph.values[static_cast<size_t>(node.output)].elements()));
            std::iota(from.begin(), from.end(), 0);
        } else {
            from = movement_index(node, shape(node.inputs[0]), shape(node.output));
        }
        const View x = view(node.inputs[0]), y = view(node.output);
        if (node.op == "pad")
            step.op.fill = static_cast<float>(node.number("value"));
        // Whole positions, where no channel goes its own way.
        bool whole = x.channels == y.channels;
        for (int64_t p = 0; p < y.positions; p++)
            for (int64_t c = 0; c < y.channels; c++) {
                const int32_t flat = from[static_cast<size_t>(y.flat(p, c))];
                const int64_t position = flat < 0 ? -1 : x.position(flat),
                              channel = flat < 0 ? c : x.channel(flat);
                step.table.push_back(flat < 0 ? -1 : static_cast<int32_t>(position * x.channels + channel));
                const int32_t first = step.table[static_cast<size_t>(p * y.channels)];
                whole = whole && channel == c && (first < 0) == (flat < 0) &&
                        (flat < 0 || first / x.channels == position);
            }
        step.op.kind = whole ? Kind::move_positions : Kind::move_elements;
        if (!whole)
            return;
        std::vector<int32_t> positions;
        for (int64_t p = 0; p < y.positions; p++) {
            const int32_t first = step.table[static_cast<size_t>(p * y.channels)];
            positions.push_back(first < 0 ? -1 : first / x.channels);
        }
        step.table = std::move(positions);
    }

    void lower_concat(const Node& node) {
        const View y = view(node.output);
        const size_t axis = static_cast<size_t>(node.integer("axis"));
        if (axis != (y.planar ? 0 : shape(node.output).size() - 1))
            refuse(node, "joins along another axis than the channels");
        const int place = appear(node.output);
        int32_t channel = 0;
        for (int input : node.inputs) {
            Step step;
            step.x = place_of(node, input);
            step.op.kind = Kind::move_positions;
            step.op.channel = channel;
            for (int32_t p = 0; p < y.positions; p++)
                step.table.push_back(p);
            channel += view(input).channels;
            add(node, std::move(step), place);
        }
    }

    void find_lifetimes() {
        const auto touch = [&](int value, int step) {
            if (value < 0)
                return;
            Resident& one = out.values[static_cast<size_t>(value)];
            one.first = std::min(one.first, step);
            one.last = std::max(one.last, step);
        };
        for (size_t i = 0; i < out.steps.size(); i++)
            for (int value : {out.steps[i].y, out.steps[i].x, out.steps[i].b, out.steps[i].residual})
                touch(value, static_cast<int>(i));
        touch(out.input, -1);
        touch(out.output, static_cast<int>(out.steps.size()));
    }
};

} // namespace

Lowered lower(const Graph& graph, Precision precision) {
    return Lowering(graph, precision).run();
}

} // namespace latdyn::cuda::fused
