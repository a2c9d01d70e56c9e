// Movement: orders, shapes, transposition, padding, resizing, picking, concatenation.
#include "compiler.h"

#include <algorithm>
#include <numeric>
#include <tuple>

namespace latdyn::cuda::graphs {

void Compiler::emit_move(int from, int out, Indices index, const Indices& to, float value) {
    Move p{};
    p.from = operand(from);
    p.from.map = map_of(index);
    p.to = to.empty() ? Map{} : map_of(to);
    p.out_row = plan->storages[out].elements;
    p.value = value;
    p.elements = narrow(static_cast<int64_t>(index.size()));
    if (const auto turned = as_transpose(p, from, out)) {
        add_step({from, out}, [=](const Run& run) {
            Transpose q = *turned;
            q.x = run[from];
            q.out = run[out];
            q.matrices *= run.rows;
            transpose(q);
        });
        return;
    }
    add_step({from, out}, [=](const Run& run) {
        Move q = p;
        q.from.data = run[from];
        q.out = run[out];
        q.rows = run.rows;
        move(q);
    });
}

std::optional<Transpose> Compiler::as_transpose(const Move& p, int from, int out) const {
    constexpr int32_t least = 8;
    const Map& m = p.from.map;
    const bool whole = row_of(from) == p.elements && plan->storages[out].elements == p.elements &&
                       p.to.axes == 0 && !p.to.list && !m.list && m.first == 0;
    if (!whole || m.axes < 2 || m.axes > 3)
        return std::nullopt;
    const int32_t height = m.extent[0].value, width = m.extent[1].value;
    const bool turns =
        m.stride[0] == width && m.stride[1] == 1 && (m.axes == 2 || m.stride[2] == height * width);
    if (!turns || height < least || width < least)
        return std::nullopt;
    return Transpose{nullptr, nullptr, m.axes == 3 ? m.extent[2].value : 1, height, width};
}

// Row-major elements keep their place: the same memory, once somebody asks for it.
void Compiler::reshape(const Node& node) {
    shape_of[node.output] = node.inputs[0];
}

void Compiler::concat(const Node& node) {
    const Shape& ys = shape(node.output);
    const int64_t axis = node.integer("axis");
    const int64_t after = std::accumulate(ys.begin() + axis + 1, ys.end(), int64_t{1}, std::multiplies<>());
    std::vector<int> sources;
    for (int value : node.inputs)
        sources.push_back(stored(value));
    const int out = result(node);
    int64_t start = 0;
    for (size_t i = 0; i < node.inputs.size(); i++) {
        const int value = node.inputs[i];
        const int64_t n = elements(value), extent = shape(value)[axis];
        // In the order of the result.
        std::vector<std::pair<int32_t, int32_t>> places(n);
        for (int64_t e = 0; e < n; e++) {
            const int64_t outer = e / (extent * after), along = e / after % extent, inner = e % after;
            places[e] = {narrow(place_in(node.output, (outer * ys[axis] + start + along) * after + inner)),
                         narrow(place_in(value, e))};
        }
        std::sort(places.begin(), places.end());
        Indices from(n), to(n);
        for (int64_t e = 0; e < n; e++)
            std::tie(to[e], from[e]) = places[e];
        emit_move(sources[i], out, std::move(from), to);
        start += extent;
    }
}

void Compiler::movement(const Node& node) {
    const Indices sources = movement_index(node, shape(node.inputs[0]), shape(node.output));
    Indices index(sources.size());
    for (size_t e = 0; e < sources.size(); e++)
        index[place_in(node.output, static_cast<int64_t>(e))] =
            sources[e] < 0 ? -1 : narrow(place_in(node.inputs[0], sources[e]));
    const int from = stored(node.inputs[0]);
    const float value = node.op == "pad" ? static_cast<float>(node.number("value")) : 0.0f;
    emit_move(from, result(node), std::move(index), {}, value);
}

void Compiler::scatter_add(const Node& node) {
    const Shape &us = shape(node.inputs[0]), &ys = shape(node.output);
    const int64_t axis = node.integer("axis");
    const auto indices = node.ints("indices");
    std::vector<Indices> picks(ys[axis]);
    for (size_t i = 0; i < indices.size(); i++)
        picks[indices[i]].push_back(narrow(static_cast<int64_t>(i)));
    Indices begin{0}, members;
    for (const Indices& list : picks) {
        members.insert(members.end(), list.begin(), list.end());
        begin.push_back(narrow(static_cast<int64_t>(members.size())));
    }
    const auto product = [](auto first, auto last) {
        return narrow(std::accumulate(first, last, int64_t{1}, std::multiplies<>()));
    };
    const int u = stored(node.inputs[0], Order::row_major), out = result(node);
    ScatterAdd p{};
    p.u = operand(u);
    p.begin = upload_list(begin);
    p.members = upload_list(members);
    p.outer = product(us.begin(), us.begin() + axis);
    p.picks = narrow(us[axis]);
    p.size = narrow(ys[axis]);
    p.inner = product(us.begin() + axis + 1, us.end());
    add_step({u, out}, [=](const Run& run) {
        ScatterAdd q = p;
        q.u.data = run[u];
        q.out = run[out];
        q.rows = run.rows;
        cuda::scatter_add(q);
    });
}

} // namespace latdyn::cuda::graphs
