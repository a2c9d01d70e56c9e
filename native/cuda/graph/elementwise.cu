// Arithmetic with broadcasting, element-wise functions and their derivatives.
//
// Launch: 256 threads a block; a thread takes 4 neighbouring elements of the result at a time, 4 times a
// stretch, blocks stride over the stretches. Operands that lie as the result does are read 16 bytes at a
// time, others element by element through their map (32-bit multiplications; one 64-bit division a stretch).
// Bytes: 4 an element for each operand that is not repeated and 4 for the result. FLOPs: one for arithmetic,
// up to some forty for the costlier functions. Limited by memory.
#include "functions.h"
#include "walk.h"

#include "latdyn/error.h"

namespace latdyn::cuda {

namespace {

constexpr int threads = 256, times = 4;
constexpr int32_t block_span = threads * 4 * times;

// How the 4 elements of a thread are read.
enum class Read : int32_t { together, one_by_one };

struct Task {
    Elementwise p;
    Divisor elements;
    Read a, b;
};

__device__ inline float combined(Combine combine, const Activation& activation, float a, float b) {
    switch (combine) {
    case Combine::add:
        return activated(activation, a + b);
    case Combine::sub:
        return activated(activation, a - b);
    case Combine::mul:
        return activated(activation, a * b);
    case Combine::div:
        return activated(activation, a / b);
    case Combine::greater:
        return a > b ? 1.0f : 0.0f;
    case Combine::apply:
        return activated(activation, a);
    case Combine::slope:
        return slope(activation, a) * b;
    }
    return a;
}

__device__ inline void read(const Operand& from, Read how, int64_t at, int count,
                            const RowElement (&where)[4], float (&to)[4]) {
    if (how == Read::together) {
        if (count == 4) {
            const float4 all = *reinterpret_cast<const float4*>(from.data + at);
            to[0] = all.x, to[1] = all.y, to[2] = all.z, to[3] = all.w;
        } else {
#pragma unroll
            for (int i = 0; i < 4; i++)
                to[i] = i < count ? from.data[at + i] : 0.0f;
        }
        return;
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
        to[i] = i < count ? from.data[where[i].row * from.row + mapped(from.map, where[i].element)] : 0.0f;
}

__global__ void __launch_bounds__(threads) combine(Task task) {
    const Elementwise& p = task.p;
    const int64_t total = p.rows * p.elements;
    const bool places = task.a == Read::one_by_one || task.b == Read::one_by_one;
    for (int64_t begin = int64_t{blockIdx.x} * block_span; begin < total;
         begin += int64_t{gridDim.x} * block_span) {
        const RowElement first = places ? row_element(begin, p.elements) : RowElement{0, 0};
        for (int time = 0; time < times; time++) {
            const int32_t by = (time * threads + static_cast<int32_t>(threadIdx.x)) * 4;
            const int64_t at = begin + by;
            if (at >= total)
                break;
            const int count = total - at < 4 ? static_cast<int>(total - at) : 4;
            RowElement where[4];
            if (places)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    where[i] = further(first, by + i, task.elements);
            float a[4], b[4] = {};
            read(p.a, task.a, at, count, where, a);
            if (p.b.data)
                read(p.b, task.b, at, count, where, b);
#pragma unroll
            for (int i = 0; i < 4; i++)
                a[i] = combined(p.combine, p.activation, a[i], b[i]);
            if (count == 4) {
                *reinterpret_cast<float4*>(p.out + at) = make_float4(a[0], a[1], a[2], a[3]);
            } else {
#pragma unroll
                for (int i = 0; i < 4; i++)
                    if (i < count)
                        p.out[at + i] = a[i];
            }
        }
    }
}

Read reading(const Operand& operand, int32_t elements) {
    const bool dense = operand.map.axes == 0 && !operand.map.list && operand.row == elements;
    return dense ? Read::together : Read::one_by_one;
}

} // namespace

void elementwise(const Elementwise& p) {
    const int64_t total = p.rows * p.elements;
    const Task task{p, divisor(p.elements), reading(p.a, p.elements),
                    p.b.data ? reading(p.b, p.elements) : Read::together};
    launch("combine", combine, grid_of((total + block_span - 1) / block_span), threads, 0, task);
}

} // namespace latdyn::cuda
