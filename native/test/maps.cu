// A thread an element; persistent ones a warp a point, which computes f of it in shared memory.
#include "maps.h"

#include "iteration_kernels.h"
#include "run_plan.h"

#include <algorithm>

namespace latdyn::test {

namespace {

using namespace latdyn::cuda;

constexpr unsigned threads = 128;

__host__ __device__ inline float sum(float x, float y) {
#ifdef __CUDA_ARCH__
    return __fadd_rn(x, y);
#else
    return x + y;
#endif
}
__host__ __device__ inline float product(float x, float y) {
#ifdef __CUDA_ARCH__
    return __fmul_rn(x, y);
#else
    return x * y;
#endif
}

__host__ __device__ inline float end_at(int64_t column) {
    return 0.5f + 0.25f * static_cast<float>(column % 5);
}

__host__ __device__ inline float column_of(const Map& map, const float* z, int64_t e) {
    const float c = end_at(e), v = z[e], off = sum(v, -c);
    switch (map.kind) {
    case Kind::approach:
        return sum(c, product(off, map.rate));
    case Kind::approach_by_row: {
        if (e == map.k - 1)
            return v;
        float rate = 1;
        for (int i = 0; i < static_cast<int>(z[map.k - 1]); i++)
            rate = product(rate, map.rate);
        return sum(c, product(off, rate));
    }
    case Kind::turn: {
        const int64_t with = e % 2 == 0 ? e + 1 : e - 1;
        if (with >= map.k)
            return c;
        return sum(product(v, map.cosine), product(z[with], e % 2 == 0 ? -map.sine : map.sine));
    }
    case Kind::alternate:
        return sum(c, product(off, -map.rate));
    case Kind::grow:
        return product(v, map.rate);
    case Kind::break_off:
        return e == 0 && off < map.rate && off > -map.rate ? sum(off, -off) / sum(off, -off)
                                                           : sum(c, product(off, 0.9f));
    case Kind::same:
        return v;
    case Kind::constant:
        break;
    }
    return c;
}

// To `digits` digits, half away from zero.
__host__ __device__ inline float rounded(float v, int digits) {
    union {
        float number;
        uint32_t bits;
    } both;
    both.number = v;
    if (digits >= 24 || (both.bits >> 23 & 0xff) == 0xff)
        return v;
    const uint32_t unit = 1u << (24 - digits);
    both.bits = (both.bits + unit / 2) & ~(unit - 1);
    return both.number;
}

// By way of the arena, so that it is seen to be there.
__global__ void map_rows(Map map, const float* in, float* out, int64_t rows, float* arena, int64_t stride) {
    const int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x;
    if (i >= rows * map.k)
        return;
    const int64_t row = i / map.k, e = i % map.k;
    arena[row * stride + e] = column_of(map, in + row * map.k, e);
    out[i] = rounded(arena[row * stride + e], map.digits);
}

__global__ void iterate_points(Map map, Residence points, int64_t steps) {
    const Team<32> team;
    auto* next = reinterpret_cast<float*>(shared_memory());
    const int64_t place = blockIdx.x;
    bool live = points.slots[place].row >= 0;
    unsigned long long done = 0;
    for (int64_t step = 0; step < steps && live && *points.stop == 0; step++, done++) {
        const float* z = points.points + place * map.k;
        for (int64_t e = team.lane(); e < map.k; e += 32)
            next[e] = rounded(column_of(map, z, e), map.digits);
        team.meet();
        live = advance(team, points, place, next);
    }
    if (team.lane() == 0)
        atomicAdd(points.evaluations, done);
}

class MapPlan : public DevicePlan {
  public:
    MapPlan(const Map& map, int64_t batch, bool persistent) : map(map), batch(batch), alone(persistent) {
        info.input_elements = info.output_elements = map.k;
        info.row_bytes = (4 * map.k + 255) / 256 * 256;
        info.launches = 1;
        info.flops_per_row = efficient_operations * multiprocessors() / static_cast<double>(batch);
        info.layout = persistent ? "fused" : "kernels";
    }

    void run(const float* input, float* output, int64_t rows, unsigned char* arena) const override {
        if (reinterpret_cast<uintptr_t>(input) % 16 != 0 || reinterpret_cast<uintptr_t>(output) % 16 != 0 ||
            reinterpret_cast<uintptr_t>(arena) % 256 != 0 || rows < 1)
            throw Error("a plan is run on what is not aligned");
        launch("map_rows", map_rows, (rows * map.k + threads - 1) / threads, threads, 0, map, input, output,
               rows, reinterpret_cast<float*>(arena), info.row_bytes / 4);
    }

    bool persistent() const override { return alone; }
    int64_t resident_points() const override { return alone ? batch : 0; }
    void iterate_resident(const Residence& points, int64_t steps) const override {
        launch("iterate_points", iterate_points, points.batch, 32, static_cast<size_t>(map.k) * 4, map,
               points, steps);
    }

  private:
    const Map map;
    const int64_t batch;
    const bool alone;
};

} // namespace

float end_of(int64_t column) {
    return end_at(column);
}

void map_on_host(const Map& map, const float* z, int64_t rows, float* out) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t e = 0; e < map.k; e++)
            out[i * map.k + e] = rounded(column_of(map, z + i * map.k, e), map.digits);
}

std::unique_ptr<DevicePlan> map_plan(const Map& map, int64_t batch, bool persistent) {
    return std::make_unique<MapPlan>(map, batch, persistent);
}

} // namespace latdyn::test
