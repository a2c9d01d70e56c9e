// Attractor extraction as it is asked for: initial points on the host, every one iterated until it is done,
// endpoints back. From noise, and from points like data: encoded images, each moved by a tenth of their root
// mean square.
//
// `flops` are those of all evaluations, in both precisions where there are two; `bytes` what has to move at
// least: points in, endpoints out, weights once. With options.points the initial points, endpoints (float32)
// and statuses (uint8) of the first run go there, so that peers start from the same and can be held against
// it.
#include "graph_file.h"
#include "iteration.h"
#include "kernels.h"
#include "latdyn/error.h"
#include "measure.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>

namespace latdyn::bench {

namespace {

using Plan = std::unique_ptr<cuda::DevicePlan>;

std::vector<float> noise_points(int64_t rows, int64_t k, uint64_t seed, float scale) {
    std::vector<float> points(static_cast<size_t>(rows * k));
    cuda::noise(seed, 0, rows, k, scale, points.data());
    return points;
}

std::vector<float> data_points(const GraphFile& file, int64_t rows) {
    double squares = 0;
    for (float v : file.points)
        squares += double(v) * double(v);
    const double root = std::sqrt(squares / static_cast<double>(file.points.size()));
    std::vector<float> points = noise_points(rows, file.k(), 2, static_cast<float>(0.1 * root));
    for (size_t i = 0; i < points.size(); i++)
        points[i] += file.points[i % file.points.size()];
    return points;
}

struct Found {
    std::vector<float> endpoints, residual;
    std::vector<int32_t> iterations;
    std::vector<uint8_t> status, period;
    int64_t evaluations = 0;

    Found(int64_t rows, int64_t k)
        : endpoints(static_cast<size_t>(rows * k)), residual(static_cast<size_t>(rows)),
          iterations(static_cast<size_t>(rows)), status(static_cast<size_t>(rows)),
          period(static_cast<size_t>(rows)) {}
};

std::string counts_of(const Found& found) {
    constexpr const char* names[] = {"converged", "maxIterations", "cycle", "diverged", "nonFinite"};
    std::array<int64_t, 5> counts{};
    for (uint8_t status : found.status)
        if (status < counts.size())
            counts[status]++;
    std::string out;
    for (size_t i = 0; i < counts.size(); i++)
        out += member(names[i], static_cast<double>(counts[i]));
    return out;
}

// Of the points that converged in both, how many there are and what share ended within 1e-3 of their length.
std::string agreement(const Found& expected, const Found& found, int64_t k) {
    int64_t both = 0, same = 0;
    for (size_t i = 0; i < expected.status.size(); i++) {
        if (expected.status[i] != 0 || found.status[i] != 0)
            continue;
        double distance = 0, length = 0;
        for (size_t l = i * static_cast<size_t>(k); l < (i + 1) * static_cast<size_t>(k); l++) {
            const double d = double(found.endpoints[l]) - double(expected.endpoints[l]);
            distance += d * d;
            length += double(expected.endpoints[l]) * double(expected.endpoints[l]);
        }
        both++;
        same += distance <= 1e-6 * length;
    }
    if (both == 0)
        return "";
    return member("comparable", static_cast<double>(both)) +
           member("sameEndpoints", static_cast<double>(same) / static_cast<double>(both));
}

template <class Element>
void write(const std::string& folder, const std::string& name, const std::vector<Element>& elements) {
    std::filesystem::create_directories(folder);
    std::ofstream file(folder + "/" + name, std::ios::binary);
    file.write(reinterpret_cast<const char*>(elements.data()),
               static_cast<std::streamsize>(elements.size() * sizeof(Element)));
    if (!file)
        throw Error(folder + "/" + name + ": cannot be written");
}

// Both plans in one layout; null, and why, where there is none.
Plan make_plan(const Graph& graph, cuda::Precision precision, bool fused, std::string* reason) {
    if (fused)
        return cuda::fuse_plan(graph, precision, reason);
    return cuda::compile_plan(graph, precision);
}

void extract(const Options& options, const GraphFile& file, const char* kind,
             const std::vector<float>& initial) {
    const int64_t k = file.k(), rows = static_cast<int64_t>(initial.size()) / k;
    const std::string name = "extract-" + file.name + "-" + kind;
    if (!options.points.empty())
        write(options.points, name + ".initial", initial);
    IterateOptions rule;
    if (options.small)
        rule.max_iterations = 3;
    const struct {
        cuda::Precision precision;
        const char* name;
    } precisions[] = {{cuda::Precision::float32, "float32"},
                      {cuda::Precision::tf32, "tf32"},
                      {cuda::Precision::bf16, "bf16"}};
    // The first run that there is, in float32.
    Found reference(0, k);
    for (bool fused : {true, false})
        for (const auto& [precision, precision_name] : precisions) {
            const std::string variant = std::string(precision_name) + (fused ? ", fused" : ", kernels");
            std::string reason = "no reason is given";
            attempt(name, variant, [&] {
                const Plan strict = make_plan(file.graph, cuda::Precision::float32, fused, &reason);
                const bool two = precision != cuda::Precision::float32;
                const Plan fast = two ? make_plan(file.graph, precision, fused, &reason) : nullptr;
                if (!strict || (two && !fast)) {
                    say_failed(name, variant, reason);
                    return;
                }
                Case row{name, by({rows, k}), 0, 0, precision_name};
                Found found(rows, k);
                measure(options, row, [&](const cuda::Job& job) {
                    std::vector<std::vector<float>> traces;
                    cuda::iterate({fast.get(), strict.get()}, initial.data(), rows, rule,
                                  {found.endpoints.data(), found.iterations.data(), found.residual.data(),
                                   found.status.data(), found.period.data(), &traces},
                                  &found.evaluations, job);
                    const double evaluations = static_cast<double>(found.evaluations);
                    const int64_t weights =
                        strict->info.weight_bytes + (fast ? fast->info.weight_bytes : int64_t{0});
                    row.flops = evaluations * strict->info.flops_per_row;
                    row.bytes = 8 * static_cast<double>(rows * k) + static_cast<double>(weights);
                    row.more = member("variant", variant) + member("points", static_cast<double>(rows)) +
                               member("evaluations", evaluations) +
                               member("mostIterations",
                                      *std::max_element(found.iterations.begin(), found.iterations.end())) +
                               member("launches", strict->info.launches) + counts_of(found) +
                               agreement(reference, found, k);
                });
                if (reference.status.empty()) {
                    reference = std::move(found);
                    if (!options.points.empty()) {
                        write(options.points, name + ".endpoints", reference.endpoints);
                        write(options.points, name + ".status", reference.status);
                    }
                }
            });
        }
}

} // namespace

void run_extraction(const Options& options) {
    for (const char* model : {"mnist-conv-k16", "mnist-conv-k128"}) {
        const std::string path = options.graphs + "/" + model + ".bin";
        if (!std::filesystem::exists(path)) {
            say_failed(std::string("extract-") + model, "", "skipped: there is no " + path);
            continue;
        }
        const GraphFile file = read_graph_file(path);
        if (file.points.empty())
            throw Error(path + ": holds no points, expected encoded images");
        const int64_t rows = options.small ? 4 : 100000;
        extract(options, file, "noise", noise_points(rows, file.k(), 1, 1));
        extract(options, file, "data", data_points(file, rows));
    }
}

} // namespace latdyn::bench
