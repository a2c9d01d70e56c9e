// Sets of points for the native tests: the same numbers on every machine.
#pragma once

#include "latdyn/noise.h"

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <vector>

namespace latdyn::test {

struct Matrix {
    int64_t rows, columns;
    std::vector<float> data;

    Matrix(int64_t rows, int64_t columns)
        : rows(rows), columns(columns), data(static_cast<size_t>(rows * columns)) {}
    Matrix(int64_t columns, std::initializer_list<float> values)
        : rows(static_cast<int64_t>(values.size()) / columns), columns(columns), data(values) {}
    float* row(int64_t i) { return data.data() + i * columns; }
    const float* row(int64_t i) const { return data.data() + i * columns; }
};

inline Matrix gaussian(int64_t rows, int64_t columns, uint64_t seed, float scale = 1) {
    Matrix x(rows, columns);
    noise(seed, 0, rows, columns, scale, x.data.data());
    return x;
}

// Whole numbers in [0, bound) that depend on (seed, i).
inline uint64_t pick(uint64_t seed, uint64_t i, uint64_t bound) {
    uint64_t h = (seed * 0x9e3779b97f4a7c15 + i + 1) * 0xbf58476d1ce4e5b9;
    h = (h ^ (h >> 29)) * 0x94d049bb133111eb;
    return (h ^ (h >> 32)) % bound;
}

// Rows around `clusters` Gaussian centres, which depend on `centre_seed` alone.
inline Matrix clustered(int64_t rows, int64_t columns, int64_t clusters, float spread, uint64_t centre_seed,
                        uint64_t seed) {
    const Matrix centres = gaussian(clusters, columns, centre_seed);
    Matrix x = gaussian(rows, columns, seed, spread);
    for (int64_t i = 0; i < rows; i++) {
        const float* centre = centres.row(static_cast<int64_t>(pick(seed, i, clusters)));
        for (int64_t l = 0; l < columns; l++)
            x.row(i)[l] += centre[l];
    }
    return x;
}

} // namespace latdyn::test
