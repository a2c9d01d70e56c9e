#include "latdyn/iterate.h"

#include "lanes/kernels.h"
#include "latdyn/error.h"
#include "memory.h"
#include "workers.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace latdyn {

namespace {

constexpr int longest_period = 16;
// A return after one period and one after two: extrapolated to its limit, what separates them must be this
// small a part of the step, or the point is an alternation that is still converging.
constexpr double largest_drift = 0.1;

// One point in one lane of a tile.
struct Slot {
    int64_t row = -1;
    int32_t iterations = 0;
    double norm_limit = 0;
    double previous_residual = 0;
    int32_t anchor_age = 0;
    int32_t candidate = 0;
    double candidate_distance = 0;
    std::vector<float>* trace = nullptr;
};

bool converged(const IterateOptions& options, double residual, double previous, double norm) {
    switch (options.criterion) {
    case Criterion::residual:
        return residual < options.tolerance;
    case Criterion::relative:
        return residual <= options.tolerance * norm;
    case Criterion::error_bound:
        break;
    }
    if (residual == 0)
        return true;
    const double rate = std::sqrt(residual / previous);
    if (!(rate < 1))
        return false;
    const double bound = std::sqrt(residual) * rate / (1 - rate);
    return bound * bound < options.tolerance;
}

// Distance to the limit of a geometric approach that was `one` away from its anchor after one period and
// `two` after two; infinite where it does not approach.
double extrapolated_drift(double one, double two) {
    if (two <= one)
        return one;
    if (one == 0)
        return two;
    const double ratio = (two - one) / one;
    return ratio < 1 ? one / (1 - ratio) : INFINITY;
}

// The whole tile, or, where few of its lanes are live, those by themselves.
template <class IsLive> void run_live(const Plan& plan, Workspace& workspace, int64_t live, IsLive is_live) {
    if (live > plan.info.narrow_lanes)
        return plan.run(workspace);
    for (int lane = 0, left = static_cast<int>(live); left > 0; lane++)
        if (is_live(lane)) {
            plan.run_lane(workspace, lane);
            left--;
        }
}

class Worker {
  public:
    Worker(const Plan& plan, const float* initial, int64_t rows, const IterateOptions& options,
           const IterateOutput& output, JobCounters& counters, std::atomic<int64_t>& queue)
        : plan(plan), initial(initial), rows(rows), options(options), output(output), counters(counters),
          queue(queue), workspace(plan.make_workspace()), tile(plan.info.tile_rows),
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
                const Status status = judge(lane);
                if (status == Status::unfinished)
                    continue;
                finish(lane, status);
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
    const IterateOptions& options;
    const IterateOutput& output;
    JobCounters& counters;
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
        Slot& slot = slots[lane];
        slot = {};
        const int64_t row = queue.fetch_add(1, std::memory_order_relaxed);
        if (row >= rows)
            return 0;
        slot.row = row;
        double norm0 = 0;
        for (int64_t e = 0; e < k; e++) {
            const float z = initial[row * k + e];
            workspace->input[e * tile + lane] = z;
            norm0 += static_cast<double>(z) * z;
        }
        set_anchor(lane);
        slot.norm_limit = options.divergence_ratio * options.divergence_ratio * std::max(1.0, norm0);
        slot.previous_residual = 0; // no rate yet: the first one comes out infinite
        const auto found = std::lower_bound(options.trace_rows.begin(), options.trace_rows.end(), row);
        if (found != options.trace_rows.end() && *found == row)
            slot.trace = &(*output.traces)[found - options.trace_rows.begin()];
        return 1;
    }

    // The lane's current point (in workspace.input) becomes what later ones are compared with.
    void set_anchor(int lane) {
        for (int64_t e = 0; e < k; e++)
            anchor[e * tile + lane] = workspace->input[e * tile + lane];
        slots[lane].anchor_age = 0;
        slots[lane].candidate = 0;
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

    // What the step just taken makes of the lane's point; `unfinished` while it goes on.
    Status judge(int lane) {
        Slot& slot = slots[lane];
        slot.iterations++;
        const double r = step()[lane];
        if (slot.trace)
            slot.trace->push_back(static_cast<float>(r));
        if (!std::isfinite(norm()[lane]))
            return Status::non_finite;
        if (converged(options, r, slot.previous_residual, norm()[lane]))
            return Status::converged;
        slot.previous_residual = r;
        if (norm()[lane] > slot.norm_limit)
            return Status::diverged;
        if (cycles(lane, r))
            return Status::cycle;
        if (slot.iterations >= options.max_iterations)
            return Status::max_iterations;
        return Status::unfinished;
    }

    bool cycles(int lane, double residual) {
        Slot& slot = slots[lane];
        const double limit =
            options.criterion == Criterion::relative ? options.tolerance * norm()[lane] : options.tolerance;
        const int age = ++slot.anchor_age;
        if (slot.candidate == 0) {
            if (age >= 2 && back()[lane] < limit) {
                slot.candidate = age;
                slot.candidate_distance = std::sqrt(back()[lane]);
            } else if (age >= longest_period) {
                set_anchor(lane);
            }
            return false;
        }
        if (age < 2 * slot.candidate)
            return false;
        const double drift = extrapolated_drift(slot.candidate_distance, std::sqrt(back()[lane]));
        if (back()[lane] < limit && drift < largest_drift * std::sqrt(residual))
            return true;
        set_anchor(lane);
        return false;
    }

    void finish(int lane, Status status) {
        record(lane, status);
        counters.finished.fetch_add(1, std::memory_order_relaxed);
    }

    void record(int lane, Status status) {
        const Slot& slot = slots[lane];
        for (int64_t e = 0; e < k; e++)
            output.endpoints[slot.row * k + e] = workspace->input[e * tile + lane];
        output.iterations[slot.row] = slot.iterations;
        output.residual[slot.row] = slot.iterations == 0 ? 0.0f : static_cast<float>(step()[lane]);
        output.status[slot.row] = static_cast<uint8_t>(status);
        output.period[slot.row] = status == Status::cycle ? static_cast<uint8_t>(slot.candidate) : 0;
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
