#include "iterate.h"
#include "run.h"

namespace latdyn::cuda::fused {

template void run<Precision::float32>(const Program&, const float*, float*, int64_t, const Launch&);
template void iterate<Precision::float32>(const Program&, const Residence&, int64_t, const Launch&);

} // namespace latdyn::cuda::fused
