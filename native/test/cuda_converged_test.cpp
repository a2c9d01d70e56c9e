// The endpoints that stay on the device after an iteration, and their deduplication there, against the way
// over the host.
#include "converged.h"

#include "iteration.h"
#include "iteration_result.h"
#include "maps.h"
#include "on_device.h"
#include "points.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

using namespace latdyn;
using namespace latdyn::test;

namespace {

constexpr auto converged = static_cast<uint8_t>(Status::converged);
constexpr DedupRule rules[] = {DedupRule::greedy, DedupRule::components, DedupRule::euclidean};

// The rows with that status, one after the other.
Matrix chosen(const std::vector<float>& points, const std::vector<uint8_t>& status, int64_t k) {
    Matrix rows(std::count(status.begin(), status.end(), converged), k);
    float* to = rows.data.data();
    for (size_t i = 0; i < status.size(); i++)
        if (status[i] == converged)
            to = std::copy_n(points.data() + static_cast<int64_t>(i) * k, k, to);
    return rows;
}

bool equal(const cuda::DeviceRows& found, const Matrix& expected) {
    const std::vector<float> data = found.data.read();
    return found.count == expected.rows && found.columns == expected.columns &&
           static_cast<int64_t>(data.size()) == expected.rows * expected.columns &&
           (data.empty() ||
            std::memcmp(data.data(), expected.data.data(), data.size() * sizeof(float)) == 0) &&
           found.squares.read() == found.host_squares;
}

void choices() {
    for (const auto& [rows, k] : std::vector<std::pair<int64_t, int64_t>>{
             {1, 1}, {1, 70}, {31, 3}, {32, 8}, {33, 5}, {64, 16}, {257, 9}, {on_host ? 700 : 70000, 7}}) {
        const Matrix points = gaussian(rows, k, static_cast<uint64_t>(rows));
        for (int one_of : {1, 2, 3, 50, 1 << 30}) {
            std::vector<uint8_t> status;
            for (int64_t i = 0; i < rows; i++)
                status.push_back(pick(static_cast<uint64_t>(k), i, one_of) == 0 && one_of < 1 << 30
                                     ? converged
                                     : static_cast<uint8_t>(i % 2 ? Status::unfinished : Status::cycle));
            const Matrix expected = chosen(points.data, status, k);
            in_every_order([&](const char* order) {
                const cuda::DeviceRows found =
                    cuda::converged_rows(cuda::Buffer<float>(std::span<const float>(points.data)),
                                         cuda::Buffer<uint8_t>(std::span<const uint8_t>(status)), rows, k);
                CHECK(equal(found, expected), "[%lld, %lld], one of %d, %s: %lld rows, expected %lld",
                      static_cast<long long>(rows), static_cast<long long>(k), one_of, order,
                      static_cast<long long>(found.count), static_cast<long long>(expected.rows));
            });
        }
    }
}

// Some converge, to a few ends; others run away or are not done in time.
struct Case {
    const char* what;
    Map map, fast;
    int64_t rows, batch;
    IterateOptions options;
    Matrix initial{0, 1};
};

std::vector<Case> cases() {
    IterateOptions options;
    options.max_iterations = 60;
    const Map by_row{Kind::approach_by_row, 6, 0.97f}, breaks{Kind::break_off, 5, 0.1f};
    std::vector<Case> all{
        {"some are late", by_row, {}, on_host ? 150 : 60000, 16, options},
        {"some are late, two phases", by_row, by_row, on_host ? 75 : 20000, 16, options},
        {"all converge", {Kind::approach, 7, 0.5f}, {}, 40, 64, options},
        {"none does", {Kind::grow, 7, 3}, {}, 40, 8, options},
        {"most are not finite", breaks, {}, 70, 8, options},
        {"one row", by_row, {}, 1, 8, options},
    };
    all[1].fast.digits = 11;
    all[4].options.tolerance = 1e-2;
    for (Case& one : all) {
        one.initial = gaussian(one.rows, one.map.k, 7);
        for (int64_t i = 0; i < one.rows; i++) {
            if (one.map.kind == Kind::approach_by_row)
                one.initial.row(i)[one.map.k - 1] = static_cast<float>(1 + pick(3, i, 6));
        }
    }
    return all;
}

IterationResult iterated(const Case& one, bool persistent, const cuda::Job& job,
                         std::optional<cuda::DeviceRows>* kept) {
    const auto strict = map_plan(one.map, one.batch, persistent);
    const auto fast = one.fast.digits < 24 ? map_plan(one.fast, one.batch, persistent) : nullptr;
    IterationResult result(one.initial, one.options);
    result.done = cuda::iterate({fast.get(), strict.get()}, one.initial.data.data(), one.rows, one.options,
                                result.output(), &result.evaluations, job, kept);
    return result;
}

DedupResult over_the_host(const Matrix& x, DedupRule rule) {
    return cuda::dedup(x.data.data(), x.rows, x.columns, rule, 0.99, 0.01, {});
}

void check_deduplicated(const std::string& what, const cuda::DeviceRows& kept, const Matrix& expected) {
    for (DedupRule rule : rules) {
        const DedupResult found = cuda::dedup(kept, rule, 0.99, 0.01, {}),
                          other = over_the_host(expected, rule);
        CHECK(found.representatives == other.representatives && found.labels == other.labels &&
                  !found.aborted && !other.aborted,
              "%s, rule %d: %zu kept, expected %zu", what.c_str(), static_cast<int>(rule),
              found.representatives.size(), other.representatives.size());
    }
}

void stay() {
    for (const Case& one : cases())
        for (bool persistent : {false, true}) {
            const IterationResult expected = iterated(one, persistent, {}, nullptr);
            const Matrix ends = chosen(expected.endpoints, expected.status, one.map.k);
            in_every_order([&](const char* order) {
                const std::string what =
                    std::string(one.what) + (persistent ? ", persistent, " : ", ") + order;
                std::optional<cuda::DeviceRows> kept;
                const IterationResult found = iterated(one, persistent, {}, &kept);
                CHECK(found.same(expected), "%s: the result is another", what.c_str());
                CHECK(kept && equal(*kept, ends), "%s: %lld of %lld rows stay", what.c_str(),
                      static_cast<long long>(kept ? kept->count : -1), static_cast<long long>(ends.rows));
                if (kept)
                    check_deduplicated(what, *kept, ends);
            });
            const std::string what = one.what;
            CHECK((ends.rows == 0) == (what == "none does") &&
                      (ends.rows == one.rows) == (what == "all converge" || what == "one row"),
                  "%s: %lld of %lld converge", one.what, static_cast<long long>(ends.rows),
                  static_cast<long long>(one.rows));
        }
    std::optional<cuda::DeviceRows> kept;
    Case none = cases()[0];
    none.rows = 0;
    none.initial = Matrix(0, none.map.k);
    CHECK(iterated(none, false, {}, &kept).done && !kept, "no rows leave something");
}

// After an abort, what was done stays.
void aborted() {
    const Case one = cases()[0];
    int64_t partly = 0;
    for (int64_t calls = 0; calls < 40; calls += 3) {
        int64_t made = 0;
        cuda::Job job;
        job.report = [&](int64_t, int64_t) { return made++ < calls; };
        std::optional<cuda::DeviceRows> kept;
        const IterationResult found = iterated(one, false, job, &kept);
        const Matrix ends = chosen(found.endpoints, found.status, one.map.k);
        CHECK(kept && equal(*kept, ends), "aborted after %lld calls: not the %lld rows that converged",
              static_cast<long long>(calls), static_cast<long long>(ends.rows));
        if (!found.done && ends.rows > 0 && partly++ == 0)
            check_deduplicated("aborted", *kept, ends);
    }
    CHECK(partly > 0 || !on_host, "no abort came between the first end and the last");
    cuda::Job stopped;
    stopped.report = [](int64_t, int64_t) { return false; };
    std::optional<cuda::DeviceRows> kept;
    iterated(one, false, {}, &kept);
    const DedupResult result = cuda::dedup(*kept, DedupRule::greedy, 0.99, 0, stopped);
    CHECK(result.aborted && result.labels.empty(), "deduplication does not hear of an abort");
    const std::string message =
        message_of([&] { cuda::dedup(*kept, DedupRule::greedy, std::nan(""), 0, {}); });
    CHECK(message == "threshold is NaN, expected a number", "%s", message.c_str());
}

// A job with little memory does without them and says so.
void little_memory() {
    const Case one = cases()[0];
    const IterationResult expected = iterated(one, false, {}, nullptr);
    std::vector<std::string> said;
    cuda::Job job;
    job.memory = one.rows * 50;
    job.note = [&](const std::string& sentence) { said.push_back(sentence); };
    std::optional<cuda::DeviceRows> kept;
    const IterationResult found = iterated(one, false, job, &kept);
    CHECK(found.same(expected) && !kept && said.size() == 1 &&
              said[0] == "not enough device memory for " + std::to_string(one.rows) +
                             " rows at once: endpoints do not stay on the device",
          "blocks: %zu sentences", said.size());
#ifdef LATDYN_SIMT
    // Room for the loop and not for the rows put together, whatever share of them that is.
    Case large = one;
    large.rows = 4000;
    large.batch = 8;
    large.options.max_iterations = 40;
    large.initial = Matrix(large.rows, 6);
    for (int64_t i = 0; i < large.rows; i++)
        large.initial.row(i)[5] = i == 0 ? 1.0f : 100.0f;
    std::optional<cuda::DeviceRows> all;
    const IterationResult whole = iterated(large, false, {}, &all);
    CHECK(all && all->count == large.rows - 1, "%lld rows stay",
          static_cast<long long>(all ? all->count : 0));
    all.reset();
    const int64_t before = simt::memory_in_use();
    int without = 0, with = 0;
    for (int64_t room = large.rows * 44; room < large.rows * 72; room += large.rows * 2) {
        said.clear();
        job.memory = int64_t{1} << 30;
        simt::limit_memory(before + room);
        std::optional<cuda::DeviceRows> some;
        const IterationResult again = iterated(large, false, job, &some);
        simt::limit_memory(int64_t{1} << 40);
        CHECK(again.same(whole), "with %lld bytes the result is another", static_cast<long long>(room));
        const bool told = !said.empty() && said.back().ends_with("endpoints do not stay on the device");
        CHECK(some.has_value() != told, "with %lld bytes: %s", static_cast<long long>(room),
              said.empty() ? "nothing said" : said.back().c_str());
        without +=
            !said.empty() && said.back() == "out of device memory: endpoints do not stay on the device";
        with += some.has_value();
        some.reset();
        CHECK(simt::memory_in_use() == before, "memory is not given back");
    }
    CHECK(without > 0 && with > 0, "%d without room, %d with it", without, with);
#endif
}

void copies() {
#ifdef LATDYN_SIMT
    for (int which : {0, 2}) {
        const Case one = cases()[which];
        std::optional<cuda::DeviceRows> kept;
        const IterationResult found = iterated(one, false, {}, &kept);
        const Matrix ends = chosen(found.endpoints, found.status, one.map.k);
        for (DedupRule rule : rules) {
            const auto uploaded = [](auto body) {
                const int64_t before = simt::bytes_uploaded();
                body();
                return simt::bytes_uploaded() - before;
            };
            const int64_t from_host = uploaded([&] { over_the_host(ends, rule); }),
                          there = uploaded([&] { cuda::dedup(*kept, rule, 0.99, 0.01, {}); });
            CHECK(from_host - there == 4 * ends.rows * ends.columns,
                  "%s: %lld bytes go to the device, over the host %lld", one.what,
                  static_cast<long long>(there), static_cast<long long>(from_host));
        }
    }
    const int64_t before = simt::memory_in_use();
    const Case one = cases()[0];
    with_broken_launches({0, 5, 40}, [&] {
        std::optional<cuda::DeviceRows> kept;
        iterated(one, false, {}, &kept);
    });
    // The last three launches of an iteration are those that put the rows together.
    simt::fail_launch_after(-1);
    std::optional<cuda::DeviceRows> kept;
    const Case short_one = cases()[2];
    Case mixed = short_one;
    mixed.options.max_iterations = 3;
    mixed.initial.row(0)[0] = end_of(0);
    for (int64_t e = 0; e < mixed.map.k; e++)
        mixed.initial.row(0)[e] = end_of(e);
    int broken = 0;
    for (int64_t launch = 0; launch < 60; launch++) {
        simt::fail_launch_after(launch);
        const std::string message = message_of([&] { iterated(mixed, false, {}, &kept); });
        simt::fail_launch_after(-1);
        if (message == "no error")
            break;
        broken++;
        CHECK(message.find("illegal memory access") != std::string::npos && !kept, "%s", message.c_str());
    }
    CHECK(broken > 3 && broken < 60 && kept && kept->count == 1, "%d launches can break", broken);
    kept.reset();
    CHECK(simt::memory_in_use() == before, "memory is not given back");
    iterated(one, false, {}, &kept);
    with_broken_launches({0, 3, 8}, [&] { cuda::dedup(*kept, DedupRule::euclidean, 0, 0.01, {}); });
#endif
}

} // namespace

int main() {
    return test_on_device("cuda_converged", [] {
        choices();
        stay();
        aborted();
        little_memory();
        copies();
    });
}
