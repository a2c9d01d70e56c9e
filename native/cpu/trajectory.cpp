// The trajectory score in a stream: the mean over a path of the distance to the nearest attractor.
//
// Attractor a is nearer than b only beyond the plane halfway between them, and a point z from which b is
// nearer is (|z − a|² − |z − b|²) / 2|a − b| away from that plane. So where b is found nearest, every other
// attractor gets the length of path at which the point can be across its plane, and is not measured before.
// (The triangle inequality alone would give (|z − a| − |z − b|) / 2, which is never more.) At every step the
// distance to the attractor that was nearest before is measured, and to those whose length has come: exactly
// those that can have become nearest. An attractor that stays behind has lost to one that was nearest later
// than the last time it was measured itself, and so on, up to the one that is nearest now. On a path that
// settles a step soon takes 3·k operations, not 3·k·attractors.
//
// Distances that count are in double, from the floats of the path: the score is that of the plain form but
// for roundings of 1e-15. `slack` is far above those of the lengths. Of most attractors that are measured a
// distance in float, with a bound of its error, says that they are not nearest and for how long.
//
// What a step reads is its own point and the attractor that is nearest: 8·k bytes from memory and L1, 3·k
// operations in double; and 2·k in float for each attractor measured, which come from L2.
#include "latdyn/trajectory.h"

#include "distance_kernels.h"
#include "latdyn/error.h"
#include "memory.h"
#include "rows.h"
#include "run_live.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <string>

namespace latdyn {

namespace {

constexpr double slack = 1 + 1e-9;
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

// Up to so many, the distances between all attractors are computed once: 16 MiB.
constexpr int64_t most_between = 2048;

// What paths are measured against, shared by all of them.
struct Attractors {
    RowView rows;
    // |a − b| [count, count], rounded up; empty where there are too many.
    std::vector<float> between;
};

// The nearest attractor of one moving point.
class Follower {
  public:
    Follower(const DistanceKernels& kernels, const Attractors& attractors)
        : kernels(kernels), attractors(attractors.rows), between(attractors.between),
          error(float_distance_error(attractors.rows.columns)), padded((attractors.rows.count + 7) / 8 * 8),
          due(static_cast<size_t>(padded), infinity), candidates(static_cast<size_t>(padded + 8)),
          rough(static_cast<size_t>(padded)), position(static_cast<size_t>(attractors.rows.columns)),
          close(static_cast<size_t>(padded)), exact(static_cast<size_t>(padded)) {
        if (between.empty())
            apart.resize(static_cast<size_t>(padded));
    }

    int64_t nearest() const { return index; }
    // To the attractor that is nearest.
    double distance() const { return std::sqrt(least); }
    // Mean of the distances so far; NaN where there is none.
    double score() const { return points > 0 ? sum / static_cast<double>(points) : nan; }

    // The first point, `z` [k].
    void start(const float* z) {
        length = sum = 0;
        points = 0;
        least = next = infinity;
        index = 0;
        std::iota(candidates.begin(), candidates.begin() + attractors.count, 0);
        settle(z, attractors.count);
    }

    // The next point: how far it is from the last one and from the nearest attractor, both squared. True
    // where other attractors may be nearer now, and `search` has to be called; else the step is done.
    bool advance(double step_squared, double distance_squared) {
        length += std::sqrt(step_squared);
        least = distance_squared;
        if (next <= length * slack)
            return true;
        count();
        return false;
    }

    // Measures the attractors that can have become nearest. False where one of them has.
    bool search(const float* z) {
        const int64_t before = index;
        settle(z, kernels.at_most(due.data(), padded, length * slack, candidates.data(), &next));
        return index == before;
    }

  private:
    const DistanceKernels& kernels;
    const RowView attractors;
    const std::vector<float>& between;
    // By what share of itself a squared distance in float may be off.
    const double error;
    const int64_t padded;
    // Per attractor, the length of path before which it cannot be nearest; none for the one that is.
    std::vector<double> due;
    // The attractors to measure, and their squared distances in float.
    std::vector<int32_t> candidates;
    std::vector<float> rough, apart;
    // A row in double, and those of the candidates that are measured from it, with their squared distances.
    std::vector<double> position;
    std::vector<int32_t> close;
    std::vector<double> exact;
    // The smallest of `due`.
    double next = 0;
    // Squared distance to the nearest, and what the path has come to so far.
    double least = 0, length = 0, sum = 0;
    int64_t index = 0, points = 0;

    // Finds the nearest among the first `count` candidates and the one that was nearest, which is `least`
    // away. Distances in float tell which of them have to be measured in double: those that may be nearer,
    // and those of which a float does not tell well by how much they are not.
    void settle(const float* z, int64_t count) {
        kernels.squared_float(z, attractors.data, attractors.columns, candidates.data(), count, rough.data());
        const double nearer =
            std::min<double>(least, *std::min_element(rough.begin(), rough.begin() + count));
        int64_t found = 0, kept = 0;
        for (int64_t i = 0; i < count; i++) {
            // Where floats overflow nothing is known, and the comparison is false.
            if (rough[i] - nearer > 4 * error * rough[i]) {
                rough[kept] = rough[i];
                candidates[kept++] = candidates[i];
            } else {
                close[found++] = candidates[i];
            }
        }
        const int64_t before = index;
        const double to_before = least;
        if (found > 0) {
            std::copy_n(z, attractors.columns, position.begin());
            kernels.squared(position.data(), attractors.data, nullptr, attractors.columns, close.data(),
                            found, exact.data());
            for (int64_t i = 0; i < found; i++)
                if (exact[i] < least) {
                    index = close[i];
                    least = exact[i];
                }
        }
        postpone(candidates.data(), kept, [&](int64_t i) { return rough[i] * (1 - error); });
        postpone(close.data(), found, [&](int64_t i) { return exact[i]; });
        // The one that was nearest is one of the others now.
        if (index != before && to_before < infinity) {
            const int32_t other = static_cast<int32_t>(before);
            postpone(&other, 1, [&](int64_t) { return to_before; });
        }
        due[index] = infinity;
        this->count();
    }

    // Until when `which`, at least √squared(i) away each, cannot be nearer than the nearest.
    template <class Squared> void postpone(const int32_t* which, int64_t count, Squared squared) {
        if (between.empty())
            kernels.squared_float(attractors[index], attractors.data, attractors.columns, which, count,
                                  apart.data());
        const float* row = between.data() + (between.empty() ? 0 : index * attractors.count);
        for (int64_t i = 0; i < count; i++) {
            const int32_t a = which[i];
            if (a == index)
                continue;
            const double width = between.empty() ? std::sqrt(apart[i] * (1 + error)) : row[a];
            // Copies of the nearest are never nearer.
            due[a] = width > 0 ? length + (squared(i) - least) / (2 * width) : infinity;
            next = std::min(next, due[a]);
        }
    }

    void count() {
        sum += std::sqrt(least);
        points++;
    }
};

class Walker {
  public:
    Walker(const Plan& plan, const float* initial, int64_t rows, const Attractors& against,
           const TrajectoryOptions& options, const TrajectoryOutput& output, JobCounters& counters)
        : plan(plan), initial(initial), rows(rows), attractors(against.rows), options(options),
          output(output), counters(counters), kernels(distance_kernels_of(plan.info.isa)),
          workspace(plan.make_workspace()), tile(plan.info.tile_rows), k(plan.info.input_elements),
          nearest(aligned_floats(static_cast<size_t>(k * tile))), sums(3 * static_cast<size_t>(tile)),
          curves(static_cast<size_t>(tile)), z(static_cast<size_t>(k)),
          followers(static_cast<size_t>(tile), Follower(kernels, against)) {}

    // Rows [first, first + live), one a lane.
    void walk(int64_t first, int live) {
        const FlushDenormals flush;
        begin(first, live);
        for (int32_t step = 1; step <= options.steps; step++) {
            if (counters.abort.load(std::memory_order_relaxed))
                return;
            run_live(plan, *workspace, live, [](int) { return true; });
            counters.evaluations.fetch_add(live, std::memory_order_relaxed);
            measure();
            std::memcpy(workspace->input, workspace->output, sizeof(float) * static_cast<size_t>(k * tile));
            for (int lane = 0; lane < live; lane++)
                advance(lane);
            store(first, live, step);
        }
        if (attractors.count > 0)
            for (int lane = 0; lane < live; lane++)
                output.score[first + lane] = lost[lane] ? nan : followers[lane].score();
        counters.finished.fetch_add(live, std::memory_order_relaxed);
    }

  private:
    const Plan& plan;
    const float* initial;
    const int64_t rows;
    const RowView attractors;
    const TrajectoryOptions& options;
    const TrajectoryOutput& output;
    JobCounters& counters;
    const DistanceKernels& kernels;
    const std::unique_ptr<Workspace> workspace;
    const int64_t tile, k;
    // Each lane's nearest attractor, laid out as the workspace's points.
    const AlignedFloats nearest;
    std::vector<double> sums;
    // Where a lane's curve goes; null for most.
    std::vector<Curve*> curves;
    // Whether a point of the lane's path was not finite.
    std::vector<char> lost;
    // One lane's point.
    std::vector<float> z;
    std::vector<Follower> followers;

    double* step() { return sums.data(); }
    double* distance() { return sums.data() + tile; }
    double* norm() { return sums.data() + 2 * tile; }

    void begin(int64_t first, int live) {
        std::fill_n(workspace->input, k * tile, 0.0f);
        std::fill_n(nearest.get(), k * tile, 0.0f);
        lost.assign(static_cast<size_t>(tile), 0);
        for (int lane = 0; lane < live; lane++) {
            double squares = 0;
            for (int64_t e = 0; e < k; e++) {
                const float value = initial[(first + lane) * k + e];
                workspace->input[e * tile + lane] = value;
                squares += double(value) * double(value);
            }
            lost[lane] = !std::isfinite(squares);
            if (attractors.count > 0 && !lost[lane]) {
                read(lane);
                followers[lane].start(z.data());
                show_nearest(lane);
            }
            const auto found =
                std::lower_bound(options.curve_rows.begin(), options.curve_rows.end(), first + lane);
            const bool kept = found != options.curve_rows.end() && *found == first + lane;
            curves[lane] = kept ? &(*output.curves)[found - options.curve_rows.begin()] : nullptr;
            if (kept)
                record(*curves[lane], lane, squares);
        }
        store(first, live, 0);
    }

    // The lane's point, from the workspace's input.
    void read(int lane) {
        for (int64_t e = 0; e < k; e++)
            z[e] = workspace->input[e * tile + lane];
    }

    void show_nearest(int lane) {
        const float* from = attractors[followers[lane].nearest()];
        for (int64_t e = 0; e < k; e++)
            nearest[e * tile + lane] = from[e];
    }

    // The step just taken, input → output.
    void measure() {
        if (tile % 16 == 0) {
            kernels.tile(
                {workspace->input, workspace->output, nearest.get(), k, tile, step(), distance(), norm()});
            return;
        }
        std::fill(sums.begin(), sums.end(), 0.0);
        for (int64_t e = 0; e < k; e++)
            for (int64_t lane = 0; lane < tile; lane++) {
                const double next = workspace->output[e * tile + lane];
                const double s = next - workspace->input[e * tile + lane],
                             d = next - nearest[e * tile + lane];
                step()[lane] += s * s;
                distance()[lane] += d * d;
                norm()[lane] += next * next;
            }
    }

    // What the step makes of the lane's path; the point is in the workspace's input.
    void advance(int lane) {
        lost[lane] = lost[lane] || !std::isfinite(norm()[lane]);
        if (attractors.count > 0 && !lost[lane] && followers[lane].advance(step()[lane], distance()[lane])) {
            read(lane);
            if (!followers[lane].search(z.data()))
                show_nearest(lane);
        }
        if (curves[lane]) {
            curves[lane]->residual.push_back(static_cast<float>(step()[lane]));
            record(*curves[lane], lane, norm()[lane]);
        }
    }

    void record(Curve& curve, int lane, double squares) {
        curve.norm.push_back(static_cast<float>(std::sqrt(squares)));
        if (attractors.count > 0)
            curve.distance.push_back(static_cast<float>(lost[lane] ? nan : followers[lane].distance()));
    }

    void store(int64_t first, int live, int32_t step) {
        const auto& steps = options.store_steps;
        const auto found = std::lower_bound(steps.begin(), steps.end(), step);
        if (found == steps.end() || *found != step)
            return;
        const int64_t place = found - steps.begin(), places = static_cast<int64_t>(steps.size());
        for (int lane = 0; lane < live; lane++)
            for (int64_t e = 0; e < k; e++)
                output.stored[((first + lane) * places + place) * k + e] = workspace->input[e * tile + lane];
    }
};

// Of no use where aborted.
Attractors prepared(const AttractorSet& attractors, int64_t columns, const DistanceKernels& kernels,
                    int threads, const std::atomic<bool>& abort) {
    Attractors out{{attractors.data, attractors.count, columns}, {}};
    finite_squares(out.rows, "attractors", threads, &abort);
    const int64_t count = attractors.count;
    if (count > most_between)
        return out;
    out.between.resize(static_cast<size_t>(count * count));
    std::vector<int32_t> all(static_cast<size_t>(count));
    std::iota(all.begin(), all.end(), 0);
    run_tasks(threads, count, &abort, [&](int64_t a, int) {
        const std::vector<double> from(out.rows[a], out.rows[a] + columns);
        std::vector<double> squared(static_cast<size_t>(count));
        kernels.squared(from.data(), attractors.data, nullptr, columns, all.data(), count, squared.data());
        std::transform(squared.begin(), squared.end(), out.between.data() + a * count, [](double d) {
            return d > 0 ? std::nextafter(static_cast<float>(std::sqrt(d)), INFINITY) : 0.0f;
        });
    });
    return out;
}

} // namespace

void trajectory(const Plan& plan, const float* initial, int64_t rows, const AttractorSet& attractors,
                const TrajectoryOptions& options, const TrajectoryOutput& output, JobCounters& counters) {
    if (plan.info.input_elements != plan.info.output_elements)
        throw Error("the map takes " + std::to_string(plan.info.input_elements) + " elements and gives " +
                    std::to_string(plan.info.output_elements) + ": it cannot be iterated");
    const Attractors against = prepared(attractors, plan.info.input_elements,
                                        distance_kernels_of(plan.info.isa), options.threads, counters.abort);
    if (attractors.count > 0)
        std::fill_n(output.score, rows, nan);
    const int64_t tile = plan.info.tile_rows;
    std::vector<std::unique_ptr<Walker>> walkers(static_cast<size_t>(std::max(options.threads, 1)));
    run_tasks(options.threads, (rows + tile - 1) / tile, &counters.abort, [&](int64_t task, int thread) {
        if (!walkers[thread])
            walkers[thread] =
                std::make_unique<Walker>(plan, initial, rows, against, options, output, counters);
        const int64_t first = task * tile;
        walkers[thread]->walk(first, static_cast<int>(std::min(tile, rows - first)));
    });
}

void score_paths(const float* paths, int64_t rows, int64_t points, int64_t columns,
                 const AttractorSet& attractors, int threads, double* score, JobCounters& counters) {
    if (attractors.count < 1)
        throw Error("attractors has no rows, expected at least one");
    const DistanceKernels& kernels = distance_kernels_of(widest_isa());
    const Attractors against = prepared(attractors, columns, kernels, threads, counters.abort);
    std::fill_n(score, rows, nan);
    std::vector<std::unique_ptr<Follower>> followers(static_cast<size_t>(std::max(threads, 1)));
    run_tasks(threads, rows, &counters.abort, [&](int64_t row, int thread) {
        if (!followers[thread])
            followers[thread] = std::make_unique<Follower>(kernels, against);
        Follower& follower = *followers[thread];
        const float* z = paths + row * points * columns;
        if (!std::isfinite(dot(z, z, columns)))
            return;
        follower.start(z);
        for (int64_t t = 1; t < points; t++, z += columns) {
            double step = 0, distance = 0;
            kernels.step(z, z + columns, against.rows[follower.nearest()], columns, &step, &distance);
            if (!std::isfinite(step))
                return;
            if (follower.advance(step, distance))
                follower.search(z + columns);
        }
        score[row] = follower.score();
        counters.finished.fetch_add(1, std::memory_order_relaxed);
    });
}

} // namespace latdyn
