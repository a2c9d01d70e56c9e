// Normalisation of groups of elements, and its derivative applied to a second value.
//
// A team of threads takes a group: a warp where the group is short, a block of 256 where it is not; where a
// group's channels are few and lie side by side among others', a block takes as many groups as make 32
// channels, and each thread stays with one channel. Every thread reads its elements once, neighbours beside
// neighbours, and keeps up to 48 of them in shared memory for the passes that follow; what is beyond that (a
// group of more than 12,288 elements) is read again, from L2 where it fits. Moments in two passes: the sum,
// then deviations from it and their squares, in float by 32 and those sums in double, the first one's
// rounding corrected by the second; so neither a large mean nor a long group costs digits. Bytes: 8 an
// element (12 of the derivative), FLOPs 8 (15). Limited by memory.
#include "functions.h"
#include "walk.h"

#include <algorithm>

namespace latdyn::cuda {

namespace {

constexpr int threads = 256, warps = threads / 32;
// Elements of a thread that shared memory holds.
constexpr int32_t most_kept = 48;
// Elements added up in float.
constexpr int32_t chunk = 32;
constexpr int32_t short_group = 1024;

enum class Team { warp, block, channels, wide };

// What a launch has worked out.
struct Task {
    Norm p;
    // Teams of a block (warp), or groups of a bundle (channels).
    int32_t together;
    // Bundles of a row (channels).
    int32_t bundles;
    int64_t items;
    // Elements of a thread kept, of each operand.
    int32_t kept;
    Divisor length, points;
};

// The elements of one thread.
struct Part {
    int64_t row;
    int32_t group;
    // Of the first element within its row, and from each to the next; within the group likewise.
    int32_t at, step, index, index_step;
    int32_t count;
};

__device__ inline Part no_part() {
    return {0, 0, 0, 0, 0, 0, 0};
}

// Of place k of the threads that share a group in `Team::channels`: `width` channels of `p.length`.
struct Bundle {
    int32_t width, lines;
};
__device__ inline Bundle bundle_of(const Task& task, int32_t first_group) {
    const int32_t left = task.p.groups - first_group;
    const int32_t groups = left < task.together ? left : task.together;
    const int32_t width = groups * task.p.length;
    return {width, threads / width};
}

template <Team team> __device__ Part part_of(const Task& task, int64_t item) {
    const Norm& p = task.p;
    const int32_t thread = static_cast<int32_t>(threadIdx.x);
    const int32_t size = p.segments * p.length;
    if constexpr (team == Team::channels) {
        const int64_t row = item / task.bundles;
        const int32_t first = static_cast<int32_t>(item - row * task.bundles) * task.together;
        const Bundle bundle = bundle_of(task, first);
        if (thread >= bundle.width * bundle.lines)
            return no_part();
        const int32_t channel = thread % bundle.width, line = thread / bundle.width;
        return {row,
                first + channel / p.length,
                line * p.segment_step + first * p.group_step + channel,
                bundle.lines * p.segment_step,
                channel % p.length,
                0,
                (p.segments - line + bundle.lines - 1) / bundle.lines};
    } else {
        constexpr int32_t lanes = team == Team::warp ? 32 : threads;
        const int64_t one = team == Team::warp ? item * warps + thread / 32 : item;
        if (one >= p.rows * p.groups)
            return no_part();
        const int64_t row = one / p.groups;
        const int32_t group = static_cast<int32_t>(one - row * p.groups), lane = thread % lanes;
        return {row,
                group,
                group * p.group_step + lane,
                lanes,
                lane,
                lanes,
                lane < size ? (size - lane + lanes - 1) / lanes : 0};
    }
}

// Place within the row of element j of a part.
template <Team team> __device__ inline int32_t place(const Task& task, const Part& part, int32_t j) {
    if constexpr (team == Team::wide) {
        const int32_t i = part.index + j * part.index_step, segment = quotient(task.length, i);
        return part.group * task.p.group_step + segment * task.p.segment_step + i - segment * task.p.length;
    }
    return part.at + j * part.step;
}

template <Team team> __device__ inline int32_t factor(const Task& task, const Part& part, int32_t j) {
    const Norm& p = task.p;
    int32_t i = part.index + j * part.index_step;
    if (team == Team::wide)
        i -= quotient(task.length, i) * p.length;
    return part.group * p.group_factors + (p.by_position ? i : quotient(task.points, i));
}

// Sums that a team takes at once, and the doubles it needs to share them.
constexpr int most_sums = 3;
template <Team team>
constexpr size_t room_bytes = sizeof(double) * (team == Team::warp       ? 0
                                                : team == Team::channels ? 2 * most_sums * threads
                                                                         : most_sums * warps);

// Sums of a team, to all of its threads.
template <Team team, int N>
__device__ void share(const Task& task, int64_t item, double (&sum)[N], double* room) {
    if constexpr (team == Team::channels) {
        const int64_t row = item / task.bundles;
        const int32_t first = static_cast<int32_t>(item - row * task.bundles) * task.together;
        const Bundle bundle = bundle_of(task, first);
        const int32_t length = task.p.length, groups = bundle.width / length;
        const int32_t members = bundle.lines * length;
        // Beyond the sums of any call: what the last one left may still be read.
        double* totals = room + most_sums * threads;
#pragma unroll
        for (int n = 0; n < N; n++)
            room[n * threads + threadIdx.x] = sum[n];
        __syncthreads();
        const int32_t lane = static_cast<int32_t>(threadIdx.x) % 32;
        for (int32_t group = static_cast<int32_t>(threadIdx.x) / 32; group < groups; group += warps)
#pragma unroll
            for (int n = 0; n < N; n++) {
                double total = 0;
                for (int32_t k = lane; k < members; k += 32)
                    total += room[n * threads + k / length * bundle.width + group * length + k % length];
#pragma unroll
                for (int step = 16; step > 0; step /= 2)
                    total += __shfl_xor_sync(whole_warp, total, step);
                if (lane == 0)
                    totals[n * threads + group] = total;
            }
        __syncthreads();
        const int32_t own = static_cast<int32_t>(threadIdx.x) % bundle.width / length;
#pragma unroll
        for (int n = 0; n < N; n++)
            sum[n] = totals[n * threads + own];
    } else {
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int step = 16; step > 0; step /= 2)
                sum[n] += __shfl_xor_sync(whole_warp, sum[n], step);
        if constexpr (team != Team::warp) {
            // What the last call left may still be read.
            __syncthreads();
            if (threadIdx.x % 32 == 0)
#pragma unroll
                for (int n = 0; n < N; n++)
                    room[n * warps + threadIdx.x / 32] = sum[n];
            __syncthreads();
#pragma unroll
            for (int n = 0; n < N; n++) {
                sum[n] = 0;
#pragma unroll
                for (int warp = 0; warp < warps; warp++)
                    sum[n] += room[n * warps + warp];
            }
        }
    }
}

// body(j) for all elements of a part, `finish` after each chunk.
template <class Body, class Finish>
__device__ inline void in_chunks(int32_t count, Body body, Finish finish) {
    for (int32_t begin = 0; begin < count; begin += chunk) {
        const int32_t end = begin + chunk < count ? begin + chunk : count;
#pragma unroll 4
        for (int32_t j = begin; j < end; j++)
            body(j);
        finish();
    }
}

// A mean in two floats.
struct Centre {
    float high, low;
    __device__ float from(float x) const { return (x - high) - low; }
};

template <Team team> __global__ void __launch_bounds__(threads) normalise(Task task) {
    const Norm& p = task.p;
    double* room = reinterpret_cast<double*>(shared_memory());
    float* kept = reinterpret_cast<float*>(shared_memory() + room_bytes<team>) + threadIdx.x;
    const double size = static_cast<double>(p.segments) * p.length;
    for (int64_t item = blockIdx.x; item < task.items; item += gridDim.x) {
        const Part part = part_of<team>(task, item);
        const float* x = p.x + part.row * p.x_row;
        const auto value = [&](int32_t j) {
            return j < task.kept ? kept[j * threads] : x[place<team>(task, part, j)];
        };
        double sum[1] = {0};
        float some = 0;
        in_chunks(
            part.count,
            [&](int32_t j) {
                const float v = x[place<team>(task, part, j)];
                if (j < task.kept)
                    kept[j * threads] = v;
                some += v;
            },
            [&] { sum[0] += some, some = 0; });
        share<team>(task, item, sum, room);
        const float middle = static_cast<float>(sum[0] / size);
        double apart[2] = {0, 0};
        float squares = 0;
        in_chunks(
            part.count,
            [&](int32_t j) {
                const float d = value(j) - middle;
                some += d;
                squares += d * d;
            },
            [&] {
                apart[0] += some, some = 0;
                apart[1] += squares, squares = 0;
            });
        share<team>(task, item, apart, room);
        const double rest = apart[0] / size;
        const Centre centre{middle, static_cast<float>(rest)};
        const float inverse = 1.0f / sqrtf(static_cast<float>(apart[1] / size - rest * rest) + p.epsilon);
        float* out = p.out + part.row * p.elements;
        for (int32_t j = 0; j < part.count; j++) {
            const int32_t f = factor<team>(task, part, j);
            out[place<team>(task, part, j)] =
                activated(p.activation, centre.from(value(j)) * inverse * p.scale[f] + p.bias[f]);
        }
    }
}

template <Team team> __global__ void __launch_bounds__(threads) normalise_slope(Task task) {
    const Norm& p = task.p;
    double* room = reinterpret_cast<double*>(shared_memory());
    float* kept_x = reinterpret_cast<float*>(shared_memory() + room_bytes<team>) + threadIdx.x;
    float* kept_t = kept_x + task.kept * threads;
    const double size = static_cast<double>(p.segments) * p.length;
    for (int64_t item = blockIdx.x; item < task.items; item += gridDim.x) {
        const Part part = part_of<team>(task, item);
        const float *x = p.x + part.row * p.x_row, *t = p.t + part.row * p.t_row;
        const auto of_x = [&](int32_t j) {
            return j < task.kept ? kept_x[j * threads] : x[place<team>(task, part, j)];
        };
        const auto of_t = [&](int32_t j) {
            return j < task.kept ? kept_t[j * threads] : t[place<team>(task, part, j)];
        };
        double sums[2] = {0, 0};
        float some = 0, some_t = 0;
        in_chunks(
            part.count,
            [&](int32_t j) {
                const int32_t at = place<team>(task, part, j);
                const float v = x[at], w = t[at];
                if (j < task.kept) {
                    kept_x[j * threads] = v;
                    kept_t[j * threads] = w;
                }
                some += v;
                some_t += w;
            },
            [&] {
                sums[0] += some, some = 0;
                sums[1] += some_t, some_t = 0;
            });
        share<team>(task, item, sums, room);
        const float middle = static_cast<float>(sums[0] / size),
                    middle_t = static_cast<float>(sums[1] / size);
        double apart[3] = {0, 0, 0};
        float squares = 0;
        in_chunks(
            part.count,
            [&](int32_t j) {
                const float d = of_x(j) - middle;
                some += d;
                squares += d * d;
                some_t += of_t(j) - middle_t;
            },
            [&] {
                apart[0] += some, some = 0;
                apart[1] += squares, squares = 0;
                apart[2] += some_t, some_t = 0;
            });
        share<team>(task, item, apart, room);
        const double rest = apart[0] / size;
        const Centre centre{middle, static_cast<float>(rest)};
        const Centre centre_t{middle_t, static_cast<float>(apart[2] / size)};
        const float inverse = 1.0f / sqrtf(static_cast<float>(apart[1] / size - rest * rest) + p.epsilon);
        double product[1] = {0};
        in_chunks(
            part.count, [&](int32_t j) { some += centre.from(of_x(j)) * inverse * centre_t.from(of_t(j)); },
            [&] { product[0] += some, some = 0; });
        share<team>(task, item, product, room);
        const float along = static_cast<float>(product[0] / size);
        float* out = p.out + part.row * p.elements;
        for (int32_t j = 0; j < part.count; j++) {
            const float normalised = centre.from(of_x(j)) * inverse;
            out[place<team>(task, part, j)] = (centre_t.from(of_t(j)) - normalised * along) * inverse;
        }
    }
}

template <Team team> void start(Task& task, int32_t count) {
    const Norm& p = task.p;
    const int operands = p.t ? 2 : 1;
    task.kept = std::min(count, most_kept / operands);
    const size_t shared =
        room_bytes<team> + static_cast<size_t>(task.kept) * operands * threads * sizeof(float);
    if (p.t)
        launch("normalise_slope", normalise_slope<team>, grid_of(task.items), threads, shared, task);
    else
        launch("normalise", normalise<team>, grid_of(task.items), threads, shared, task);
}

} // namespace

void norm(const Norm& p) {
    Task task{p, 1, 1, 0, 0, divisor(p.length), divisor(p.points)};
    const int64_t size = int64_t{p.segments} * p.length;
    const auto shared_by = [](int64_t elements, int64_t lanes) {
        return static_cast<int32_t>(std::min<int64_t>((elements + lanes - 1) / lanes, most_kept));
    };
    if (p.segments == 1 && size <= short_group) {
        task.items = (p.rows * p.groups + warps - 1) / warps;
        start<Team::warp>(task, shared_by(size, 32));
    } else if (p.segments == 1) {
        task.items = p.rows * p.groups;
        start<Team::block>(task, shared_by(size, threads));
    } else if (p.length <= threads) {
        task.together = std::min((32 + p.length - 1) / p.length, p.groups);
        task.bundles = (p.groups + task.together - 1) / task.together;
        task.items = p.rows * task.bundles;
        start<Team::channels>(task, shared_by(p.segments, threads / (task.together * p.length)));
    } else {
        task.items = p.rows * p.groups;
        start<Team::wide>(task, shared_by(size, threads));
    }
}

} // namespace latdyn::cuda
