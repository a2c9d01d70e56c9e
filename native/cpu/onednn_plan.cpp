// oneDNN's layouts, one row at a time: compiles a graph to primitives and loops over one arena.
//
// Convolutions and deconvolutions are oneDNN primitives of minibatch 1 in the layout they run best in;
// products, attention, norms and element-wise functions are kernels of our own (row/kernels.h). The other
// operators follow the layout of their input where they can, so that a chain of convolutions has no reorders.
// A value may exist in several layouts; each is made once, when first asked for. Reshapes, transposes and
// slices are strides over the memory that is there, until somebody needs the elements side by side.
//
// NaN. Some of oneDNN's kernels compute ReLU and clip with the processor's max, which turns NaN into a
// number: a diverged row would look alive again. Whether a kernel does is not documented, differs between
// kernels and may change with the version, so each fused activation is tried on NaN when the plan is compiled
// (count_nan) and runs as a loop of our own where NaN gets lost. Max pooling is always our own for that
// reason.
//
// The instruction set of our own kernels is the caller's choice; oneDNN's is its own for the whole process.
#include "latdyn/error.h"
#include "onednn_program.h"
#include "plain_ops.h"
#include "row/kernels.h"

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
    Compiler(const Graph& graph, Isa isa)
        : graph_(graph), kernels_(row::kernels_of(isa)), stream_(program_.engine),
          forms_(graph.values.size()), last_use_(graph.values.size(), -1), readers_(graph.values.size()) {
        for (size_t i = 0; i < graph.nodes.size(); ++i) {
            for (int v : graph.nodes[i].inputs) {
                last_use_[v] = static_cast<int>(i);
                readers_[v].push_back(static_cast<int>(i));
            }
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
        if (forms_[value].empty() && views_.count(value))
            gather_elements(value);
        if (forms_[value].empty()) {
            const Value& v = graph_.values[value];
            const memory::desc desc = row_major(dims_of(value));
            const Tensor tensor{program_.add_constant(desc.get_size()), desc};
            std::copy(v.constant.begin(), v.constant.end(), program_.buffers[tensor.buffer].constant.get());
            define(value, tensor);
        }
        return forms_[value].front();
    }

    // --- Strides ---

    // Elements of a row-major tensor that a value is made of: element i of axis a is stride[a]·i further.
    struct Strided {
        Tensor base;
        int64_t offset = 0;
        std::vector<int64_t> stride;
    };

    static std::vector<int64_t> dense_strides(const std::vector<int64_t>& shape) {
        std::vector<int64_t> strides(shape.size());
        int64_t step = 1;
        for (size_t i = shape.size(); i-- > 0; step *= shape[i])
            strides[i] = step;
        return strides;
    }

    void define_view(int value, Strided view) {
        int& until = needed_until_[view.base.buffer];
        until = std::max(until, last_use_[value]);
        views_[value] = std::move(view);
    }

    // Where the value's elements are; a value that is nowhere yet, or in blocks only, becomes row-major.
    Strided strided(int value) {
        const auto found = views_.find(value);
        if (found != views_.end())
            return found->second;
        return {plain(value), 0, dense_strides(shape(value))};
    }
    // The same with the last axis side by side.
    Strided side_by_side(int value) {
        const Strided view = strided(value);
        if (shape(value).back() == 1 || view.stride.back() == 1)
            return view;
        return {plain(value), 0, dense_strides(shape(value))};
    }

    // A view's elements one after another: the memory itself where they are that already.
    void gather_elements(int value) {
        const Strided view = views_.at(value);
        const std::vector<int64_t>& extent = shape(value);
        const std::vector<int64_t> dense = dense_strides(extent);
        bool same = view.offset == 0 && !is_constant(view.base) &&
                    static_cast<size_t>(graph_.values[value].elements()) * sizeof(float) ==
                        program_.buffers[view.base.buffer].bytes;
        for (size_t i = 0; i < extent.size(); ++i)
            same = same && (extent[i] == 1 || view.stride[i] == dense[i]);
        const memory::desc desc = row_major(dims_of(value));
        if (same) {
            define(value, {view.base.buffer, desc});
            return;
        }
        const Tensor y = make(desc);
        add_loop({view.base, y}, [walk = plain::strided(extent, view.stride), offset = view.offset](
                                     float* const* t) { plain::transpose(walk, t[0] + offset, t[1]); });
        define(value, y);
    }

    // Strides of the same elements under another shape, where there are such.
    static std::optional<std::vector<int64_t>> reshaped(const std::vector<int64_t>& from,
                                                        const std::vector<int64_t>& stride,
                                                        const std::vector<int64_t>& to) {
        // Runs of axes that one stride walks through, as [elements, stride].
        std::vector<std::pair<int64_t, int64_t>> runs;
        for (size_t i = 0; i < from.size(); ++i) {
            if (from[i] == 1)
                continue;
            if (!runs.empty() && runs.back().second == stride[i] * from[i])
                runs.back() = {runs.back().first * from[i], stride[i]};
            else
                runs.emplace_back(from[i], stride[i]);
        }
        std::vector<int64_t> out(to.size(), 0);
        size_t axis = to.size();
        for (size_t r = runs.size(); r-- > 0;) {
            auto [left, step] = runs[r];
            while (left > 1) {
                if (axis == 0 || left % to[axis - 1] != 0)
                    return std::nullopt;
                --axis;
                out[axis] = step;
                left /= to[axis];
                step *= to[axis];
            }
        }
        return out;
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
        // The loop runs over the zero padding too, which must stay zero.
        if (has_padding(x.desc) && !keeps_zero(f)) {
            x = reordered(x, row_major(x.desc.dims()));
            in_place = !is_constant(x);
        }
        const Tensor y = in_place ? x : make(x.desc);
        add_loop({x, y}, [f, n = stored_elements(x.desc), kernel = kernels_.activate](float* const* t) {
            kernel({.x = t[0], .residual = nullptr, .out = t[1], .elements = n, .function = f});
        });
        return y;
    }

    // f(0) == 0: the function may run over the zero padding of a blocked layout.
    bool keeps_zero(const Activation& f) const {
        alignas(64) float zero[16] = {};
        kernels_.activate({.x = zero, .residual = nullptr, .out = zero, .elements = 1, .function = f});
        return zero[0] == 0;
    }

    // --- Convolutions ---

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
        may_fuse = may_fuse && (!activates || eltwise(node.activation));
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

    // Residual and activation as steps of their own, then the node's value.
    void finish_product(const Node& node, Tensor y) {
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

    // --- Products: linear, matmul, attention ---

    // b [depth, columns], element (l, c) at b[l·row + c·column], packed now.
    Tensor packed(const float* b, int64_t row, int64_t column, int64_t depth, int64_t columns) {
        const int64_t n = kernels_.packed_size(depth, columns);
        const Tensor panels{program_.add_constant(static_cast<size_t>(n) * sizeof(float)), row_major({n})};
        kernels_.pack(b, row, column, depth, columns, program_.buffers[panels.buffer].constant.get());
        return panels;
    }

    Tensor scratch(int64_t floats) { return make(row_major({floats})); }

    void lower_linear(const Node& node) {
        const Value& weights = graph_.values[node.inputs[1]];
        const int64_t columns = weights.shape[0], depth = weights.shape[1];
        row::Product p{};
        p.depth = depth;
        p.columns = columns;
        p.rows = graph_.values[node.inputs[0]].elements() / depth;
        p.activation = node.activation;
        p.out_row = p.residual_row = columns;
        Strided a = side_by_side(node.inputs[0]);
        const auto rows = reshaped(shape(node.inputs[0]), a.stride, {p.rows, depth});
        if (!rows)
            a = {plain(node.inputs[0]), 0, {}};
        p.a_row = rows && p.rows > 1 ? (*rows)[0] : depth;
        const Tensor y = make(row_major(dims_of(node.output)));
        std::vector<Tensor> tensors{a.base, packed(weights.constant.data(), 1, depth, depth, columns), y};
        const bool has_bias = node.inputs.size() == 3, has_residual = node.residual >= 0;
        if (has_bias)
            tensors.push_back(packed(graph_.values[node.inputs[2]].constant.data(), 0, 1, 1, columns));
        if (has_residual)
            tensors.push_back(plain(node.residual));
        add_loop(std::move(tensors),
                 [p, has_bias, has_residual, offset = a.offset, kernel = kernels_.product](float* const* t) {
                     row::Product call = p;
                     call.a = t[0] + offset;
                     call.panels = t[1];
                     call.out = t[2];
                     call.bias = has_bias ? t[3] : nullptr;
                     call.residual = has_residual ? t[has_bias ? 4 : 3] : nullptr;
                     kernel(call);
                 });
        define(node.output, y);
    }

    // Where matrix after matrix of `batch` begins in a value that broadcasts to it; its last two axes are the
    // matrix.
    std::vector<int64_t> matrix_offsets(const std::vector<int64_t>& extent, const Strided& view,
                                        const std::vector<int64_t>& batch) const {
        std::vector<int64_t> offsets{view.offset};
        for (size_t axis = 0; axis < batch.size(); ++axis) {
            const size_t missing = batch.size() + 2 - extent.size();
            const int64_t step =
                axis < missing || extent[axis - missing] == 1 ? 0 : view.stride[axis - missing];
            std::vector<int64_t> next;
            for (int64_t offset : offsets)
                for (int64_t i = 0; i < batch[axis]; ++i)
                    next.push_back(offset + i * step);
            offsets = std::move(next);
        }
        return offsets;
    }

    void lower_matmul(const Node& node) {
        const std::vector<int64_t>&as = shape(node.inputs[0]), &bs = shape(node.inputs[1]),
              &ys = shape(node.output);
        const std::vector<int64_t> batch(ys.begin(), ys.end() - 2);
        const Strided a = side_by_side(node.inputs[0]), b = strided(node.inputs[1]);
        row::Product p{};
        p.rows = ys[ys.size() - 2];
        p.columns = ys.back();
        p.depth = as.back();
        p.a_row = a.stride[as.size() - 2];
        p.out_row = p.columns;
        p.activation = node.activation;
        const int64_t b_row = b.stride[bs.size() - 2], b_column = b.stride.back();
        const Tensor y = make(row_major(dims_of(node.output)));
        add_loop({a.base, b.base, y, scratch(kernels_.packed_size(p.depth, p.columns))},
                 [p, b_row, b_column, a_at = matrix_offsets(as, a, batch),
                  b_at = matrix_offsets(bs, b, batch), &kernels = kernels_](float* const* t) {
                     row::Product call = p;
                     call.panels = t[3];
                     for (size_t i = 0; i < a_at.size(); ++i) {
                         if (i == 0 || b_at[i] != b_at[i - 1])
                             kernels.pack(t[1] + b_at[i], b_row, b_column, p.depth, p.columns, t[3]);
                         call.a = t[0] + a_at[i];
                         call.out = t[2] + static_cast<int64_t>(i) * p.rows * p.columns;
                         kernels.product(call);
                     }
                 });
        define(node.output, y);
    }

    // The order of axes that the only reader of a value transposes it to, if it leaves the last one alone.
    std::optional<std::vector<int64_t>> wanted_order(int value) const {
        if (readers_[value].size() != 1 || value == graph_.output)
            return std::nullopt;
        const Node& reader = graph_.nodes[readers_[value][0]];
        if (reader.op != "transpose")
            return std::nullopt;
        auto permutation = reader.ints("permutation");
        if (permutation.back() + 1 != static_cast<int64_t>(permutation.size()))
            return std::nullopt;
        return permutation;
    }

    void lower_attention(const Node& node) {
        const std::vector<int64_t>&qs = shape(node.inputs[0]), &ks = shape(node.inputs[1]),
              &vs = shape(node.inputs[2]), &ys = shape(node.output);
        const size_t rank = qs.size();
        const std::vector<int64_t> batch(qs.begin(), qs.end() - 2);
        const Strided q = side_by_side(node.inputs[0]), k = side_by_side(node.inputs[1]),
                      v = side_by_side(node.inputs[2]);
        // Heads are written where the transpose behind them wants them.
        Strided y{make(row_major({1, graph_.values[node.output].elements()})), 0, dense_strides(ys)};
        const auto order = wanted_order(node.output);
        if (order) {
            std::vector<int64_t> extent;
            for (int64_t axis : *order)
                extent.push_back(ys[axis]);
            const auto dense = dense_strides(extent);
            for (size_t i = 0; i < rank; ++i)
                y.stride[(*order)[i]] = dense[i];
        }
        row::Attention p{};
        p.targets = qs[rank - 2];
        p.sources = ks[rank - 2];
        p.depth = qs.back();
        p.width = vs.back();
        p.q_row = q.stride[rank - 2];
        p.k_row = k.stride[rank - 2];
        p.v_row = v.stride[rank - 2];
        p.out_row = y.stride[rank - 2];
        p.scale = static_cast<float>(node.number("scale"));
        std::vector<Tensor> tensors{q.base, k.base, v.base, y.base,
                                    scratch(kernels_.attention_scratch(p.sources, p.depth, p.width))};
        std::vector<int64_t> bias_at;
        if (node.inputs.size() == 4) {
            std::vector<int64_t> extent = shape(node.inputs[3]);
            extent.insert(extent.begin(), rank - extent.size(), 1);
            const Tensor bias = plain(node.inputs[3]);
            const Strided dense{bias, 0, dense_strides(extent)};
            p.bias_row = extent[rank - 2] > 1 ? dense.stride[rank - 2] : 0;
            p.bias_column = extent[rank - 1] > 1 ? 1 : 0;
            bias_at = matrix_offsets(extent, dense, batch);
            tensors.push_back(bias);
        }
        add_loop(std::move(tensors),
                 [p, bias_at, q_at = matrix_offsets(qs, q, batch), k_at = matrix_offsets(ks, k, batch),
                  v_at = matrix_offsets(vs, v, batch), y_at = matrix_offsets(ys, y, batch),
                  kernel = kernels_.attention](float* const* t) {
                     row::Attention call = p;
                     call.scratch = t[4];
                     for (size_t head = 0; head < q_at.size(); ++head) {
                         call.q = t[0] + q_at[head];
                         call.k = t[1] + k_at[head];
                         call.v = t[2] + v_at[head];
                         call.out = t[3] + y_at[head];
                         call.bias = bias_at.empty() ? nullptr : t[5] + bias_at[head];
                         kernel(call);
                     }
                 });
        if (order)
            define_view(node.output, y);
        else
            define(node.output, view(y.base, row_major(dims_of(node.output))));
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
        static const std::map<std::string, plain::Arithmetic> kinds = {
            {"add", plain::Arithmetic::add},
            {"sub", plain::Arithmetic::sub},
            {"mul", plain::Arithmetic::mul},
            {"div", plain::Arithmetic::div},
            {"greater", plain::Arithmetic::greater}};
        const Tensor y = make(row_major(dims_of(node.output)));
        add_loop({plain(a), plain(b), y},
                 [kind = kinds.at(node.op), axes = plain::broadcast(shape(a), shape(b), shape(node.output))](
                     float* const* t) { plain::arithmetic(kind, axes, t[0], t[1], t[2]); });
        define(node.output, activated(y, node.activation, true));
    }

    // In the layout of a; nothing where oneDNN has only its reference kernel for that.
    std::optional<Tensor> blocked_arithmetic(const Node& node, int a, int b) {
        if (node.op == "greater")
            return std::nullopt;
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
        const int64_t channels = shape(node.inputs[0])[0];
        const Tensor x = walkable(
            node.inputs[0], [this](int64_t block) { return block == 1 || block % kernels_.width == 0; });
        row::GroupNorm p{};
        p.channels = channels;
        p.points = graph_.values[node.inputs[0]].elements() / channels;
        p.block = channel_block(x.desc);
        p.groups = node.integer("groups");
        p.epsilon = node.number("epsilon");
        p.activation = node.activation;
        const Tensor y = is_free(x) ? x : make(x.desc);
        const Tensor moments = scratch(2 * channels * static_cast<int64_t>(sizeof(double) / sizeof(float)));
        add_loop({x, plain(node.inputs[1]), plain(node.inputs[2]), y, moments},
                 [p, kernel = kernels_.group_norm](float* const* t) {
                     row::GroupNorm call = p;
                     call.x = t[0];
                     call.scale = t[1];
                     call.bias = t[2];
                     call.out = t[3];
                     call.moments = reinterpret_cast<double*>(t[4]);
                     kernel(call);
                 });
        define(node.output, y);
    }

    // The last axes as rows of their own.
    void lower_layer_norm(const Node& node) {
        row::LayerNorm p{};
        p.size = graph_.values[node.inputs[1]].elements();
        p.rows = graph_.values[node.output].elements() / p.size;
        p.epsilon = node.number("epsilon");
        p.activation = node.activation;
        const Tensor y = make(row_major(dims_of(node.output)));
        add_loop({plain(node.inputs[0]), plain(node.inputs[1]), plain(node.inputs[2]), y},
                 [p, kernel = kernels_.layer_norm](float* const* t) {
                     row::LayerNorm call = p;
                     call.x = t[0];
                     call.scale = t[1];
                     call.bias = t[2];
                     call.out = t[3];
                     kernel(call);
                 });
        define(node.output, y);
    }

    // The last axis of a value, and how often it is there.
    int64_t last_axis(int value) const { return shape(value).back(); }
    int64_t rows_of(int value) const { return graph_.values[value].elements() / last_axis(value); }

    void lower_softmax(const Node& node) {
        const Tensor y = make(row_major(dims_of(node.output)));
        add_loop({plain(node.inputs[0]), y}, [rows = rows_of(node.output), size = last_axis(node.output),
                                              kernel = kernels_.softmax](float* const* t) {
            kernel({t[0], t[1], rows, size});
        });
        define(node.output, y);
    }

    void lower_softmax_grad(const Node& node) {
        const Tensor y = make(row_major(dims_of(node.output)));
        add_loop({plain(node.inputs[0]), plain(node.inputs[1]), y},
                 [rows = rows_of(node.output), size = last_axis(node.output),
                  kernel = kernels_.softmax_grad](float* const* t) {
                     kernel({t[0], t[1], t[2], rows, size});
                 });
        define(node.output, y);
    }

    void lower_top_k_mask(const Node& node) {
        const Tensor y = make(row_major(dims_of(node.output)));
        add_loop({plain(node.inputs[0]), y},
                 [rows = rows_of(node.output), size = last_axis(node.output), k = node.integer("k"),
                  kernel = kernels_.top_k_mask](float* const* t) {
                     kernel({t[0], t[1], rows, size, k});
                 });
        define(node.output, y);
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

    void lower_transpose(const Node& node) {
        const Strided x = strided(node.inputs[0]);
        Strided y{x.base, x.offset, {}};
        for (int64_t axis : node.ints("permutation"))
            y.stride.push_back(x.stride[axis]);
        define_view(node.output, std::move(y));
    }

    void lower_gather(const Node& node) {
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

    void lower_scatter_add(const Node& node) {
        const Tensor y = make(row_major(dims_of(node.output)));
        add_loop({plain(node.inputs[0]), y},
                 [picks = plain::picks(shape(node.output), node.integer("axis"), node.ints("indices"))](
                     float* const* t) { plain::scatter_add(picks, t[0], t[1]); });
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
        // A derivative may be infinite at the zeros of a blocked layout's padding.
        const Tensor first = first_form(node.inputs[0]);
        const Tensor x = has_padding(first.desc) ? plain(node.inputs[0]) : first;
        const Tensor t = as(node.inputs[1], x.desc), y = make(x.desc);
        add_loop({x, t, y}, [f = node.activation, n = stored_elements(x.desc),
                             kernel = kernels_.activate_grad](float* const* a) {
            kernel({.x = a[0], .t = a[1], .out = a[2], .elements = n, .function = f});
        });
        define(node.output, y);
    }

    // groupNormGrad and layerNormGrad: groups are rows of consecutive elements.
    void lower_norm_grad(const Node& node) {
        const std::vector<int64_t>& s = shape(node.output);
        int64_t rows = 1;
        if (node.op == "groupNormGrad")
            rows = node.integer("groups");
        else
            for (size_t i = 0; i + node.integer("dimensions") < s.size(); ++i)
                rows *= s[i];
        const Tensor y = make(row_major(dims_of(node.output)));
        add_loop({plain(node.inputs[0]), plain(node.inputs[1]), y},
                 [rows, size = graph_.values[node.output].elements() / rows, epsilon = node.number("epsilon"),
                  kernel = kernels_.norm_grad](float* const* t) {
                     kernel({t[0], t[1], t[2], rows, size, epsilon});
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
            {"greater", &Compiler::lower_arithmetic},
            {"attention", &Compiler::lower_attention},
            {"softmax", &Compiler::lower_softmax},
            {"topKMask", &Compiler::lower_top_k_mask},
            {"layerNorm", &Compiler::lower_layer_norm},
            {"gather", &Compiler::lower_gather},
            {"scatterAdd", &Compiler::lower_scatter_add},
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
            {"groupNormGrad", &Compiler::lower_norm_grad},
            {"layerNormGrad", &Compiler::lower_norm_grad},
            {"softmaxGrad", &Compiler::lower_softmax_grad},
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
    const row::Kernels& kernels_;
    Program program_;
    dnnl::stream stream_;
    // Per value: the layouts it exists in so far.
    std::vector<std::vector<Tensor>> forms_;
    // Values that are strides over another's memory.
    std::map<int, Strided> views_;
    // Per value: the last node that reads it, and all that take it as an input.
    std::vector<int> last_use_;
    std::vector<std::vector<int>> readers_;
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

const row::Kernels& row::kernels_of([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
    if (isa == Isa::avx512)
        return avx512_kernels;
    if (isa == Isa::avx2)
        return avx2_kernels;
#endif
    return portable_kernels;
}

std::shared_ptr<Plan> compile_onednn(const Graph& graph, Isa isa) {
    graph.validate();
    const OneThread alone;
    PlanInfo info;
    info.layout = Layout::onednn;
    info.isa = isa;
    info.tile_rows = 1;
    info.input_elements = graph.values[graph.input].elements();
    info.output_elements = graph.values[graph.output].elements();
    info.flops_per_row = graph.nominal_flops();
    try {
        return finish(Compiler(graph, isa).compile(), std::move(info));
    } catch (const dnnl::error& error) {
        fail("plan", error.what());
    }
}

} // namespace latdyn
