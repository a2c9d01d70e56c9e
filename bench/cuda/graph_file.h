// A graph and points from a file that graphFile.mjs wrote; the format is described there.
#pragma once

#include "latdyn/graph.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace latdyn::bench {

struct GraphFile {
    std::string name;
    Graph graph;
    // [point_rows, k], k the elements of the graph's input.
    int64_t point_rows = 0;
    std::vector<float> points;

    int64_t k() const { return graph.values[static_cast<size_t>(graph.input)].elements(); }
};

// Throws Error that begins with `what` where `bytes` are cut off, hold something else, or hold a graph that
// does not fit together.
GraphFile parse_graph_file(std::span<const unsigned char> bytes, const std::string& what);

// The same of a file.
GraphFile read_graph_file(const std::string& path);

} // namespace latdyn::bench
