// Work that is enqueued again and again: recorded once, then run as a whole, by the device alone for as long
// as it says itself.
//
// On a device it is a graph with a conditional node (CUDA 12.4: a WHILE node, whose body is what was
// recorded); with a driver that has none, a graph that the host starts so many times. In tests on the host
// the launches are kept and repeated (native/test/simt).
#pragma once

#include "runtime.h"

#include <functional>
#include <memory>

#if defined(__CUDACC__) && !defined(LATDYN_SIMT)
#include <cuda_runtime.h>
#endif

namespace latdyn::cuda {

// What decides whether a loop goes on, passed to kernels by value; where `there` is not set nobody asks.
struct Condition {
    unsigned long long handle = 0;
    bool there = false;
};

#ifdef LATDYN_SIMT
void set_condition(Condition condition, bool go_on);
#elif defined(__CUDACC__)
// By one thread of one launch of the body.
__device__ inline void set_condition(Condition condition, bool go_on) {
    if (condition.there)
        cudaGraphSetConditional(condition.handle, go_on ? 1u : 0u);
}
#endif

class Loop {
  public:
    Loop();
    // Records what `body` enqueues, which may be launches, copies on the device and fills.
    explicit Loop(const std::function<void(Condition)>& body);
    ~Loop();
    Loop(Loop&&) noexcept;
    Loop& operator=(Loop&&) noexcept;

    // Runs the body until it has set its condition to false; `times` times where its condition is not there.
    // Waits for that, and calls `meanwhile` every few milliseconds of it.
    void run(int times, const std::function<void()>& meanwhile);

  private:
    struct Graph;
    std::unique_ptr<Graph> graph;
};

} // namespace latdyn::cuda
