// What the native tests share: a check that counts, prints and goes on, and the comparison of bits.
#pragma once

#include <cstdio>
#include <cstring>
#include <vector>

namespace latdyn::test {

inline int failures = 0;

// The exit code of a test program; says how it went.
inline int finish(const char* name) {
    if (failures == 0)
        std::printf("%s: passed\n", name);
    else
        std::printf("%s: %d failed\n", name, failures);
    return failures == 0 ? 0 : 1;
}

// NaN of the same bits are equal, zeros of two signs are not.
template <class T> bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

} // namespace latdyn::test

// CHECK(condition, "format", values...): the message gives what was found.
#define CHECK(condition, ...)                                                                                \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            if (++latdyn::test::failures <= 20) {                                                            \
                std::printf("%s:%d: %s: ", __FILE__, __LINE__, #condition);                                  \
                std::printf(__VA_ARGS__);                                                                    \
                std::printf("\n");                                                                           \
            }                                                                                                \
        }                                                                                                    \
    } while (0)
