#include "product.h"

namespace latdyn {

const ProductKernels& product_kernels_of([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
    if (isa == Isa::avx512)
        return avx512_product_kernels;
    if (isa == Isa::avx2)
        return avx2_product_kernels;
#endif
    return portable_product_kernels;
}

void pack_row(const float* row, int64_t k, double scale, float* group, int64_t width, int64_t lane) {
    for (int64_t l = 0; l < k; l++)
        group[l * width + lane] = static_cast<float>(row[l] * scale);
}

double product_error(int64_t k) {
    const double n = static_cast<double>(product_depth(k)), u = 0x1p-24;
    return n * u / (1 - n * u);
}

double cosine_error(int64_t k) {
    const double n = static_cast<double>(product_depth(k)), u = 0x1p-24;
    return 1.01 * (n + 6) * u / (1 - n * u);
}

} // namespace latdyn
