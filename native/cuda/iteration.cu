// The loop z[t+1] = f(z[t]) over many points, on the device until all are done.
//
// A step is a run of the plan and what the launches below add. Points, f of them, anchors and slots lie where
// they lie; what is left when the queue is empty is named by a list, which is made shorter (and the run with
// it) whenever fewer than half of its points go on. With k floats a point:
//   advance_slots  a team of 8, 32 or 256 lanes a slot, the smallest that k floats keep busy; reads 12·k
//   bytes
//                  a slot, writes 4·k; 6·k operations in double. Memory bound: at 3.35 TB/s, 16·k bytes of
//                  20,000 slots of 128 floats are 12 µs.
//   gather         a team a listed slot; 8·k bytes each; only where there is a list
//   control        one thread: counts, and says whether there is another step; every few steps it reads the
//                  host's word and writes how far the job is, in memory of the host
// and before or after the loop:
//   fill_slots, keep_slots    12·k bytes a slot
//   list_live      one block over the list, 4 bytes an entry
// Steps are recorded once for each length of the list (capture.h), after one that was not, so that whatever a
// launch needs is there.
#include "iteration.h"

#include "capture.h"
#include "device_rows.h"
#include "iteration_kernels.h"
#include "run_plan.h"

#include <bit>

namespace latdyn::cuda {

namespace {

constexpr unsigned threads = 256;

// Numbers of the device.
enum Word : int { word_next, word_finished, word_evaluations, word_live, word_steps, word_count };

// What the host sees while the loop runs.
struct Progress {
    unsigned long long next, finished, evaluations, live;
    // Of the host, for the device.
    int32_t stop;
};

// ---- kernels ----

template <int Lanes> __device__ Team<Lanes> team_here() {
    return Team<Lanes>(Lanes > 32 ? shared_memory() : nullptr);
}
template <int Lanes> __device__ int64_t team_index() {
    return int64_t{blockIdx.x} * (threads / Lanes) + threadIdx.x / Lanes;
}

// Slot `place` gets row `place`.
template <int Lanes> __global__ void fill_slots(Residence points) {
    const int64_t place = team_index<Lanes>();
    if (place < points.batch)
        fill_slot(team_here<Lanes>(), points, place, place);
}

template <int Lanes> __global__ void advance_slots(Residence points, const int32_t* list, int64_t width) {
    const int64_t i = team_index<Lanes>();
    if (i >= width)
        return;
    const int64_t place = list ? list[i] : i;
    if (place >= 0)
        advance(team_here<Lanes>(), points, place, points.mapped + i * points.k);
}

template <int Lanes>
__global__ void gather(const float* points, const int32_t* list, int64_t width, int64_t k, float* out) {
    const int64_t i = team_index<Lanes>();
    if (i >= width)
        return;
    const int64_t place = list[i];
    for (int64_t e = threadIdx.x % Lanes; e < k; e += Lanes)
        out[i * k + e] = place < 0 ? 0 : points[place * k + e];
}

// Points that are not done keep how far they got.
template <int Lanes> __global__ void keep_slots(Residence points) {
    const int64_t place = team_index<Lanes>();
    if (place >= points.batch)
        return;
    const Slot slot = points.slots[place];
    if (slot.row < 0)
        return;
    const int lane = static_cast<int>(threadIdx.x) % Lanes;
    for (int64_t e = lane; e < points.k; e += Lanes)
        points.endpoints[slot.row * points.k + e] = points.points[place * points.k + e];
    if (lane != 0)
        return;
    points.iterations[slot.row] = slot.iterations;
    // Before the first step of a second phase what the first one left is still true.
    if (slot.previous_residual != 0)
        points.residual[slot.row] = static_cast<float>(slot.previous_residual);
}

// The entries of `list` whose slots are not empty, in their order, and −1 after them; a list of all slots
// where it is null. `room` is at least their number.
__global__ void list_live(const Slot* slots, const int32_t* list, int64_t width, int32_t* out, int64_t room) {
    auto* counts = reinterpret_cast<unsigned*>(shared_memory());
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int64_t listed = 0;
    for (int64_t first = 0; first < width; first += threads) {
        const int64_t i = first + threadIdx.x;
        const int32_t place = i >= width ? -1 : list ? list[i] : static_cast<int32_t>(i);
        const bool live = place >= 0 && slots[place].row >= 0;
        const unsigned votes = __ballot_sync(whole_warp, live);
        if (lane == 0)
            counts[warp] = static_cast<unsigned>(__popc(votes));
        __syncthreads();
        int64_t before = listed + __popc(votes & ((1u << lane) - 1));
        for (unsigned w = 0; w < threads / 32; w++) {
            before += w < warp ? counts[w] : 0;
            listed += counts[w];
        }
        __syncthreads();
        if (live && before < room)
            out[before] = place;
    }
    for (int64_t i = listed + threadIdx.x; i < room; i += threads)
        out[i] = -1;
}

struct ControlTask {
    int64_t rows;
    unsigned long long* words;
    volatile Progress* progress;
    // Steps until the host is to look, and how many lie between two looks at the host's word.
    unsigned steps, look_every;
    // So few live points that the list is to be made shorter. (While there is a queue, all slots are full.)
    unsigned long long shrink_at;
    Condition condition;
};

// After a step: counts, and says whether there is another one.
__global__ void control(ControlTask task) {
    if (threadIdx.x != 0)
        return;
    unsigned long long* words = task.words;
    const unsigned long long rows = static_cast<unsigned long long>(task.rows);
    const unsigned long long next = words[word_next] < rows ? words[word_next] : rows;
    const unsigned long long finished = words[word_finished], live = next - finished;
    const unsigned long long evaluations = words[word_evaluations] + words[word_live];
    const unsigned long long steps = words[word_steps] + 1;
    bool go_on = steps < task.steps && live > task.shrink_at;
    const bool look = !go_on || !task.condition.there || steps % task.look_every == 0;
    if (look && task.progress->stop != 0)
        go_on = false;
    words[word_evaluations] = evaluations;
    words[word_live] = live;
    words[word_steps] = go_on ? steps : 0;
    if (look) {
        task.progress->next = next;
        task.progress->finished = finished;
        task.progress->evaluations = evaluations;
        task.progress->live = live;
    }
    set_condition(task.condition, go_on);
}

// use(lanes of a team, as a constant) for points of k floats.
template <class Use> void with_team(int64_t k, Use use) {
    if (k <= 64)
        use(std::integral_constant<int, 8>());
    else if (k <= 2048)
        use(std::integral_constant<int, 32>());
    else
        use(std::integral_constant<int, static_cast<int>(threads)>());
}

template <class Lanes, class... Parameters, class... Arguments>
void launch_teams(const char* name, void (*kernel)(Parameters...), Lanes, int64_t teams,
                  Arguments... arguments) {
    const int64_t block = threads / Lanes::value;
    launch(name, kernel, (teams + block - 1) / block, threads, Team<Lanes::value>::shared, arguments...);
}

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

// What the device counts, and what of it the host sees.
struct Counters {
    Buffer<unsigned long long> words{word_count};
    Mapped<Progress> progress;
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
        with_team(k, [&](auto lanes) {
            launch_teams("fill_slots", fill_slots<lanes.value>, lanes, points.batch, points);
        });
        if (!looked() || !(plan.persistent() ? run_resident(plan, points) : run_steps(plan, points))) {
            with_team(k, [&](auto lanes) {
                launch_teams("keep_slots", keep_slots<lanes.value>, lanes, points.batch, points);
            });
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
        points.batch = batch;
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
    bool run_resident(const DevicePlan& plan, const Residence& points) {
        const int32_t steps = std::min(steps_a_check(plan.info, points.batch), traces.room);
        while (static_cast<int64_t>(progress->finished) < count) {
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
                launch("control", control, 1, 32, 0,
                       ControlTask{count, words.get(), progress.get(), most, std::clamp(most / 16, 1u, 64u),
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
            launch("list_live", list_live, 1, threads, threads / 32 * sizeof(unsigned), points.slots, list,
                   width, slots.list.get(), less);
            list = slots.list.get();
            width = less;
        }
        return true;
    }

    void enqueue_step(const DevicePlan& plan, const Residence& points, const int32_t* list,
                      int64_t width) const {
        with_team(k, [&](auto lanes) {
            const float* from = points.points;
            if (list) {
                float* to = slots.gathered(k);
                launch_teams("gather", gather<lanes.value>, lanes, width, points.points, list, width, k, to);
                from = to;
            }
            plan.run(from, points.mapped, width, slots.arena.get());
            launch_teams("advance_slots", advance_slots<lanes.value>, lanes, width, points, list, width);
        });
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
             const IterateOutput& output, int64_t* evaluations, const Job& job) {
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
    if (done)
        job.go_on(rows, totals.evaluations);
    return done;
}

} // namespace latdyn::cuda
