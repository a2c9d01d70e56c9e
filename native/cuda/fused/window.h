// A window as the fused kernels compute it (product.h): a list of work for each warp, the taps it goes over,
// and weights in the order of the instructions.
#pragma once

#include "graph/products.h"
#include "program.h"

#include <span>
#include <vector>

namespace latdyn::cuda::fused {

// Into how many parts the sums of a window are cut, so that a block has work for all of its warps. A function
// of the shape alone: the order of sums does not depend on how many rows a block has.
int parts_of(const WindowShape& shape, Precision precision);

// Whether operands are gathered one by one, because channels do not make whole steps.
bool is_gathered(const WindowShape& shape, Precision precision);

// What compile.cpp gathers and then uploads.
struct Tables {
    std::vector<int32_t> numbers;
    std::vector<float> constants;
    std::vector<float> fragments;
};

// Whether two channels of y, of which an operator knows everything but the place, can be stored at once.
bool is_quick(const WindowShape& shape, Precision precision, const Operator& op, Element y, bool residual);

// Words of shared memory that an operator's sums of parts take.
int64_t part_words(const WindowShape& shape, Precision precision, int rows, bool quick);

// Fills in what the product kernel reads of `op`, whose places and `quick` are known, and appends its tables.
// `weights` as in the graph.
void append_window(const WindowShape& shape, std::span<const float> weights, Precision precision, int rows,
                   Operator& op, Tables& to);

} // namespace latdyn::cuda::fused
