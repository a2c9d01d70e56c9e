// Instruction sets the kernels are built for, and what this processor has.
#pragma once

#include <stddef.h>

namespace latdyn {

enum class Isa { portable, avx2, avx512 };

Isa widest_isa();
bool isa_available(Isa isa);
const char* isa_name(Isa isa);
// Second-level cache of one core.
size_t l2_bytes();

} // namespace latdyn
