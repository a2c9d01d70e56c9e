// capture.h over lists of launches.
#include "capture.h"

#include "latdyn/error.h"
#include "recording.h"
#include "simt.h"

#include <utility>
#include <vector>

namespace simt {

namespace {

using Work = std::vector<std::function<void()>>;

bool conditional_nodes = true;
// Of the job that this thread runs.
thread_local Work* recording = nullptr;
thread_local bool going_on = false;
int64_t started = 0;

} // namespace

void offer_conditional_nodes(bool offered) {
    conditional_nodes = offered;
}

int64_t recordings_started() {
    return started;
}

void enqueue(std::function<void()> work) {
    if (recording)
        recording->push_back(std::move(work));
    else
        work();
}

void refuse_while_recording(const char* what) {
    if (recording)
        throw latdyn::cuda::DeviceError(latdyn::cuda::Failure::device,
                                        std::string("CUDA: ") + what +
                                            ": operation not permitted when stream is capturing");
}

} // namespace simt

namespace latdyn::cuda {

struct Loop::Graph {
    simt::Work work;
    bool conditional = false;
};

void set_condition(Condition condition, bool go_on) {
    if (condition.there)
        simt::going_on = go_on;
}

Loop::Loop() = default;
Loop::~Loop() = default;
Loop::Loop(Loop&&) noexcept = default;
Loop& Loop::operator=(Loop&&) noexcept = default;

Loop::Loop(const std::function<void(Condition)>& body) : graph(std::make_unique<Graph>()) {
    simt::refuse_while_recording("beginning to record a graph");
    graph->conditional = simt::conditional_nodes;
    simt::recording = &graph->work;
    try {
        body({1, graph->conditional});
    } catch (...) {
        simt::recording = nullptr;
        throw;
    }
    simt::recording = nullptr;
}

void Loop::run(int times, const std::function<void()>& meanwhile) {
    if (!graph)
        throw Error("there is no recorded work");
    simt::refuse_while_recording("starting a graph");
    simt::going_on = true;
    simt::started += graph->conditional ? 1 : times;
    for (int i = 0; graph->conditional ? simt::going_on : i < times; i++) {
        for (const auto& one : graph->work)
            one();
        meanwhile();
    }
}

} // namespace latdyn::cuda
