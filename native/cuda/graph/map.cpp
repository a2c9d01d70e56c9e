#include "operators.h"

#include <bit>
#include <cstddef>

namespace latdyn::cuda {

Divisor divisor(int64_t value) {
    const int shift = std::bit_width(static_cast<uint64_t>(value - 1));
    const uint64_t power = uint64_t{1} << (31 + shift), d = static_cast<uint64_t>(value);
    return {static_cast<int32_t>(value), static_cast<uint32_t>((power + d - 1) / d), shift};
}

namespace {

// index is blocks of `extent` elements, each in steps of `stride`.
bool is_axis(const std::vector<int32_t>& index, std::size_t extent, int32_t stride) {
    for (std::size_t begin = 0; begin < index.size(); begin += extent)
        for (std::size_t i = 1; i < extent; i++)
            if (index[begin + i] != index[begin + i - 1] + stride)
                return false;
    return true;
}

} // namespace

bool as_axes(std::vector<int32_t> index, Map* map) {
    Map found;
    found.first = index[0];
    do {
        const std::size_t n = index.size();
        if (found.axes == max_axes)
            return false;
        const int32_t stride = n > 1 ? index[1] - index[0] : 0;
        std::size_t extent = n > 1 ? 2 : 1;
        while (extent < n && index[extent] == index[extent - 1] + stride)
            extent++;
        // The longest run that divides the list and holds throughout.
        while (n % extent != 0 || !is_axis(index, extent, stride))
            extent--;
        if (extent == 1 && n > 1)
            return false;
        found.extent[found.axes] = divisor(static_cast<int64_t>(extent));
        found.stride[found.axes++] = stride;
        for (std::size_t i = 0; i < n / extent; i++)
            index[i] = index[i * extent];
        index.resize(n / extent);
    } while (index.size() > 1);
    if (found.axes == 1 && found.first == 0 && found.stride[0] == 1)
        found.axes = 0;
    *map = found;
    return true;
}

} // namespace latdyn::cuda
