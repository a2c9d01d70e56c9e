// Where the buffers of a plan lie in its arena.
#pragma once

#include <cstdint>
#include <vector>

namespace latdyn {

// A buffer and the steps between which its contents count, both included; one that no step touches has
// last < first.
struct Life {
    int64_t size = 0;
    int first = 1 << 30, last = -1;
    int64_t offset = 0;

    // A step touches it.
    void touch(int step) {
        first = step < first ? step : first;
        last = step > last ? step : last;
    }
};

// First fit over lifetimes, largest buffers first: sets the offsets of those that live and gives the size of
// the arena. Offsets are sums of sizes, so they keep what alignment those have.
int64_t place_by_lifetime(std::vector<Life>& lives);

} // namespace latdyn
