#include "row_order.h"

#include <functional>
#include <numeric>

namespace latdyn {

bool order_matters(const Shape& shape) {
    return shape.size() == 3 && shape[0] > 1 && shape[1] * shape[2] > 1;
}

std::vector<Order> choose_orders(const Graph& graph, const std::set<std::string>& row_major_ops) {
    std::vector<Order> orders(graph.values.size(), Order::row_major);
    const auto shape = [&](int value) -> const Shape& { return graph.values[value].shape; };
    const auto prefer = [&](int value) {
        if (order_matters(shape(value)))
            orders[value] = Order::channels_last;
    };
    for (const Node& node : graph.nodes) {
        if (node.op == "conv" || node.op == "convTranspose")
            prefer(node.output);
        else if (!row_major_ops.count(node.op))
            for (int in : node.inputs)
                if (orders[in] == Order::channels_last && shape(in).size() == shape(node.output).size())
                    prefer(node.output);
    }
    orders[graph.input] = Order::row_major;
    return orders;
}

int64_t place(const Shape& shape, Order order, int64_t e) {
    if (order == Order::row_major || shape.size() != 3)
        return e;
    const int64_t area = shape[1] * shape[2];
    return (e % area) * shape[0] + e / area;
}

Indices broadcast_index(const Shape& from, const Shape& to) {
    const int64_t n = std::accumulate(to.begin(), to.end(), int64_t{1}, std::multiplies<>());
    Indices index(n);
    std::vector<int64_t> stride(to.size(), 0);
    int64_t step = 1;
    for (size_t i = 0; i < from.size(); i++) {
        const size_t axis = from.size() - 1 - i;
        if (from[axis] != 1)
            stride[to.size() - 1 - i] = step;
        step *= from[axis];
    }
    for (int64_t e = 0; e < n; e++) {
        int64_t rest = e, at = 0;
        for (size_t axis = to.size(); axis-- > 0;) {
            at += (rest % to[axis]) * stride[axis];
            rest /= to[axis];
        }
        index[e] = narrow(at);
    }
    return index;
}

Indices movement_index(const Node& node, const Shape& from, const Shape& to) {
    const size_t rank = to.size();
    std::vector<int64_t> stride(rank, 1);
    for (size_t axis = rank - 1; axis-- > 0 && rank > 1;)
        stride[axis] = stride[axis + 1] * from[axis + 1];
    // Along output axis d, index i → index along input axis `axis`, or −1 for the pad value.
    struct Along {
        size_t axis;
        std::vector<int64_t> from;
    };
    std::vector<Along> along(rank);
    for (size_t d = 0; d < rank; d++) {
        along[d] = {d, std::vector<int64_t>(to[d])};
        auto& index = along[d].from;
        std::iota(index.begin(), index.end(), 0);
        if (node.op == "transpose")
            along[d].axis = node.ints("permutation")[d];
        if (node.op == "resizeNearest" && d > 0)
            for (int64_t& i : index)
                i /= node.ints("scales")[d - 1];
        if (node.op == "gather" && static_cast<int64_t>(d) == node.integer("axis"))
            index = node.ints("indices");
        if (node.op == "pad") {
            const int64_t before = node.ints("before")[d], mode = node.integer("mode"), last = from[d] - 1;
            for (int64_t& i : index) {
                i -= before;
                if (i >= 0 && i <= last)
                    continue;
                if (mode == 0)
                    i = -1;
                else if (mode == 1)
                    i = i < 0 ? -i : 2 * last - i;
                else
                    i = i < 0 ? 0 : last;
            }
        }
    }
    int64_t n = 1;
    for (int64_t d : to)
        n *= d;
    Indices index(n);
    for (int64_t e = 0; e < n; e++) {
        int64_t rest = e, at = 0;
        bool inside = true;
        for (size_t d = rank; d-- > 0;) {
            const int64_t i = along[d].from[rest % to[d]];
            rest /= to[d];
            inside = inside && i >= 0;
            at += i * stride[along[d].axis];
        }
        index[e] = inside ? narrow(at) : -1;
    }
    return index;
}

int64_t norm_groups(const Node& node, const Shape& shape) {
    if (node.op == "groupNorm" || node.op == "groupNormGrad")
        return node.integer("groups");
    return std::accumulate(shape.begin(), shape.end() - node.integer("dimensions"), int64_t{1},
                           std::multiplies<>());
}

} // namespace latdyn
