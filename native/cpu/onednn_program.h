// A compiled oneDNN plan: steps over buffers. What compiles a graph into one is in onednn_plan.cpp; what
// places the buffers and runs the steps is in onednn_program.cpp.
#pragma once

#include "latdyn/plan.h"
#include "memory.h"

#include <dnnl.hpp>

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace latdyn::onednn {

// Makes oneDNN's OpenMP use the calling thread alone for as long as this lives: a plan is single-threaded,
// and primitives are cut for the number of threads they were created under.
class OneThread {
  public:
    OneThread();
    ~OneThread();
    OneThread(const OneThread&) = delete;
    OneThread& operator=(const OneThread&) = delete;

  private:
    int threads_;
};

// Memory of one or more tensors that are the same bytes: of a workspace's arena, or a constant of the plan.
struct Buffer {
    size_t bytes = 0;
    // Constants only.
    AlignedFloats constant;
    // First and last step that touches it; filled in as steps are added.
    int first = -1, last = -1;
    // Keeps its bytes until the end of a run: the input, the output.
    bool pinned = false;
    // Offset in the arena.
    size_t offset = 0;
};

// A tensor in a layout.
struct Tensor {
    int buffer = -1;
    dnnl::memory::desc desc;
};

// A oneDNN primitive or a loop of our own, over tensors.
struct Step {
    // For messages.
    std::string node;
    std::vector<Tensor> tensors;
    // A primitive, and which of its arguments each tensor is …
    dnnl::primitive primitive;
    std::vector<int> arguments;
    // … or a loop, which gets the tensors' addresses in order.
    std::function<void(float* const*)> loop;
};

struct Program {
    dnnl::engine engine{dnnl::engine::kind::cpu, 0};
    std::vector<Buffer> buffers;
    std::vector<Step> steps;
    int input = -1, output = -1;

    int add_buffer(size_t bytes);
    // A constant's memory: 64-byte aligned, `bytes` rounded up with zeros.
    int add_constant(size_t bytes);
    void add_step(Step step);
};

// Places the arena and wraps the program as a plan. `info` has everything but the memory sizes.
std::shared_ptr<Plan> finish(Program program, PlanInfo info);

// What any failure of oneDNN becomes.
[[noreturn]] void fail(const std::string& node, const std::string& what);

} // namespace latdyn::onednn
