// Pooling, resizing, padding and everything that only moves elements.
#include "onednn_compiler.h"

#include <algorithm>

namespace latdyn::onednn {

Tensor Compiler::walkable(int value, const std::function<bool(int64_t)>& fits) {
    const Tensor x = first_form(value);
    const int64_t block = channel_block(x.desc);
    return block > 0 && fits(block) ? x : plain(value);
}

memory::desc Compiler::like(const Tensor& x, int value) const {
    const int64_t block = channel_block(x.desc);
    if (block == 1)
        return row_major(dims_of(value));
    for (Tag tag : {Tag::nChw16c, Tag::nChw8c, Tag::nhwc})
        if (x.desc == memory::desc(x.desc.dims(), f32, tag))
            return {dims_of(value), f32, tag};
    fail(node_name_, "a layout that is not one of ours");
}

void Compiler::lower_resize(const Node& node) {
    const auto scales = node.ints("scales");
    const std::vector<int64_t>& s = shape(node.inputs[0]);
    const Tensor x = walkable(node.inputs[0], [](int64_t) { return true; });
    const int64_t block = channel_block(x.desc);
    const Tensor y = make(like(x, node.output));
    add_loop({x, y}, [r = plain::Resize{s[0] / block, s[1], s[2], block, scales[0], scales[1]}](
                         float* const* t) { plain::resize_nearest(r, t[0], t[1]); });
    define(node.output, y);
}

plain::Pool Compiler::pool_of(const Node& node, const std::vector<int64_t>& s,
                              const std::vector<int64_t>& out, int64_t block) {
    const auto kernel = node.ints("kernel"), strides = node.ints("strides"),
               dilations = node.ints("dilations"), pads = node.ints("pads");
    return plain::Pool{.outer = s[0] / block,
                       .block = block,
                       .height = s[1],
                       .width = s[2],
                       .out_height = out[1],
                       .out_width = out[2],
                       .kernel_h = kernel[0],
                       .kernel_w = kernel[1],
                       .stride_h = strides[0],
                       .stride_w = strides[1],
                       .dilation_h = dilations[0],
                       .dilation_w = dilations[1],
                       .top = pads[0],
                       .left = pads[1],
                       .bottom = pads[2],
                       .right = pads[3],
                       .count_include_pad = node.op == "averagePool" && node.integer("countIncludePad") != 0};
}

void Compiler::lower_pool(const Node& node) {
    const Tensor x = walkable(node.inputs[0], [](int64_t) { return true; });
    const plain::Pool pool = pool_of(node, shape(node.inputs[0]), shape(node.output), channel_block(x.desc));
    const Tensor y = make(like(x, node.output));
    const auto run = node.op == "maxPool" ? plain::max_pool : plain::average_pool;
    add_loop({x, y}, [run, pool](float* const* t) { run(pool, t[0], t[1]); });
    define(node.output, y);
}

void Compiler::lower_reduce_mean(const Node& node) {
    const Tensor x = plain(node.inputs[0]), y = make(row_major(dims_of(node.output)));
    add_loop({x, y}, [r = plain::reduction(shape(node.inputs[0]), node.ints("axes"))](float* const* t) {
        plain::reduce_mean(r, t[0], t[1]);
    });
    define(node.output, y);
}

void Compiler::lower_pad(const Node& node) {
    const Tensor x = plain(node.inputs[0]), y = make(row_major(dims_of(node.output)));
    const plain::Padding padding = plain::padding(
        shape(node.inputs[0]), node.ints("before"), node.ints("after"),
        static_cast<plain::PadMode>(node.integer("mode")), static_cast<float>(node.number("value")));
    add_loop({x, y}, [padding](float* const* t) { plain::pad(padding, t[0], t[1]); });
    define(node.output, y);
}

void Compiler::lower_reshape(const Node& node) {
    const auto pending = views_.find(node.inputs[0]);
    if (pending != views_.end() && forms_[node.inputs[0]].empty()) {
        const Strided view = pending->second;
        if (auto stride = reshaped(shape(node.inputs[0]), view.stride, shape(node.output))) {
            define_view(node.output, {view.base, view.offset, std::move(*stride)});
            return;
        }
    }
    define(node.output, view(plain(node.inputs[0]), row_major(dims_of(node.output))));
}

void Compiler::lower_transpose(const Node& node) {
    const Strided x = strided(node.inputs[0]);
    Strided y{x.base, x.offset, {}};
    for (int64_t axis : node.ints("permutation"))
        y.stride.push_back(x.stride[axis]);
    define_view(node.output, std::move(y));
}

void Compiler::lower_gather(const Node& node) {
    const auto indices = node.ints("indices");
    const size_t axis = node.integer("axis");
    const int64_t step = indices.size() > 1 ? indices[1] - indices[0] : 1;
    bool even = true;
    for (size_t i = 1; i < indices.size(); ++i)
        even = even && indices[i] - indices[i - 1] == step;
    if (even) {
        Strided view = strided(node.inputs[0]);
        view.offset += indices[0] * view.stride[axis];
        view.stride[axis] *= step;
        define_view(node.output, std::move(view));
        return;
    }
    const Tensor y = make(row_major(dims_of(node.output)));
    add_loop({plain(node.inputs[0]), y}, [picks = plain::picks(shape(node.inputs[0]), axis, indices)](
                                             float* const* t) { plain::gather(picks, t[0], t[1]); });
    define(node.output, y);
}

void Compiler::lower_scatter_add(const Node& node) {
    const Tensor y = make(row_major(dims_of(node.output)));
    add_loop({plain(node.inputs[0]), y},
             [picks = plain::picks(shape(node.output), node.integer("axis"), node.ints("indices"))](
                 float* const* t) { plain::scatter_add(picks, t[0], t[1]); });
    define(node.output, y);
}

void Compiler::lower_concat(const Node& node) {
    const int64_t axis = node.integer("axis");
    plain::Concat concat;
    for (int64_t i = 0; i < axis; ++i)
        concat.outer *= shape(node.output)[i];
    for (int v : node.inputs)
        concat.chunk.push_back(graph_.values[v].elements() / concat.outer);
    // Channels of one blocked layout follow each other as row-major ones do.
    const Tensor first = first_form(node.inputs[0]);
    const int64_t block = axis == 0 ? channel_block(first.desc) : 0;
    const bool blocked =
        block > 1 && block == block_ && std::all_of(node.inputs.begin(), node.inputs.end(), [&](int v) {
            return channel_block(first_form(v).desc) == block && shape(v)[0] % block == 0;
        });
    std::vector<Tensor> tensors;
    for (int v : node.inputs)
        tensors.push_back(blocked ? first_form(v) : plain(v));
    const Tensor y =
        make(blocked ? memory::desc(dims_of(node.output), f32, blocked_) : row_major(dims_of(node.output)));
    tensors.push_back(y);
    add_loop(std::move(tensors),
             [concat](float* const* t) { plain::concat(concat, t, t[concat.chunk.size()]); });
    define(node.output, y);
}

void Compiler::lower_max_pool_grad(const Node& node) {
    const bool adjoint = node.op == "maxPoolAdjoint";
    const plain::Pool pool =
        pool_of(node, shape(node.inputs[0]), shape(adjoint ? node.inputs[1] : node.output), 1);
    const Tensor y = make(row_major(dims_of(node.output)));
    const auto run = adjoint ? plain::max_pool_adjoint : plain::max_pool_grad;
    add_loop({plain(node.inputs[0]), plain(node.inputs[1]), y},
             [run, pool](float* const* t) { run(pool, t[0], t[1], t[2]); });
    define(node.output, y);
}

} // namespace latdyn::onednn
