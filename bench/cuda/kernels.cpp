// How long the kernels of native/cuda take on a device: `kernels [--quick] [--small]`, one line of JSON a case.
//
// Each case runs three times on Gaussian rows; `seconds` are those between two events of the device, from the
// moment the inputs are there to the moment only the way back of the results is left, so packing, scoring in
// double and every copy of a counter count. `wallSeconds` is the whole call, uploads included. FLOPs are those
// of the products that define the answer, bytes every input read once and every result written once: what
// report.py holds against the limits that peers.py measures on the same card.
//
//   --quick  tenths of the large cases
//   --small  shapes for trying the program itself out
#include "kernels.h"

#include "latdyn/error.h"
#include "latdyn/noise.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

using namespace latdyn;

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

struct Case {
    const char* name;
    std::string shape;
    double flops, bytes;
};

template <class Body> void measure(const Case& one, Body body) {
    std::string device, wall;
    for (int i = 0; i < 3; i++) {
        cuda::Job job;
        job.stage = [](cuda::Stage stage) { cuda::mark(stage == cuda::Stage::computed); };
        job.note = [](const std::string& sentence) { std::fprintf(stderr, "%s\n", sentence.c_str()); };
        const auto start = std::chrono::steady_clock::now();
        body(job);
        const double seconds =
            std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        char text[64];
        std::snprintf(text, sizeof text, "%s%.6g", i ? ", " : "", cuda::seconds_between_marks());
        device += text;
        std::snprintf(text, sizeof text, "%s%.6g", i ? ", " : "", seconds);
        wall += text;
    }
    std::printf("{\"name\": \"%s\", \"shape\": \"%s\", \"flops\": %.6g, \"bytes\": %.6g, \"seconds\": [%s], "
                "\"wallSeconds\": [%s]}\n",
                one.name, one.shape.c_str(), one.flops, one.bytes, device.c_str(), wall.c_str());
    std::fflush(stdout);
}

std::string by(std::initializer_list<int64_t> sizes) {
    std::string out;
    for (int64_t size : sizes)
        out += (out.empty() ? "" : " x ") + std::to_string(size);
    return out;
}

void run(int64_t part, bool small) {
    const auto rows = [&](int64_t count) { return small ? std::min<int64_t>(count, 200) : count / part; };
    const auto wide = [&](int64_t columns) { return small ? std::min<int64_t>(columns, 24) : columns; };
    {
        const int64_t n = rows(100000), k = wide(4096);
        const Rows a(n, k, 1), b(n, k, 2);
        const double d = static_cast<double>(n);
        for (Metric metric : {Metric::cosine, Metric::euclidean})
            measure({metric == Metric::cosine ? "nearest-cosine" : "nearest-euclidean", by({n, n, k}),
                     2 * d * d * static_cast<double>(k), 8 * d * static_cast<double>(k) + 24 * d},
                    [&](const cuda::Job& job) {
                        cuda::nearest(a.data.data(), n, b.data.data(), n, k, metric, job);
                    });
    }
    {
        const int64_t n = rows(100000), q = rows(10000), k = wide(4096), neighbours = small ? 20 : 2000 / part;
        const Rows reference(n, k, 3), queries(q, k, 4);
        const double pairs = static_cast<double>(n) * static_cast<double>(q);
        measure({"knn", by({n, q, k}) + ", K " + std::to_string(neighbours), 2 * pairs * static_cast<double>(k),
                 4 * static_cast<double>((n + q) * k) + 8 * static_cast<double>(q)},
                [&](const cuda::Job& job) {
                    cuda::knn_score(reference.data.data(), n, queries.data.data(), q, k, neighbours, KnnRule::mean,
                                    false, job);
                });
    }
    {
        const int64_t n = rows(1000000), k = wide(128), kept = small ? 10 : 1000;
        const Rows centres(kept, k, 5);
        Rows points(n, k, 6);
        for (int64_t i = 0; i < n; i++)
            for (int64_t l = 0; l < k; l++)
                points.data[i * k + l] = centres.data[i * 7919 % kept * k + l] + 0.02f * points.data[i * k + l];
        measure({"dedup", by({n, k}) + ", " + std::to_string(kept) + " kept",
                 2 * static_cast<double>(n) * static_cast<double>(kept * k), 4 * static_cast<double>(n * (k + 1))},
                [&](const cuda::Job& job) {
                    const DedupResult found =
                        cuda::dedup(points.data.data(), n, k, DedupRule::greedy, 0.99, 0, job);
                    if (static_cast<int64_t>(found.representatives.size()) != kept)
                        std::fprintf(stderr, "dedup: %zu rows are kept, expected %lld\n", found.representatives.size(),
                                     static_cast<long long>(kept));
                });
    }
    {
        const int64_t atoms = wide(4096), signals = small ? 20 : 500, k = wide(4096);
        const int32_t sparsity = small ? 5 : static_cast<int32_t>(205 / (part > 1 ? 4 : 1));
        const Rows dictionary(atoms, k, 7), given(signals, k, 8);
        const double steps = sparsity;
        measure({"omp", by({signals, atoms, k}) + ", " + std::to_string(sparsity) + " atoms",
                 2 * steps * static_cast<double>(signals) * static_cast<double>(atoms * k),
                 4 * static_cast<double>((atoms + signals) * k)},
                [&](const cuda::Job& job) {
                    cuda::omp(dictionary.data.data(), atoms, given.data.data(), signals, k, {sparsity}, job);
                });
    }
}

} // namespace

int main(int count, char** arguments) {
    int64_t part = 1;
    bool small = false;
    for (int i = 1; i < count; i++) {
        if (std::strcmp(arguments[i], "--quick") == 0)
            part = 10;
        else if (std::strcmp(arguments[i], "--small") == 0)
            small = true;
        else {
            std::fprintf(stderr, "kernels: unknown option %s; there are --quick and --small\n", arguments[i]);
            return 2;
        }
    }
    try {
        cuda::use_device(0);
        run(part, small);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "kernels: %s\n", error.what());
        return 1;
    }
    return 0;
}
