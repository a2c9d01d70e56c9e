// Jobs of the device: rows in blocks, aborts, points that are no numbers, little memory and launches that
// fail.
#include "iteration_cases.h"

#include <limits>

using namespace latdyn;
using namespace latdyn::test;

namespace {

void apply_in_blocks() {
    const Map map{Kind::approach, 7, 0.3f};
    for (int64_t rows : {0, 1, 5, 16, 37}) {
        const Matrix x = gaussian(rows, 7, 12);
        Matrix expected(rows, 7), found(rows, 7);
        map_on_host(map, x.data.data(), rows, expected.data.data());
        in_every_order([&](const char* order) {
            std::fill(found.data.begin(), found.data.end(), 0.0f);
            int64_t finished = 0;
            cuda::Job job;
            job.report = [&](int64_t rows_done, int64_t evaluations) {
                CHECK(rows_done >= finished && evaluations == rows_done, "progress goes back");
                finished = rows_done;
                return true;
            };
            const bool done = cuda::apply(*map_plan(map, 8), x.data.data(), rows, found.data.data(), job);
            CHECK(done && finished == rows && found.data == expected.data, "%lld rows, %s",
                  static_cast<long long>(rows), order);
        });
    }
    const Matrix x = gaussian(20, 7, 12);
    Matrix found(20, 7);
    cuda::Job job;
    job.report = [](int64_t finished, int64_t) { return finished < 8; };
    CHECK(!cuda::apply(*map_plan(map, 8), x.data.data(), 20, found.data.data(), job) &&
              found.row(7)[0] != 0 && found.row(8)[0] == 0,
          "abort is ignored");
}

void aborts() {
    const Map map{Kind::approach_by_row, 4, 0.9f}, slow{Kind::approach, 4, 0.9999f};
    const Matrix x = with_speeds(30, 4, 13);
    IterateOptions options = defaults();
    options.trace_rows = {0, 29};
    const IterationResult expected = on_cpu(map, x, options);
    for (bool persistent : {false, true})
        for (bool two : {false, true})
            for (int64_t calls = 0; calls < 90; calls += persistent ? 7 : 1) {
                int64_t made = 0, finished = 0, evaluations = 0;
                cuda::Job job;
                job.report = [&](int64_t rows, int64_t applied) {
                    CHECK(made <= calls, "asked again after it said no");
                    CHECK(rows >= finished && applied >= evaluations && rows <= 30, "progress goes back");
                    finished = rows;
                    evaluations = applied;
                    return made++ < calls;
                };
                const Plans plans{two ? map_plan(map, 8, persistent) : nullptr, map_plan(map, 8, persistent)};
                const IterationResult found = on_device(plans, x, options, job);
                if (found.done)
                    continue;
                int64_t left = 0;
                for (int64_t i = 0; i < 30; i++) {
                    const bool open = found.status[i] == static_cast<uint8_t>(Status::unfinished);
                    left += open;
                    // How far it got: as many steps from where it started.
                    std::vector<float> z(x.row(i), x.row(i) + 4), next(4);
                    float residual = 0;
                    for (int32_t t = 0; t < found.iterations[i]; t++) {
                        map_on_host(map, z.data(), 1, next.data());
                        double step = 0;
                        for (int e = 0; e < 4; e++)
                            step += double(next[e] - z[e]) * (next[e] - z[e]);
                        residual = static_cast<float>(step);
                        z = next;
                    }
                    CHECK(near(found.residual[i], residual), "row %lld after an abort: residual %.9g of %.9g",
                          static_cast<long long>(i), found.residual[i], residual);
                    CHECK(std::equal(z.begin(), z.end(), found.endpoints.begin() + i * 4) &&
                              (two || open || found.iterations[i] == expected.iterations[i]),
                          "row %lld after an abort", static_cast<long long>(i));
                }
                CHECK((left > 0 || persistent) && found.evaluations >= evaluations,
                      "an abort after %lld calls leaves %lld", static_cast<long long>(calls),
                      static_cast<long long>(left));
                for (size_t i : {0, 1}) {
                    const auto row = static_cast<size_t>(options.trace_rows[i]);
                    CHECK(found.traces[i].size() == static_cast<size_t>(found.iterations[row]),
                          "a trace of %zu steps of %d", found.traces[i].size(), found.iterations[row]);
                }
            }
    // Nothing ends by itself here.
    options = defaults();
    options.max_iterations = 1 << 30;
    options.tolerance = 1e-30;
    int calls = 0;
    cuda::Job job;
    job.report = [&](int64_t, int64_t) { return calls++ < 30; };
    const IterationResult found = on_device({nullptr, map_plan(slow, 64)}, x, options, job);
    CHECK(!found.done && found.iterations[0] > 5 && (!on_host || found.iterations[0] < 60) &&
              found.evaluations >= 30 * found.iterations[0],
          "%d steps, %lld evaluations", found.iterations[0], static_cast<long long>(found.evaluations));
}

// Waits for the device where it may only enqueue.
class Waits : public cuda::DevicePlan {
  public:
    explicit Waits(std::unique_ptr<DevicePlan> plan) : plan(std::move(plan)) { info = this->plan->info; }
    void run(const float* input, float* output, int64_t rows, unsigned char* arena) const override {
        plan->run(input, output, rows, arena);
        cuda::synchronize();
    }

  private:
    const std::unique_ptr<DevicePlan> plan;
};

void abuse() {
    const Matrix x = gaussian(3, 4, 14);
    Plans plans{nullptr, map_plan({Kind::approach, 4, 0.5f}, 8)};
    plans.strict->info.output_elements = 5;
    const std::string message = message_of([&] { on_device(plans, x, {}); });
    CHECK(message == "the map takes 4 elements and gives 5: it cannot be iterated", "%s", message.c_str());
    Matrix broken = gaussian(6, 4, 15);
    broken.row(1)[2] = std::numeric_limits<float>::quiet_NaN();
    broken.row(4)[0] = std::numeric_limits<float>::infinity();
    broken.row(5)[0] = std::numeric_limits<float>::max();
    compare("points that are not finite", {Kind::approach, 4, 0.5f}, broken, defaults(), 4);
}

void limits() {
#ifdef LATDYN_SIMT
    const Map map{Kind::approach_by_row, 20, 0.9f}, rough{Kind::approach_by_row, 20, 0.9f, 1, 0, 11};
    const Matrix x = with_speeds(150, 20, 16);
    IterateOptions options = defaults();
    options.trace_rows = {0, 70, 149};
    const Plans plans{map_plan(rough, 100), map_plan(map, 100)};
    const IterationResult expected = on_device(plans, x, options);
    const int64_t before = simt::memory_in_use();
    std::string message = message_of([&] {
        on_device({nullptr, std::make_unique<Waits>(map_plan(map, 100))}, x, options);
    });
    CHECK(message.find("operation not permitted when stream is capturing") != std::string::npos, "%s",
          message.c_str());
    CHECK(on_device(plans, x, options).same(expected), "after a recording that failed");

    // Drivers without conditional nodes.
    simt::offer_conditional_nodes(false);
    CHECK(on_device(plans, x, options).same(expected), "without conditional nodes");
    simt::offer_conditional_nodes(true);

    // 400 steps, 50 to a start: one that comes before the recording, and eight starts.
    IterateOptions many = defaults();
    many.max_iterations = 400;
    many.tolerance = 1e-30;
    const int64_t started = simt::recordings_started();
    on_device({nullptr, map_plan({Kind::approach, 20, 0.9999f}, 150)}, x, many);
    CHECK(simt::recordings_started() - started == 8, "%lld starts",
          static_cast<long long>(simt::recordings_started() - started));

    // Little memory: smaller batches, then blocks of rows.
    bool fewer_points = false, fewer_rows = false;
    cuda::Job job;
    job.note = [&](const std::string& sentence) {
        CHECK(sentence.find("out of device memory: blocks of ") == 0, "%s", sentence.c_str());
        fewer_points = fewer_points || sentence.ends_with("points instead of 100");
        fewer_rows = fewer_rows || sentence.ends_with("rows instead of 150");
    };
    job.memory = 200 << 10;
    for (int64_t room : {80, 60, 40, 30, 20}) {
        simt::limit_memory(before + room * 1024);
        CHECK(on_device(plans, x, options, job).same(expected), "%lld KiB", static_cast<long long>(room));
        CHECK(simt::memory_in_use() == before, "memory is left behind");
    }
    CHECK(fewer_points && fewer_rows, "memory was not short");
    simt::limit_memory(before + 30 * 1024);
    job = {};
    CHECK(on_device(plans, x, options, job).same(expected), "what fits is known before");
    simt::limit_memory(before + 500);
    message = message_of([&] { on_device(plans, x, options); });
    CHECK(message.find("device: CUDA: allocating ") == 0, "%s", message.c_str());
    simt::limit_memory(before + 3000);
    Matrix out(150, 20), mapped(150, 20);
    CHECK(cuda::apply(*plans.strict, x.data.data(), 150, out.data.data(), {}), "little memory");
    map_on_host(map, x.data.data(), 150, mapped.data.data());
    CHECK(out.data == mapped.data, "rows in small blocks");
    simt::limit_memory(int64_t{1} << 40);

    // A launch that fails, wherever it is, ends the job and leaves nothing behind.
    for (bool persistent : {false, true}) {
        const Plans fragile{map_plan(rough, 100, persistent), map_plan(map, 100, persistent)};
        for (int64_t launch = 0;; launch += 1 + launch / 16) {
            simt::fail_launch_after(launch);
            message = message_of([&] { on_device(fragile, x, options); });
            if (message == "no error")
                break;
            CHECK(message.find("illegal memory access") != std::string::npos, "%s", message.c_str());
            CHECK(simt::memory_in_use() == before, "launch %lld: memory is left behind",
                  static_cast<long long>(launch));
        }
        simt::fail_launch_after(-1);
    }
    with_broken_launches({0, 1, 2},
                         [&] { cuda::apply(*map_plan(map, 8), x.data.data(), 150, out.data.data(), {}); });
    CHECK(on_device(plans, x, options).same(expected), "after all that");
#endif
}

} // namespace

int main() {
    return test_on_device("cuda_iteration_jobs", [] {
        apply_in_blocks();
        aborts();
        abuse();
        limits();
    });
}
