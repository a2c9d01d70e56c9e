#include "bounds.h"

#include "filled.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace latdyn::cuda {

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

// As in DistanceBounds; four times for both ends of the bound and what float rounds.
double tiny_of(int64_t columns) {
    return 4 * static_cast<double>(columns) * 0x1p-80;
}

template <class Element> Buffer<Element> uploaded(const std::vector<Element>& from) {
    return Buffer<Element>(std::span<const Element>(from));
}

BoundedSide unit_side(const DeviceRows& rows) {
    BoundedSide side;
    side.count = rows.count;
    const Buffer<double> scales = unit_scales(rows);
    side.packed = Buffer<float>(packed_size(rows.count, rows.columns));
    pack(rows.data.get(), rows.columns, nullptr, rows.count, {nullptr, scales.get(), 1}, side.packed.get());
    side.bounds = cosine_rows(rows.count, rows.columns);
    side.best = uploaded(open_best(rows.count, [&](int64_t i) { return rows.host_squares[i] > 0; }));
    return side;
}

} // namespace

Buffer<RowBounds> cosine_rows(int64_t count, int64_t columns) {
    return filled(count, RowBounds{0, static_cast<float>(tf32_cosine_error(columns)), 0, 0});
}

std::vector<uint32_t> open_best(int64_t count, const std::function<bool(int64_t)>& open) {
    std::vector<uint32_t> best;
    for (int64_t i = 0; i < count; i++)
        best.push_back(ordered_of(open(i) ? infinity : -infinity));
    return best;
}

std::vector<RowBounds> distance_rows(const DistanceBounds& bounds, int64_t columns,
                                     const std::vector<double>& squares) {
    std::vector<RowBounds> rows;
    for (double square : squares) {
        const BoundRow row = bounds.row(square);
        rows.push_back(std::isfinite(square) ? RowBounds{row.square, row.error, bounds.length(square),
                                                         static_cast<float>(tiny_of(columns))}
                                             : RowBounds{0, 0, 0, 0});
    }
    return rows;
}

Bounded bounded_cosines(const DeviceRows& left, const DeviceRows& right) {
    return {unit_side(left), unit_side(right)};
}

Bounded bounded_distances(const DeviceRows& left, const DeviceRows& right, Centre moved_by) {
    const int64_t columns = left.columns;
    const DeviceRows* rows[2] = {&left, &right};
    const bool normalise = moved_by == Centre::none;
    Buffer<float> centre;
    std::vector<double> squares[2];
    Buffer<double> scales[2];
    if (!normalise)
        centre = centre_of(moved_by == Centre::of_both ? &left : nullptr, &right);
    double longest = 0;
    for (int i = 0; i < 2; i++) {
        if (normalise) {
            scales[i] = unit_scales(*rows[i]);
            for (double square : rows[i]->host_squares)
                squares[i].push_back(square > 0 ? 1 : 0);
        } else {
            squares[i] = centred_squares(*rows[i], centre.get());
            std::vector<double> there;
            for (double square : squares[i])
                there.push_back(std::isfinite(square) ? 1 : 0);
            scales[i] = uploaded(there);
        }
        for (double square : squares[i])
            longest = std::isfinite(square) ? std::max(longest, square) : longest;
    }
    const double gamma = tf32_product_error(columns);
    const DistanceBounds bounds(columns, gamma, longest);

    Bounded out;
    out.scale = bounds.scale();
    out.gamma = gamma;
    out.tiny = tiny_of(columns);
    BoundedSide* sides[2] = {&out.left, &out.right};
    for (int i = 0; i < 2; i++) {
        BoundedSide& side = *sides[i];
        side.count = rows[i]->count;
        side.bounds = uploaded(distance_rows(bounds, columns, squares[i]));
        side.best = uploaded(open_best(side.count, [&](int64_t j) { return std::isfinite(squares[i][j]); }));
        side.packed = Buffer<float>(packed_size(side.count, columns));
        pack(rows[i]->data.get(), columns, nullptr, side.count,
             {centre.get(), scales[i].get(), bounds.scale()}, side.packed.get());
    }
    for (double square : squares[0])
        out.left_lengths.push_back(std::sqrt(square) * bounds.scale());
    return out;
}

} // namespace latdyn::cuda
