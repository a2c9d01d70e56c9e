// Sets on which nearest neighbours are hard to tell, for the kernels of the CPU and of a device.
#pragma once

#include "points.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>

namespace latdyn::test {

// Differences that float products cannot see: compare(what, a, b) on 150 rows and on `others`, near one
// another, far from the origin, and `copied` copies of few.
template <class Compare>
void near_ties(std::initializer_list<int64_t> widths, int64_t others, int64_t copied, Compare compare) {
    for (int64_t columns : widths) {
        Matrix a = gaussian(150, columns, columns), b = gaussian(others, columns, columns + 1);
        for (int64_t i = 0; i < a.rows; i++)
            for (int64_t l = 0; l < columns; l++)
                a.row(i)[l] = a.row(0)[l] + (i ? 1e-6f * a.row(i)[l] : 0);
        for (int64_t i = 0; i < b.rows; i++)
            for (int64_t l = 0; l < columns; l++)
                b.row(i)[l] = a.row(0)[l] + 1e-6f * b.row(i)[l];
        compare("nearly equal", a, b);
        for (Matrix* x : {&a, &b})
            for (float& v : x->data)
                v += 1000;
        compare("far from the origin", a, b);
        Matrix copies(copied, columns);
        for (int64_t i = 0; i < copies.rows; i++)
            std::copy_n(a.row(static_cast<int64_t>(pick(columns, i, 20))), columns, copies.row(i));
        compare("copies", copies, a);
    }
}

// Lengths over the whole range of float: nothing may overflow, and what underflows must not be lost.
template <class Compare>
void lengths(std::initializer_list<int64_t> widths, int64_t rows, int64_t others, Compare compare) {
    for (int64_t columns : widths) {
        Matrix a = gaussian(rows, columns, 7), b = gaussian(others, columns, 8);
        for (Matrix* x : {&a, &b})
            for (int64_t i = 0; i < x->rows; i++)
                for (int64_t l = 0; l < columns; l++)
                    x->row(i)[l] = std::ldexp(x->row(i)[l], static_cast<int>(pick(3, i, 270)) - 145);
        compare("all lengths", a, b);
        for (Matrix* x : {&a, &b})
            for (float& v : x->data)
                v = std::ldexp(v, -60);
        compare("down to denormals", a, b);
    }
    compare("the ends of float", Matrix(2, {3e38f, 3e38f, 1e-45f, 0, -3e38f, 3e38f}),
            Matrix(2, {-3e38f, -3e38f, 2e-45f, 1e-45f, 0, 1}));
}

} // namespace latdyn::test
