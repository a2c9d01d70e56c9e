// oneDNN offers a product twice: as BLAS' sgemm on row-major matrices, and as a primitive that may keep the
// right matrix in a layout of its own. Neither is always the faster one, and the limit is what the better
// does.
#include "latdyn/measure.h"

#include "latdyn/error.h"
#include "memory.h"

#include <dnnl.hpp>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <string>

namespace latdyn {

namespace {

// oneDNN's threads are those that OpenMP gives the caller.
class Threads {
  public:
    explicit Threads(int threads) : before_(omp_get_max_threads()) { omp_set_num_threads(threads); }
    ~Threads() { omp_set_num_threads(before_); }
    Threads(const Threads&) = delete;
    Threads& operator=(const Threads&) = delete;

  private:
    int before_;
};

// Seconds of the best run.
template <class Run> double best_of(int repeats, Run run) {
    run();
    double best = std::numeric_limits<double>::infinity();
    for (int i = 0; i < repeats; ++i) {
        const auto start = std::chrono::steady_clock::now();
        run();
        best =
            std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return best;
}

void check_positive(const char* name, int value) {
    if (value < 1)
        throw Error(std::string("measure_gemm: ") + name + " is " + std::to_string(value) +
                    ", expected at least 1");
}

} // namespace

double measure_gemm(int size, int threads, int repeats) {
    check_positive("size", size);
    check_positive("threads", threads);
    check_positive("repeats", repeats);
    if (size > 16384)
        throw Error("measure_gemm: size is " + std::to_string(size) + ", expected at most 16384");
    const Threads scope(threads);
    const int64_t n = size;
    const size_t elements = static_cast<size_t>(n) * static_cast<size_t>(n);
    const AlignedFloats a = aligned_floats(elements), b = aligned_floats(elements),
                        c = aligned_floats(elements);
    // Neither zeros, which some processors multiply with less power and so at a higher clock, nor subnormals.
    for (size_t i = 0; i < elements; ++i) {
        a[i] = static_cast<float>(i % 17) / 17 - 0.5f;
        b[i] = static_cast<float>(i % 13) / 13 - 0.5f;
    }
    try {
        const double sgemm = best_of(repeats, [&] {
            const dnnl_status_t status =
                dnnl_sgemm('N', 'N', n, n, n, 1.0f, a.get(), n, b.get(), n, 0.0f, c.get(), n);
            if (status != dnnl_success)
                throw Error("measure_gemm: oneDNN's sgemm failed");
        });
        using dnnl::memory;
        const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
        dnnl::stream stream(engine);
        const memory::desc plain({n, n}, memory::data_type::f32, memory::format_tag::ab);
        const memory::desc any({n, n}, memory::data_type::f32, memory::format_tag::any);
        const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(plain, any, plain), engine);
        const dnnl::matmul matmul(description);
        memory left(plain, engine, a.get()), right(plain, engine, b.get()), product(plain, engine, c.get());
        memory packed(description.weights_desc(), engine);
        dnnl::reorder(right, packed).execute(stream, right, packed);
        const double primitive = best_of(repeats, [&] {
            matmul.execute(stream,
                           {{DNNL_ARG_SRC, left}, {DNNL_ARG_WEIGHTS, packed}, {DNNL_ARG_DST, product}});
            stream.wait();
        });
        return 2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n) /
               std::min(sgemm, primitive) / 1e9;
    } catch (const dnnl::error& error) {
        throw Error(std::string("measure_gemm: oneDNN: ") + error.what());
    }
}

} // namespace latdyn
