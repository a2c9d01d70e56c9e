// Every output element from a list of input elements: pools, means, sums of what was picked.
#include "lanes_compiler.h"
#include "latdyn/error.h"

#include <numeric>

namespace latdyn::lanes {

void Compiler::emit_reduce(const Node& node, const std::vector<Indices>& lists,
                           const std::vector<float>& scale) {
    const int64_t n = static_cast<int64_t>(lists.size());
    std::vector<int64_t> at(n);
    for (int64_t e = 0; e < n; e++)
        at[place(node.output, e)] = e;
    Indices begin{0}, members;
    std::vector<float> scales;
    for (int64_t p = 0; p < n; p++) {
        for (int32_t m : lists[at[p]])
            members.push_back(narrow(place(node.inputs[0], m)));
        begin.push_back(narrow(static_cast<int64_t>(members.size())));
        if (!scale.empty())
            scales.push_back(scale[at[p]]);
    }
    const int x = stored(node.inputs[0]);
    const int out = result(node);
    add_step({x}, out,
             [=, begin = std::move(begin), members = std::move(members), scales = std::move(scales),
              k = kernels.reduce](const Arena& a) {
                 k({a[x], a[out], begin.data(), members.data(), scales.empty() ? nullptr : scales.data(),
                    narrow(n), a.tile});
             });
}

Compiler::Windows Compiler::windows_of(const Node& node, const Shape& xs, const Shape& ys) {
    const auto kernel = node.ints("kernel"), strides = node.ints("strides"), pads = node.ints("pads"),
               dilations = node.ints("dilations");
    Windows windows;
    for (int64_t c = 0; c < ys[0]; c++)
        for (int64_t oh = 0; oh < ys[1]; oh++)
            for (int64_t ow = 0; ow < ys[2]; ow++) {
                Indices list;
                int64_t window = 0;
                for (int64_t kh = 0; kh < kernel[0]; kh++)
                    for (int64_t kw = 0; kw < kernel[1]; kw++) {
                        const int64_t h = oh * strides[0] - pads[0] + kh * dilations[0];
                        const int64_t w = ow * strides[1] - pads[1] + kw * dilations[1];
                        // ceil_mode lets a window hang over the padding too: that part is never counted.
                        if (h < xs[1] + pads[2] && w < xs[2] + pads[3])
                            window++;
                        if (h >= 0 && w >= 0 && h < xs[1] && w < xs[2])
                            list.push_back(narrow((c * xs[1] + h) * xs[2] + w));
                    }
                if (list.empty())
                    throw Error("node \"" + node.name + "\" (" + node.op + "): a window holds no element");
                windows.members.push_back(std::move(list));
                windows.padded.push_back(window);
            }
    return windows;
}

void Compiler::pool(const Node& node) {
    const Windows windows = windows_of(node, shape(node.inputs[0]), shape(node.output));
    const bool padded = node.integer("countIncludePad") != 0;
    std::vector<float> scale;
    if (node.op == "averagePool")
        for (size_t w = 0; w < windows.members.size(); w++)
            scale.push_back(1.0f / static_cast<float>(padded
                                                          ? windows.padded[w]
                                                          : static_cast<int64_t>(windows.members[w].size())));
    emit_reduce(node, windows.members, scale);
}

void Compiler::mean(const Node& node) {
    const Shape& xs = shape(node.inputs[0]);
    std::vector<bool> reduced(xs.size());
    for (int64_t axis : node.ints("axes"))
        reduced[axis] = true;
    const int64_t n = graph.values[node.inputs[0]].elements(), outs = graph.values[node.output].elements();
    std::vector<Indices> lists(outs);
    for (int64_t e = 0; e < n; e++) {
        int64_t rest = e, at = 0, stride = 1;
        for (size_t axis = xs.size(); axis-- > 0;) {
            if (!reduced[axis]) {
                at += (rest % xs[axis]) * stride;
                stride *= xs[axis];
            }
            rest /= xs[axis];
        }
        lists[at].push_back(narrow(e));
    }
    emit_reduce(node, lists, std::vector<float>(outs, static_cast<float>(outs) / static_cast<float>(n)));
}

void Compiler::scatter_add(const Node& node) {
    const Shape &us = shape(node.inputs[0]), &ys = shape(node.output);
    const int64_t axis = node.integer("axis"), n = graph.values[node.inputs[0]].elements();
    const auto indices = node.ints("indices");
    const int64_t inner = std::accumulate(us.begin() + axis + 1, us.end(), int64_t{1}, std::multiplies<>());
    std::vector<Indices> lists(graph.values[node.output].elements());
    for (int64_t e = 0; e < n; e++) {
        const int64_t outer = e / (us[axis] * inner), along = e / inner % us[axis];
        lists[(outer * ys[axis] + indices[along]) * inner + e % inner].push_back(narrow(e));
    }
    emit_reduce(node, lists, std::vector<float>(lists.size(), 1.0f));
}

void Compiler::max_pool_grad(const Node& node) {
    const bool adjoint = node.op == "maxPoolAdjoint";
    // The tensors that windows are taken of are read in one order, the other is the pooled one's.
    const int whole = adjoint ? node.output : node.inputs[0];
    const int pooled = adjoint ? node.inputs[1] : node.output;
    const Windows windows = windows_of(node, shape(whole), shape(pooled));
    Indices begin{0}, members, window;
    for (size_t w = 0; w < windows.members.size(); w++) {
        for (int32_t m : windows.members[w])
            members.push_back(narrow(place(whole, m)));
        begin.push_back(narrow(static_cast<int64_t>(members.size())));
        window.push_back(narrow(place(pooled, static_cast<int64_t>(w))));
    }
    const int x = stored(node.inputs[0], orders[whole]);
    const int t = stored(node.inputs[1], orders[adjoint ? pooled : whole]);
    const int out = result(node);
    add_step({x, t}, out,
             [=, begin = std::move(begin), members = std::move(members), window = std::move(window),
              elements = narrow(graph.values[node.output].elements()),
              k = adjoint ? kernels.max_pool_adjoint : kernels.max_pool_grad](const Arena& a) {
                 k({a[x], a[t], a[out], begin.data(), members.data(), window.data(),
                    narrow(static_cast<int64_t>(window.size())), elements, a.tile});
             });
}

} // namespace latdyn::lanes
