// Launch shapes, with k floats a point:
//   advance_slots  a team of 8, 32 or 256 lanes a slot, the smallest that k floats keep busy, 256 threads a
//                  block; reads 12·k bytes a slot and writes 4·k; 6·k operations in double. Limited by
//                  memory: at 3.35 TB/s, 16·k bytes of 20,000 slots of 128 floats are 12 µs.
//   gather         a team a listed slot; 8·k bytes each
//   control        one thread; every few steps it reads the host's word and writes how far the job is, in
//                  memory of the host: a microsecond or two over the bus
//   fill_slots, keep_slots    a team a slot; 12·k and 8·k bytes
//   list_live      one block over the list, 4 bytes an entry and 8 of its slot
#include "iteration_steps.h"

#include "iteration_kernels.h"

namespace latdyn::cuda {

namespace {

constexpr unsigned threads = 256;

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

} // namespace

void fill_all(const Residence& points) {
    with_team(points.k, [&](auto lanes) {
        launch_teams("fill_slots", fill_slots<lanes.value>, lanes, points.batch, points);
    });
}

void gather_listed(const Residence& points, const int32_t* list, int64_t width, float* to) {
    with_team(points.k, [&](auto lanes) {
        launch_teams("gather", gather<lanes.value>, lanes, width, points.points, list, width, points.k, to);
    });
}

void advance_listed(const Residence& points, const int32_t* list, int64_t width) {
    with_team(points.k, [&](auto lanes) {
        launch_teams("advance_slots", advance_slots<lanes.value>, lanes, width, points, list, width);
    });
}

void control_step(const ControlTask& task) {
    launch("control", control, 1, 32, 0, task);
}

void list_full(const Residence& points, const int32_t* list, int64_t width, int32_t* out, int64_t room) {
    launch("list_live", list_live, 1, threads, threads / 32 * sizeof(unsigned), points.slots, list, width,
           out, room);
}

void keep_all(const Residence& points) {
    with_team(points.k, [&](auto lanes) {
        launch_teams("keep_slots", keep_slots<lanes.value>, lanes, points.batch, points);
    });
}

} // namespace latdyn::cuda
