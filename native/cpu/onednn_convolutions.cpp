// Convolutions and transposed convolutions as oneDNN primitives, with what follows them fused where that
// keeps NaN.
#include "onednn_compiler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

namespace latdyn::onednn {

namespace {

struct Eltwise {
    algorithm kind;
    float alpha, beta, scale;
};

// Winograd's transformed image is larger than the image: beyond this a worker's memory matters more than its
// speed. A 3×3 convolution of 256 channels at 256² takes 230 MiB.
constexpr size_t most_scratch = size_t{256} << 20;

// oneDNN's form of an activation: scale · kind(x). None for those that no convolution ends with.
std::optional<Eltwise> eltwise(const Activation& f) {
    switch (f.kind) {
    case ActivationKind::none:
        return std::nullopt;
    case ActivationKind::relu:
        return Eltwise{algorithm::eltwise_relu, 0, 0, 1};
    case ActivationKind::leaky_relu:
        return Eltwise{algorithm::eltwise_relu, f.alpha, 0, 1};
    case ActivationKind::elu:
        return Eltwise{algorithm::eltwise_elu, f.alpha, 0, 1};
    case ActivationKind::selu:
        return Eltwise{algorithm::eltwise_elu, f.alpha, 0, f.beta};
    case ActivationKind::sigmoid:
        return Eltwise{algorithm::eltwise_logistic, 0, 0, 1};
    case ActivationKind::tanh:
        return Eltwise{algorithm::eltwise_tanh, 0, 0, 1};
    case ActivationKind::softplus:
        return Eltwise{algorithm::eltwise_soft_relu, 1, 0, 1};
    case ActivationKind::gelu:
        return Eltwise{algorithm::eltwise_gelu_erf, 0, 0, 1};
    case ActivationKind::gelu_tanh:
        return Eltwise{algorithm::eltwise_gelu_tanh, 0, 0, 1};
    case ActivationKind::silu:
        return Eltwise{algorithm::eltwise_swish, 1, 0, 1};
    case ActivationKind::clip:
        return Eltwise{algorithm::eltwise_clip, f.alpha, f.beta, 1};
    case ActivationKind::erf:
    case ActivationKind::exp:
    case ActivationKind::log:
    case ActivationKind::sqrt:
    case ActivationKind::reciprocal:
    case ActivationKind::abs:
    case ActivationKind::pow:
        break;
    }
    return std::nullopt;
}

template <class Primitive, class Description> Product product(const Description& description) {
    return {Primitive(description),  description.src_desc(), description.weights_desc(),
            description.bias_desc(), description.dst_desc(), description.scratchpad_desc()};
}

int64_t count_nan(const dnnl::engine& engine, dnnl::stream& stream, const Product& p) {
    memory source(p.source, engine), weights(p.weights, engine), target(p.target, engine),
        scratchpad(p.scratchpad, engine);
    std::unordered_map<int, memory> arguments{{DNNL_ARG_SRC, source},
                                              {DNNL_ARG_WEIGHTS, weights},
                                              {DNNL_ARG_DST, target},
                                              {DNNL_ARG_SCRATCHPAD, scratchpad}};
    const auto fill = [](memory& m, float value) {
        std::fill_n(static_cast<float*>(m.get_data_handle()), stored_elements(m.get_desc()), value);
    };
    fill(source, std::numeric_limits<float>::quiet_NaN());
    fill(weights, 0);
    fill(target, 0);
    if (p.bias.get_size() > 0) {
        memory bias(p.bias, engine);
        fill(bias, 0);
        arguments.emplace(DNNL_ARG_BIAS, bias);
    }
    p.primitive.execute(stream, arguments);
    stream.wait();
    const float* y = static_cast<const float*>(target.get_data_handle());
    return std::count_if(y, y + stored_elements(p.target), [](float v) { return std::isnan(v); });
}

} // namespace

bool is_fast(std::string_view implementation) {
    return implementation.find("ref") == std::string_view::npos &&
           implementation.find("gemm") == std::string_view::npos;
}

primitive_attr attributes(const Activation* activation, bool residual) {
    primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    dnnl::post_ops post;
    if (residual)
        post.append_sum(1.0f);
    if (activation != nullptr) {
        if (const auto e = eltwise(*activation))
            post.append_eltwise(e->scale, e->kind, e->alpha, e->beta);
    }
    attr.set_post_ops(post);
    return attr;
}

template <class Primitive, class Descriptor>
Way Compiler::way(Descriptor descriptor, std::function<bool(std::string_view)> accept) {
    return [this, descriptor, accept](const primitive_attr& attr) -> std::optional<Product> {
        typename Primitive::primitive_desc description(descriptor, attr, program_.engine, true);
        if (description.get(true) == nullptr)
            return std::nullopt;
        do {
            if (accept(description.impl_info_str()))
                return product<Primitive>(description);
        } while (description.next_impl());
        return std::nullopt;
    };
}

Product Compiler::choose(const Node& node, const std::vector<Way>& ways, bool may_fuse) {
    const bool activates = node.activation.kind != ActivationKind::none, adds = node.residual >= 0;
    may_fuse = may_fuse && (!activates || eltwise(node.activation));
    for (const Way& way : ways) {
        std::optional<Product> bare = way(attributes(nullptr, false));
        if (!bare || (bare->scratchpad.get_size() > most_scratch && &way != &ways.back()))
            continue;
        if (may_fuse && (activates || adds)) {
            std::optional<Product> fused = way(attributes(&node.activation, adds));
            const auto nans = [&](const Product& p) { return count_nan(program_.engine, stream_, p); };
            if (fused && (!activates || nans(*fused) == nans(*bare))) {
                fused->fused = true;
                return *fused;
            }
        }
        return *bare;
    }
    fail(node_name_, "no implementation for these shapes");
}

void Compiler::add_product(const Node& node, const Product& p, const Tensor& source, const Tensor& weights,
                           const std::optional<Tensor>& bias) {
    std::vector<std::pair<int, Tensor>> arguments{{DNNL_ARG_SRC, reordered(source, p.source)},
                                                  {DNNL_ARG_WEIGHTS, reordered(weights, p.weights)}};
    if (bias)
        arguments.emplace_back(DNNL_ARG_BIAS, *bias);
    Tensor y;
    if (node.residual >= 0 && p.fused) {
        // oneDNN adds to what the target holds: the residual itself, where this is its last use.
        const Tensor residual = as(node.residual, p.target);
        const bool read_too = std::any_of(arguments.begin(), arguments.end(), [&](const auto& argument) {
            return argument.second.buffer == residual.buffer;
        });
        if (is_free(residual) && !read_too) {
            y = residual;
        } else {
            y = make(p.target);
            add_copy(residual, y);
        }
    } else {
        y = make(p.target);
    }
    arguments.emplace_back(DNNL_ARG_DST, y);
    add_primitive(p.primitive, std::move(arguments), p.scratchpad);
    if (p.fused)
        define(node.output, y);
    else
        finish_product(node, y);
}

void Compiler::finish_product(const Node& node, Tensor y) {
    Activation left = node.activation;
    if (node.residual >= 0) {
        const Tensor residual = as(node.residual, y.desc);
        const bool at_once = !has_padding(y.desc) || keeps_zero(left);
        const Activation f = at_once ? left : Activation{};
        add_loop({residual, y},
                 [f, n = stored_elements(y.desc), kernel = kernels_.activate](float* const* t) {
                     kernel({.x = t[1], .residual = t[0], .out = t[1], .elements = n, .function = f});
                 });
        if (at_once)
            left = Activation{};
    }
    define(node.output, activated(y, left, true));
}

std::optional<Tensor> Compiler::bias_of(const Node& node, int64_t outputs) {
    if (node.inputs.size() < 3)
        return std::nullopt;
    return view(plain(node.inputs[2]), row_major({outputs}));
}

template <class Primitive> void Compiler::lower_convolution(const Node& node, bool transposed) {
    const auto strides = node.ints("strides"), pads = node.ints("pads"), dilations = node.ints("dilations");
    const int64_t groups = node.integer("groups");
    const Dims x = dims_of(node.inputs[0]), y = dims_of(node.output);
    const std::vector<int64_t>& w = shape(node.inputs[1]);
    const int64_t in = x[1], out = y[1], kernel = w[2] * w[3];
    // oneDNN's order is [groups, outputs, inputs, height, width] for both; ours has inputs first when
    // transposed.
    Dims weight_dims{groups, out / groups, in / groups, w[2], w[3]};
    Dims weight_strides =
        transposed ? Dims{in / groups * (out / groups) * kernel, kernel, out / groups * kernel, w[3], 1}
                   : Dims{in / groups * (out / groups) * kernel, in / groups * kernel, kernel, w[3], 1};
    if (groups == 1) {
        weight_dims.erase(weight_dims.begin());
        weight_strides.erase(weight_strides.begin());
    }
    const Tensor weights = view(plain(node.inputs[1]), {weight_dims, f32, weight_strides});
    Dims before{pads[0], pads[1]}, after{pads[2], pads[3]};
    if (transposed) {
        const auto extra = node.ints("outputPadding");
        after = {pads[2] - extra[0], pads[3] - extra[1]};
    }
    const std::optional<Tensor> bias = bias_of(node, out);
    const memory::desc any_weights(weight_dims, f32, Tag::any),
        bias_desc = bias ? bias->desc : memory::desc();
    const auto descriptor = [&](algorithm kind, Tag source, Tag target) {
        return typename Primitive::desc(prop_kind::forward_inference, kind, {x, f32, source}, any_weights,
                                        bias_desc, {y, f32, target}, strides,
                                        {dilations[0] - 1, dilations[1] - 1}, before, after);
    };
    std::vector<Way> ways;
    if constexpr (std::is_same_v<Primitive, dnnl::convolution_forward>) {
        const bool fits =
            groups == 1 && w[2] == 3 && w[3] == 3 && strides == Dims{1, 1} && dilations == Dims{1, 1};
        // Winograd needs 4/9 (2x3) or 1/4 (4x3) of the multiplications. Against sums in double its
        // largest error on 64 to 256 channels is 0.3e-6 and 1.3e-6 of the output's scale, where the
        // direct kernels make 0.1e-6 to 0.8e-6 (AVX-512) and 2e-6 (AVX2). The larger tile wastes work on
        // the smallest images, and its transforms outweigh the product with few channels. Thin inputs are
        // left to kernels that do not pad them.
        if (fits && in >= block_) {
            const bool large = y[2] >= 8 && y[3] >= 8 && std::min(in, out) >= 32;
            const auto tile = [](std::string_view name) {
                return [name](std::string_view implementation) {
                    return implementation.find(name) != std::string_view::npos;
                };
            };
            for (const char* name : {large ? "wino_4x3" : "wino_2x3", large ? "wino_2x3" : "wino_4x3"}) {
                ways.push_back(way<Primitive>(descriptor(algorithm::convolution_winograd, Tag::any, Tag::any),
                                              tile(name)));
            }
        }
    }
    const algorithm direct = transposed ? algorithm::deconvolution_direct : algorithm::convolution_direct;
    if (block_ > 0) {
        if (in >= block_)
            ways.push_back(way<Primitive>(descriptor(direct, blocked_, blocked_), is_fast));
        else
            ways.push_back(way<Primitive>(descriptor(direct, Tag::nchw, blocked_), is_fast));
    }
    ways.push_back(
        way<Primitive>(descriptor(direct, Tag::any, Tag::any), [](std::string_view) { return true; }));
    // oneDNN's brgconv reads a wild address where a fused function meets a window that lies in the
    // padding altogether (seen in 2.6.3).
    bool has_empty_windows = false;
    for (size_t d = 0; d < 2; ++d) {
        const int64_t reach = (w[2 + d] - 1) * dilations[d] + 1;
        has_empty_windows = has_empty_windows || before[d] >= reach || after[d] >= reach;
    }
    const Product p = choose(node, ways, !has_empty_windows);
    add_product(node, p, as(node.inputs[0], p.source), weights, bias);
}

bool Compiler::overhangs(const Node& node) {
    const auto extra = node.ints("outputPadding"), strides = node.ints("strides");
    return extra[0] >= strides[0] || extra[1] >= strides[1];
}

void Compiler::lower_overhanging(const Node& node) {
    const std::vector<int64_t>&x = shape(node.inputs[0]), &y = shape(node.output), &w = shape(node.inputs[1]);
    const auto strides = node.ints("strides"), pads = node.ints("pads"), dilations = node.ints("dilations");
    const plain::ConvTranspose loop{.channels = x[0],
                                    .height = x[1],
                                    .width = x[2],
                                    .outputs = y[0],
                                    .out_height = y[1],
                                    .out_width = y[2],
                                    .groups = node.integer("groups"),
                                    .kernel_h = w[2],
                                    .kernel_w = w[3],
                                    .stride_h = strides[0],
                                    .stride_w = strides[1],
                                    .dilation_h = dilations[0],
                                    .dilation_w = dilations[1],
                                    .top = pads[0],
                                    .left = pads[1]};
    const Tensor target = make(row_major(dims_of(node.output)));
    std::vector<Tensor> tensors{plain(node.inputs[0]), plain(node.inputs[1]), target};
    if (const std::optional<Tensor> bias = bias_of(node, y[0]))
        tensors.push_back(*bias);
    add_loop(std::move(tensors), [loop, has_bias = node.inputs.size() == 3](float* const* t) {
        plain::conv_transpose(loop, t[0], t[1], has_bias ? t[3] : nullptr, t[2]);
    });
    finish_product(node, target);
}

template void Compiler::lower_convolution<dnnl::convolution_forward>(const Node&, bool);
template void Compiler::lower_convolution<dnnl::deconvolution_forward>(const Node&, bool);

} // namespace latdyn::onednn
