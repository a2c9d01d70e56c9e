#include "plain_ops.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace latdyn::plain {

namespace {

template <class Body> void with_arithmetic(Arithmetic kind, Body body) {
    switch (kind) {
    case Arithmetic::add:
        return body([](float a, float b) { return a + b; });
    case Arithmetic::sub:
        return body([](float a, float b) { return a - b; });
    case Arithmetic::mul:
        return body([](float a, float b) { return a * b; });
    case Arithmetic::div:
        return body([](float a, float b) { return a / b; });
    case Arithmetic::greater:
        return body([](float a, float b) { return a > b ? 1.0f : 0.0f; });
    }
}

// Row-major strides.
Shape strides_of(const Shape& shape) {
    Shape strides(shape.size());
    int64_t step = 1;
    for (size_t i = shape.size(); i-- > 0;) {
        strides[i] = step;
        step *= shape[i];
    }
    return strides;
}

int64_t product(const Shape& shape) {
    int64_t n = 1;
    for (int64_t d : shape)
        n *= d;
    return n;
}

// Drops axes of extent 1 and joins neighbours that one stride covers.
Walk merged(const Walk& walk) {
    Walk out;
    for (size_t i = 0; i < walk.extent.size(); ++i) {
        if (walk.extent[i] == 1)
            continue;
        if (!out.extent.empty() && out.stride.back() == walk.stride[i] * walk.extent[i]) {
            out.extent.back() *= walk.extent[i];
            out.stride.back() = walk.stride[i];
        } else {
            out.extent.push_back(walk.extent[i]);
            out.stride.push_back(walk.stride[i]);
        }
    }
    return out;
}

// body(offset of the input, length, stride) for each innermost run of the walk, in order.
template <class Body> void each_run(const Walk& walk, size_t axis, int64_t offset, const Body& body) {
    if (walk.extent.empty())
        return body(offset, 1, 1);
    if (axis + 1 == walk.extent.size())
        return body(offset, walk.extent[axis], walk.stride[axis]);
    for (int64_t i = 0; i < walk.extent[axis]; ++i) {
        each_run(walk, axis + 1, offset + i * walk.stride[axis], body);
    }
}

} // namespace

Broadcast broadcast(const Shape& a, const Shape& b, const Shape& y) {
    const Shape dense_a = strides_of(a), dense_b = strides_of(b);
    // Aligned to the right; an axis that is missing or has extent 1 repeats.
    const auto stride = [&](const Shape& shape, const Shape& dense, size_t axis) -> int64_t {
        const size_t missing = y.size() - shape.size();
        return axis < missing || shape[axis - missing] == 1 ? 0 : dense[axis - missing];
    };
    Broadcast out;
    for (size_t i = 0; i < y.size(); ++i) {
        if (y[i] == 1)
            continue;
        const int64_t sa = stride(a, dense_a, i), sb = stride(b, dense_b, i);
        const bool joins =
            !out.extent.empty() && out.stride_a.back() == sa * y[i] && out.stride_b.back() == sb * y[i];
        if (joins) {
            out.extent.back() *= y[i];
            out.stride_a.back() = sa;
            out.stride_b.back() = sb;
        } else {
            out.extent.push_back(y[i]);
            out.stride_a.push_back(sa);
            out.stride_b.push_back(sb);
        }
    }
    if (out.extent.empty())
        out = {{1}, {0}, {0}};
    return out;
}

namespace {

// The innermost stride of either operand is 0 or 1: it is the last axis of a row-major tensor, or repeats.
template <class Operation>
float* broadcast_loop(const Broadcast& s, size_t axis, Operation operation, const float* a, const float* b,
                      float* y) {
    const int64_t n = s.extent[axis], sa = s.stride_a[axis], sb = s.stride_b[axis];
    if (axis + 1 < s.extent.size()) {
        for (int64_t i = 0; i < n; ++i)
            y = broadcast_loop(s, axis + 1, operation, a + i * sa, b + i * sb, y);
        return y;
    }
    if (sa == 1 && sb == 1) {
        for (int64_t i = 0; i < n; ++i)
            y[i] = operation(a[i], b[i]);
    } else if (sa == 1 && sb == 0) {
        for (int64_t i = 0; i < n; ++i)
            y[i] = operation(a[i], b[0]);
    } else if (sa == 0 && sb == 1) {
        for (int64_t i = 0; i < n; ++i)
            y[i] = operation(a[0], b[i]);
    } else {
        for (int64_t i = 0; i < n; ++i)
            y[i] = operation(a[i * sa], b[i * sb]);
    }
    return y + n;
}

} // namespace

void arithmetic(Arithmetic kind, const Broadcast& shape, const float* a, const float* b, float* y) {
    with_arithmetic(kind, [&](auto operation) { broadcast_loop(shape, 0, operation, a, b, y); });
}

void resize_nearest(const Resize& s, const float* x, float* y) {
    const int64_t row = s.width * s.block, out_row = row * s.scale_w;
    for (int64_t line = 0; line < s.outer * s.height; ++line, x += row) {
        float* first = y;
        for (int64_t w = 0; w < s.width; ++w)
            for (int64_t i = 0; i < s.scale_w; ++i, y += s.block) {
                for (int64_t b = 0; b < s.block; ++b)
                    y[b] = x[w * s.block + b];
            }
        for (int64_t i = 1; i < s.scale_h; ++i, y += out_row) {
            std::memcpy(y, first, static_cast<size_t>(out_row) * sizeof(float));
        }
    }
}

namespace {

// Taps [first, last) of a window that begins at `start` and lie in [low, high).
struct Taps {
    int64_t first, last;
};
Taps inside(int64_t start, int64_t kernel, int64_t dilation, int64_t low, int64_t high) {
    const int64_t first = start >= low ? 0 : (low - start + dilation - 1) / dilation;
    const int64_t last = start >= high ? 0 : (high - start + dilation - 1) / dilation;
    return {std::min(first, kernel), std::clamp(last, std::min(first, kernel), kernel)};
}

// begin(y), tap(y, x) for each element of the window, end(y, taps, padded taps) for each window.
template <class Y, class Begin, class Tap, class End>
void each_window(const Pool& s, const float* x, Y* y, Begin begin, Tap tap, End end) {
    for (int64_t o = 0; o < s.outer; ++o, x += s.height * s.width * s.block)
        for (int64_t i = 0; i < s.out_height; ++i)
            for (int64_t j = 0; j < s.out_width; ++j, y += s.block) {
                const int64_t h = i * s.stride_h - s.top, w = j * s.stride_w - s.left;
                const Taps u = inside(h, s.kernel_h, s.dilation_h, 0, s.height);
                const Taps v = inside(w, s.kernel_w, s.dilation_w, 0, s.width);
                begin(y);
                for (int64_t p = u.first; p < u.last; ++p)
                    for (int64_t q = v.first; q < v.last; ++q) {
                        tap(y, x + ((h + p * s.dilation_h) * s.width + w + q * s.dilation_w) * s.block);
                    }
                const Taps pu = inside(h, s.kernel_h, s.dilation_h, -s.top, s.height + s.bottom);
                const Taps pv = inside(w, s.kernel_w, s.dilation_w, -s.left, s.width + s.right);
                end(y, (u.last - u.first) * (v.last - v.first), (pu.last - pu.first) * (pv.last - pv.first));
            }
}

} // namespace

void max_pool(const Pool& s, const float* x, float* y) {
    const int64_t block = s.block;
    each_window(
        s, x, y, [=](float* to) { std::fill_n(to, block, -std::numeric_limits<float>::infinity()); },
        [=](float* to, const float* from) {
            // Once NaN, always NaN: NaN is neither below nor equal to anything.
            for (int64_t b = 0; b < block; ++b)
                to[b] = from[b] <= to[b] || to[b] != to[b] ? to[b] : from[b];
        },
        [](float*, int64_t, int64_t) {});
}

namespace {

// visit(window in the pooled tensor, place of its first maximum in x)
template <class Y, class Visit> void each_maximum(const Pool& s, const float* x, Y* pooled, Visit visit) {
    const float* best = nullptr;
    each_window(
        s, x, pooled, [&](Y*) { best = nullptr; },
        [&](Y*, const float* from) {
            if (best == nullptr || *from > *best || (*from != *from && *best == *best))
                best = from;
        },
        [&](Y* window, int64_t, int64_t) { visit(window, best - x); });
}

} // namespace

void max_pool_grad(const Pool& s, const float* x, const float* t, float* y) {
    each_maximum(s, x, y, [=](float* window, int64_t place) { *window = t[place]; });
}

void max_pool_adjoint(const Pool& s, const float* x, const float* u, float* y) {
    std::fill_n(y, s.outer * s.height * s.width, 0.0f);
    each_maximum(s, x, u, [=](const float* window, int64_t place) { y[place] += *window; });
}

void average_pool(const Pool& s, const float* x, float* y) {
    const int64_t block = s.block;
    const bool padded = s.count_include_pad;
    each_window(
        s, x, y, [=](float* to) { std::fill_n(to, block, 0.0f); },
        [=](float* to, const float* from) {
            for (int64_t b = 0; b < block; ++b)
                to[b] += from[b];
        },
        [=](float* to, int64_t taps, int64_t padded_taps) {
            const float count = static_cast<float>(padded ? padded_taps : taps);
            for (int64_t b = 0; b < block; ++b)
                to[b] /= count;
        });
}

Walk strided(const Shape& extent, const Shape& stride) {
    return merged({extent, stride});
}

void transpose(const Walk& walk, const float* x, float* y) {
    each_run(walk, 0, 0, [&](int64_t offset, int64_t n, int64_t stride) {
        for (int64_t i = 0; i < n; ++i)
            *y++ = x[offset + i * stride];
    });
}

Reduction reduction(const Shape& x, const std::vector<int64_t>& axes) {
    const Shape dense = strides_of(x);
    Walk kept, reduced;
    for (size_t i = 0; i < x.size(); ++i) {
        Walk& side =
            std::find(axes.begin(), axes.end(), static_cast<int64_t>(i)) == axes.end() ? kept : reduced;
        side.extent.push_back(x[i]);
        side.stride.push_back(dense[i]);
    }
    return {merged(kept), merged(reduced)};
}

void reduce_mean(const Reduction& s, const float* x, float* y) {
    const double count = static_cast<double>(product(s.reduced.extent));
    each_run(s.kept, 0, 0, [&](int64_t offset, int64_t n, int64_t stride) {
        for (int64_t i = 0; i < n; ++i) {
            double sum = 0;
            each_run(s.reduced, 0, offset + i * stride, [&](int64_t at, int64_t m, int64_t step) {
                for (int64_t j = 0; j < m; ++j)
                    sum += x[at + j * step];
            });
            *y++ = static_cast<float>(sum / count);
        }
    });
}

Padding padding(const Shape& x, const std::vector<int64_t>& before, const std::vector<int64_t>& after,
                PadMode mode, float value) {
    const Shape dense = strides_of(x);
    Padding out{std::vector<Shape>(x.size()), value};
    for (size_t axis = 0; axis < x.size(); ++axis) {
        const int64_t n = x[axis], period = std::max<int64_t>(1, 2 * (n - 1));
        for (int64_t i = -before[axis]; i < n + after[axis]; ++i) {
            int64_t source = i;
            if (mode == PadMode::edge) {
                source = std::clamp<int64_t>(i, 0, n - 1);
            } else if (mode == PadMode::reflect) {
                // A mirror at each end, without repeating the end itself.
                const int64_t turn = (i % period + period) % period;
                source = turn < n ? turn : period - turn;
            }
            out.source[axis].push_back(source < 0 || source >= n ? -1 : source * dense[axis]);
        }
    }
    return out;
}

namespace {

// offset < 0: an outer axis lies in the padding already.
float* pad_axis(const Padding& s, size_t axis, int64_t offset, const float* x, float* y) {
    if (axis == s.source.size()) {
        *y = offset < 0 ? s.value : x[offset];
        return y + 1;
    }
    const bool last = axis + 1 == s.source.size();
    for (int64_t step : s.source[axis]) {
        const int64_t at = offset < 0 || step < 0 ? -1 : offset + step;
        if (last) {
            *y++ = at < 0 ? s.value : x[at];
        } else {
            y = pad_axis(s, axis + 1, at, x, y);
        }
    }
    return y;
}

} // namespace

void pad(const Padding& shape, const float* x, float* y) {
    pad_axis(shape, 0, 0, x, y);
}

void conv_transpose(const ConvTranspose& s, const float* x, const float* weights, const float* bias,
                    float* y) {
    const int64_t in_group = s.channels / s.groups, out_group = s.outputs / s.groups;
    for (int64_t o = 0; o < s.outputs; ++o)
        for (int64_t oh = 0; oh < s.out_height; ++oh)
            for (int64_t ow = 0; ow < s.out_width; ++ow) {
                double sum = bias == nullptr ? 0 : bias[o];
                for (int64_t kh = 0; kh < s.kernel_h; ++kh)
                    for (int64_t kw = 0; kw < s.kernel_w; ++kw) {
                        const int64_t h = oh + s.top - kh * s.dilation_h, w = ow + s.left - kw * s.dilation_w;
                        if (h < 0 || w < 0 || h % s.stride_h != 0 || w % s.stride_w != 0 ||
                            h / s.stride_h >= s.height || w / s.stride_w >= s.width)
                            continue;
                        for (int64_t i = 0; i < in_group; ++i) {
                            const int64_t c = o / out_group * in_group + i;
                            const float weight =
                                weights[((c * out_group + o % out_group) * s.kernel_h + kh) * s.kernel_w +
                                        kw];
                            sum += static_cast<double>(weight) *
                                   x[(c * s.height + h / s.stride_h) * s.width + w / s.stride_w];
                        }
                    }
                y[(o * s.out_height + oh) * s.out_width + ow] = static_cast<float>(sum);
            }
}

Picks picks(const Shape& whole, int64_t axis, const std::vector<int64_t>& indices) {
    const Shape before(whole.begin(), whole.begin() + axis), after(whole.begin() + axis + 1, whole.end());
    return {product(before), whole[axis], product(after), indices};
}

void gather(const Picks& s, const float* x, float* y) {
    for (int64_t o = 0; o < s.outer; ++o, x += s.size * s.inner)
        for (int64_t index : s.indices) {
            std::memcpy(y, x + index * s.inner, static_cast<size_t>(s.inner) * sizeof(float));
            y += s.inner;
        }
}

void scatter_add(const Picks& s, const float* u, float* y) {
    std::fill_n(y, s.outer * s.size * s.inner, 0.0f);
    for (int64_t o = 0; o < s.outer; ++o, y += s.size * s.inner)
        for (int64_t index : s.indices)
            for (int64_t i = 0; i < s.inner; ++i)
                y[index * s.inner + i] += *u++;
}

void concat(const Concat& s, const float* const* inputs, float* y) {
    for (int64_t o = 0; o < s.outer; ++o)
        for (size_t i = 0; i < s.chunk.size(); ++i) {
            std::memcpy(y, inputs[i] + o * s.chunk[i], static_cast<size_t>(s.chunk[i]) * sizeof(float));
            y += s.chunk[i];
        }
}

} // namespace latdyn::plain
