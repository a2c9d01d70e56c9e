// Paths z0, f(z0), f(f(z0)), … of a fixed length, on the device: what they come near to, without keeping
// them.
//
// A block of rows walks some steps, whose points stay on the device until their distances to the attractors
// are known (trajectory.cu); then the next steps take their place. A step is a run of the plan and
//   a copy         8·k bytes a row, where there are attractors
//   curve_points   a warp a row whose curve is kept: 8·k bytes, 6·k operations in double
// all limited by memory, and little beside the plan.
#include "iteration.h"

#include "iteration_kernels.h"
#include "path_scores.h"
#include "run_plan.h"

#include <cmath>
#include <limits>

namespace latdyn::cuda {

namespace {

constexpr unsigned threads = 256;
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

// |z − before|² and |z| of the rows `kept`.
__global__ void curve_points(const float* before, const float* z, const int32_t* kept, int32_t count,
                             int64_t k, float* residual, float* norm) {
    const int64_t i = int64_t{blockIdx.x} * (threads / 32) + threadIdx.x / 32;
    if (i >= count)
        return;
    const Team<32> team;
    const float* from = before + kept[i] * k;
    const StepSquares squares = step_squares(team, from, z + kept[i] * k, from, k);
    if (team.lane() != 0)
        return;
    residual[i] = static_cast<float>(squares.step);
    norm[i] = static_cast<float>(exact::sqrt(squares.norm));
}

// Of what points of paths may take at once.
constexpr int64_t segment_bytes = int64_t{256} << 20;

// Memory of a block of rows and of a segment of their paths.
struct Block {
    int64_t rows, points;
    Buffer<float> current, next, path;
    Arena arena;
    Buffer<double> sum;
    Buffer<uint8_t> lost;
    Buffer<int32_t> kept;
    // [points, kept]
    Buffer<float> residual, norm, distance;

    static int64_t bytes(const DevicePlanInfo& info) { return 8 * info.input_elements + info.row_bytes + 9; }
    Block(const DevicePlanInfo& info, int64_t rows, int64_t points, bool scored, int64_t kept)
        : rows(rows), points(points), current(rows * info.input_elements), next(rows * info.input_elements),
          path(scored ? points * rows * info.input_elements : 0), arena(rows * info.row_bytes), sum(rows),
          lost(rows), kept(kept), residual(points * kept), norm(points * kept), distance(points * kept) {}
};

class Walk {
  public:
    Walk(const DevicePlan& plan, const float* initial, int64_t rows, Attractors* attractors,
         const TrajectoryOptions& options, const TrajectoryOutput& output, const Job& job)
        : plan(plan), k(plan.info.input_elements), initial(initial), rows(rows), attractors(attractors),
          options(options), output(output), job(job) {}

    bool run() {
        int64_t memory = job.room() / 2;
        int64_t size = std::min(rows, efficient_rows(plan.info));
        size = std::clamp<int64_t>(memory / (Block::bytes(plan.info) + (attractors ? point_bytes() : 0)), 1,
                                   std::max<int64_t>(size, 1));
        for (int64_t first = 0; first < rows;) {
            const int64_t count = std::min(size, rows - first);
            const int64_t segment = segment_of(count, memory);
            try {
                if (!walk(first, count, segment))
                    return false;
                first += count;
            } catch (const DeviceError& error) {
                if (error.failure != Failure::out_of_memory || (count == 1 && segment == 1))
                    throw;
                size = std::max<int64_t>(1, count / 2);
                memory /= 2;
                job.note("out of device memory: blocks of " + std::to_string(size) + " paths instead of " +
                         std::to_string(count));
            }
        }
        job.go_on(rows, rows * options.steps);
        return true;
    }

  private:
    const DevicePlan& plan;
    const int64_t k;
    const float* const initial;
    const int64_t rows;
    // Null where paths are not scored.
    Attractors* const attractors;
    const TrajectoryOptions& options;
    const TrajectoryOutput& output;
    const Job& job;

    int64_t point_bytes() const { return 4 * k + 8 + Attractors::bytes_a_point(k); }

    // Points that `count` paths walk at once.
    int64_t segment_of(int64_t count, int64_t memory) const {
        int64_t points = std::min<int64_t>(steps_a_check(plan.info, count), int64_t{options.steps} + 1);
        if (attractors)
            points = std::min(points, std::min(segment_bytes, memory) / (count * point_bytes()));
        const int64_t curves = static_cast<int64_t>(options.curve_rows.size());
        if (curves > 0)
            points = std::min(points, segment_bytes / 4 / (12 * curves));
        return std::max<int64_t>(points, 1);
    }

    // Rows [first, first + count) to their end.
    bool walk(int64_t first, int64_t count, int64_t segment) {
        const auto& chosen = options.curve_rows;
        const auto from = std::lower_bound(chosen.begin(), chosen.end(), first),
                   to = std::lower_bound(from, chosen.end(), first + count);
        std::vector<int32_t> kept;
        for (auto at = from; at != to; ++at)
            kept.push_back(static_cast<int32_t>(*at - first));
        std::vector<Curve> curves(kept.size());

        Block block(plan.info, count, segment, attractors != nullptr, static_cast<int64_t>(kept.size()));
        block.kept.set(kept);
        block.current.set({initial + first * k, static_cast<size_t>(count * k)});
        block.sum.fill_bytes(0);
        block.lost.fill_bytes(0);
        const int64_t all = int64_t{options.steps} + 1;
        for (int64_t t = 0; t < all; t += segment) {
            const int64_t points = std::min(segment, all - t);
            const auto go_on = [&] { return job.go_on(first, first * options.steps + count * t); };
            if (!go_on())
                return false;
            for (int64_t i = 0; i < points; i++)
                step(block, t + i, i, first);
            if (attractors && !add(block, points, go_on))
                return false;
            read(block, t, points, curves);
            synchronize();
        }
        if (attractors) {
            const std::vector<double> sum = block.sum.read();
            const std::vector<uint8_t> lost = block.lost.read();
            for (int64_t i = 0; i < count; i++)
                output.score[first + i] = path_score(sum[i], lost[i] != 0, all);
        }
        for (size_t i = 0; i < curves.size(); i++)
            (*output.curves)[static_cast<size_t>(from - chosen.begin()) + i] = std::move(curves[i]);
        return true;
    }

    // Point t of every path, place `i` of the segment.
    void step(Block& block, int64_t t, int64_t i, int64_t first) const {
        if (t > 0) {
            plan.run(block.current.get(), block.next.get(), block.rows, block.arena.get());
            std::swap(block.current, block.next);
        }
        const int64_t kept = block.kept.size(), size = block.rows * k;
        if (kept > 0)
            launch("curve_points", curve_points, (kept + threads / 32 - 1) / (threads / 32), threads, 0,
                   t > 0 ? block.next.get() : block.current.get(), block.current.get(), block.kept.get(),
                   kept, k, block.residual.get() + i * kept, block.norm.get() + i * kept);
        if (attractors)
            copy(block.path.get() + i * size, block.current.get(), static_cast<size_t>(size) * sizeof(float));
        const auto& steps = options.store_steps;
        const auto found = std::lower_bound(steps.begin(), steps.end(), t);
        if (found == steps.end() || *found != t)
            return;
        const std::vector<float> points = block.current.read();
        const int64_t places = static_cast<int64_t>(steps.size()), place = found - steps.begin();
        for (int64_t row = 0; row < block.rows; row++)
            std::copy_n(points.data() + row * k, k, output.stored + ((first + row) * places + place) * k);
    }

    // The distances of the segment's points.
    bool add(Block& block, int64_t points, const std::function<bool()>& go_on) const {
        const int64_t all = points * block.rows;
        DeviceRows walked = resident_rows(std::move(block.path), all, k);
        Best nearest(all, std::numeric_limits<double>::infinity());
        const bool measured = attractors->measure(walked, go_on, nearest);
        if (measured)
            add_distances({block.rows, points, 1, block.rows, nearest.key.get(), walked.squares.get(),
                           block.sum.get(), block.lost.get(), block.kept.get(),
                           static_cast<int32_t>(block.kept.size()), block.distance.get()});
        block.path = std::move(walked.data);
        return measured;
    }

    // The segment's part of the curves.
    void read(const Block& block, int64_t t, int64_t points, std::vector<Curve>& curves) const {
        const size_t kept = curves.size();
        if (kept == 0)
            return;
        const auto append = [&](const Buffer<float>& from, std::vector<float> Curve::*to, int64_t skipped) {
            const std::vector<float> values = from.read(0, points * block.kept.size());
            for (size_t i = 0; i < kept; i++)
                for (size_t p = static_cast<size_t>(skipped); p < static_cast<size_t>(points); p++)
                    (curves[i].*to).push_back(values[p * kept + i]);
        };
        append(block.residual, &Curve::residual, t == 0 ? 1 : 0);
        append(block.norm, &Curve::norm, 0);
        if (attractors)
            append(block.distance, &Curve::distance, 0);
    }
};

} // namespace

bool walk(const DevicePlan& plan, const float* initial, int64_t rows, const float* attractors,
          int64_t attractor_count, const TrajectoryOptions& options, const TrajectoryOutput& output,
          const Job& job) {
    check_square(plan.info);
    if (attractor_count == 0)
        return Walk(plan, initial, rows, nullptr, options, output, job).run();
    Attractors against(job, attractors, attractor_count, plan.info.input_elements);
    std::fill_n(output.score, rows, nan);
    return Walk(plan, initial, rows, &against, options, output, job).run();
}

} // namespace latdyn::cuda
