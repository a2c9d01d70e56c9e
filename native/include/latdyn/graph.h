// A model as the native side sees it: one row, no batch, values and nodes. Built by the addon from what
// src/graph/lower.ts sends, consumed by every backend.
#pragma once

#include "latdyn/activation.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace latdyn {

struct Value {
    std::vector<int64_t> shape;
    // Not empty: the elements of a constant, the same for every row.
    std::vector<float> constant;
    bool is_constant = false;

    int64_t elements() const {
        int64_t n = 1;
        for (int64_t d : shape)
            n *= d;
        return n;
    }
};

struct Node {
    std::string op;
    std::string name;
    std::vector<int> inputs;
    int output = -1;
    // Named as in src/graph/lower.ts; scalars are lists of one.
    std::map<std::string, std::vector<double>> attributes;
    Activation activation;
    // Value added before the activation, or -1.
    int residual = -1;

    // Whole-number attribute `key`, which must be there.
    std::vector<int64_t> ints(const std::string& key) const;
    int64_t integer(const std::string& key) const;
    double number(const std::string& key) const;
};

struct Graph {
    std::vector<Value> values;
    std::vector<Node> nodes;
    int input = -1;
    int output = -1;

    // Throws Error where an index, a shape or an attribute does not fit: what comes from outside is not
    // trusted.
    void validate() const;
    // 2 × multiply-adds of conv, convTranspose, linear, matmul and attention for one row, padding taps
    // included.
    double nominal_flops() const;
};

// By the names of ACTIVATION_KINDS in src/graph/graph.ts, or "none".
std::optional<ActivationKind> activation_named(const std::string& name);

} // namespace latdyn
