// A plan: a graph compiled for a fixed tile of rows. Immutable and shared by any number of threads; each
// thread brings its own workspace. run() is a pure function of the tile: the same row gives the same bits
// wherever it stands in the tile and whatever its neighbours are.
#pragma once

#include "latdyn/graph.h"
#include "latdyn/isa.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace latdyn {

enum class Layout { lanes, onednn };

struct PlanInfo {
    Layout layout = Layout::lanes;
    Isa isa = Isa::portable;
    int tile_rows = 1;
    // With this many live lanes or fewer, run_lane for each is quicker than run. 0: never.
    int narrow_lanes = 0;
    int64_t input_elements = 0;
    int64_t output_elements = 0;
    size_t arena_bytes = 0;
    size_t weight_bytes = 0;
    double flops_per_row = 0;
    std::string reason;
};

// Per-thread memory of a plan. `input` and `output` are element-major: element e of lane r is at
// [e * tile_rows + r]. 64-byte aligned. The caller fills input, calls run, reads output.
class Workspace {
  public:
    virtual ~Workspace() = default;
    float* input = nullptr;
    float* output = nullptr;
};

class Plan {
  public:
    virtual ~Plan() = default;
    PlanInfo info;
    virtual std::unique_ptr<Workspace> make_workspace() const = 0;
    // workspace.input → workspace.output. input is left as it was.
    virtual void run(Workspace& workspace) const = 0;
    // The same for one lane alone, with the same bits; the other lanes of output keep what they held. A tile
    // of one row is that already.
    virtual void run_lane(Workspace& workspace, int) const { run(workspace); }
};

struct CompileOptions {
    // -1: chosen by working-set size.
    int layout = -1;
    // -1: the widest this processor has.
    int isa = -1;
};

// Throws Error where the graph cannot be run.
std::shared_ptr<const Plan> compile(const Graph& graph, const CompileOptions& options);

// The two layouts behind compile(); each throws Error for an op it cannot run.
std::shared_ptr<Plan> compile_lanes(const Graph& graph, Isa isa);
std::shared_ptr<Plan> compile_onednn(const Graph& graph, Isa isa);

} // namespace latdyn
