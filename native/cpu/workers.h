// Threads for one job: each gets the function and its index; the first exception is thrown again here.
#pragma once

#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace latdyn {

// Numbers below 1e-38 count as zero while this lives: they mean nothing here and cost a hundred cycles each.
class FlushDenormals {
  public:
#if defined(__x86_64__)
    FlushDenormals() : saved(_mm_getcsr()) {
        _mm_setcsr(saved | 0x8040);
    }
    ~FlushDenormals() {
        _mm_setcsr(saved);
    }

  private:
    unsigned saved;
#elif defined(__aarch64__)
    FlushDenormals() {
        asm volatile("mrs %0, fpcr" : "=r"(saved));
        asm volatile("msr fpcr, %0" ::"r"(saved | (1ull << 24)));
    }
    ~FlushDenormals() {
        asm volatile("msr fpcr, %0" ::"r"(saved));
    }

  private:
    unsigned long long saved;
#endif
    FlushDenormals(const FlushDenormals&) = delete;
};

inline void run_workers(int threads, const std::function<void(int)>& work) {
    std::exception_ptr failure;
    std::mutex mutex;
    const auto guarded = [&](int index) {
        try {
            work(index);
        } catch (...) {
            const std::lock_guard lock(mutex);
            if (!failure)
                failure = std::current_exception();
        }
    };
    {
        std::vector<std::jthread> pool;
        for (int i = 1; i < threads; i++)
            pool.emplace_back(guarded, i);
        guarded(0);
    }
    if (failure)
        std::rethrow_exception(failure);
}

} // namespace latdyn
