// Compiles a graph to kernel calls over rows as lanes: see lanes_plan.cpp for the idea, and the sources named
// after what they lower.
#pragma once

#include "lanes/kernels.h"
#include "latdyn/plan.h"
#include "lifetimes.h"
#include "row_order.h"

#include <functional>
#include <map>
#include <memory>
#include <vector>

namespace latdyn::lanes {

// An activation's place: `size` elements of `tile` floats, alive from the step that writes it to the last
// that reads it.
using Buffer = Life;

// Where a step's buffers are, for one workspace.
struct Arena {
    float* base;
    const std::vector<Buffer>& buffers;
    int tile;
    float* operator[](int buffer) const { return base + buffers[buffer].offset * tile; }
};

using Step = std::function<void(const Arena&)>;

// What a graph becomes.
struct Program {
    std::vector<Step> steps;
    std::vector<Buffer> buffers;
    int64_t elements = 0;
    int input = -1, output = -1;
};

// Everything a gather needs besides activations; shared by the step that runs it.
struct GatherTables {
    std::vector<float> weights, bias;
    std::vector<Block> blocks;
    std::vector<Run> runs;
    std::vector<Tap> taps;
};

class Compiler {
  public:
    Compiler(const Graph& graph, Isa isa) : graph(graph), kernels(kernels_of(isa)), isa(isa) {}
    // The program, and what is known of it.
    Program compile(PlanInfo& about);

  private:
    // ---- orders ----

    const Shape& shape(int value) const { return graph.values[value].shape; }
    bool is_constant(int value) const { return graph.values[value].is_constant; }
    bool order_matters(int value) const { return latdyn::order_matters(shape(value)); }
    static int64_t place(const Shape& s, Order order, int64_t e) { return latdyn::place(s, order, e); }
    int64_t place(int value, int64_t e) const { return place(shape(value), orders[value], e); }

    // ---- buffers ----

    // Rounded up so that a tile of one row has whole registers too.
    int add_buffer(int64_t elements);
    void add_step(std::vector<int> reads, int writes, Step step);
    int result(const Node& node);
    // The buffer that holds `value` in `order`, made by a copy (or, for a constant, filled) where there is
    // none.
    int stored(int value, Order order);
    int stored(int value) { return stored(value, orders[value]); }
    // Constants and copies that a node needs belong to that node alone: keeping them would lengthen lives.
    void begin_node();
    void finish_output();
    int64_t place_buffers();
    void choose_tile();
    void emit(const Node& node);

    // ---- movement (lanes_movement.cpp) ----

    void emit_copy(int from, int out, Indices index, Indices to, float value);
    void emit_fill(int out, const std::vector<float>& values, Indices to);
    void reshape(const Node& node);
    void concat(const Node& node);
    // pad, resizeNearest, transpose, gather: each output element comes from one input element or is a number.
    void movement(const Node& node);

    // ---- products (lanes_products.cpp) ----

    // `weight(column, channel)` gives the packed matrix; `groups` splits channels and columns' inputs alike.
    void emit_gather(const Node& node, int x, int out, std::shared_ptr<GatherTables> tables, int64_t columns,
                     int64_t channels, int64_t groups, int64_t x_per_group,
                     std::function<float(int64_t column, int64_t channel)> weight);
    void convolution(const Node& node);
    void linear(const Node& node);
    void product(const Node& node);
    void attention(const Node& node);

    // ---- element by element (lanes_elementwise.cpp) ----

    void binary(const Node& node);
    void activate(const Node& node);
    void activate_grad(const Node& node);

    // ---- norms and rows (lanes_norms.cpp) ----

    // Row-major elements, group after group, each group in storage order so that memory is read forwards.
    Indices grouped_elements(const Node& node) const;
    void norm(const Node& node);
    void norm_grad(const Node& node);
    // The last axis, and how often it is there.
    struct Rows {
        int32_t outer, size;
    };
    Rows rows_of(int value) const;
    void softmax(const Node& node);
    void softmax_grad(const Node& node);
    void top_k_mask(const Node& node);

    // ---- reductions (lanes_reductions.cpp) ----

    // `lists[e]`: members of row-major output element e; `scale` empty for the maximum.
    void emit_reduce(const Node& node, const std::vector<Indices>& lists, const std::vector<float>& scale);
    struct Windows {
        // Row-major elements of the input, by row-major element of the output.
        std::vector<Indices> members;
        // Taps of each window inside the padded input.
        std::vector<int64_t> padded;
    };
    static Windows windows_of(const Node& node, const Shape& xs, const Shape& ys);
    void pool(const Node& node);
    void mean(const Node& node);
    // A sum over the picked elements that come from each place: none where nothing was picked.
    void scatter_add(const Node& node);
    void max_pool_grad(const Node& node);

    const Graph& graph;
    const Kernels& kernels;
    const Isa isa;
    PlanInfo info;
    Program program;
    std::vector<Order> orders;
    std::map<std::pair<int, Order>, int> buffer_of;
    std::vector<std::function<void()>> packers;
    size_t weight_bytes = 0;
};

} // namespace latdyn::lanes
