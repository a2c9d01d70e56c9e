// A graph as a list of steps of the fused kernels, before anybody knows how many rows a block has and where
// values lie.
#pragma once

#include "graph/products.h"
#include "plan.h"
#include "program.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace latdyn::cuda::fused {

// A value in shared memory, from the step that writes it first to the last that reads it. Step −1 is the
// input's arrival, the number of steps the output's leaving.
struct Resident {
    int32_t positions = 1, channels = 1;
    Element element = Element::float32;
    int first = 1 << 30, last = -1;
};

struct Step {
    // Places, tables of products and scratch are filled in later.
    Operator op;
    // Of the values in shared memory; −1: none.
    int y = -1, x = -1, b = -1, residual = -1;
    WindowShape window;
    std::span<const float> weights;
    // Of float32 constants: as `constant` and `shift` of the operator, once they are in the tables.
    std::vector<float> constants, shifts;
    std::vector<int32_t> table;
};

struct Lowered {
    std::vector<Resident> values;
    std::vector<Step> steps;
    int input = -1, output = -1;
    bool input_planar = false, output_planar = false;
};

// Why a graph has no fused plan.
struct Refused {
    std::string reason;
};

// Throws Refused. What it returns refers to the graph's constants.
Lowered lower(const Graph& graph, Precision precision);

} // namespace latdyn::cuda::fused
