#include "capture.h"

#include "latdyn/error.h"

namespace latdyn::cuda {

namespace {

constexpr int conditional_nodes_since = 12040;

bool has_conditional_nodes() {
    int driver = 0;
    check(cudaDriverGetVersion(&driver), "asking for the driver's version");
    return driver >= conditional_nodes_since;
}

} // namespace

struct Loop::Graph {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t ready = nullptr;
    bool conditional = false;

    ~Graph() {
        // What fails here has failed before, and was reported then.
        if (ready != nullptr && cudaGraphExecDestroy(ready) != cudaSuccess)
            (void)cudaGetLastError();
        if (graph != nullptr && cudaGraphDestroy(graph) != cudaSuccess)
            (void)cudaGetLastError();
    }
};

namespace {

// The body of a WHILE node of `graph`, which belongs to it; its condition is true whenever the graph starts.
cudaGraph_t add_while(cudaGraph_t graph, Condition& condition) {
    cudaGraphConditionalHandle handle;
    check(cudaGraphConditionalHandleCreate(&handle, graph, 1, cudaGraphCondAssignDefault),
          "making the condition of a graph");
    condition = {handle, true};
    cudaGraphNodeParams node{};
    node.type = cudaGraphNodeTypeConditional;
    node.conditional.handle = handle;
    node.conditional.type = cudaGraphCondTypeWhile;
    node.conditional.size = 1;
    cudaGraphNode_t added;
#if CUDART_VERSION >= 13000
    check(cudaGraphAddNode(&added, graph, nullptr, nullptr, 0, &node), "adding a conditional node");
#else
    check(cudaGraphAddNode(&added, graph, nullptr, 0, &node), "adding a conditional node");
#endif
    return node.conditional.phGraph_out[0];
}

// What `body` enqueues, after the recording was begun. Other threads may do what they like meanwhile.
cudaGraph_t recorded(const std::function<void()>& body) {
    cudaGraph_t graph = nullptr;
    try {
        body();
    } catch (...) {
        // The stream has to be of use again; what is wrong is known.
        if (cudaStreamEndCapture(cudaStreamPerThread, &graph) != cudaSuccess)
            (void)cudaGetLastError();
        throw;
    }
    check(cudaStreamEndCapture(cudaStreamPerThread, &graph), "recording a graph");
    return graph;
}

} // namespace

Loop::Loop() = default;
Loop::~Loop() = default;
Loop::Loop(Loop&&) noexcept = default;
Loop& Loop::operator=(Loop&&) noexcept = default;

Loop::Loop(const std::function<void(Condition)>& body) : graph(std::make_unique<Graph>()) {
    graph->conditional = has_conditional_nodes();
    const char* what = "beginning to record a graph";
    if (graph->conditional) {
        check(cudaGraphCreate(&graph->graph, 0), "making a graph");
        Condition condition;
        const cudaGraph_t inside = add_while(graph->graph, condition);
        check(cudaStreamBeginCaptureToGraph(cudaStreamPerThread, inside, nullptr, nullptr, 0,
                                            cudaStreamCaptureModeRelaxed),
              what);
        recorded([&] { body(condition); });
    } else {
        check(cudaStreamBeginCapture(cudaStreamPerThread, cudaStreamCaptureModeRelaxed), what);
        graph->graph = recorded([&] { body({}); });
    }
    check(cudaGraphInstantiate(&graph->ready, graph->graph, 0), "making a graph ready");
}

void Loop::run(int times, const std::function<void()>& meanwhile) {
    if (!graph)
        throw Error("there is no recorded work");
    for (int i = 0; i < (graph->conditional ? 1 : times); i++)
        check(cudaGraphLaunch(graph->ready, cudaStreamPerThread), "starting a graph");
    wait(meanwhile);
}

} // namespace latdyn::cuda
