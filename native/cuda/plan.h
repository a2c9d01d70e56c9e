// A graph on the device: what compile_plan() (graph/) or fuse_plan() (fused/) makes of one, and what apply,
// the iteration and walks (iteration.h) run.
//
// A plan is immutable and holds the weights; any number of jobs may run it at the same time. A run is a pure
// function of each row: the same row gives the same bits wherever it stands, whatever its neighbours are and
// however many there are.
#pragma once

#include "latdyn/error.h"
#include "latdyn/graph.h"
#include "latdyn/judge.h"
#include "runtime.h"

#include <cstdint>
#include <memory>
#include <string>

namespace latdyn::cuda {

// How products are computed: on tensor cores from operands of 11 or 8 digits with sums in float32, or in
// float32 with one rounding a multiply-add. Everything but products is float32 in all three.
enum class Precision : int32_t { float32 = 0, tf32 = 1, bf16 = 2 };

struct DevicePlanInfo {
    int64_t input_elements = 0;
    int64_t output_elements = 0;
    Precision precision = Precision::float32;
    // Of packed weights and tables, on the device.
    int64_t weight_bytes = 0;
    // Memory a run needs for one row beside its input and output; a multiple of 256.
    int64_t row_bytes = 0;
    // As Graph::nominal_flops().
    double flops_per_row = 0;
    // Launches of a run.
    int launches = 0;
    // "kernels" or "fused", and why.
    std::string layout;
    std::string reason;
};

struct Residence;

class DevicePlan {
  public:
    virtual ~DevicePlan() = default;
    DevicePlanInfo info;

    // Enqueues output[i] = f(input[i]) for i < rows: [rows, input_elements] → [rows, output_elements], both
    // on the device, 16-byte aligned, apart from one another. `arena` is 256-byte aligned and holds
    // rows·row_bytes bytes, which nothing else touches until the run is over. Enqueues launches and nothing
    // else (no allocation, no copy, no wait), so that it may be captured. input is left as it was.
    virtual void run(const float* input, float* output, int64_t rows, unsigned char* arena) const = 0;

    // Whether iterate_resident() is there: the plan runs the whole iteration in one launch.
    virtual bool persistent() const { return false; }
    // How many points iterate_resident() works on at the same time; points.batch is not larger.
    virtual int64_t resident_points() const { return 0; }
    // Enqueues one launch in which every point that `points` still has in its queue is iterated to its end,
    // or until *points.stop is not 0, or for about `steps` steps of each block: what is then unfinished is
    // kept, and the next call goes on with it. No row makes more than `steps` steps. See iteration.h, and
    // iteration_kernels.h for what a step does to a point; what the launch counts goes to points.evaluations.
    virtual void iterate_resident(const Residence&, int64_t) const {
        throw Error("this plan is run step by step");
    }
};

// graph/compile.cpp. Throws Error where the graph holds what no kernel does, DeviceError where its weights do
// not fit.
std::unique_ptr<DevicePlan> compile_plan(const Graph& graph, Precision precision);

// fused/compile.cpp. A plan whose run is one launch, a row's activations in shared memory; null where the
// graph holds other operators than it knows, or where activations do not fit, and *reason says so.
std::unique_ptr<DevicePlan> fuse_plan(const Graph& graph, Precision precision, std::string* reason);

// fused/compile.cpp. The fused plan where there is one that reads fewer bytes a row than kernels move, else
// that of graph/compile.cpp; info.reason says which and why.
std::unique_ptr<DevicePlan> plan_for(const Graph& graph, Precision precision);

} // namespace latdyn::cuda
