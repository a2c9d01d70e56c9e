// Pooling, the derivatives of max pooling, and means over axes.
//
// pool_windows: a thread an element of the result, 256 a block, in the result's order; the taps of
// neighbouring windows come from L1. Bytes: 4 an element of each operand and of the result, FLOPs one a tap.
// max_adjoint: a thread an element of the whole value; of every window over it, it looks for the maximum
// again, so that a sum has one order and nothing is added atomically: (taps / stride²)·taps reads an element,
// from L1. mean_lines: a thread an output, or a warp where what is added up lies side by side; sums in float
// by 32, those in double. Limited by memory, max_adjoint of overlapping windows by L1.
#include "walk.h"

#include <math.h>

namespace latdyn::cuda {

namespace {

constexpr int threads = 256;

__device__ inline int32_t least(int32_t a, int32_t b) {
    return a < b ? a : b;
}

// Taps [first, last) of a window from `start` on that lie in [low, high).
struct Taps {
    int32_t first, last;
};
__device__ inline Taps inside(int32_t start, int32_t kernel, int32_t dilation, int32_t low, int32_t high) {
    const int32_t first = start >= low ? 0 : least((low - start + dilation - 1) / dilation, kernel);
    const int32_t last = start >= high ? 0 : least((high - start + dilation - 1) / dilation, kernel);
    return {first, last < first ? first : last};
}

struct Window {
    int32_t top, left;
    Taps down, across;
};
__device__ inline Window window_at(const Pool& p, int32_t line, int32_t column) {
    const int32_t top = line * p.stride_h - p.top, left = column * p.stride_w - p.left;
    return {top, left, inside(top, p.kernel_h, p.dilation_h, 0, p.height),
            inside(left, p.kernel_w, p.dilation_w, 0, p.width)};
}

// body(value, place) for every tap of the window.
template <class Body>
__device__ inline void each_tap(const Pool& p, const Window& window, const float* x, int32_t channel,
                                Body body) {
    for (int32_t u = window.down.first; u < window.down.last; u++)
        for (int32_t v = window.across.first; v < window.across.last; v++) {
            const int32_t place = channel * p.whole.channel +
                                  (window.top + u * p.dilation_h) * p.whole.height +
                                  (window.left + v * p.dilation_w) * p.whole.width;
            body(x[place], place);
        }
}

// Where the first maximum is; NaN is more than any number.
__device__ inline int32_t place_of_maximum(const Pool& p, const Window& window, const float* x,
                                           int32_t channel) {
    int32_t at = -1;
    float best = 0;
    each_tap(p, window, x, channel, [&](float value, int32_t place) {
        if (at < 0 || value > best || (value != value && best == best))
            best = value, at = place;
    });
    return at;
}

// The windows over coordinate `at`: those of `count` with at = window·stride − before + tap·dilation for a
// tap.
struct Range {
    int32_t first, last;
};
__device__ inline Range windows_over(int32_t at, int32_t count, int32_t kernel, int32_t stride,
                                     int32_t dilation, int32_t before) {
    const int32_t end = at + before, reach = (kernel - 1) * dilation;
    return {end < reach ? 0 : (end - reach + stride - 1) / stride, least(end / stride + 1, count)};
}

// Of the result: a thread takes an element of every 256, `times` of them a stretch.
struct Task {
    Pool p;
    int32_t elements, height, width;
    Divisor by_elements, by_channels, by_area, by_width;
};
constexpr int times = 4;
constexpr int32_t block_span = threads * times;

template <PoolKind kind> __global__ void __launch_bounds__(threads, 4) pool_windows(Task task) {
    constexpr bool adjoint = kind == PoolKind::max_adjoint;
    const Pool& p = task.p;
    const int32_t width = task.width, area = task.height * width;
    const int64_t total = p.rows * task.elements;
    for (int64_t begin = int64_t{blockIdx.x} * block_span; begin < total;
         begin += int64_t{gridDim.x} * block_span) {
        const RowElement first = row_element(begin, task.elements);
        for (int time = 0; time < times; time++) {
            const int32_t by = time * threads + static_cast<int32_t>(threadIdx.x);
            const int64_t at = begin + by;
            if (at >= total)
                break;
            const RowElement where = further(first, by, task.by_elements);
            int32_t channel, position;
            if (p.channels_last) {
                position = quotient(task.by_channels, where.element);
                channel = where.element - position * p.channels;
            } else {
                channel = quotient(task.by_area, where.element);
                position = where.element - channel * area;
            }
            const int32_t line = quotient(task.by_width, position), column = position - line * width;
            const float* x = p.x.data + where.row * p.x.row;
            if constexpr (adjoint) {
                const float* u = p.t.data + where.row * p.t.row;
                const int32_t own =
                    channel * p.whole.channel + line * p.whole.height + column * p.whole.width;
                const Range down =
                    windows_over(line, p.out_height, p.kernel_h, p.stride_h, p.dilation_h, p.top);
                const Range across =
                    windows_over(column, p.out_width, p.kernel_w, p.stride_w, p.dilation_w, p.left);
                float sum = 0;
                for (int32_t i = down.first; i < down.last; i++)
                    for (int32_t j = across.first; j < across.last; j++)
                        if (place_of_maximum(p, window_at(p, i, j), x, channel) == own)
                            sum += u[channel * p.pooled.channel + i * p.pooled.height + j * p.pooled.width];
                p.out[at] = sum;
            } else {
                const Window window = window_at(p, line, column);
                float y = 0;
                if constexpr (kind == PoolKind::max) {
                    // Once NaN, always NaN.
                    y = -INFINITY;
                    each_tap(p, window, x, channel,
                             [&](float value, int32_t) { y = value <= y || y != y ? y : value; });
                } else if constexpr (kind == PoolKind::average) {
                    each_tap(p, window, x, channel, [&](float value, int32_t) { y += value; });
                    Taps u = window.down, v = window.across;
                    if (p.count_include_pad) {
                        u = inside(window.top, p.kernel_h, p.dilation_h, -p.top, p.height + p.bottom);
                        v = inside(window.left, p.kernel_w, p.dilation_w, -p.left, p.width + p.right);
                    }
                    y /= static_cast<float>((u.last - u.first) * (v.last - v.first));
                } else {
                    const int32_t place = place_of_maximum(p, window, x, channel);
                    y = place < 0 ? 0.0f : p.t.data[where.row * p.t.row + place];
                }
                p.out[at] = y;
            }
        }
    }
}

constexpr int32_t chunk = 32;

template <int lanes> __global__ void __launch_bounds__(threads) mean_lines(Mean p) {
    const int32_t lane = static_cast<int32_t>(threadIdx.x) % lanes;
    const int64_t total = p.rows * p.elements;
    for (int64_t begin = int64_t{blockIdx.x} * (threads / lanes); begin < total;
         begin += int64_t{gridDim.x} * (threads / lanes)) {
        const int64_t at = begin + threadIdx.x / lanes;
        double sum = 0;
        if (at < total) {
            const RowElement where = row_element(at, p.elements);
            const float* x = p.x.data + where.row * p.x.row + mapped(p.x.map, where.element);
            for (int32_t first = lane; first < p.count; first += chunk * lanes) {
                float some = 0;
#pragma unroll 4
                for (int32_t i = 0; i < chunk; i++) {
                    const int32_t own = first + i * lanes;
                    if (own < p.count)
                        some += x[mapped(p.reduced, own)];
                }
                sum += some;
            }
        }
#pragma unroll
        for (int step = lanes / 2; step > 0; step /= 2)
            sum += __shfl_xor_sync(whole_warp, sum, step);
        if (lane == 0 && at < total)
            p.out[at] = static_cast<float>(sum / p.count);
    }
}

template <PoolKind kind> void start(const Pool& p) {
    const bool adjoint = kind == PoolKind::max_adjoint;
    const int32_t height = adjoint ? p.height : p.out_height, width = adjoint ? p.width : p.out_width;
    const int32_t elements = p.channels * height * width;
    const Task task{p,
                    elements,
                    height,
                    width,
                    divisor(elements),
                    divisor(p.channels),
                    divisor(int64_t{height} * width),
                    divisor(width)};
    launch("pool_windows", pool_windows<kind>, grid_of((p.rows * elements + block_span - 1) / block_span),
           threads, 0, task);
}

} // namespace

void pool(PoolKind kind, const Pool& p) {
    switch (kind) {
    case PoolKind::max:
        return start<PoolKind::max>(p);
    case PoolKind::average:
        return start<PoolKind::average>(p);
    case PoolKind::max_grad:
        return start<PoolKind::max_grad>(p);
    case PoolKind::max_adjoint:
        return start<PoolKind::max_adjoint>(p);
    }
}

void mean(const Mean& p) {
    const int64_t outputs = p.rows * p.elements;
    if (p.side_by_side)
        launch("mean_lines", mean_lines<32>, grid_of((outputs + threads / 32 - 1) / (threads / 32)), threads,
               0, p);
    else
        launch("mean_lines", mean_lines<1>, grid_of((outputs + threads - 1) / threads), threads, 0, p);
}

} // namespace latdyn::cuda
