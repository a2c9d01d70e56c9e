// Layouts of tensors: row-major, and oneDNN's blocks of channels.
#include "onednn_compiler.h"

#include <algorithm>

namespace latdyn::onednn {

memory::desc row_major(Dims dims) {
    if (dims.size() > DNNL_MAX_NDIMS) {
        int64_t n = 1;
        for (int64_t d : dims)
            n *= d;
        dims = {n};
    }
    Dims strides(dims.size());
    int64_t step = 1;
    for (size_t i = dims.size(); i-- > 0;) {
        strides[i] = step;
        step *= dims[i];
    }
    return {dims, f32, strides};
}

bool is_row_major(const memory::desc& desc) {
    return desc == row_major(desc.dims());
}

int64_t stored_elements(const memory::desc& desc) {
    return static_cast<int64_t>(desc.get_size() / sizeof(float));
}

bool has_padding(const memory::desc& desc) {
    return !std::equal(desc.data.dims, desc.data.dims + desc.data.ndims, desc.data.padded_dims);
}

int64_t channel_block(const memory::desc& desc) {
    const Dims dims = desc.dims();
    if (is_row_major(desc))
        return 1;
    if (dims.size() != 4 || has_padding(desc))
        return 0;
    for (const auto& [tag, block] :
         {std::pair{Tag::nChw16c, int64_t{16}}, {Tag::nChw8c, 8}, {Tag::nhwc, dims[1]}}) {
        if (desc == memory::desc(dims, f32, tag))
            return block;
    }
    return 0;
}

Isa effective_isa() {
    const auto has = [isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa())](dnnl::cpu_isa wanted) {
        return (isa & static_cast<unsigned>(wanted)) == static_cast<unsigned>(wanted);
    };
    if (has(dnnl::cpu_isa::avx512_core))
        return Isa::avx512;
    return has(dnnl::cpu_isa::avx2) ? Isa::avx2 : Isa::portable;
}

} // namespace latdyn::onednn
