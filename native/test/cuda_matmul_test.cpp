// Products of two activations on a device against a plain loop in double.
#include "points.h"
#include "product_reference.h"

#include <string>

using namespace latdyn;
using namespace latdyn::test;
using cuda::Matmul;
using cuda::MatmulShape;

namespace {

std::vector<float> run(const MatmulShape& shape, const Activation& activation, Precision precision,
                       const std::vector<float>& a, const std::vector<float>& b, int64_t rows) {
    const Matmul matmul(shape, activation, precision);
    const cuda::Buffer<float> left{std::span<const float>(a)}, right{std::span<const float>(b)};
    const cuda::Buffer<float> to(rows * static_cast<int64_t>(shape.a_offset.size()) * shape.m * shape.n);
    matmul.run(left.get(), right.get(), to.get(), rows);
    return to.read();
}

std::vector<Expected> plain(const MatmulShape& s, Precision precision, const std::vector<float>& a,
                            const std::vector<float>& b, int64_t rows) {
    std::vector<Expected> y;
    for (int64_t row = 0; row < rows; row++)
        for (size_t product = 0; product < s.a_offset.size(); product++)
            for (int64_t i = 0; i < s.m; i++)
                for (int64_t j = 0; j < s.n; j++) {
                    Expected one;
                    for (int64_t k = 0; k < s.inner; k++)
                        one.add(rounded(precision, a[row * s.a_row + s.a_offset[product] + i * s.inner + k]) *
                                rounded(precision, b[row * s.b_row + s.b_offset[product] + k * s.n + j]));
                    y.push_back(one);
                }
    return y;
}

// `heads` products of a row, one after the other; of every `share` of them b is the same.
MatmulShape heads(int64_t m, int64_t inner, int64_t n, int count, int share = 1) {
    MatmulShape s;
    s.m = m;
    s.n = n;
    s.inner = inner;
    s.a_row = count * m * inner;
    s.b_row = (count + share - 1) / share * inner * n;
    for (int i = 0; i < count; i++) {
        s.a_offset.push_back(static_cast<int32_t>(i * m * inner));
        s.b_offset.push_back(static_cast<int32_t>(i / share * inner * n));
    }
    return s;
}

// What a run reads: as far as the last row's last product.
int64_t floats_of(int64_t row, const std::vector<int32_t>& offsets, int64_t size, int64_t rows) {
    return row * (rows - 1) + *std::max_element(offsets.begin(), offsets.end()) + size;
}

void compare_matmul(const char* what, const MatmulShape& s, int64_t rows, uint64_t seed,
                    const Activation& activation = {}) {
    const std::vector<float> a = gaussian(1, floats_of(s.a_row, s.a_offset, s.m * s.inner, rows), seed).data;
    const std::vector<float> b =
        gaussian(1, floats_of(s.b_row, s.b_offset, s.inner * s.n, rows), seed + 1).data;
    const std::string text = std::string(what) + " [" + std::to_string(s.m) + ", " + std::to_string(s.inner) +
                             "]·[" + std::to_string(s.inner) + ", " + std::to_string(s.n) + "]";
    for (Precision precision : precisions)
        compare(text.c_str(), precision, activation, plain(s, precision, a, b, rows),
                run(s, activation, precision, a, b, rows));
}

void matmuls() {
    compare_matmul("queries and keys", heads(17, 32, 17, 3), 2, 50);
    compare_matmul("weights and values", heads(17, 17, 32, 3), 2, 51);
    compare_matmul("all by four", heads(20, 24, 36, 2), 3, 52, {ActivationKind::gelu});
    compare_matmul("one number", heads(1, 1, 1, 1), 1, 53);
    compare_matmul("a column", heads(5, 70, 1, 2), 2, 54);
    compare_matmul("a row", heads(1, 300, 70, 1), 4, 55);
    compare_matmul("several tiles", heads(150, 20, 130, 1), 1, 56);
    compare_matmul("shared", heads(6, 8, 12, 4, 2), 3, 57);
    MatmulShape s = heads(9, 12, 8, 2);
    s.b_row = 0;
    compare_matmul("a constant on the right", s, 3, 58);
    s = heads(9, 12, 8, 2);
    s.a_row = 0;
    compare_matmul("a constant on the left", s, 3, 59);
    for (uint64_t seed = 60; seed < (on_host ? 72 : 160); seed++) {
        const auto some = [&](uint64_t at, uint64_t most) {
            return static_cast<int64_t>(1 + pick(seed, at, most));
        };
        const int64_t width = some(4, 2) == 1 ? 4 : 1;
        compare_matmul("random",
                       heads(some(0, 40), width * some(1, 12), (some(5, 2) == 1 ? 4 : 1) * some(2, 12),
                             static_cast<int>(some(3, 3))),
                       some(6, 3), seed);
    }
    if (!on_host) {
        compare_matmul("large", heads(197, 64, 197, 12), 4, 200);
        compare_matmul("large", heads(197, 197, 64, 12), 4, 201);
    }
}

void bits() {
    const MatmulShape shape = heads(20, 33, 24, 2);
    const std::vector<float> a = gaussian(4, shape.a_row, 302).data, b = gaussian(4, shape.b_row, 303).data;
    for (Precision precision : precisions) {
        const std::vector<float> together = run(shape, {}, precision, a, b, 4);
        in_every_order([&](const char* order) {
            for (int64_t row : {0, 3})
                CHECK(same_bits(run(shape, {}, precision, part_of(a, shape.a_row, row),
                                    part_of(b, shape.b_row, row), 1),
                                part_of(together, 2 * 20 * 24, row)),
                      "%s: products of row %lld depend on others (%s)", name_of(precision),
                      static_cast<long long>(row), order);
        });
    }
}

void extremes() {
    for (Precision precision : precisions)
        for (float v : not_finite()) {
            const MatmulShape shape = heads(3, 5, 3, 1);
            std::vector<float> a(15, 1), b(15, 1);
            b[4] = v;
            const std::vector<float> product = run(shape, {}, precision, a, b, 1);
            for (int i = 0; i < 9; i++)
                CHECK(i % 3 == 1 ? (std::isnan(v) ? std::isnan(product[i]) : product[i] == v)
                                 : product[i] == 5,
                      "%s: %g became %g in a product", name_of(precision), v, product[i]);
        }
}

void abuse() {
    MatmulShape product = heads(1, 1, 1, 1);
    product.b_offset.clear();
    const std::string found = message_of([&] { Matmul(product, {}, Precision::float32); });
    CHECK(found == "a product has 1 and 0 offsets, expected as many, and at least one", "%s", found.c_str());
#ifdef LATDYN_SIMT
    for (Precision precision : precisions)
        with_broken_launches({0}, [&] {
            run(heads(2, 2, 2, 1), {}, precision, {1, 2, 3, 4}, {1, 2, 3, 4}, 1);
        });
    // Devices between sm_80 and sm_90 have 99 KiB.
    simt::limit_shared_memory(99 << 10);
    compare_matmul("little shared memory", heads(130, 20, 70, 1), 3, 99);
    simt::limit_shared_memory(227 << 10);
#endif
}

} // namespace

int main() {
    return test_products("cuda_matmul", [] {
        matmuls();
        bits();
        extremes();
        abuse();
    });
}
