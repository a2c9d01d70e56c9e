// In which order a row's elements lie, and which elements of its operands an operator's result is made of:
// what plans of rows as lanes (lanes_plan.cpp) and of the device (cuda/graph/compile.cpp) share.
//
// Three-dimensional values that a spatial operator touches lie position by position with the channel
// innermost ([H][W][C]), so that the reduction of a convolution runs over consecutive elements; everything
// else is row-major.
#pragma once

#include "latdyn/graph.h"

#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace latdyn {

using Shape = std::vector<int64_t>;
using Indices = std::vector<int32_t>;

enum class Order { row_major, channels_last };

inline int32_t narrow(int64_t v) {
    return static_cast<int32_t>(v);
}

// Not where there is one channel or one position: then both orders are the same thing.
bool order_matters(const Shape& shape);

// By value. Results of `row_major_ops` are row-major whatever their inputs are.
std::vector<Order> choose_orders(const Graph& graph, const std::set<std::string>& row_major_ops);

// Position of the element at row-major index e of a value stored in `order`.
int64_t place(const Shape& shape, Order order, int64_t e);

// Row-major index into `from` of each element of `to`, as NumPy broadcasts.
Indices broadcast_index(const Shape& from, const Shape& to);

// pad, resizeNearest, transpose, gather: row-major index into the input, of shape `from`, of each element of
// the result, of shape `to`; −1 where it is the pad value.
Indices movement_index(const Node& node, const Shape& from, const Shape& to);

// How many groups of consecutive row-major elements groupNorm, layerNorm or a derivative of them has.
int64_t norm_groups(const Node& node, const Shape& shape);

} // namespace latdyn
