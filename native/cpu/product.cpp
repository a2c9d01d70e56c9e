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

void pack_group(const float* const* rows, const double* scales, int64_t count, int64_t k, float* group,
                int64_t width) {
    // So many elements of all lanes are written while they are in L1: 4 KiB at the widest.
    constexpr int64_t stretch = 32;
    for (int64_t begin = 0; begin < k; begin += stretch) {
        const int64_t end = std::min(k, begin + stretch);
        for (int64_t m = 0; m < count; m++)
            for (int64_t l = begin; l < end; l++)
                group[l * width + m] = static_cast<float>(rows[m][l] * scales[m]);
        for (int64_t m = count; m < width; m++)
            for (int64_t l = begin; l < end; l++)
                group[l * width + m] = 0;
    }
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
