#include "latdyn/iterate.h"

#include "lanes/kernels.h"
#include "latdyn/error.h"
#include "memory.h"
#include "point_judge.h"
#include "run_live.h"
#include "workers.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace latdyn {

namespace {

class Worker {
  public:
    Worker(const Plan& plan, const float* initial, int64_t rows, const IterateOptions& options,
           const IterateOutput& output, JobCounters& counters, std::atomic<int64_t>& queue)
        : plan(plan), initial(initial), rows(rows), output(output), counters(counters),
          judge(options, output), queue(queue), workspace(plan.make_workspace()), tile(plan.info.tile_rows),
          k(plan.info.input_elements), slots(tile), anchor(aligned_floats(static_cast<size_t>(k) * tile)),
          step_norms(plan.info.tile_rows % 16 == 0 ? lanes::kernels_of(plan.info.isa).step_norms : nullptr),
          sums(3 * static_cast<size_t>(tile)) {}

    void run() {
        const FlushDenormals flush;
        int live = 0;
        std::fill_n(workspace->input, k * tile, 0.0f);
        for (int lane = 0; lane < tile; lane++)
            live += refill(lane);
        while (live > 0 && !counters.abort.load(std::memory_order_relaxed)) {
            run_live(plan, *workspace, live, [&](int lane) { return slots[lane].row >= 0; });
            counters.evaluations.fetch_add(live, std::memory_order_relaxed);
            measure();
            std::memcpy(workspace->input, workspace->output, sizeof(float) * k * tile);
            for (int lane = 0; lane < tile; lane++) {
                if (slots[lane].row < 0)
                    continue;
                const Verdict verdict = judge.judge(slots[lane], {step()[lane], norm()[lane], back()[lane]});
                if (verdict.moves_anchor)
                    set_anchor(lane);
                if (verdict.status == Status::unfinished)
                    continue;
                finish(lane, verdict.status);
                live += refill(lane) - 1;
            }
        }
        // An aborted point keeps how far it got, and its status says that it is not an end.
        for (int lane = 0; lane < tile; lane++)
            if (slots[lane].row >= 0)
                record(lane, Status::unfinished);
    }

  private:
    const Plan& plan;
    const float* initial;
    const int64_t rows;
    const IterateOutput& output;
    JobCounters& counters;
    const PointJudge judge;
    std::atomic<int64_t>& queue;
    const std::unique_ptr<Workspace> workspace;
    const int tile;
    const int64_t k;
    std::vector<Slot> slots;
    const AlignedFloats anchor;
    // Null for tiles that are not whole registers: those are summed plainly.
    void (*const step_norms)(const lanes::StepNorms&);
    std::vector<double> sums;

    double* step() { return sums.data(); }
    double* norm() { return sums.data() + tile; }
    double* back() { return sums.data() + 2 * tile; }

    // The next point of the queue into `lane`; 0 where there is none left.
    int refill(int lane) {
        slots[lane] = {};
        const int64_t row = queue.fetch_add(1, std::memory_order_relaxed);
        if (row >= rows)
            return 0;
        double norm0 = 0;
        for (int64_t e = 0; e < k; e++) {
            const float z = initial[row * k + e];
            workspace->input[e * tile + lane] = z;
            norm0 += static_cast<double>(z) * z;
        }
        set_anchor(lane);
        slots[lane] = judge.start(row, norm0);
        return 1;
    }

    // The lane's current point (in workspace.input) becomes what later ones are compared with.
    void set_anchor(int lane) {
        for (int64_t e = 0; e < k; e++)
            anchor[e * tile + lane] = workspace->input[e * tile + lane];
    }

    void measure() {
        if (step_norms) {
            step_norms({workspace->input, workspace->output, anchor.get(), static_cast<int32_t>(k), tile,
                        step(), norm(), back()});
            return;
        }
        std::fill(sums.begin(), sums.end(), 0.0);
        for (int64_t e = 0; e < k; e++)
            for (int lane = 0; lane < tile; lane++) {
                const float next = workspace->output[e * tile + lane];
                const double s = next - workspace->input[e * tile + lane], b = next - anchor[e * tile + lane];
                step()[lane] += s * s;
                norm()[lane] += static_cast<double>(next) * next;
                back()[lane] += b * b;
            }
    }

    void finish(int lane, Status status) {
        record(lane, status);
        counters.finished.fetch_add(1, std::memory_order_relaxed);
    }

    void record(int lane, Status status) {
        const int64_t row = slots[lane].row;
        for (int64_t e = 0; e < k; e++)
            output.endpoints[row * k + e] = workspace->input[e * tile + lane];
        judge.record(slots[lane], status, step()[lane]);
    }
};

} // namespace

void iterate(const Plan& plan, const float* initial, int64_t rows, const IterateOptions& options,
             const IterateOutput& output, JobCounters& counters) {
    if (plan.info.input_elements != plan.info.output_elements)
        throw Error("the map takes " + std::to_string(plan.info.input_elements) + " elements and gives " +
                    std::to_string(plan.info.output_elements) + ": it cannot be iterated");
    std::fill_n(output.status, rows, static_cast<uint8_t>(Status::unfinished));
    std::atomic<int64_t> queue{0};
    const int64_t tiles = (rows + plan.info.tile_rows - 1) / plan.info.tile_rows;
    run_workers(static_cast<int>(std::clamp<int64_t>(tiles, 1, options.threads)),
                [&](int) { Worker(plan, initial, rows, options, output, counters, queue).run(); });
}

void apply(const Plan& plan, const float* input, int64_t rows, float* output, int threads,
           JobCounters& counters) {
    const int64_t tile = plan.info.tile_rows, in = plan.info.input_elements, out = plan.info.output_elements;
    const int64_t tiles = (rows + tile - 1) / tile;
    std::atomic<int64_t> queue{0};
    run_workers(static_cast<int>(std::clamp<int64_t>(tiles, 1, threads)), [&](int) {
        const FlushDenormals flush;
        const auto workspace = plan.make_workspace();
        std::fill_n(workspace->input, in * tile, 0.0f);
        while (!counters.abort.load(std::memory_order_relaxed)) {
            const int64_t first = queue.fetch_add(1, std::memory_order_relaxed) * tile;
            if (first >= rows)
                break;
            const int64_t live = std::min(tile, rows - first);
            for (int64_t lane = 0; lane < live; lane++)
                for (int64_t e = 0; e < in; e++)
                    workspace->input[e * tile + lane] = input[(first + lane) * in + e];
            run_live(plan, *workspace, live, [](int) { return true; });
            for (int64_t lane = 0; lane < live; lane++)
                for (int64_t e = 0; e < out; e++)
                    output[(first + lane) * out + e] = workspace->output[e * tile + lane];
            counters.finished.fetch_add(live, std::memory_order_relaxed);
            counters.evaluations.fetch_add(live, std::memory_order_relaxed);
        }
    });
}

} // namespace latdyn
