#include "lifetimes.h"

#include <algorithm>
#include <array>

namespace latdyn {

int64_t place_by_lifetime(std::vector<Life>& lives) {
    std::vector<Life*> by_size;
    for (Life& life : lives)
        if (life.first <= life.last)
            by_size.push_back(&life);
    std::stable_sort(by_size.begin(), by_size.end(),
                     [](const Life* a, const Life* b) { return a->size > b->size; });
    std::vector<const Life*> placed;
    int64_t total = 0;
    for (Life* life : by_size) {
        std::vector<std::array<int64_t, 2>> taken;
        for (const Life* other : placed)
            if (other->first <= life->last && life->first <= other->last)
                taken.push_back({other->offset, other->offset + other->size});
        std::sort(taken.begin(), taken.end());
        int64_t at = 0;
        for (const auto& [begin, end] : taken)
            if (begin - at >= life->size)
                break;
            else
                at = std::max(at, end);
        life->offset = at;
        total = std::max(total, at + life->size);
        placed.push_back(life);
    }
    return total;
}

} // namespace latdyn
