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
#include "onednn_compiler.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace latdyn::onednn {

std::string describe(const Node& node) {
    return "node \"" + node.name + "\" (" + node.op + ")";
}

Compiler::Compiler(const Graph& graph, Isa isa)
    : graph_(graph), kernels_(row::kernels_of(isa)), stream_(program_.engine), forms_(graph.values.size()),
      last_use_(graph.values.size(), -1), readers_(graph.values.size()) {
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

Program Compiler::compile() {
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

Dims Compiler::dims_of(int value) const {
    Dims dims{1};
    dims.insert(dims.end(), shape(value).begin(), shape(value).end());
    return dims;
}

void Compiler::define(int value, const Tensor& tensor) {
    forms_[value].push_back(tensor);
    int& until = needed_until_[tensor.buffer];
    until = std::max(until, last_use_[value]);
}

bool Compiler::is_constant(const Tensor& tensor) const {
    return program_.buffers[tensor.buffer].constant != nullptr;
}

Tensor Compiler::first_form(int value) {
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

std::vector<int64_t> Compiler::dense_strides(const std::vector<int64_t>& shape) {
    std::vector<int64_t> strides(shape.size());
    int64_t step = 1;
    for (size_t i = shape.size(); i-- > 0; step *= shape[i])
        strides[i] = step;
    return strides;
}

void Compiler::define_view(int value, Strided view) {
    int& until = needed_until_[view.base.buffer];
    until = std::max(until, last_use_[value]);
    views_[value] = std::move(view);
}

Strided Compiler::strided(int value) {
    const auto found = views_.find(value);
    if (found != views_.end())
        return found->second;
    return {plain(value), 0, dense_strides(shape(value))};
}

Strided Compiler::side_by_side(int value) {
    const Strided view = strided(value);
    if (shape(value).back() == 1 || view.stride.back() == 1)
        return view;
    return {plain(value), 0, dense_strides(shape(value))};
}

void Compiler::gather_elements(int value) {
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

std::optional<std::vector<int64_t>> Compiler::reshaped(const std::vector<int64_t>& from,
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

Tensor Compiler::as(int value, const memory::desc& desc) {
    const Tensor first = first_form(value);
    for (const Tensor& form : forms_[value])
        if (form.desc == desc)
            return form;
    const Tensor tensor = reordered(first, desc);
    define(value, tensor);
    return tensor;
}

Tensor Compiler::reordered(const Tensor& from, const memory::desc& desc) {
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

void Compiler::add_loop(std::vector<Tensor> tensors, std::function<void(float* const*)> loop) {
    Step step;
    step.node = node_name_;
    step.tensors = std::move(tensors);
    step.loop = std::move(loop);
    program_.add_step(std::move(step));
}

void Compiler::add_primitive(dnnl::primitive primitive, std::vector<std::pair<int, Tensor>> arguments,
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

void Compiler::add_copy(const Tensor& from, const Tensor& to) {
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

bool Compiler::is_free(const Tensor& tensor) const {
    const Buffer& buffer = program_.buffers[tensor.buffer];
    const auto until = needed_until_.find(tensor.buffer);
    return !buffer.constant && !buffer.pinned && until != needed_until_.end() && until->second <= node_;
}

void Compiler::lower(const Node& node) {
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

} // namespace latdyn::onednn

namespace latdyn {

const row::Kernels& row::kernels_of([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
    if (isa == Isa::avx512)
        return avx512_kernels;
    if (isa == Isa::avx2)
        return avx2_kernels;
#endif
    return portable_kernels;
}

using namespace onednn;

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
