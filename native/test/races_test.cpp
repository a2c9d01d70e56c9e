// The race detector of native/test/simt: that it finds a race of every kind, and none where there is none.
#include "check.h"
#include "device.h"
#include "races.h"
#include "warpgroup.h"

#include <string>
#include <vector>

using namespace latdyn;
using namespace latdyn::cuda;

namespace {

int place[4];
alignas(16) float source[256];

int* shared() {
    return reinterpret_cast<int*>(shared_memory());
}

// Kernels that race on a device whatever the order of the threads here, and their corrected versions.
template <class Kernel>
void expect(const char* what, bool race, unsigned grid, unsigned threads, Kernel kernel) {
    for (simt::Schedule schedule :
         {simt::Schedule::forward, simt::Schedule::reverse, simt::Schedule::random}) {
        simt::use_schedule(schedule, 5);
        simt::run("planted", grid, threads, 4096, kernel);
        const std::vector<std::string> found = simt::take_races();
        CHECK(found.empty() != race, "%s: %s", what, race ? "not found" : found[0].c_str());
        if (race && !found.empty())
            CHECK(found[0].find("race in planted on ") == 0 &&
                      found[0].find("races_test.cpp:") != std::string::npos,
                  "%s: %s", what, found[0].c_str());
    }
    simt::use_schedule(simt::Schedule::forward);
}

void blocks_of_threads() {
    for (bool right : {false, true}) {
        expect("a barrier between write and read", !right, 1, 64, [=] {
            shared()[threadIdx.x] = 1;
            if (right)
                __syncthreads();
            const volatile int seen = shared()[(threadIdx.x + 32) % 64];
            static_cast<void>(seen);
        });
        // Two places between barriers: no order of the fibers shows the second.
        expect("a barrier between read and the next round's write", !right, 1, 64, [=] {
            for (int round = 0; round < 3; round++) {
                shared()[threadIdx.x] = round;
                __syncthreads();
                const volatile int seen = shared()[63 - threadIdx.x];
                static_cast<void>(seen);
                if (right)
                    __syncthreads();
            }
        });
        expect("one thread writes for all", !right, 1, 64, [=] {
            if (!right || threadIdx.x == 0)
                shared()[0] = 7;
        });
        expect("bytes of one word", !right, 1, 64,
               [=] { shared_memory()[right ? threadIdx.x : threadIdx.x / 2] = 1; });
        expect("atomics behind a barrier", !right, 1, 64, [=] {
            if (threadIdx.x == 0)
                shared()[0] = 0;
            if (right)
                __syncthreads();
            atomicAdd(&shared()[0], 1);
        });
        expect("an ordinary read of an atomic's word", !right, 1, 64, [=] {
            if (threadIdx.x == 0)
                shared()[0] = 0;
            __syncthreads();
            atomicAdd(&shared()[0], 1);
            if (right)
                __syncthreads();
            const volatile int seen = shared()[0];
            static_cast<void>(seen);
        });
        expect("a volatile read of an atomic's word", !right, 1, 64, [=] {
            if (threadIdx.x == 0)
                *static_cast<volatile int*>(shared()) = 0;
            atomicAdd(&shared()[0], 1);
            const int seen = right ? +*static_cast<volatile int*>(shared()) : +shared()[0];
            static_cast<volatile int*>(shared())[threadIdx.x + 1] = seen;
        });
    }
}

void warps() {
    for (bool right : {false, true}) {
        expect("__syncwarp between write and read", !right, 1, 32, [=] {
            shared()[threadIdx.x] = 1;
            if (right)
                __syncwarp();
            const volatile int seen = shared()[31 - threadIdx.x];
            static_cast<void>(seen);
        });
        expect("a shuffle in place of __syncwarp", !right, 1, 32, [=] {
            shared()[threadIdx.x] = 1;
            __shfl_xor_sync(whole_warp, 1, 1);
            if (right)
                __syncwarp();
            const volatile int seen = shared()[31 - threadIdx.x];
            static_cast<void>(seen);
        });
        expect("__syncwarp of the wrong lanes", !right, 1, 32, [=] {
            shared()[threadIdx.x] = 1;
            __syncwarp(group_mask());
            const volatile int seen = shared()[threadIdx.x ^ (right ? 7 : 8)];
            static_cast<void>(seen);
        });
        expect("__syncwarp where another warp has written", !right, 1, 64, [=] {
            shared()[threadIdx.x] = 1;
            __syncwarp();
            const volatile int seen = shared()[threadIdx.x ^ (right ? 31 : 63)];
            static_cast<void>(seen);
        });
        // What lanes 0 to 7 read is ordered before lane 0's write, what others read is not.
        expect("__syncwarp without some of those that have read", !right, 1, 32, [=] {
            const volatile int seen = shared()[0];
            static_cast<void>(seen);
            __syncwarp(right ? whole_warp : group_mask());
            if (threadIdx.x == 0)
                shared()[0] = 1;
        });
    }
}

void grids() {
    for (bool right : {false, true}) {
        expect("two blocks write one place", !right, 2, 32, [=] {
            if (threadIdx.x == 0)
                place[right ? blockIdx.x : 0] = 1;
        });
        // The first and the last of many.
        expect("a block reads what another writes", !right, 40, 32, [=] {
            __syncthreads();
            if (threadIdx.x == 0 && blockIdx.x == 0)
                place[1] = 1;
            if (threadIdx.x == 0 && blockIdx.x == 39) {
                const volatile int seen = place[right ? 2 : 1];
                static_cast<void>(seen);
            }
        });
        expect("a block writes what it and others have read", !right, 3, 32, [=] {
            const volatile int seen = place[3];
            static_cast<void>(seen);
            __syncthreads();
            if (threadIdx.x == 0 && blockIdx.x == 1)
                place[right ? 2 : 3] = 1;
        });
        expect("counting without an atomic", !right, 3, 32, [=] {
            if (threadIdx.x != 0)
                return;
            if (right)
                atomicAdd(&place[0], 1);
            else
                place[0]++;
        });
    }
    // Shared memory is each block's own, and launches are one after another.
    expect("shared memory of two blocks", false, 2, 32, [] {
        if (threadIdx.x == 0)
            shared()[0] = 1;
    });
    for (int launch = 0; launch < 2; launch++)
        expect("two launches", false, 1, 32, [] {
            if (threadIdx.x == 0)
                place[0] = 1;
        });
}

void copies() {
    for (bool right : {false, true}) {
        const auto issue = [](unsigned slot) {
            copy_async(shared_memory() + slot * 512 + threadIdx.x * 16, source + threadIdx.x * 4);
            commit_copies();
        };
        const auto read = [](unsigned slot, unsigned from) {
            const volatile int seen = shared()[slot * 128 + from * 4];
            static_cast<void>(seen);
        };
        expect("what others have copied, before the barrier", !right, 1, 32, [=] {
            issue(0);
            wait_copies<0>();
            if (right)
                __syncthreads();
            read(0, 31 - threadIdx.x);
        });
        expect("a barrier in place of waiting", !right, 1, 32, [=] {
            issue(0);
            if (right)
                wait_copies<0>();
            __syncthreads();
            read(0, 31 - threadIdx.x);
            wait_copies<0>();
        });
        expect("what it has copied itself, before it waits", !right, 1, 32, [=] {
            issue(0);
            if (right)
                wait_copies<0>();
            read(0, threadIdx.x);
            wait_copies<0>();
        });
        expect("a copy into what others still read", !right, 1, 32, [=] {
            issue(0);
            wait_copies<0>();
            __syncthreads();
            read(0, 31 - threadIdx.x);
            if (right)
                __syncthreads();
            issue(0);
            wait_copies<0>();
        });
        expect("waiting for the wrong one of two copies", !right, 1, 32, [=] {
            issue(0);
            issue(1);
            wait_copies<1>();
            __syncthreads();
            read(right ? 0 : 1, 31 - threadIdx.x);
            wait_copies<0>();
        });
        expect("a write to the source of a copy", !right, 1, 32, [=] {
            issue(0);
            if (right)
                wait_copies<0>();
            __syncthreads();
            source[127 - threadIdx.x * 4] = 1;
            __syncthreads();
            wait_copies<0>();
        });
        // It reads what is its own, and does so too early all the same.
        expect("a write to the source of its own copy", !right, 1, 32, [=] {
            issue(0);
            if (right)
                wait_copies<0>();
            source[threadIdx.x * 4] = 1;
            wait_copies<0>();
        });
    }
    // A launch that fails leaves copies that never arrive: the next one has nothing to do with them.
    for (int attempt = 0; attempt < 2; attempt++) {
        bool failed = false;
        try {
            simt::run("planted", 1, 32, 4096,
                      [] { copy_async(shared_memory() + threadIdx.x * 16, source + threadIdx.x * 4); });
        } catch (const simt::Fault&) {
            failed = true;
        }
        CHECK(failed, "copies that nobody waits for");
        expect("after a launch that has failed", false, 1, 32, [] { source[threadIdx.x * 4] = 1; });
    }
}

// Every thread stores its two numbers of an operand [32, 8] that a warpgroup multiplies.
void products() {
    const auto store = [] {
        float* rows = reinterpret_cast<float*>(shared_memory());
        for (int i = 0; i < 2; i++)
            rows[threadIdx.x * 2 + i] = 1;
    };
    const auto multiply = [](float(&sums)[16]) {
        const float left[4] = {1, 1, 1, 1};
        warpgroup_begin();
        warpgroup_multiply<32>(sums, left, plain_operand(0, 128, 256));
        warpgroup_commit();
    };
    for (bool right : {false, true}) {
        expect("operands that are not published", !right, 1, 128, [=] {
            store();
            if (right)
                warpgroup_publish();
            __syncthreads();
            float sums[16] = {};
            multiply(sums);
            warpgroup_wait(sums);
        });
        expect("operands that are published after the barrier", !right, 1, 128, [=] {
            store();
            if (right)
                warpgroup_publish();
            __syncthreads();
            warpgroup_publish();
            float sums[16] = {};
            multiply(sums);
            warpgroup_wait(sums);
        });
        expect("operands without a barrier", !right, 1, 128, [=] {
            store();
            warpgroup_publish();
            if (right)
                __syncthreads();
            float sums[16] = {};
            multiply(sums);
            warpgroup_wait(sums);
        });
        expect("operands written anew before the product is waited for", !right, 1, 128, [=] {
            store();
            warpgroup_publish();
            __syncthreads();
            float sums[16] = {};
            multiply(sums);
            if (right)
                warpgroup_wait(sums);
            __syncthreads();
            store();
            warpgroup_wait(sums);
        });
        expect("operands written anew without a barrier", !right, 1, 128, [=] {
            store();
            warpgroup_publish();
            __syncthreads();
            float sums[16] = {};
            multiply(sums);
            warpgroup_wait(sums);
            if (right)
                __syncthreads();
            store();
        });
    }
}

} // namespace

int main() {
    blocks_of_threads();
    warps();
    grids();
    copies();
    products();
    return test::finish("races");
}
