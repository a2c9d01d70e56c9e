// How a value of the graph lies in a block: [positions][channels]. Three axes are [C, H, W] and lie
// channels-last; of all others the last axis is the channels.
#pragma once

#include <cstdint>
#include <vector>

namespace latdyn::cuda::fused {

struct View {
    int32_t positions = 1, channels = 1;
    bool planar = false;

    explicit View(const std::vector<int64_t>& shape) : planar(shape.size() == 3) {
        if (shape.empty())
            return;
        channels = static_cast<int32_t>(planar ? shape.front() : shape.back());
        for (size_t i = planar ? 1 : 0; i + (planar ? 0 : 1) < shape.size(); i++)
            positions *= static_cast<int32_t>(shape[i]);
    }

    // Of element (position, channel) in the row-major order of the graph, and back.
    int64_t flat(int64_t position, int64_t channel) const {
        return planar ? channel * positions + position : position * channels + channel;
    }
    int64_t position(int64_t flat) const { return planar ? flat % positions : flat / channels; }
    int64_t channel(int64_t flat) const { return planar ? flat / positions : flat % channels; }
};

} // namespace latdyn::cuda::fused
