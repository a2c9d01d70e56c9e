// The loop z[t+1] = f(z[t]) over many points, on the device until all are done: the host's side of it.
//
// A step is a run of the plan and the launches of iteration_steps.h. Points, f of them, anchors and slots lie
// where they lie; what is left when the queue is empty is named by a list, which is made shorter (and the run
// with it) whenever fewer than half of its points go on. Steps are recorded once for each length of the list
// (capture.h), after one that was not, so that whatever a launch needs is there; then the device goes on by
// itself until there is something to do here: residuals to fetch, a list to shorten, an end.
#include "iteration.h"

#include "converged.h"
#include "iteration_steps.h"
#include "run_plan.h"

#include <bit>

namespace latdyn::cuda {

namespace {

// ---- memory ----

struct Rows {
    Buffer<float> endpoints;
    Buffer<double> norms;
    Buffer<int32_t> iterations;
    Buffer<float> residual;
    Buffer<uint8_t> status, period;

    static int64_t bytes(int64_t k) { return 4 * k + 8 + 4 + 4 + 2; }
    Rows(int64_t rows, int64_t k)
        : endpoints(rows * k), norms(rows), iterations(rows), residual(rows), status(rows), period(rows) {}
};

// Residuals of the rows of a block that are traced.
struct Traces {
    const std::vector<int32_t>& all;
    // Of this block: index of the first of them, and how many.
    size_t first = 0;
    int32_t count = 0;
    const int32_t room;
    Buffer<int32_t> rows, counts;
    Buffer<float> residuals;

    Traces(const std::vector<int32_t>& all, int64_t bytes)
        : all(all), room(static_cast<int32_t>(std::clamp<int64_t>(bytes / 4 / most(all), 1, 4096))),
          rows(most(all)), counts(most(all)), residuals(most(all) * room) {}

    // Those of rows [begin, end).
    void choose(int64_t begin, int64_t end) {
        const auto from = std::lower_bound(all.begin(), all.end(), begin),
                   to = std::lower_bound(from, all.end(), end);
        first = static_cast<size_t>(from - all.begin());
        std::vector<int32_t> own;
        for (auto at = from; at != to; ++at)
            own.push_back(static_cast<int32_t>(*at - begin));
        count = static_cast<int32_t>(own.size());
        rows.set(own);
        counts.fill_bytes(0);
    }

    // Moves what there is to the host.
    void flush(std::vector<std::vector<float>>& to) {
        if (count == 0)
            return;
        const std::vector<int32_t> there = counts.read(0, count);
        const int32_t most = *std::max_element(there.begin(), there.end());
        if (most == 0)
            return;
        if (most > room)
            throw Error("a row made " + std::to_string(most) + " steps in a launch of " +
                        std::to_string(room));
        const std::vector<float> found = residuals.read(0, int64_t{most} * count);
        for (int32_t i = 0; i < count; i++)
            for (int32_t t = 0; t < there[i]; t++)
                to[first + i].push_back(found[size_t{static_cast<unsigned>(t)} * count + i]);
        counts.fill_bytes(0);
    }

  private:
    static int64_t most(const std::vector<int32_t>& all) {
        return std::max<int64_t>(1, static_cast<int64_t>(all.size()));
    }
};

// A list has at most half as many entries as there are slots, so what it gathers fits behind f of it.
struct Slots {
    int64_t batch = 0;
    Buffer<Slot> slots;
    Buffer<Patience> patience;
    Buffer<float> points, mapped, anchors;
    Buffer<int32_t> list, other_list;
    Arena arena;

    static int64_t bytes(int64_t k) {
        return 12 * k + static_cast<int64_t>(sizeof(Slot) + sizeof(Patience)) + 4;
    }
    Slots() = default;
    Slots(int64_t batch, int64_t k, int64_t row_bytes)
        : batch(batch), slots(batch), patience(batch), points(batch * k), mapped(batch * k + 4),
          anchors(batch * k), list(batch / 2), other_list(batch / 2), arena(batch * row_bytes) {}

    float* gathered(int64_t k) const { return mapped.get() + (batch / 2 * k + 3) / 4 * 4; }
};

// ---- the loop over the rows of a block ----

// Of the whole job.
struct Totals {
    int64_t finished = 0, evaluations = 0;
};

int64_t points_at_once(const DevicePlan& plan, int64_t rows) {
    return std::min(rows, plan.persistent() ? plan.resident_points() : efficient_rows(plan.info));
}

class Iteration {
  public:
    Iteration(Rows& rows, Slots& slots, Traces& traces, int64_t count, int64_t k,
              const IterateOptions& options, const IterateOutput& output, Counters& counters, Totals& totals,
              const Job& job)
        : rows(rows), slots(slots), traces(traces), count(count), k(k), options(options), output(output),
          words(counters.words), progress(counters.progress), totals(totals), job(job) {}

    // Every row to its end, or, `fast`, to where the second phase takes over. False where aborted.
    bool run(const DevicePlan& plan, bool fast) {
        Residence points = residence(std::min(slots.batch, points_at_once(plan, count)), fast);
        const auto batch = static_cast<unsigned long long>(points.batch);
        const auto evaluations = static_cast<unsigned long long>(totals.evaluations);
        words.set(std::vector<unsigned long long>{batch, 0, evaluations, batch, 0});
        show(batch, 0, evaluations, batch);
        this->fast = fast;
        fill_all(points);
        if (!looked() || !(plan.persistent() ? run_resident(plan, points) : run_steps(plan, points))) {
            keep_all(points);
            return false;
        }
        return true;
    }

  private:
    Rows& rows;
    Slots& slots;
    Traces& traces;
    const int64_t count, k;
    const IterateOptions& options;
    const IterateOutput& output;
    Buffer<unsigned long long>& words;
    Mapped<Progress>& progress;
    Totals& totals;
    const Job& job;
    bool fast = false, stopped = false;

    Residence residence(int64_t batch, bool fast) const {
        Residence points{};
        points.options = options;
        points.rows = count;
        points.k = k;
        points.fast = fast;
        points.norms = rows.norms.get();
        points.endpoints = rows.endpoints.get();
        points.iterations = rows.iterations.get();
        points.residual = rows.residual.get();
        points.status = rows.status.get();
        points.period = rows.period.get();
        points.slots = slots.slots.get();
        points.patience = slots.patience.get();
        points.points = slots.points.get();
        points.mapped = slots.mapped.get();
        points.anchors = slots.anchors.get();
        points.batch = points.live = batch;
        points.trace_rows = traces.rows.get();
        points.traced = traces.count;
        points.trace_room = traces.room;
        points.traces = traces.residuals.get();
        points.trace_counts = traces.counts.get();
        points.next = words.get() + word_next;
        points.finished = words.get() + word_finished;
        points.evaluations = words.get() + word_evaluations;
        points.stop = &progress->stop;
        return points;
    }

    void show(unsigned long long next, unsigned long long finished, unsigned long long evaluations,
              unsigned long long live) {
        progress->next = next;
        progress->finished = finished;
        progress->evaluations = evaluations;
        progress->live = live;
    }

    bool report() const {
        const int64_t done = fast ? 0 : static_cast<int64_t>(progress->finished);
        return job.go_on(totals.finished + done, static_cast<int64_t>(progress->evaluations));
    }

    // Called while the device runs.
    void watch() {
        if (stopped || report())
            return;
        stopped = true;
        progress->stop = 1;
    }

    // Between two runs; false where the job is to end.
    bool looked() {
        traces.flush(*output.traces);
        totals.evaluations = static_cast<int64_t>(progress->evaluations);
        stopped = stopped || !report();
        return !stopped;
    }

    // One launch after the other, each of which goes on where the last one ended.
    bool run_resident(const DevicePlan& plan, Residence points) {
        const int32_t steps = std::min(steps_a_check(plan.info, points.batch), traces.room);
        while (static_cast<int64_t>(progress->finished) < count) {
            points.live = static_cast<int64_t>(progress->live);
            plan.iterate_resident(points, steps);
            wait([this] { watch(); });
            const std::vector<unsigned long long> now = words.read();
            const unsigned long long next = std::min(now[word_next], static_cast<unsigned long long>(count));
            show(next, now[word_finished], now[word_evaluations], next - now[word_finished]);
            if (!looked())
                return false;
        }
        return true;
    }

    bool run_steps(const DevicePlan& plan, const Residence& points) {
        int64_t width = points.batch;
        const int32_t* list = nullptr;
        while (progress->live > 0) {
            const int32_t steps = std::min(steps_a_check(plan.info, width), traces.room);
            const auto shrink_at = static_cast<unsigned long long>(
                width > idle_rows(plan.info) ? std::bit_floor(static_cast<uint64_t>(width) / 2) : 0);
            const auto step = [&](Condition condition) {
                enqueue_step(plan, points, list, width);
                const auto most = static_cast<unsigned>(steps);
                control_step({count, words.get(), progress.get(), most, std::clamp(most / 16, 1u, 64u),
                              shrink_at, condition});
            };
            const auto as_wide = [&] { return progress->live > shrink_at; };
            step({});
            wait([this] { watch(); });
            if (!looked())
                return false;
            if (as_wide()) {
                Loop loop(step);
                while (as_wide()) {
                    loop.run(std::min(steps, 16), [this] { watch(); });
                    if (!looked())
                        return false;
                }
            }
            if (progress->live == 0)
                break;
            const int64_t less = static_cast<int64_t>(std::bit_ceil(uint64_t{progress->live}));
            std::swap(slots.list, slots.other_list);
            list_full(points, list, width, slots.list.get(), less);
            list = slots.list.get();
            width = less;
        }
        return true;
    }

    void enqueue_step(const DevicePlan& plan, const Residence& points, const int32_t* list,
                      int64_t width) const {
        const float* from = points.points;
        if (list) {
            float* to = slots.gathered(k);
            gather_listed(points, list, width, to);
            from = to;
        }
        plan.run(from, points.mapped, width, slots.arena.get());
        advance_listed(points, list, width);
    }
};

// Where points start, and what is known of them before the first step.
void begin(Rows& rows, const float* initial, int64_t count, int64_t k) {
    rows.endpoints.set({initial, static_cast<size_t>(count * k)});
    square_rows(rows.endpoints.get(), count, k, rows.norms.get());
    rows.iterations.fill_bytes(0);
    rows.residual.fill_bytes(0);
    rows.period.fill_bytes(0);
    rows.status.fill_bytes(static_cast<int>(Status::unfinished));
}

void bring_back(const Rows& rows, int64_t first, int64_t count, int64_t k, const IterateOutput& output) {
    const auto bring = [&](auto* to, const auto& from, int64_t columns) {
        download(to + first * columns, from.get(), static_cast<size_t>(count * columns) * sizeof(*to));
    };
    bring(output.endpoints, rows.endpoints, k);
    bring(output.iterations, rows.iterations, 1);
    bring(output.residual, rows.residual, 1);
    bring(output.status, rows.status, 1);
    bring(output.period, rows.period, 1);
}

// The endpoints that converged, where there is room for them.
std::optional<DeviceRows> keep_converged(Rows rows, int64_t count, int64_t k, const Job& job) {
    // What only the loop needed makes room.
    rows.norms = {};
    rows.iterations = {};
    rows.residual = {};
    rows.period = {};
    try {
        return converged_rows(std::move(rows.endpoints), rows.status, count, k);
    } catch (const DeviceError& error) {
        if (error.failure != Failure::out_of_memory)
            throw;
        job.note("out of device memory: endpoints do not stay on the device");
        return std::nullopt;
    }
}

// Rows that were not come to stand where they start.
void keep_starts(const float* initial, int64_t first, int64_t count, int64_t k, const IterateOutput& output) {
    std::copy_n(initial + first * k, count * k, output.endpoints + first * k);
    std::fill_n(output.iterations + first, count, 0);
    std::fill_n(output.residual + first, count, 0.0f);
    std::fill_n(output.status + first, count, static_cast<uint8_t>(Status::unfinished));
    std::fill_n(output.period + first, count, static_cast<uint8_t>(0));
}

} // namespace

bool iterate(const Maps& maps, const float* initial, int64_t rows, const IterateOptions& options,
             const IterateOutput& output, int64_t* evaluations, const Job& job,
             std::optional<DeviceRows>* converged) {
    std::vector<const DevicePlan*> phases;
    // The last step is a strict one, so there is none for the fast map where there is but one.
    if (maps.fast && maps.fast != maps.strict && options.max_iterations > 1)
        phases.push_back(maps.fast);
    phases.push_back(maps.strict);
    const int64_t k = maps.strict->info.input_elements;
    for (const DevicePlan* plan : phases)
        check_square(plan->info);

    *evaluations = 0;
    if (rows == 0)
        return true;

    int64_t batch = 1, row_bytes = 0;
    for (const DevicePlan* plan : phases) {
        batch = std::max(batch, points_at_once(*plan, rows));
        if (!plan->persistent())
            row_bytes = std::max(row_bytes, plan->info.row_bytes);
    }
    const int64_t half = job.room() / 2;
    Counters counters;
    Traces traces(options.trace_rows, half / 8);
    batch = std::clamp<int64_t>(half / (Slots::bytes(k) + row_bytes), 1, batch);
    const int64_t wanted = std::clamp<int64_t>(half / Rows::bytes(k), 1, rows);
    Slots slots;
    auto [state, block] = make_fitting(job, "rows", wanted, 1, [&](int64_t count) {
        slots = {};
        Rows of_rows(count, k);
        const int64_t most = std::min(batch, count), least = std::min<int64_t>(most, 64);
        slots = make_fitting(job, "points", most, least, [&](int64_t size) {
                    return Slots(size, k, row_bytes);
                }).first;
        return of_rows;
    });
    Totals totals;
    bool done = true;
    int64_t first = 0;
    for (; first < rows && done; first += block) {
        const int64_t count = std::min(block, rows - first);
        begin(state, initial + first * k, count, k);
        traces.choose(first, first + count);
        if (first == 0)
            job.stage(Stage::resident);
        Iteration iteration(state, slots, traces, count, k, options, output, counters, totals, job);
        for (const DevicePlan* plan : phases)
            done = done && iteration.run(*plan, plan != phases.back());
        if (!done || first + count == rows)
            job.stage(Stage::computed);
        bring_back(state, first, count, k, output);
        totals.finished += count;
    }
    if (first < rows)
        keep_starts(initial, first, rows - first, k, output);
    *evaluations = totals.evaluations;
    if (converged && block < rows)
        job.note("not enough device memory for " + std::to_string(rows) +
                 " rows at once: endpoints do not stay on the device");
    else if (converged) {
        slots = {};
        *converged = keep_converged(std::move(state), rows, k, job);
    }
    if (done)
        job.go_on(rows, totals.evaluations);
    return done;
}

} // namespace latdyn::cuda
