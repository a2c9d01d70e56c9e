// Known answers of the generator, the exact bits of some normals, their distribution, and the promise that an
// element depends on (seed, row, column) alone.
#include "latdyn/noise.h"

#include "check.h"
#include "latdyn/error.h"
#include "latdyn/philox.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <initializer_list>
#include <vector>

using namespace latdyn;

namespace {

struct KnownWords {
    PhiloxWords counter;
    uint32_t key0, key1;
    PhiloxWords words;
};

// The vectors published with Random123: all zeros, all ones, and the digits of π.
void known_words() {
    const KnownWords known[] = {
        {{{0, 0, 0, 0}}, 0, 0, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
        {{{~0u, ~0u, ~0u, ~0u}}, ~0u, ~0u, {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
        {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
         0xa4093822,
         0x299f31d0,
         {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}},
    };
    for (const KnownWords& k : known) {
        const PhiloxWords found = philox4x32_10(k.counter, k.key0, k.key1);
        for (int i = 0; i < 4; i++)
            CHECK(found.w[i] == k.words.w[i], "word %d is %08x, expected %08x", i, found.w[i], k.words.w[i]);
    }
}

float element(uint64_t seed, int64_t row, int64_t column) {
    std::vector<float> x(static_cast<size_t>(column) + 1);
    noise(seed, row, 1, column + 1, 1, x.data());
    return x.back();
}

// The two series against the C library, over the whole range of the words.
void series() {
    const auto word_check = [](uint32_t word) {
        const double turn = 2 * std::acos(-1.0) * (word / 4294967296.0);
        double cosine, sine;
        cos_sin_turn(word, &cosine, &sine);
        CHECK(std::fabs(cosine - std::cos(turn)) < 2e-15, "cos at %08x is %.17g", word, cosine);
        CHECK(std::fabs(sine - std::sin(turn)) < 2e-15, "sin at %08x is %.17g", word, sine);
        const double expected = -std::log1p((word - 4294967295.0) / 4294967296.0);
        const double found = minus_log_uniform(word);
        CHECK(std::fabs(found - expected) <= 1e-13 * expected, "log at %08x is %.17g, expected %.17g", word,
              found, expected);
    };
    for (uint64_t word = 0; word < uint64_t{1} << 32; word += 65521)
        word_check(static_cast<uint32_t>(word));
    for (uint32_t i = 0; i < 32; i++) {
        for (uint32_t word : {(1u << i) - 2, (1u << i) - 1, 1u << i, ~(1u << i), ~0u - i})
            word_check(word);
    }
}

// Written from the description in philox.h with the C library's functions: differs in the last place at most.
void description() {
    const uint64_t seed = 0x0123456789abcdef;
    const int64_t row = (int64_t{5} << 32) + 17;
    for (int64_t column = 0; column < 64; column++) {
        const PhiloxWords words =
            philox4x32_10({{static_cast<uint32_t>(column / 4), 17, 5, 0}}, 0x89abcdef, 0x01234567);
        const uint32_t* pair = words.w + (column % 4 / 2) * 2;
        const double radius = std::sqrt(-2 * std::log((pair[0] + 1.0) / 4294967296.0));
        const double turn = 2 * std::acos(-1.0) * (pair[1] / 4294967296.0);
        const double expected = radius * (column % 2 == 0 ? std::cos(turn) : std::sin(turn));
        const float found = element(seed, row, column);
        CHECK(std::fabs(found - expected) <= 1.2e-7 * std::fabs(expected),
              "column %lld is %.9g, expected %.17g", static_cast<long long>(column), found, expected);
    }
}

struct Golden {
    uint64_t seed;
    int64_t row;
    int64_t column;
    uint32_t bits;
};

// Recorded once; every machine, compiler and device gives these.
void golden_bits() {
    const Golden golden[] = {
        {0, 0, 0, 0x3f7dbb33},                                     //  0.991138
        {0, 0, 1, 0xbf6cb6b0},                                     // -0.924663
        {0, 0, 2, 0xbf1e1b9f},                                     // -0.617609
        {0, 0, 3, 0xbef6d1b2},                                     // -0.482069
        {0, 0, 4, 0xbe1d5357},                                     // -0.153638
        {0, 1, 0, 0x3f91747c},                                     //  1.136368
        {1, 0, 0, 0x3ec2c3e3},                                     //  0.380401
        {42, 999999, 127, 0xbeb5b914},                             // -0.354928
        {42, int64_t{1} << 32, 5, 0xbddda09e},                     // -0.108217
        {~uint64_t{0}, (int64_t{1} << 53) - 1, 16383, 0xbf8c6981}, // -1.096970
        {uint64_t{1} << 32, 7, 100000, 0x3f290d2b},                //  0.660357
    };
    for (const Golden& g : golden) {
        const uint32_t found = std::bit_cast<uint32_t>(element(g.seed, g.row, g.column));
        CHECK(found == g.bits, "seed %llu row %lld column %lld is 0x%08x, expected 0x%08x",
              static_cast<unsigned long long>(g.seed), static_cast<long long>(g.row),
              static_cast<long long>(g.column), found, g.bits);
    }
    // A whole block at once: FNV-1a over the bits.
    std::vector<float> block(1000 * 37);
    noise(2024, 123, 1000, 37, 1, block.data());
    uint64_t hash = 0xcbf29ce484222325;
    for (float v : block)
        hash = (hash ^ std::bit_cast<uint32_t>(v)) * 0x100000001b3;
    CHECK(hash == 0xbbb566ce3a89e11b, "hash of a block is 0x%016llx", static_cast<unsigned long long>(hash));
}

void distribution() {
    constexpr int64_t rows = 62500, columns = 16, n = rows * columns;
    std::vector<float> x(n);
    noise(1, 0, rows, columns, 1, x.data());
    double m1 = 0, m2 = 0, m3 = 0, m4 = 0;
    for (double v : x)
        m1 += v, m2 += v * v, m3 += v * v * v, m4 += v * v * v * v;
    m1 /= n, m2 /= n, m3 /= n, m4 /= n;
    // Five standard errors of each: √(1/n), √(2/n), √(15/n), √(96/n).
    CHECK(std::fabs(m1) < 5 * std::sqrt(1.0 / n), "mean %g", m1);
    CHECK(std::fabs(m2 - 1) < 5 * std::sqrt(2.0 / n), "second moment %g", m2);
    CHECK(std::fabs(m3) < 5 * std::sqrt(15.0 / n), "third moment %g", m3);
    CHECK(std::fabs(m4 - 3) < 5 * std::sqrt(96.0 / n), "fourth moment %g", m4);
    // Neighbours in a row, and in a column, are uncorrelated; so are the squares of a Box–Muller pair.
    double across = 0, down = 0, squares = 0;
    for (int64_t i = 0; i + columns < n; i++) {
        const double a = x[i], b = x[i + 1], c = x[i + columns];
        across += a * b, down += a * c, squares += (a * a - 1) * (b * b - 1);
    }
    CHECK(std::fabs(across) < 5 * std::sqrt(n), "correlation along rows %g", across / n);
    CHECK(std::fabs(down) < 5 * std::sqrt(n), "correlation along columns %g", down / n);
    CHECK(std::fabs(squares) < 5 * 2 * std::sqrt(n), "correlation of squares %g", squares / n / 2);
    // Kolmogorov–Smirnov: √n·D is above 1.95 for one sample in a thousand.
    std::sort(x.begin(), x.end());
    double d = 0;
    for (int64_t i = 0; i < n; i++) {
        const double p = 0.5 * std::erfc(-x[i] / std::sqrt(2.0));
        d = std::max({d, std::fabs(p - double(i) / n), std::fabs(p - double(i + 1) / n)});
    }
    CHECK(std::sqrt(n) * d < 1.95, "Kolmogorov-Smirnov statistic %g", std::sqrt(n) * d);
}

// Any split into batches, at any row, beyond 2³² too, gives the same elements.
void batches() {
    for (int64_t first : {int64_t{0}, (int64_t{1} << 32) - 3, int64_t{1} << 52}) {
        for (int64_t columns : {1, 2, 3, 4, 5, 8, 127}) {
            std::vector<float> whole(7 * columns), part(7 * columns);
            noise(99, first, 7, columns, 1, whole.data());
            noise(99, first, 2, columns, 1, part.data());
            noise(99, first + 2, 4, columns, 1, part.data() + 2 * columns);
            noise(99, first + 6, 1, columns, 1, part.data() + 6 * columns);
            CHECK(whole == part, "first row %lld, %lld columns: the batches differ",
                  static_cast<long long>(first), static_cast<long long>(columns));
            // A narrower matrix is the left part of a wider one.
            if (columns > 1) {
                std::vector<float> left(columns - 1);
                noise(99, first, 1, columns - 1, 1, left.data());
                CHECK(std::equal(left.begin(), left.end(), whole.begin()), "%lld columns: not a prefix",
                      static_cast<long long>(columns));
            }
        }
    }
    // The high half of the row and of the seed count.
    CHECK(element(1, 0, 0) != element(1, int64_t{1} << 32, 0), "rows 0 and 2^32 are equal");
    CHECK(element(1, 0, 0) != element(1 + (uint64_t{1} << 32), 0, 0), "seeds 1 and 2^32 + 1 are equal");
}

void scales() {
    std::vector<float> one(64), scaled(64);
    noise(3, 5, 4, 16, 1, one.data());
    noise(3, 5, 4, 16, 0.3f, scaled.data());
    for (size_t i = 0; i < one.size(); i++)
        CHECK(scaled[i] == one[i] * 0.3f, "element %zu", i);
    noise(3, 5, 4, 16, 0, scaled.data());
    for (float v : scaled)
        CHECK(v == 0, "scale 0 gives %g", v);
}

void abuse() {
    noise(1, 0, 0, 16, 1, nullptr);
    noise(1, 0, 16, 0, 1, nullptr);
    bool thrown = false;
    try {
        noise(1, 0, 1, (int64_t{1} << 34) + 1, 1, nullptr);
    } catch (const Error&) {
        thrown = true;
    }
    CHECK(thrown, "more columns than the counter holds");
}

} // namespace

int main() {
    known_words();
    series();
    description();
    golden_bits();
    distribution();
    batches();
    scales();
    abuse();
    return test::finish("noise");
}
