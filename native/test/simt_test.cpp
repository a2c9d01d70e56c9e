// The stand-in for a device itself: that it computes what a device would, and that it finds what it is there
// to find.
#include "capture.h"
#include "warpgroup.h"

#include "check.h"
#include "races.h"

#include <cstring>
#include <numeric>
#include <string>
#include <vector>

using namespace latdyn;
using namespace latdyn::cuda;

namespace {

std::vector<int> out;

template <class Kernel> std::string fault_of(unsigned threads, size_t shared, Kernel kernel) {
    try {
        simt::run("kernel", 1, threads, shared, kernel);
    } catch (const simt::Fault& fault) {
        return fault.what();
    }
    return "no fault";
}

template <class Kernel>
std::vector<int> result_of(simt::Schedule schedule, unsigned grid, unsigned threads, size_t shared,
                           Kernel kernel) {
    out.assign(static_cast<size_t>(grid) * threads, -7);
    simt::use_schedule(schedule, 3);
    simt::run("kernel", grid, threads, shared, kernel);
    simt::use_schedule(simt::Schedule::forward);
    return out;
}

int& own() {
    return out[blockIdx.x * blockDim.x + threadIdx.x];
}

constexpr simt::Schedule all_schedules[] = {simt::Schedule::forward, simt::Schedule::reverse,
                                            simt::Schedule::random};

void results() {
    for (simt::Schedule schedule : all_schedules) {
        // Everybody's number to everybody, through shared memory.
        const auto sums = result_of(schedule, 2, 64, 64 * sizeof(int), [] {
            int* values = reinterpret_cast<int*>(shared_memory());
            values[threadIdx.x] = static_cast<int>(threadIdx.x);
            __syncthreads();
            own() = std::accumulate(values, values + 64, 0);
        });
        CHECK(sums == std::vector<int>(128, 2016), "a sum over the block");
        const auto counts = result_of(schedule, 1, 96, 0, [] {
            own() = __syncthreads_count(threadIdx.x % 3 == 0) + 1000 * __syncthreads_or(threadIdx.x == 95) +
                    2000 * __syncthreads_and(threadIdx.x < 96) + 4000 * __syncthreads_and(threadIdx.x != 5);
        });
        CHECK(counts == std::vector<int>(96, 3032), "%d", counts[0]);
        const auto warps = result_of(schedule, 1, 64, 0, [] {
            const int lane = static_cast<int>(threadIdx.x) % 32;
            int sum = lane;
            for (int with = 16; with > 0; with /= 2)
                sum += __shfl_xor_sync(whole_warp, sum, with);
            const int up = __shfl_up_sync(whole_warp, lane, 3), from = __shfl_sync(whole_warp, lane, 5);
            const unsigned least = __reduce_min_sync(whole_warp, threadIdx.x);
            own() = sum == 496 && up == (lane < 3 ? lane : lane - 3) && from == 5 &&
                    least == threadIdx.x / 32 * 32 && __ballot_sync(whole_warp, lane % 2) == 0xaaaaaaaau &&
                    __any_sync(whole_warp, lane == 9) == 1 && __reduce_add_sync(whole_warp, 2u) == 64;
        });
        CHECK(warps == std::vector<int>(64, 1), "warp operations");
        // Groups of a warp that go different ways.
        const auto groups = result_of(schedule, 1, 32, 0, [] {
            const unsigned group = threadIdx.x / 8, mask = 0xffu << group * 8;
            int sum = 0;
            for (unsigned i = 0; i <= group; i++)
                sum += __shfl_xor_sync(mask, 1, 1);
            own() = sum;
        });
        for (size_t i = 0; i < 32; i++)
            CHECK(groups[i] == static_cast<int>(i / 8) + 1, "group %zu", i / 8);
        static int counter;
        counter = 0;
        result_of(schedule, 3, 64, 0, [] { atomicAdd(&counter, 2); });
        CHECK(counter == 384, "%d", counter);
    }
}

// What depends on the order of threads is another result under another schedule.
void races() {
    const auto racy = [] {
        int* last = reinterpret_cast<int*>(shared_memory());
        *last = static_cast<int>(threadIdx.x);
        __syncthreads();
        own() = *last;
    };
    CHECK(result_of(simt::Schedule::forward, 1, 64, 16, racy) !=
              result_of(simt::Schedule::reverse, 1, 64, 16, racy),
          "a race is not seen");
    // A missing barrier: what has not been written is not a number anybody expects.
    const auto early = [] {
        int* values = reinterpret_cast<int*>(shared_memory());
        own() = values[(threadIdx.x + 1) % 64];
        values[threadIdx.x] = 1;
    };
    const auto found = result_of(simt::Schedule::forward, 1, 64, 256, early);
    CHECK(found[0] == -1, "shared memory starts as %d", found[0]);
    CHECK(simt::take_races().empty() != simt::finds_races, "what races_test looks at closely");
}

void faults() {
    const auto contains = [](const std::string& text, const char* part) {
        return text.find(part) != std::string::npos;
    };
    std::string fault = fault_of(64, 0, [] {
        if (threadIdx.x < 32)
            __syncthreads();
    });
    CHECK(contains(fault, "barrier"), "%s", fault.c_str());
    fault = fault_of(64, 0, [] {
        if (threadIdx.x < 32)
            __syncthreads();
        else
            __syncthreads();
    });
    CHECK(contains(fault, "while others wait at that of"), "%s", fault.c_str());
    fault = fault_of(32, 0, [] {
        if (threadIdx.x < 16)
            __syncwarp();
    });
    CHECK(contains(fault, "no thread can go on"), "%s", fault.c_str());
    fault = fault_of(32, 0, [] { __shfl_xor_sync(0xffffu, 1, 1); });
    CHECK(contains(fault, "this lane is not in the mask"), "%s", fault.c_str());
    fault = fault_of(32, 0, [] {
        if (threadIdx.x < 16)
            __shfl_xor_sync(0xffffu, 1, 16);
    });
    CHECK(contains(fault, "outside its mask"), "%s", fault.c_str());
    fault = fault_of(32, 0, [] {
        if (threadIdx.x < 16)
            __syncwarp();
        else
            __any_sync(whole_warp, 1);
    });
    CHECK(contains(fault, "meets"), "%s", fault.c_str());
    CHECK(contains(fault_of(33, 0, [] {}), "no device takes"), "an odd number of threads");
    CHECK(contains(fault_of(32, 1 << 20, [] {}), "no device takes"), "too much shared memory");
    // And after all that it still works.
    CHECK(fault_of(64, 0, [] { __syncthreads(); }) == "no fault", "after faults");
}

void copies() {
    alignas(16) static float from[32 * 4];
    std::iota(from, from + 128, 0.0f);
    const auto copied = [](bool waits) {
        return result_of(simt::Schedule::forward, 1, 32, 512, [waits] {
            float* to = reinterpret_cast<float*>(shared_memory()) + threadIdx.x * 4;
            copy_async(to, from + threadIdx.x * 4);
            commit_copies();
            if (waits)
                wait_copies<0>();
            own() = to[1] == static_cast<float>(threadIdx.x * 4 + 1);
            wait_copies<0>();
        });
    };
    CHECK(copied(true) == std::vector<int>(32, 1), "copies that were waited for");
    CHECK(copied(false) == std::vector<int>(32, 0), "copies that were not");
    CHECK(simt::take_races().empty() != simt::finds_races, "copies that were not waited for");
    const std::string fault = fault_of(32, 512, [] { copy_async(shared_memory() + threadIdx.x * 16, from); });
    CHECK(fault.find("before its asynchronous copies") != std::string::npos, "%s", fault.c_str());
}

// Whole numbers are exact in TF32, so the product is the plain one; digits beyond the eleventh are cut off.
void products() {
    static float d[32][4];
    result_of(simt::Schedule::random, 1, 32, 0, [] {
        const int lane = static_cast<int>(threadIdx.x), g = lane / 4, t = lane % 4;
        // a(i, k) = i − 2k, b(k, j) = k·j + 1.
        const auto a = [](int i, int k) { return static_cast<float>(i - 2 * k); };
        const auto b = [](int k, int j) { return static_cast<float>(k * j + 1) + 0x1p-20f; };
        float sum[4] = {1, 1, 1, 1};
        multiply_add(sum, make_float4(a(g, t), a(g + 8, t), a(g, t + 4), a(g + 8, t + 4)), b(t, g),
                     b(t + 4, g));
        std::memcpy(d[lane], sum, sizeof sum);
    });
    for (int lane = 0; lane < 32; lane++)
        for (int e = 0; e < 4; e++) {
            const int i = lane / 4 + e / 2 * 8, j = lane % 4 * 2 + e % 2;
            int expected = 1;
            for (int k = 0; k < 8; k++)
                expected += (i - 2 * k) * (k * j + 1);
            CHECK(d[lane][e] == static_cast<float>(expected), "(%d, %d): %g, expected %d", i, j, d[lane][e],
                  expected);
        }
}

// Row r of the left operand is r + 1 at column r mod 8, of the right one whole numbers: sums say who met
// whom.
float right_number(int row, int column) {
    return static_cast<float>(row * 8 + column);
}
float expected_sum(int row, int column) {
    return static_cast<float>(row + 1) * right_number(column, row % 8);
}
void check_sums(const float (&sums)[16], const char* what) {
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
    for (int i = 0; i < 16; i++) {
        const int row = warp * 16 + lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
        CHECK(sums[i] == 1 + 2 * expected_sum(row, column), "%s: row %d, column %d is %g", what, row, column,
              sums[i]);
    }
}
void fill_sums(float (&sums)[16]) {
    for (float& sum : sums)
        sum = 1;
}
// Two products, one after the other, on the same sums, of operands that lie in both ways.
void warpgroup_products() {
    for (simt::Schedule schedule : all_schedules) {
        simt::use_schedule(schedule, 5);
        simt::run("kernel", 1, warpgroup_threads, 96 * 128, [] {
            const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
            // 64 rows on the left, 32 on the right; each in the second piece of 32 bytes of its row.
            float* swizzled = reinterpret_cast<float*>(shared_memory());
            for (int i = thread; i < 96 * 8; i += warpgroup_threads) {
                const int row = i / 8, column = i % 8;
                const float number = row >= 64           ? right_number(row - 64, column)
                                     : column == row % 8 ? float(row + 1)
                                                         : 0.0f;
                swizzled[swizzled_place(row, 8 + column)] = number;
            }
            warpgroup_publish();
            __syncthreads();
            const uint64_t left = swizzled_operand(shared_address(swizzled) + 32);
            const uint64_t right = swizzled_operand(shared_address(swizzled + 64 * 32) + 32);
            float sums[16];
            fill_sums(sums);
            warpgroup_begin();
            for (int i = 0; i < 2; i++) {
                warpgroup_multiply<32>(sums, left, right, true);
                warpgroup_commit();
            }
            CHECK(sums[0] != sums[0], "sums are there before they are waited for");
            warpgroup_wait_but<1>();
            warpgroup_wait(sums);
            check_sums(sums, "swizzled");
            __syncthreads();

            // Blocks of 8 rows × 16 bytes, those of the same columns one after the other.
            float* plain = swizzled;
            for (int i = thread; i < 32 * 8; i += warpgroup_threads)
                plain[i % 8 / 4 * 128 + i / 8 * 4 + i % 4] = right_number(i / 8, i % 8);
            warpgroup_publish();
            __syncthreads();
            const int row = thread / 32 * 16 + lane / 4;
            const auto at = [](int r, int c) { return c == r % 8 ? float(r + 1) : 0.0f; };
            const float a[4] = {at(row, lane % 4), at(row + 8, lane % 4), at(row, lane % 4 + 4),
                                at(row + 8, lane % 4 + 4)};
            fill_sums(sums);
            warpgroup_begin();
            for (int i = 0; i < 2; i++)
                warpgroup_multiply<32>(sums, a, plain_operand(shared_address(plain), 512, 128));
            warpgroup_commit();
            warpgroup_wait(sums);
            keep(a);
            check_sums(sums, "plain");
            __syncthreads();

            // bf16: 16 columns in two pieces; the second one counts for nothing.
            uint16_t* halves = reinterpret_cast<uint16_t*>(shared_memory());
            for (int i = thread; i < 32 * 16; i += warpgroup_threads) {
                const int of_row = i / 16, column = i % 16;
                halves[column / 8 * 256 + of_row * 8 + column % 8] =
                    round_bf16(column < 8 ? right_number(of_row, column) : 0.0f);
            }
            warpgroup_publish();
            __syncthreads();
            const auto pair = [&](int r) {
                return to_bf16_pair(at(r, lane % 4 * 2), at(r, lane % 4 * 2 + 1));
            };
            const uint32_t b[4] = {pair(row), pair(row + 8), 0, 0};
            fill_sums(sums);
            warpgroup_begin();
            for (int i = 0; i < 2; i++)
                warpgroup_multiply<32>(sums, b, plain_operand(shared_address(halves), 512, 128));
            warpgroup_commit();
            warpgroup_wait(sums);
            keep(b);
            check_sums(sums, "bf16");
        });
    }
    simt::use_schedule(simt::Schedule::forward);
    const std::string fault = fault_of(warpgroup_threads, 1024, [] {
        float sums[16];
        fill_sums(sums);
        const uint64_t operand = plain_operand(0, 512, 128);
        const float a[4] = {0, 0, 0, 0};
        warpgroup_multiply<32>(sums, a, operand);
        warpgroup_commit();
    });
    CHECK(fault.find("before its products are waited for") != std::string::npos, "%s", fault.c_str());
}

void count_down(int* left, Condition condition) {
    if (threadIdx.x == 0)
        set_condition(condition, --*left > 0);
}

// What is recorded runs when it is started and not before, for as long as it says itself.
void recordings() {
    int left = 5, looks = 0;
    const auto body = [&](Condition condition) {
        launch("count_down", count_down, 1, 32, 0, &left, condition);
    };
    for (bool offered : {true, false}) {
        simt::offer_conditional_nodes(offered);
        left = 5;
        looks = 0;
        Loop loop(body);
        CHECK(left == 5, "a launch that is recorded runs");
        loop.run(3, [&] { looks++; });
        CHECK(left == (offered ? 0 : 2) && looks == (offered ? 5 : 3), "%d left, %d looks", left, looks);
        loop.run(1, [] {});
        CHECK(left == (offered ? -1 : 1), "%d left after another start", left);
    }
    simt::offer_conditional_nodes(true);
    std::string fault = "no fault";
    try {
        Loop loop([](Condition) { release(allocate(16)); });
    } catch (const DeviceError& error) {
        fault = error.what();
    }
    CHECK(fault.find("not permitted") != std::string::npos, "%s", fault.c_str());
    left = 1;
    body({});
    CHECK(left == 0, "a launch after a recording that failed");
}

} // namespace

int main() {
    results();
    races();
    faults();
    copies();
    products();
    warpgroup_products();
    recordings();
    return test::finish("simt");
}
