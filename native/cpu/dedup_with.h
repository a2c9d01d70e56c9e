// dedup() on the kernels of a given instruction set, which the processor must have. The result is the same on
// all of them; the tests ask each.
#pragma once

#include "latdyn/dedup.h"
#include "latdyn/isa.h"

namespace latdyn {

DedupResult dedup_with(Isa isa, const float* points, int64_t rows, int64_t columns,
                       const DedupOptions& options, const std::atomic<bool>* abort,
                       std::atomic<int64_t>* finished = nullptr);

} // namespace latdyn
