// The kernels on plain matrices: nearest neighbours, KNN, deduplication, matching pursuit.
//
// Gaussian rows; `seconds` are those between two events of the device, from the moment the inputs are there
// to the moment only the way back of the results is left, so packing, scoring in double and every copy of a
// counter count. `wallSeconds` is the whole call, uploads included. FLOPs are those of the products that
// define the answer, bytes every input read once and every result written once.
#include "kernels.h"

#include "measure.h"

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

namespace latdyn::bench {

namespace {

struct Rows {
    int64_t count, columns;
    std::vector<float> data;

    // Made on the device: nothing here waits for the host's generator.
    Rows(int64_t count, int64_t columns, uint64_t seed)
        : count(count), columns(columns), data(static_cast<size_t>(count * columns)) {
        cuda::noise(seed, 0, count, columns, 1, data.data());
    }
};

} // namespace

void run_kernels(const Options& options) {
    const int64_t part = options.part;
    const bool small = options.small;
    const auto rows = [&](int64_t count) { return small ? std::min<int64_t>(count, 200) : count / part; };
    const auto wide = [&](int64_t columns) { return small ? std::min<int64_t>(columns, 24) : columns; };
    {
        const int64_t n = rows(100000), k = wide(4096);
        const Rows a(n, k, 1), b(n, k, 2);
        const double d = static_cast<double>(n);
        with_each_instruction([&](const std::string& instruction) {
            for (Metric metric : {Metric::cosine, Metric::euclidean}) {
                Case one{metric == Metric::cosine ? "nearest-cosine" : "nearest-euclidean", by({n, n, k}),
                         2 * d * d * static_cast<double>(k), 8 * d * static_cast<double>(k) + 24 * d};
                if (!instruction.empty())
                    one.more = member("variant", instruction);
                measure(options, one, [&](const cuda::Job& job) {
                    cuda::nearest(a.data.data(), n, b.data.data(), n, k, metric, job);
                });
            }
        });
    }
    {
        const int64_t n = rows(100000), q = rows(10000), k = wide(4096),
                      neighbours = small ? 20 : 2000 / part;
        const Rows reference(n, k, 3), queries(q, k, 4);
        const double pairs = static_cast<double>(n) * static_cast<double>(q);
        measure(options,
                {"knn", by({n, q, k}) + ", K " + std::to_string(neighbours),
                 2 * pairs * static_cast<double>(k),
                 4 * static_cast<double>((n + q) * k) + 8 * static_cast<double>(q)},
                [&](const cuda::Job& job) {
                    cuda::knn_score(reference.data.data(), n, queries.data.data(), q, k, neighbours,
                                    KnnRule::mean, false, job);
                });
    }
    {
        const int64_t n = rows(1000000), k = wide(128), kept = small ? 10 : 1000;
        const Rows centres(kept, k, 5);
        Rows points(n, k, 6);
        for (int64_t i = 0; i < n; i++)
            for (int64_t l = 0; l < k; l++)
                points.data[i * k + l] =
                    centres.data[i * 7919 % kept * k + l] + 0.02f * points.data[i * k + l];
        // Of components: every pair, though no method needs to look at all of them.
        const double pairs = static_cast<double>(n) * static_cast<double>(n) / 2;
        for (DedupRule rule : {DedupRule::greedy, DedupRule::components}) {
            const bool greedy = rule == DedupRule::greedy;
            measure(options,
                    {greedy ? "dedup" : "components", by({n, k}) + ", " + std::to_string(kept) + " kept",
                     2 * (greedy ? static_cast<double>(n * kept) : pairs) * static_cast<double>(k),
                     4 * static_cast<double>(n * (k + 1))},
                    [&](const cuda::Job& job) {
                        const DedupResult found = cuda::dedup(points.data.data(), n, k, rule, 0.99, 0, job);
                        if (static_cast<int64_t>(found.representatives.size()) != kept)
                            std::fprintf(stderr, "dedup: %zu rows are kept, expected %lld\n",
                                         found.representatives.size(), static_cast<long long>(kept));
                    });
        }
    }
    {
        const int64_t atoms = wide(4096), signals = small ? 20 : 500, k = wide(4096);
        const int32_t sparsity = small ? 5 : static_cast<int32_t>(205 / (part > 1 ? 4 : 1));
        const Rows dictionary(atoms, k, 7), given(signals, k, 8);
        const double steps = sparsity;
        measure(options,
                {"omp", by({signals, atoms, k}) + ", " + std::to_string(sparsity) + " atoms",
                 2 * steps * static_cast<double>(signals) * static_cast<double>(atoms * k),
                 4 * static_cast<double>((atoms + signals) * k)},
                [&](const cuda::Job& job) {
                    cuda::omp(dictionary.data.data(), atoms, given.data.data(), signals, k, {sparsity}, job);
                });
    }
}

} // namespace latdyn::bench
