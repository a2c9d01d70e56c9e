// The product on tensor cores against double: how far it is off, beside the bound that everything exact rests
// on. On a device this measures what the documents of the instruction leave open.
#include "bounds.h"

#include "on_device.h"
#include "points.h"

#include <algorithm>
#include <cmath>

using namespace latdyn;
using namespace latdyn::test;

namespace {

double worst_share = 0;

void compare(const Matrix& a, const Matrix& b) {
    using namespace cuda;
    const int64_t k = a.columns;
    const DeviceRows left = finite_rows(a.data.data(), a.rows, k, "a"),
                     right = finite_rows(b.data.data(), b.rows, k, "b");
    const Bounded bounded = bounded_cosines(left, right);
    PairTask task{};
    task.left = bounded.left.side();
    task.right = bounded.right.side();
    task.stages = stages_of(k);
    task.score = Score::cosine;
    const int64_t stride = panels_of(b.rows) * tile_rows;
    std::vector<float> first;
    in_every_order([&](const char* order) {
        Buffer<float> out(a.rows * stride);
        write_pairs(task, out.get(), stride);
        const std::vector<float> products = out.read();
        CHECK(first.empty() || first == products, "products depend on the order of threads (%s)", order);
        first = products;
    });
    for (int64_t i = 0; i < a.rows; i++)
        for (int64_t j = 0; j < stride; j++) {
            const float found = first[i * stride + j];
            if (j >= b.rows) {
                CHECK(std::isinf(found), "row %lld, column %lld beyond the end", static_cast<long long>(i),
                      static_cast<long long>(j));
                continue;
            }
            const double lengths = std::sqrt(left.host_squares[i] * right.host_squares[j]);
            const double expected = lengths > 0 ? dot(a.row(i), b.row(j), k) / lengths : 0;
            const double share = std::abs(found - expected) / tf32_cosine_error(k);
            worst_share = std::max(worst_share, share);
            CHECK(share <= 1, "k = %lld: %.9g, expected %.9g", static_cast<long long>(k), found, expected);
        }
}

// All of one sign, so that every rounding falls on the same side: what comes nearest to the bound.
Matrix positive(Matrix x) {
    for (float& v : x.data)
        v = std::abs(v);
    return x;
}

// Elements just below what TF32 rounds up to, and just above.
Matrix worst(int64_t rows, int64_t columns) {
    Matrix x(rows, columns);
    for (float& v : x.data)
        v = 1 + 0x1.ffep-12f;
    return x;
}

void rounding() {
    CHECK(cuda::round_tf32(1) == 1 && cuda::round_tf32(1 + 0x1p-11f) == 1 + 0x1p-10f &&
              cuda::round_tf32(1 + 0x1.ffep-12f) == 1 && cuda::round_tf32(-3.14159265f) == -3.140625f &&
              cuda::round_tf32(0) == 0,
          "round_tf32");
}

void compare_all() {
    uint64_t seed = 1;
    for (int64_t k : {1, 7, 8, 31, 32, 33, 255, 256, 300, 515}) {
        compare(gaussian(5, k, seed), gaussian(130, k, seed + 1));
        seed += 2;
    }
    compare(gaussian(129, 40, 90), gaussian(257, 40, 91));
    compare(positive(gaussian(20, 600, 92)), positive(gaussian(20, 600, 93)));
    compare(worst(3, 700), worst(3, 700));
    compare(Matrix(2, 3), gaussian(2, 3, 94));
    if (!on_host)
        for (int64_t k : {4096, 32768}) {
            compare(gaussian(300, k, 95), gaussian(300, k, 96));
            compare(positive(gaussian(300, k, 97)), positive(gaussian(300, k, 98)));
        }
}

} // namespace

int main() {
    rounding();
    return test_on_device("cuda_product", [] {
        with_and_without_warpgroups(compare_all);
        std::printf("cuda_product: the largest error is %.3f of its bound\n", worst_share);
    });
}
