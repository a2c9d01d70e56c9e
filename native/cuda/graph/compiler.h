// What compiles a graph for the device: see compile.cpp for the idea, and the sources named after what they
// lower.
#pragma once

#include "plan.h"

#include "lifetimes.h"
#include "operators.h"
#include "products.h"
#include "row_order.h"

#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <utility>

namespace latdyn::cuda::graphs {

// Where a value's rows are while a plan runs.
struct Storage {
    enum class Where { arena, input, output, resident };
    Where where = Where::arena;
    int64_t elements = 0;
    // Of a constant, which has one row.
    Buffer<float> constant;
    // Floats of a row before it in the arena.
    int64_t offset = 0;
};

// One run of a plan.
struct Run {
    const std::vector<Storage>& storages;
    const float* input;
    float* output;
    float* arena;
    int64_t rows;

    float* operator[](int storage) const;
};

using Step = std::function<void(const Run&)>;

class GraphPlan final : public DevicePlan {
  public:
    void run(const float* input, float* output, int64_t rows, unsigned char* arena) const override;

    std::vector<Storage> storages;
    std::vector<Step> steps;
    std::vector<Buffer<int32_t>> lists;
    std::vector<std::unique_ptr<Window>> windows;
    std::vector<std::unique_ptr<Matmul>> matmuls;
};

class Compiler {
  public:
    Compiler(const Graph& graph, Precision precision) : graph(graph), precision(precision) {}

    std::unique_ptr<DevicePlan> compile();

  private:
    const Graph& graph;
    const Precision precision;
    std::unique_ptr<GraphPlan> plan = std::make_unique<GraphPlan>();
    std::vector<Order> orders;
    // By storage; only those in the arena are ever touched.
    std::vector<Life> lives;
    std::map<std::pair<int, Order>, int> storage_of;
    // What a value is another shape of: the same row-major elements.
    std::map<int, int> shape_of;
    // By value: the nodes that read it, and as which input; −1 is the residual.
    struct Reader {
        const Node* node;
        int input;
    };
    std::vector<std::vector<Reader>> readers;
    int64_t weight_bytes = 0;
    int launches = 0;

    const Shape& shape(int value) const { return graph.values[value].shape; }
    int64_t elements(int value) const { return graph.values[value].elements(); }
    bool is_constant(int value) const { return graph.values[value].is_constant; }
    // What no kernel does is refused.
    void check(const Node& node) const;
    void lower(const Node& node);
    void finish_output();

    // ---- storage ----

    // Whether the value lies channels last, and differs by that from row-major.
    bool channels_last(int value) const {
        return order_matters(shape(value)) && orders[value] == Order::channels_last;
    }
    int64_t place_in(int value, int64_t e) const { return place(shape(value), orders[value], e); }
    int add_storage(int64_t elements);
    void add_step(std::initializer_list<int> touched, Step step, int count = 1);
    // A launch of kernel(task) that reads x and t (−1: none) and writes out, which are the task's x, t and
    // out.
    template <class Task, class Kernel>
    void add_launch(const Task& task, int x, int t, int out, Kernel kernel) {
        add_step({x, t, out}, [=](const Run& run) {
            Task placed = task;
            placed.x.data = run[x];
            placed.t.data = t < 0 ? nullptr : run[t];
            placed.out = run[out];
            placed.rows = run.rows;
            kernel(placed);
        });
    }
    // Of the node's output, in its order.
    int result(const Node& node);
    bool is_stored(int value, Order order) const { return storage_of.count({value, order}) != 0; }
    // The storage that holds `value` in `order`, made where there is none: by a copy, or of a constant now.
    int stored(int value, Order order);
    int stored(int value) { return stored(value, orders[value]); }
    // As stored(), with a row of its own for every row: what products read.
    int dense(int value, Order order);
    // Floats from one row to the next.
    int64_t row_of(int storage) const;

    // ---- tables ----

    const int32_t* upload_list(const Indices& list);
    Map map_of(const Indices& index);
    // An operand of a kernel, its data still to be filled in.
    Operand operand(int storage) const { return {nullptr, row_of(storage), {}}; }

    // ---- movement (lower_movement.cpp) ----

    // out[i] = from[index[i]], or out[to[i]]; −1 is `value`.
    void emit_move(int from, int out, Indices index, const Indices& to = {}, float value = 0);
    // A move of whole rows that turns matrices of some size.
    std::optional<Transpose> as_transpose(const Move& p, int from, int out) const;
    void reshape(const Node& node);
    void concat(const Node& node);
    void movement(const Node& node);
    void scatter_add(const Node& node);

    // ---- products (lower_products.cpp) ----

    void window(const Node& node, const WindowShape& shape, const std::vector<float>& weights,
                const std::vector<float>& bias, int x, int out);
    // Of a node's third input; empty where there is none.
    std::vector<float> bias_of(const Node& node) const;
    void convolution(const Node& node);
    // The image that the node's output is looked at as, where convolutions alone read it; else −1.
    int image_of_output(const Node& node) const;
    // The image that lies channels last, and nowhere else, whose elements the node's input is; else −1.
    int image_of_input(const Node& node) const;
    void linear(const Node& node);
    void matmul(const Node& node);

    // ---- element by element (lower_elementwise.cpp) ----

    void emit_elementwise(Elementwise p, int a, int b, int out);
    void binary(const Node& node);
    void activate(const Node& node);

    // ---- norms, pools, means (lower_reductions.cpp) ----

    void norm(const Node& node);
    Steps steps_of(int value) const;
    void pool(const Node& node);
    void mean(const Node& node);

    // ---- sequences (lower_sequences.cpp) ----

    void sequences(const Node& node);
    void attention(const Node& node);
};

} // namespace latdyn::cuda::graphs
