// oneDNN's layouts, one row at a time: compiles a graph to primitives and loops over one arena.
//
// Convolutions, deconvolutions and products are oneDNN primitives of minibatch 1 in the layout they run best
// in; the other operators follow the layout of their input where they can, so that a chain of convolutions
// has no reorders. A value may exist in several layouts; each is made once, when first asked for.
//
// NaN. Some of oneDNN's kernels compute ReLU and clip with the processor's max, which turns NaN into a
// number: a diverged row would look alive again. Whether a kernel does is not documented, differs between
// kernels and may change with the version, so each fused activation is tried on NaN when the plan is compiled
// (hides_nan) and runs as a loop of our own where NaN gets lost. Max pooling is always our own for that
// reason.
//
// The instruction set is oneDNN's choice for the whole process, not the caller's for one plan.
#include "latdyn/error.h"
#include "onednn_program.h"
#include "plain_ops.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <string_view>

namespace latdyn {

namespace {

using namespace onednn;
using dnnl::algorithm;
using dnnl::memory;
using dnnl::primitive_attr;
using dnnl::prop_kind;
using Dims = memory::dims;
using Tag = memory::format_tag;
using Node = latdyn::Node;
using Graph = latdyn::Graph;

constexpr auto f32 = memory::data_type::f32;

std::string describe(const Node& node) {
    return "node \"" + node.name + "\" (" + node.op + ")";
}

// --- Layouts --------------------------------------------------------------------------------------------

// Row-major. oneDNN knows at most 12 axes; beyond that only our own loops see the tensor, and they need none.
memory::desc row_major(Dims dims) {
    if (dims.size() > DNNL_MAX_NDIMS) {
        int64_t n = 1;
        for (int64_t d : dims)
            n *= d;
        dims = {n};
    }
    Dims strides(dims.size());
    int64_t step = 1;
    for (size_t i = dims.size(); i-- > 0;) {
        strides[i] = step;
        step *= dims[i];
    }
    return {dims, f32, strides};
}

bool is_row_major(const memory::desc& desc) {
    return desc == row_major(desc.dims());
}

// Elements of memory, zero padding of blocked layouts included.
int64_t stored_elements(const memory::desc& desc) {
    return static_cast<int64_t>(desc.get_size() / sizeof(float));
}

bool has_padding(const memory::desc& desc) {
    return !std::equal(desc.data.dims, desc.data.dims + desc.data.ndims, desc.data.padded_dims);
}

// How many channels lie side by side in a [1, C, H, W] tensor without padding (see plain::Channels); 0 for
// any other layout.
int64_t channel_block(const memory::desc& desc) {
    const Dims dims = desc.dims();
    if (is_row_major(desc))
        return 1;
    if (dims.size() != 4 || has_padding(desc))
        return 0;
    for (const auto& [tag, block] :
         {std::pair{Tag::nChw16c, int64_t{16}}, {Tag::nChw8c, 8}, {Tag::nhwc, dims[1]}}) {
        if (desc == memory::desc(dims, f32, tag))
            return block;
    }
    return 0;
}

Isa effective_isa() {
    const auto has = [isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa())](dnnl::cpu_isa wanted) {
        return (isa & static_cast<unsigned>(wanted)) == static_cast<unsigned>(wanted);
    };
    if (has(dnnl::cpu_isa::avx512_core))
        return Isa::avx512;
    return has(dnnl::cpu_isa::avx2) ? Isa::avx2 : Isa::portable;
}

// --- Activations ----------------------------------------------------------------------------------------

struct Eltwise {
    algorithm kind;
    float alpha, beta, scale;
};

// oneDNN's form of an activation: scale · kind(x).
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
    }
    return std::nullopt;
}

// Where a loop over memory is as fast as anything.
bool is_cheap(const Activation& f) {
    return f.kind == ActivationKind::none || f.kind == ActivationKind::relu ||
           f.kind == ActivationKind::leaky_relu || f.kind == ActivationKind::clip;
}

// --- Primitives -----------------------------------------------------------------------------------------

// A primitive of two tensors and a bias, and the layouts it asks for.
struct Product {
    dnnl::primitive primitive;
    memory::desc source, weights, bias, target, scratchpad;
    bool fused = false;
};

template <class Primitive, class Description> Product product(const Description& description) {
    return {Primitive(description),  description.src_desc(), description.weights_desc(),
            description.bias_desc(), description.dst_desc(), description.scratchpad_desc()};
}
template <> Product product<dnnl::matmul>(const dnnl::matmul::primitive_desc& description) {
    return {dnnl::matmul(description), description.src_desc(),       description.weights_desc(), {},
            description.dst_desc(),    description.scratchpad_desc()};
}

// oneDNN's reference kernels are thousands of times slower than the others, its GEMM-based ones need
// row-major tensors and much scratch memory.
bool is_fast(std::string_view implementation) {
    return implementation.find("ref") == std::string_view::npos &&
           implementation.find("gemm") == std::string_view::npos;
}

// What a tensor gets as an activation or a residual on top of the bare product.
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

// --- The compiler ---------------------------------------------------------------------------------------

class Compiler {
  public:
    explicit Compiler(const Graph& graph)
        : graph_(graph), stream_(program_.engine), forms_(graph.values.size()),
          last_use_(graph.values.size(), -1) {
        for (size_t i = 0; i < graph.nodes.size(); ++i) {
            for (int v : graph.nodes[i].inputs)
                last_use_[v] = static_cast<int>(i);
            if (graph.nodes[i].residual >= 0)
                last_use_[graph.nodes[i].residual] = static_cast<int>(i);
        }
        last_use_[graph.output] = std::numeric_limits<int>::max();
        switch (effective_isa()) {
        case Isa::avx512:
            blocked_ = Tag::nChw16c, block_ = 16;
            break;
        case Isa::avx2:
            blocked_ = Tag::nChw8c, block_ = 8;
            break;
        case Isa::portable:
            break;
        }
    }

    Program compile() {
        node_name_ = "input";
        const Tensor input = make(row_major(dims_of(graph_.input)));
        program_.input = input.buffer;
        program_.buffers[input.buffer].pinned = true;
        define(graph_.input, input);
        for (node_ = 0; node_ < static_cast<int>(graph_.nodes.size()); ++node_) {
            const Node& node = graph_.nodes[node_];
            node_name_ = describe(node);
            try {
                lower(node);
            } catch (const dnnl::error& error) {
                fail(node_name_, error.what());
            }
        }
        node_name_ = "output";
        Tensor output = plain(graph_.output);
        if (program_.buffers[output.buffer].constant || program_.buffers[output.buffer].pinned) {
            const Tensor copy = make(output.desc);
            add_copy(output, copy);
            output = copy;
        }
        program_.output = output.buffer;
        return std::move(program_);
    }

  private:
    // --- Tensors ---

    const std::vector<int64_t>& shape(int value) const { return graph_.values[value].shape; }

    // A row's shape with the minibatch of 1 that oneDNN wants in front.
    Dims dims_of(int value) const {
        Dims dims{1};
        dims.insert(dims.end(), shape(value).begin(), shape(value).end());
        return dims;
    }

    Tensor make(const memory::desc& desc) { return {program_.add_buffer(desc.get_size()), desc}; }

    // A form of `value`; the first one is what its node computed.
    void define(int value, const Tensor& tensor) {
        forms_[value].push_back(tensor);
        int& until = needed_until_[tensor.buffer];
        until = std::max(until, last_use_[value]);
    }

    // The other end of a row-major tensor under other axes.
    static Tensor view(const Tensor& tensor, const memory::desc& desc) { return {tensor.buffer, desc}; }

    bool is_constant(const Tensor& tensor) const {
        return program_.buffers[tensor.buffer].constant != nullptr;
    }

    // What the node computed, or the constant.
    Tensor first_form(int value) {
        if (forms_[value].empty()) {
            const Value& v = graph_.values[value];
            const memory::desc desc = row_major(dims_of(value));
            const Tensor tensor{program_.add_constant(desc.get_size()), desc};
            std::copy(v.constant.begin(), v.constant.end(), program_.buffers[tensor.buffer].constant.get());
            define(value, tensor);
        }
        return forms_[value].front();
    }

    // `value` in a layout.
    Tensor as(int value, const memory::desc& desc) {
        const Tensor first = first_form(value);
        for (const Tensor& form : forms_[value])
            if (form.desc == desc)
                return form;
        const Tensor tensor = reordered(first, desc);
        define(value, tensor);
        return tensor;
    }
    Tensor plain(int value) { return as(value, row_major(dims_of(value))); }

    // A copy in another layout: now, where it is a constant, else as a step.
    Tensor reordered(const Tensor& from, const memory::desc& desc) {
        if (from.desc == desc)
            return from;
        if (!is_constant(from)) {
            const Tensor to = make(desc);
            add_copy(from, to);
            return to;
        }
        const Tensor to{program_.add_constant(desc.get_size()), desc};
        memory source(from.desc, program_.engine, program_.buffers[from.buffer].constant.get());
        memory target(desc, program_.engine, program_.buffers[to.buffer].constant.get());
        dnnl::reorder(source, target).execute(stream_, source, target);
        stream_.wait();
        return to;
    }

    // --- Steps ---

    void add_loop(std::vector<Tensor> tensors, std::function<void(float* const*)> loop) {
        Step step;
        step.node = node_name_;
        step.tensors = std::move(tensors);
        step.loop = std::move(loop);
        program_.add_step(std::move(step));
    }

    void add_primitive(dnnl::primitive primitive, std::vector<std::pair<int, Tensor>> arguments,
                       const memory::desc& scratchpad) {
        if (scratchpad.get_size() > 0)
            arguments.emplace_back(DNNL_ARG_SCRATCHPAD, make(scratchpad));
        Step step;
        step.node = node_name_;
        step.primitive = std::move(primitive);
        for (auto& [name, tensor] : arguments) {
            step.arguments.push_back(name);
            step.tensors.push_back(tensor);
        }
        program_.add_step(std::move(step));
    }

    void add_copy(const Tensor& from, const Tensor& to) {
        if (from.desc == to.desc) {
            add_loop({from, to},
                     [bytes = from.desc.get_size()](float* const* t) { std::memcpy(t[1], t[0], bytes); });
            return;
        }
        const dnnl::reorder::primitive_desc description(program_.engine, from.desc, program_.engine, to.desc,
                                                        attributes(nullptr, false));
        add_primitive(dnnl::reorder(description), {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}},
                      description.scratchpad_desc());
    }

    // Nobody reads the tensor's memory after this node: its result may go there.
    bool is_free(const Tensor& tensor) const {
        const Buffer& buffer = program_.buffers[tensor.buffer];
        const auto until = needed_until_.find(tensor.buffer);
        return !buffer.constant && !buffer.pinned && until != needed_until_.end() && until->second <= node_;
    }

    // --- Activations ---

    // f over x, in place where x is `target`. The result may come in another layout.
    Tensor activated(Tensor x, const Activation& f, bool in_place) {
        if (f.kind == ActivationKind::none)
            return x;
        if (!is_cheap(f) && f.kind != ActivationKind::selu) {
            const Eltwise e = *eltwise(f);
            const dnnl::eltwise_forward::desc desc(prop_kind::forward_inference, e.kind, x.desc, e.alpha,
                                                   e.beta);
            const dnnl::eltwise_forward::primitive_desc description(desc, attributes(nullptr, false),
                                                                    program_.engine);
            const dnnl::eltwise_forward primitive(description);
            if (is_fast(description.impl_info_str()) &&
                !hides_nan(primitive, x.desc, description.scratchpad_desc())) {
                const Tensor y = in_place ? x : make(x.desc);
                add_primitive(primitive, {{DNNL_ARG_SRC, x}, {DNNL_ARG_DST, y}},
                              description.scratchpad_desc());
                return y;
            }
        }
        // Our own loop runs over the zero padding too, which must stay zero.
        if (has_padding(x.desc) && !plain::keeps_zero(f)) {
            x = reordered(x, row_major(x.desc.dims()));
            in_place = !is_constant(x);
        }
        const Tensor y = in_place ? x : make(x.desc);
        add_loop({x, y},
                 [f, n = stored_elements(x.desc)](float* const* t) { plain::activate(f, t[0], t[1], n); });
        return y;
    }

    bool hides_nan(const dnnl::eltwise_forward& primitive, const memory::desc& desc,
                   const memory::desc& scratch) {
        memory x(desc, program_.engine), y(desc, program_.engine), scratchpad(scratch, program_.engine);
        float* data = static_cast<float*>(x.get_data_handle());
        std::fill_n(data, stored_elements(desc), std::numeric_limits<float>::quiet_NaN());
        primitive.execute(stream_, {{DNNL_ARG_SRC, x}, {DNNL_ARG_DST, y}, {DNNL_ARG_SCRATCHPAD, scratchpad}});
        stream_.wait();
        const memory::desc flat = row_major(desc.dims());
        memory result(flat, program_.engine);
        dnnl::reorder(y, result).execute(stream_, y, result);
        stream_.wait();
        data = static_cast<float*>(result.get_data_handle());
        return !std::all_of(data, data + stored_elements(flat), [](float v) { return std::isnan(v); });
    }

    // --- Products: conv, convTranspose, linear, matmul ---

    // One way of running a product: gives the primitive under attributes, or nothing where oneDNN has none.
    using Way = std::function<std::optional<Product>(const primitive_attr&)>;

    // A way from what makes oneDNN's descriptor; `accept` judges by the name of the implementation.
    template <class Primitive, class Descriptor>
    Way way(Descriptor descriptor, std::function<bool(std::string_view)> accept) {
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

    // The first way there is; with the node's residual and activation fused where oneDNN has that and keeps
    // NaN. `may_fuse` false: bare.
    Product choose(const Node& node, const std::vector<Way>& ways, bool may_fuse = true) {
        const bool activates = node.activation.kind != ActivationKind::none, adds = node.residual >= 0;
        for (const Way& way : ways) {
            std::optional<Product> bare = way(attributes(nullptr, false));
            if (!bare)
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

    // The product as a step; residual and activation follow it where they were not fused.
    void add_product(const Node& node, const Product& p, const Tensor& source, const Tensor& weights,
                     const std::optional<Tensor>& bias) {
        std::vector<std::pair<int, Tensor>> arguments{{DNNL_ARG_SRC, reordered(source, p.source)},
                                                      {DNNL_ARG_WEIGHTS, reordered(weights, p.weights)}};
        if (bias)
            arguments.emplace_back(DNNL_ARG_BIAS, *bias);
        Tensor y;
        if (node.residual >= 0 && p.fused) {
            // oneDNN adds to what the target holds: the residual itself, where this is its last use.
            const Tensor residual = product_form(node.residual, p.target);
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
            define_product(node, y);
        else
            finish_product(node, y);
    }

    // Residual and activation as steps of their own, then the node's value.
    void finish_product(const Node& node, Tensor y) {
        Activation left = node.activation;
        if (node.residual >= 0) {
            const Tensor residual = product_form(node.residual, y.desc);
            const bool at_once = is_cheap(left) && (!has_padding(y.desc) || plain::keeps_zero(left));
            const Activation f = at_once ? left : Activation{};
            add_loop({residual, y}, [f, n = stored_elements(y.desc)](float* const* t) {
                plain::add_activate(f, t[0], t[1], n);
            });
            if (at_once)
                left = Activation{};
        }
        define_product(node, activated(y, left, true));
    }

    // A product's axes may be folded.
    void define_product(const Node& node, const Tensor& y) {
        define(node.output,
               y.desc.dims() == dims_of(node.output) ? y : view(y, row_major(dims_of(node.output))));
    }

    // A value of a node's output shape in the layout of its product, whose axes may be folded.
    Tensor product_form(int value, const memory::desc& desc) {
        if (desc.dims() == dims_of(value))
            return as(value, desc);
        return reordered(view(plain(value), row_major(desc.dims())), desc);
    }

    std::optional<Tensor> bias_of(const Node& node, int64_t outputs) {
        if (node.inputs.size() < 3)
            return std::nullopt;
        return view(plain(node.inputs[2]), row_major({outputs}));
    }

    // What both kinds of convolution share: the weights as oneDNN numbers them, paddings, and the ways to
    // try.
    template <class Primitive> void lower_convolution(const Node& node, bool transposed) {
        const auto strides = node.ints("strides"), pads = node.ints("pads"),
                   dilations = node.ints("dilations");
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
                    ways.push_back(way<Primitive>(
                        descriptor(algorithm::convolution_winograd, Tag::any, Tag::any), tile(name)));
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

    // oneDNN knows no output padding of a whole stride or more.
    static bool overhangs(const Node& node) {
        const auto extra = node.ints("outputPadding"), strides = node.ints("strides");
        return extra[0] >= strides[0] || extra[1] >= strides[1];
    }

    void lower_overhanging(const Node& node) {
        const std::vector<int64_t>&x = shape(node.inputs[0]), &y = shape(node.output),
              &w = shape(node.inputs[1]);
        const auto strides = node.ints("strides"), pads = node.ints("pads"),
                   dilations = node.ints("dilations");
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

    void lower_linear(const Node& node) {
        const std::vector<int64_t>& w = shape(node.inputs[1]);
        const int64_t rows = graph_.values[node.inputs[0]].elements() / w[1];
        const std::optional<Tensor> bias = bias_of(node, w[0]);
        const dnnl::inner_product_forward::desc descriptor(
            prop_kind::forward_inference, row_major({rows, w[1]}), memory::desc({w[0], w[1]}, f32, Tag::any),
            bias ? bias->desc : memory::desc(), row_major({rows, w[0]}));
        const Product p = choose(
            node, {way<dnnl::inner_product_forward>(descriptor, [](std::string_view) { return true; })});
        add_product(node, p, view(plain(node.inputs[0]), row_major({rows, w[1]})),
                    view(plain(node.inputs[1]), row_major({w[0], w[1]})), bias);
    }

    void lower_matmul(const Node& node) {
        // Equal ranks, as oneDNN wants them.
        const size_t rank = std::max<size_t>(shape(node.output).size(), 2);
        const auto ranked = [&](int value) {
            Dims dims = shape(value);
            dims.insert(dims.begin(), rank - dims.size(), 1);
            return row_major(dims);
        };
        const memory::desc a = ranked(node.inputs[0]), b = ranked(node.inputs[1]), y = ranked(node.output);
        const Product p = choose(
            node, {way<dnnl::matmul>(dnnl::matmul::desc(a, b, y), [](std::string_view) { return true; })});
        add_product(node, p, view(plain(node.inputs[0]), a), view(plain(node.inputs[1]), b), std::nullopt);
    }

    // --- Arithmetic ---

    void lower_arithmetic(const Node& node) {
        const bool commutes = node.op == "add" || node.op == "mul";
        int a = node.inputs[0], b = node.inputs[1];
        // oneDNN repeats only its second operand, and follows the layout of the first.
        if (commutes && (shape(a) != shape(node.output) || is_row_major(first_form(a).desc)))
            std::swap(a, b);
        if (shape(a) == shape(node.output) && !is_row_major(first_form(a).desc)) {
            if (const auto y = blocked_arithmetic(node, a, b)) {
                define(node.output, activated(*y, node.activation, true));
                return;
            }
        }
        a = node.inputs[0], b = node.inputs[1];
        static const std::map<std::string, plain::Arithmetic> kinds = {{"add", plain::Arithmetic::add},
                                                                       {"sub", plain::Arithmetic::sub},
                                                                       {"mul", plain::Arithmetic::mul},
                                                                       {"div", plain::Arithmetic::div}};
        const Tensor y = make(row_major(dims_of(node.output)));
        add_loop({plain(a), plain(b), y},
                 [kind = kinds.at(node.op), axes = plain::broadcast(shape(a), shape(b), shape(node.output))](
                     float* const* t) { plain::arithmetic(kind, axes, t[0], t[1], t[2]); });
        define(node.output, activated(y, node.activation, true));
    }

    // In the layout of a; nothing where oneDNN has only its reference kernel for that.
    std::optional<Tensor> blocked_arithmetic(const Node& node, int a, int b) {
        const algorithm kind = node.op == "add"   ? algorithm::binary_add
                               : node.op == "sub" ? algorithm::binary_sub
                               : node.op == "mul" ? algorithm::binary_mul
                                                  : algorithm::binary_div;
        const Tensor x = first_form(a);
        memory::desc second = x.desc;
        if (shape(b) != shape(node.output)) {
            Dims dims = shape(b);
            dims.insert(dims.begin(), x.desc.dims().size() - dims.size(), 1);
            second = row_major(dims);
        }
        const dnnl::binary::desc descriptor(kind, x.desc, second, x.desc);
        const dnnl::binary::primitive_desc description(descriptor, attributes(nullptr, false),
                                                       program_.engine, true);
        if (description.get(true) == nullptr || !is_fast(description.impl_info_str()))
            return std::nullopt;
        const Tensor other = second == x.desc ? as(b, second) : view(plain(b), second);
        const Tensor y = make(x.desc);
        add_primitive(dnnl::binary(description),
                      {{DNNL_ARG_SRC_0, x}, {DNNL_ARG_SRC_1, other}, {DNNL_ARG_DST, y}},
                      description.scratchpad_desc());
        return y;
    }

    void lower_activate(const Node& node) {
        const Tensor x = first_form(node.inputs[0]);
        define(node.output, activated(x, node.activation, is_free(x)));
    }

    // --- Everything else: loops of our own ---

    // The input as a [C, H, W] tensor whose blocks our loops can walk, or row-major.
    Tensor walkable(int value, const std::function<bool(int64_t)>& fits) {
        const Tensor x = first_form(value);
        const int64_t block = channel_block(x.desc);
        return block > 0 && fits(block) ? x : plain(value);
    }

    // The layout of x for another shape.
    memory::desc like(const Tensor& x, int value) const {
        const int64_t block = channel_block(x.desc);
        if (block == 1)
            return row_major(dims_of(value));
        for (Tag tag : {Tag::nChw16c, Tag::nChw8c, Tag::nhwc})
            if (x.desc == memory::desc(x.desc.dims(), f32, tag))
                return {dims_of(value), f32, tag};
        fail(node_name_, "a layout that is not one of ours");
    }

    void lower_group_norm(const Node& node) {
        const int64_t channels = shape(node.inputs[0])[0], groups = node.integer("groups");
        const int64_t per_group = channels / groups;
        const Tensor x = walkable(
            node.inputs[0], [=](int64_t block) { return block % per_group == 0 || per_group % block == 0; });
        const plain::Channels layout{channels, graph_.values[node.inputs[0]].elements() / channels,
                                     channel_block(x.desc)};
        const Tensor y = is_free(x) ? x : make(x.desc);
        // A costly function runs better as a primitive behind the loop.
        const Activation f = is_cheap(node.activation) ? node.activation : Activation{};
        add_loop({x, plain(node.inputs[1]), plain(node.inputs[2]), y},
                 [layout, groups, epsilon = node.number("epsilon"), f](float* const* t) {
                     plain::group_norm(layout, groups, epsilon, t[1], t[2], f, t[0], t[3]);
                 });
        define(node.output, is_cheap(node.activation) ? y : activated(y, node.activation, true));
    }

    void lower_resize(const Node& node) {
        const auto scales = node.ints("scales");
        const std::vector<int64_t>& s = shape(node.inputs[0]);
        const Tensor x = walkable(node.inputs[0], [](int64_t) { return true; });
        const int64_t block = channel_block(x.desc);
        const Tensor y = make(like(x, node.output));
        add_loop({x, y}, [r = plain::Resize{s[0] / block, s[1], s[2], block, scales[0], scales[1]}](
                             float* const* t) { plain::resize_nearest(r, t[0], t[1]); });
        define(node.output, y);
    }

    // Windows of a tensor of shape s, `block` channels side by side.
    static plain::Pool pool_of(const Node& node, const std::vector<int64_t>& s,
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
                           .count_include_pad =
                               node.op == "averagePool" && node.integer("countIncludePad") != 0};
    }

    void lower_pool(const Node& node) {
        const Tensor x = walkable(node.inputs[0], [](int64_t) { return true; });
        const plain::Pool pool =
            pool_of(node, shape(node.inputs[0]), shape(node.output), channel_block(x.desc));
        const Tensor y = make(like(x, node.output));
        const auto run = node.op == "maxPool" ? plain::max_pool : plain::average_pool;
        add_loop({x, y}, [run, pool](float* const* t) { run(pool, t[0], t[1]); });
        define(node.output, y);
    }

    void lower_reduce_mean(const Node& node) {
        const Tensor x = plain(node.inputs[0]), y = make(row_major(dims_of(node.output)));
        add_loop({x, y}, [r = plain::reduction(shape(node.inputs[0]), node.ints("axes"))](float* const* t) {
            plain::reduce_mean(r, t[0], t[1]);
        });
        define(node.output, y);
    }

    void lower_pad(const Node& node) {
        const Tensor x = plain(node.inputs[0]), y = make(row_major(dims_of(node.output)));
        const plain::Padding padding = plain::padding(
            shape(node.inputs[0]), node.ints("before"), node.ints("after"),
            static_cast<plain::PadMode>(node.integer("mode")), static_cast<float>(node.number("value")));
        add_loop({x, y}, [padding](float* const* t) { plain::pad(padding, t[0], t[1]); });
        define(node.output, y);
    }

    void lower_reshape(const Node& node) {
        define(node.output, view(plain(node.inputs[0]), row_major(dims_of(node.output))));
    }

    void lower_transpose(const Node& node) {
        const Tensor x = plain(node.inputs[0]), y = make(row_major(dims_of(node.output)));
        add_loop({x, y}, [walk = plain::transposed(shape(node.inputs[0]), node.ints("permutation"))](
                             float* const* t) { plain::transpose(walk, t[0], t[1]); });
        define(node.output, y);
    }

    void lower_concat(const Node& node) {
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
        const Tensor y = make(blocked ? memory::desc(dims_of(node.output), f32, blocked_)
                                      : row_major(dims_of(node.output)));
        tensors.push_back(y);
        add_loop(std::move(tensors),
                 [concat](float* const* t) { plain::concat(concat, t, t[concat.chunk.size()]); });
        define(node.output, y);
    }

    void lower_activate_grad(const Node& node) {
        // Padding of a blocked layout holds zeros on both sides, and every derivative times 0 is 0 there.
        const Tensor x = first_form(node.inputs[0]), t = as(node.inputs[1], x.desc), y = make(x.desc);
        add_loop({x, t, y}, [f = node.activation, n = stored_elements(x.desc)](float* const* a) {
            plain::activate_grad(f, a[0], a[1], a[2], n);
        });
        define(node.output, y);
    }

    void lower_group_norm_grad(const Node& node) {
        const Tensor y = make(row_major(dims_of(node.output)));
        const int64_t groups = node.integer("groups");
        add_loop({plain(node.inputs[0]), plain(node.inputs[1]), y},
                 [groups, per_group = graph_.values[node.output].elements() / groups,
                  epsilon = node.number("epsilon")](float* const* t) {
                     plain::group_norm_grad(groups, per_group, epsilon, t[0], t[1], t[2]);
                 });
        define(node.output, y);
    }

    void lower_max_pool_grad(const Node& node) {
        const bool adjoint = node.op == "maxPoolAdjoint";
        const plain::Pool pool =
            pool_of(node, shape(node.inputs[0]), shape(adjoint ? node.inputs[1] : node.output), 1);
        const Tensor y = make(row_major(dims_of(node.output)));
        const auto run = adjoint ? plain::max_pool_adjoint : plain::max_pool_grad;
        add_loop({plain(node.inputs[0]), plain(node.inputs[1]), y},
                 [run, pool](float* const* t) { run(pool, t[0], t[1], t[2]); });
        define(node.output, y);
    }

    void lower(const Node& node) {
        using Method = void (Compiler::*)(const Node&);
        static const std::map<std::string, Method> methods = {
            {"linear", &Compiler::lower_linear},
            {"matmul", &Compiler::lower_matmul},
            {"add", &Compiler::lower_arithmetic},
            {"sub", &Compiler::lower_arithmetic},
            {"mul", &Compiler::lower_arithmetic},
            {"div", &Compiler::lower_arithmetic},
            {"activate", &Compiler::lower_activate},
            {"groupNorm", &Compiler::lower_group_norm},
            {"resizeNearest", &Compiler::lower_resize},
            {"maxPool", &Compiler::lower_pool},
            {"averagePool", &Compiler::lower_pool},
            {"reduceMean", &Compiler::lower_reduce_mean},
            {"pad", &Compiler::lower_pad},
            {"reshape", &Compiler::lower_reshape},
            {"transpose", &Compiler::lower_transpose},
            {"concat", &Compiler::lower_concat},
            {"activateGrad", &Compiler::lower_activate_grad},
            {"groupNormGrad", &Compiler::lower_group_norm_grad},
            {"maxPoolGrad", &Compiler::lower_max_pool_grad},
            {"maxPoolAdjoint", &Compiler::lower_max_pool_grad},
        };
        if (node.op == "conv")
            return lower_convolution<dnnl::convolution_forward>(node, false);
        if (node.op == "convTranspose")
            return overhangs(node) ? lower_overhanging(node)
                                   : lower_convolution<dnnl::deconvolution_forward>(node, true);
        const auto method = methods.find(node.op);
        if (method == methods.end())
            fail(node_name_, "is not an operator of this build");
        (this->*method->second)(node);
    }

    const Graph& graph_;
    Program program_;
    dnnl::stream stream_;
    // Per value: the layouts it exists in so far.
    std::vector<std::vector<Tensor>> forms_;
    // Per value: the last node that reads it.
    std::vector<int> last_use_;
    // Per buffer that holds a value: the last node that reads any value in it.
    std::map<int, int> needed_until_;
    // The node that is being compiled.
    int node_ = -1;
    std::string node_name_;
    // The layout of channels in blocks of a register's width, where this processor has one.
    Tag blocked_ = Tag::any;
    int64_t block_ = 0;
};

} // namespace

std::shared_ptr<Plan> compile_onednn(const Graph& graph, Isa) {
    graph.validate();
    const OneThread alone;
    PlanInfo info;
    info.layout = Layout::onednn;
    info.isa = effective_isa();
    info.tile_rows = 1;
    info.input_elements = graph.values[graph.input].elements();
    info.output_elements = graph.values[graph.output].elements();
    info.flops_per_row = graph.nominal_flops();
    try {
        return finish(Compiler(graph).compile(), std::move(info));
    } catch (const dnnl::error& error) {
        fail("plan", error.what());
    }
}

} // namespace latdyn
