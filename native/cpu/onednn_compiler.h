// Compiles a graph to oneDNN's primitives and kernels of our own: see onednn_plan.cpp for the idea, and the
// sources named after what they lower.
#pragma once

#include "onednn_program.h"
#include "plain_ops.h"
#include "row/kernels.h"

#include <map>
#include <optional>
#include <string_view>

namespace latdyn::onednn {

using dnnl::algorithm;
using dnnl::memory;
using dnnl::primitive_attr;
using dnnl::prop_kind;
using Dims = memory::dims;
using Tag = memory::format_tag;

constexpr auto f32 = memory::data_type::f32;

// --- Layouts (onednn_layouts.cpp) ---

// Row-major. oneDNN knows at most 12 axes; beyond that only our own loops see the tensor, and they need none.
memory::desc row_major(Dims dims);
bool is_row_major(const memory::desc& desc);
// Elements of memory, zero padding of blocked layouts included.
int64_t stored_elements(const memory::desc& desc);
bool has_padding(const memory::desc& desc);
// How many channels lie side by side in a [1, C, H, W] tensor without padding; 0 for any other layout.
int64_t channel_block(const memory::desc& desc);
// What oneDNN itself runs on.
Isa effective_isa();

// Elements of a row-major tensor that a value is made of: element i of axis a is stride[a]·i further.
struct Strided {
    Tensor base;
    int64_t offset = 0;
    std::vector<int64_t> stride;
};

// --- Primitives (onednn_convolutions.cpp) ---

// oneDNN's reference kernels are thousands of times slower than the others, its GEMM-based ones need
// row-major tensors and much scratch memory.
bool is_fast(std::string_view implementation);
// What a tensor gets as an activation or a residual on top of the bare product.
primitive_attr attributes(const Activation* activation, bool residual);

// A primitive of two tensors and a bias, and the layouts it asks for.
struct Product {
    dnnl::primitive primitive;
    memory::desc source, weights, bias, target, scratchpad;
    bool fused = false;
};
// One way of running a product: gives the primitive under attributes, or nothing where oneDNN has none.
using Way = std::function<std::optional<Product>(const primitive_attr&)>;

std::string describe(const Node& node);

class Compiler {
  public:
    Compiler(const Graph& graph, Isa isa);
    Program compile();

  private:
    // --- Tensors ---
    const std::vector<int64_t>& shape(int value) const { return graph_.values[value].shape; }
    // A row's shape with the minibatch of 1 that oneDNN wants in front.
    Dims dims_of(int value) const;
    Tensor make(const memory::desc& desc) { return {program_.add_buffer(desc.get_size()), desc}; }
    // A form of `value`; the first one is what its node computed.
    void define(int value, const Tensor& tensor);
    // The other end of a row-major tensor under other axes.
    static Tensor view(const Tensor& tensor, const memory::desc& desc) { return {tensor.buffer, desc}; }
    bool is_constant(const Tensor& tensor) const;
    // What the node computed, or the constant.
    Tensor first_form(int value);

    // --- Strides ---
    static std::vector<int64_t> dense_strides(const std::vector<int64_t>& shape);
    void define_view(int value, Strided view);
    // Where the value's elements are; a value that is nowhere yet, or in blocks only, becomes row-major.
    Strided strided(int value);
    // The same with the last axis side by side.
    Strided side_by_side(int value);
    // A view's elements one after another: the memory itself where they are that already.
    void gather_elements(int value);
    // Strides of the same elements under another shape, where there are such.
    static std::optional<std::vector<int64_t>> reshaped(const std::vector<int64_t>& from,
                                                        const std::vector<int64_t>& stride,
                                                        const std::vector<int64_t>& to);
    // `value` in a layout.
    Tensor as(int value, const memory::desc& desc);
    Tensor plain(int value) { return as(value, row_major(dims_of(value))); }
    // A copy in another layout: now, where it is a constant, else as a step.
    Tensor reordered(const Tensor& from, const memory::desc& desc);

    // --- Steps ---
    void add_loop(std::vector<Tensor> tensors, std::function<void(float* const*)> loop);
    void add_primitive(dnnl::primitive primitive, std::vector<std::pair<int, Tensor>> arguments,
                       const memory::desc& scratchpad);
    void add_copy(const Tensor& from, const Tensor& to);
    // Nobody reads the tensor's memory after this node: its result may go there.
    bool is_free(const Tensor& tensor) const;

    // --- Activations ---
    // f over x, in place where x is `target`. The result may come in another layout.
    Tensor activated(Tensor x, const Activation& f, bool in_place);
    // f(0) == 0: the function may run over the zero padding of a blocked layout.
    bool keeps_zero(const Activation& f) const;

    // --- Convolutions ---
    // A way from what makes oneDNN's descriptor; `accept` judges by the name of the implementation.
    template <class Primitive, class Descriptor>
    Way way(Descriptor descriptor, std::function<bool(std::string_view)> accept);
    // The first way there is; with the node's residual and activation fused where oneDNN has that and keeps
    // NaN. `may_fuse` false: bare.
    Product choose(const Node& node, const std::vector<Way>& ways, bool may_fuse = true);
    // The product as a step; residual and activation follow it where they were not fused.
    void add_product(const Node& node, const Product& p, const Tensor& source, const Tensor& weights,
                     const std::optional<Tensor>& bias);
    // Residual and activation as steps of their own, then the node's value.
    void finish_product(const Node& node, Tensor y);
    std::optional<Tensor> bias_of(const Node& node, int64_t outputs);
    // What both kinds of convolution share: the weights as oneDNN numbers them, paddings, and the ways to
    // try.
    template <class Primitive> void lower_convolution(const Node& node, bool transposed);
    // oneDNN knows no output padding of a whole stride or more.
    static bool overhangs(const Node& node);
    void lower_overhanging(const Node& node);

    // --- Products: linear, matmul, attention ---
    // b [depth, columns], element (l, c) at b[l·row + c·column], packed now.
    Tensor packed(const float* b, int64_t row, int64_t column, int64_t depth, int64_t columns);
    Tensor scratch(int64_t floats) { return make(row_major({floats})); }
    void lower_linear(const Node& node);
    // Where matrix after matrix of `batch` begins in a value that broadcasts to it; its last two axes are the
    // matrix.
    std::vector<int64_t> matrix_offsets(const std::vector<int64_t>& extent, const Strided& view,
                                        const std::vector<int64_t>& batch) const;
    void lower_matmul(const Node& node);
    // The order of axes that the only reader of a value transposes it to, if it leaves the last one alone.
    std::optional<std::vector<int64_t>> wanted_order(int value) const;
    void lower_attention(const Node& node);

    // --- Arithmetic (onednn_elementwise.cpp) ---
    void lower_arithmetic(const Node& node);
    // In the layout of a; nothing where oneDNN has only its reference kernel for that.
    std::optional<Tensor> blocked_arithmetic(const Node& node, int a, int b);
    void lower_activate(const Node& node);

    // --- Everything else: loops and kernels of our own ---
    // The input as a [C, H, W] tensor whose blocks our loops can walk, or row-major.
    Tensor walkable(int value, const std::function<bool(int64_t)>& fits);
    // The layout of x for another shape.
    memory::desc like(const Tensor& x, int value) const;
    void lower_group_norm(const Node& node);
    // The last axes as rows of their own.
    void lower_layer_norm(const Node& node);
    // The last axis of a value, and how often it is there.
    int64_t last_axis(int value) const { return shape(value).back(); }
    int64_t rows_of(int value) const { return graph_.values[value].elements() / last_axis(value); }
    void lower_softmax(const Node& node);
    void lower_softmax_grad(const Node& node);
    void lower_top_k_mask(const Node& node);
    void lower_resize(const Node& node);
    // Windows of a tensor of shape s, `block` channels side by side.
    static plain::Pool pool_of(const Node& node, const std::vector<int64_t>& s,
                               const std::vector<int64_t>& out, int64_t block);
    void lower_pool(const Node& node);
    void lower_reduce_mean(const Node& node);
    void lower_pad(const Node& node);
    void lower_reshape(const Node& node);
    void lower_transpose(const Node& node);
    void lower_gather(const Node& node);
    void lower_scatter_add(const Node& node);
    void lower_concat(const Node& node);
    void lower_activate_grad(const Node& node);
    // groupNormGrad and layerNormGrad: groups are rows of consecutive elements.
    void lower_norm_grad(const Node& node);
    void lower_max_pool_grad(const Node& node);
    void lower(const Node& node);

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

} // namespace latdyn::onednn
