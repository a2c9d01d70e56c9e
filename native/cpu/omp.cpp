// Orthogonal matching pursuit, signal by signal on several threads. Compile with -ffp-contract=off: what
// decides is to be the same on every machine.
//
// Everything is relative: unit atoms aⱼ, a unit signal x. With the chosen atoms I and their coefficients γ,
// the score of atom j is its correlation with the residual, aⱼ·x − Σ γᵢ aᵢ·aⱼ, in double and in this order;
// the products aᵢ·aⱼ and aⱼ·x come from double_dots and have one value. γ solves the normal equations by a
// Cholesky factor L of the chosen atoms' Gram matrix, one row a step: L·w = (aᵢ·aⱼ)ᵢ, diagonal √(1 − |w|²).
// That is scikit-learn's algorithm, and its precision.
//
// What costs is to know which score is the largest. There are two ways, and choose_course() takes the cheaper
// one that fits the budget. For S signals, A atoms of dimension d and K steps, in multiply-adds:
//
// gram: the matrix G = (aᵢ·aⱼ) and the correlations of all signals once, in double, A²·d/2 + S·A·d at half
// the speed of floats; G is kept as two floats, high + low, which hold a double's digits. A step combines the
// high rows of the chosen atoms, A·|I|, which makes S·A·K²/2 in all, at 4 bytes each from the cache that
// holds K rows of A floats. Memory 8·A².
//
// product: a step multiplies the residuals of the live signals with the dictionary, S·K·A·d in all at the
// full speed of floats, and forms those residuals in double, S·K²·d/2. Memory 4·A·d.
//
// For 500 signals, 1,024 atoms, d = 1,024 and K = 102 that is 0.5 + 0.5 + 2.7 G against 53 + 2.7 G. (A third
// way, correlations updated along each orthonormalised direction, costs what the first does and keeps K·A
// floats for every signal.)
//
// Both ways compute in float, with a bound ε on the error, and every atom within 2ε of the largest is scored
// in double. With u = 2⁻²⁴:
//
// gram: rounding aⱼ·x, γᵢ, Gᵢⱼ and the products costs at most u·(a + 3B), where a = max |aⱼ·x| and B is the
// sum over i of |γᵢ| times the largest other |Gᵢⱼ| of row i. Adding up stretches of 32 products costs 32·u·B,
// and adding up those (there are m = |I|/32) m·u·(a + B). Where scoring the atoms within 2ε would cost as
// much as scoring all (the residual is small, or the atoms are nearly parallel and γ large), all scores are
// computed in double, for that signal's further steps too.
//
// product: cosine_error(d) of product.h, times |r|.
//
// The score itself is a sum of |I| + 1 terms, whose products are sums of d/8 terms: it is off by less than
// zero_bound / 4. What is below zero_bound counts as zero, and it is added to ε.
#include "latdyn/omp.h"

#include "double_dots.h"
#include "latdyn/error.h"
#include "memory.h"
#include "omp_kernels.h"
#include "omp_with.h"
#include "product.h"
#include "rows.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>

namespace latdyn {

namespace {

// Squared distance from the chosen atoms' span, of unit atoms. Two single-precision roundings of one vector
// are about 2⁻²⁴ apart; at 2⁻²¹ what is left of the new atom is mostly rounding.
constexpr double smallest_pivot = 0x1p-42;

// Signals that a worker takes at a time.
constexpr int64_t gram_chunk = 16;
constexpr int64_t product_chunk = 48;
// Atoms whose products with such a chunk are scanned at a time: 96 KiB of them.
constexpr int64_t group = 512;

// Rows, checked, with their lengths.
struct Vectors {
    RowView rows;
    std::vector<double> lengths;

    // Throws Error where an element is not finite. Of no use where aborted.
    Vectors(const char* what, RowView rows, int threads, const std::atomic<bool>& abort) : rows(rows) {
        lengths.assign(static_cast<size_t>(rows.count), 0);
        constexpr int64_t batch = 256;
        run_tasks(threads, (rows.count + batch - 1) / batch, &abort, [&](int64_t task, int) {
            squared_lengths(rows, task * batch, std::min(rows.count, (task + 1) * batch), lengths.data());
        });
        check_finite(rows, lengths, what);
        for (double& length : lengths)
            length = std::sqrt(length);
    }
};

// From a product of two rows to that of their unit vectors.
double unit(double product, double length, double other) {
    return length == 0 || other == 0 ? 0 : product / (length * other);
}

// ---- one signal ----

// The atoms chosen for a signal and their least-squares coefficients.
class Pursuit {
  public:
    std::vector<int32_t> chosen;
    // Per atom: 1 where it is chosen or never will be.
    std::vector<uint8_t> taken;

    static int64_t bytes(int64_t most, int64_t atoms) {
        return int64_t{sizeof(double)} * (omp_row(most) + 4 * round_up(most, 8)) + most * 4 + atoms;
    }

    Pursuit(const OmpKernels& kernels, int64_t most)
        : kernels(kernels),
          factor(std::make_unique_for_overwrite<double[]>(static_cast<size_t>(omp_row(most)))),
          inverse(static_cast<size_t>(most)) {
        chosen.reserve(most);
        for (std::vector<double>* vector : {&solution, &projections})
            vector->resize(static_cast<size_t>(round_up(most, 8)));
    }

    void begin(const std::vector<uint8_t>& never) {
        chosen.clear();
        std::fill(projections.begin(), projections.end(), 0.0);
        taken = never;
    }

    // Of the unit atoms, for the unit signal.
    std::span<const double> coefficients() const { return {solution.data(), chosen.size()}; }

    int64_t size() const { return static_cast<int64_t>(chosen.size()); }

    double absolute_sum() const {
        double sum = 0;
        for (double c : coefficients())
            sum += std::abs(c);
        return sum;
    }

    // Scores below this are rounding; see the head of this file.
    double zero_bound(int64_t dimension) const {
        const double terms = static_cast<double>(size() + dimension / 8 + 8);
        return 4 * terms * 0x1p-53 * (1 + absolute_sum());
    }

    // gram: the products of the atom with the chosen ones.
    double score(double initial, std::span<const double> gram) const {
        for (size_t i = 0; i < gram.size(); i++)
            initial -= solution[i] * gram[i];
        return initial;
    }

    // False, and nothing has changed, where the atom depends on the chosen ones.
    bool append(int32_t atom, double initial, std::span<const double> gram) {
        const int64_t n = size();
        double* row = factor.get() + omp_row(n);
        std::copy(gram.begin(), gram.end(), row);
        std::fill(row + n, factor.get() + omp_row(n + 1), 0.0);
        kernels.solve_lower(factor.get(), inverse.data(), n, row);
        const double pivot = 1 - kernels.dot(row, row, n);
        if (!(pivot > smallest_pivot))
            return false;
        const double diagonal = std::sqrt(pivot);
        inverse[n] = 1 / diagonal;
        projections[n] = (initial - kernels.dot(row, projections.data(), n)) / diagonal;
        chosen.push_back(atom);
        taken[atom] = 1;
        solution = projections;
        kernels.solve_upper(factor.get(), inverse.data(), n + 1, solution.data());
        return true;
    }

  private:
    const OmpKernels& kernels;
    // See OmpKernels::solve_lower.
    std::unique_ptr<double[]> factor;
    std::vector<double> inverse;
    // Zeros after the last: the coefficients, and the unit signal on the orthonormalised atoms.
    std::vector<double> solution, projections;
};

// A residual and what it is made of.
struct Residual {
    // Zeros after the last element, up to a multiple of 8.
    std::vector<double> vector;
    std::vector<const float*> rows;
    std::vector<double> factors;
};

// ---- what all signals share ----

struct Setting {
    const Vectors& dictionary;
    const Vectors& signals;
    const OmpKernels& kernels;
    const DoubleDots dots;
    // Steps of a signal.
    const int64_t most;
    // Per atom: 1 where its length is zero.
    std::vector<uint8_t> never;
    OmpResult& result;
    JobCounters& counters;

    int64_t atoms() const { return dictionary.rows.count; }
    int64_t dimension() const { return dictionary.rows.columns; }
    bool aborted() const { return counters.abort.load(std::memory_order_relaxed); }

    double initial(int64_t signal, int64_t atom) const {
        return unit(dot(signals.rows[signal], dictionary.rows[atom], dimension()), signals.lengths[signal],
                    dictionary.lengths[atom]);
    }

    // Signal less combination, in the signal's own size, to `to`. Returns its length.
    double residual(int64_t signal, const Pursuit& pursuit, Residual& to) const {
        to.rows.clear();
        to.factors.clear();
        for (int64_t i = 0; i < pursuit.size(); i++) {
            to.rows.push_back(dictionary.rows[pursuit.chosen[i]]);
            to.factors.push_back(coefficient(signal, pursuit, i));
        }
        to.vector.resize(static_cast<size_t>(round_up(dimension(), 8)));
        kernels.subtract(signals.rows[signal], to.rows.data(), to.factors.data(), pursuit.size(), dimension(),
                         to.vector.data());
        return std::sqrt(kernels.dot(to.vector.data(), to.vector.data(), dimension()));
    }

    // Writes down what stands after `size` steps, for that sparsity; after an early stop, for all from there
    // on.
    void record(int64_t signal, const Pursuit& pursuit, bool stopped, Residual& scratch) const {
        std::optional<double> norm;
        for (OmpSelection& selection : result.by_sparsity) {
            const int64_t sparsity = selection.sparsity;
            if (stopped ? sparsity <= pursuit.size() : sparsity != pursuit.size())
                continue;
            if (!norm)
                norm = residual(signal, pursuit, scratch);
            selection.residual_norm[signal] = *norm;
            std::copy(pursuit.chosen.begin(), pursuit.chosen.end(),
                      selection.support.begin() + signal * sparsity);
            for (int64_t i = 0; i < pursuit.size(); i++)
                selection.coefficients[signal * sparsity + i] =
                    static_cast<float>(coefficient(signal, pursuit, i));
        }
    }

  private:
    double coefficient(int64_t signal, const Pursuit& pursuit, int64_t i) const {
        return pursuit.coefficients()[i] * (signals.lengths[signal] / dictionary.lengths[pursuit.chosen[i]]);
    }
};

// The atom to take next.
struct Choice {
    int32_t atom = -1;
    double score = 0;
    // Its correlation with the signal, and its products with the chosen atoms.
    double initial = 0;
    std::vector<double> gram;

    // For atoms in ascending order: the first of equals stays. Swaps `gram`.
    void improve(int32_t candidate, double candidate_score, double candidate_initial,
                 std::vector<double>& candidate_gram) {
        if (atom >= 0 && !(std::abs(candidate_score) > std::abs(score)))
            return;
        atom = candidate;
        score = candidate_score;
        initial = candidate_initial;
        gram.swap(candidate_gram);
    }
};

// Takes the step, or says that this signal has come to its end.
bool advance(const Setting& setting, Pursuit& pursuit, const Choice& choice) {
    return choice.atom >= 0 && std::abs(choice.score) > pursuit.zero_bound(setting.dimension()) &&
           pursuit.append(choice.atom, choice.initial, choice.gram);
}

// Runs worker(first, last) on chunks of the signals; each thread makes a worker of its own.
template <typename Worker, typename... Arguments>
void in_chunks(int64_t chunk, int threads, const Setting& setting, const Arguments&... arguments) {
    const int64_t count = setting.signals.rows.count;
    std::vector<std::optional<Worker>> workers(static_cast<size_t>(threads));
    run_tasks(threads, (count + chunk - 1) / chunk, &setting.counters.abort, [&](int64_t task, int thread) {
        if (!workers[thread])
            workers[thread].emplace(setting, arguments..., chunk);
        (*workers[thread])(task * chunk, std::min(count, (task + 1) * chunk));
    });
}

// ---- correlations from the Gram matrix ----

class Gram {
  public:
    const int64_t stride;

    static int64_t stride_of(int64_t atoms) { return round_up(atoms, omp_padding); }
    static int64_t bytes(int64_t atoms) { return 2 * int64_t{sizeof(float)} * atoms * stride_of(atoms); }

    // Of no use where aborted.
    Gram(const Setting& setting, int threads)
        : stride(stride_of(setting.atoms())), atoms(setting.atoms()), dictionary(setting.dictionary),
          high_(aligned_floats(static_cast<size_t>(atoms * stride))),
          low_(aligned_floats(static_cast<size_t>(atoms * stride))), largest_(static_cast<size_t>(atoms)) {
        // Blocks of rows of which two stay in L2.
        const int64_t fitting = static_cast<int64_t>(l2_bytes()) * 2 / 5 / (4 * setting.dimension());
        const int64_t block = std::clamp<int64_t>(fitting / 8 * 8, 8, largest_block);
        const int64_t blocks = (atoms + block - 1) / block;
        std::vector<std::vector<double>> products(static_cast<size_t>(threads));
        const bool done = run_tasks(threads, blocks * (blocks + 1) / 2, &setting.counters.abort,
                                    [&](int64_t task, int thread) {
                                        products[thread].resize(static_cast<size_t>(block * block));
                                        // Row after row of the lower triangle of blocks.
                                        const int64_t i = triangle_row(task), j = task - i * (i + 1) / 2;
                                        fill(i * block, j * block, block, products[thread], setting.dots);
                                    });
        if (!done)
            return;
        for (int64_t i = 0; i < atoms; i++) {
            // The diagonal, which is not a product with another atom, stands aside for a moment.
            float* own = high_.get() + i * stride + i;
            const float diagonal = *own;
            *own = 0;
            largest_[i] = setting.kernels.largest(high(i), stride);
            *own = diagonal;
        }
    }

    const float* high(int64_t i) const { return high_.get() + i * stride; }
    const float* low(int64_t i) const { return low_.get() + i * stride; }
    // The largest |product| of atom i with another one.
    double largest(int64_t i) const { return largest_[i]; }

  private:
    static constexpr int64_t largest_block = 64;
    const int64_t atoms;
    const Vectors& dictionary;
    AlignedFloats high_, low_;
    std::vector<float> largest_;

    // The largest i with i·(i + 1)/2 <= place.
    static int64_t triangle_row(int64_t place) {
        int64_t i = static_cast<int64_t>((std::sqrt(8.0 * static_cast<double>(place) + 1) - 1) / 2);
        while (i * (i + 1) / 2 > place)
            i--;
        while ((i + 1) * (i + 2) / 2 <= place)
            i++;
        return i;
    }

    // The block at (i, j) and the one at (j, i).
    void fill(int64_t i, int64_t j, int64_t block, std::vector<double>& products, DoubleDots dots) {
        const int64_t rows = std::min(block, atoms - i), columns = std::min(block, atoms - j);
        const float *left[largest_block] = {}, *right[largest_block] = {};
        for (int64_t m = 0; m < rows; m++)
            left[m] = dictionary.rows[i + m];
        for (int64_t m = 0; m < columns; m++)
            right[m] = dictionary.rows[j + m];
        dots(left, rows, right, columns, dictionary.rows.columns, products.data(), block);
        for (int64_t m = 0; m < rows; m++)
            for (int64_t n = 0; n < columns; n++) {
                const double product =
                    unit(products[m * block + n], dictionary.lengths[i + m], dictionary.lengths[j + n]);
                const float h = static_cast<float>(product), l = static_cast<float>(product - h);
                high_[(i + m) * stride + j + n] = h;
                low_[(i + m) * stride + j + n] = l;
                high_[(j + n) * stride + i + m] = h;
                low_[(j + n) * stride + i + m] = l;
            }
    }
};

class GramWorker {
  public:
    static int64_t bytes(int64_t chunk, int64_t atoms, int64_t dimension, int64_t most) {
        const int64_t stride = Gram::stride_of(atoms);
        return stride * (chunk * 8 + 4 + 4 + 8 + 4) + dimension * 8 + Pursuit::bytes(most, atoms) + most * 24;
    }

    GramWorker(const Setting& setting, const Gram& gram, int64_t chunk)
        : setting(setting), gram(gram), initial(static_cast<size_t>(chunk * gram.stride)),
          scores(static_cast<size_t>(gram.stride)),
          initial_float(aligned_floats(static_cast<size_t>(gram.stride))),
          correlations(aligned_floats(static_cast<size_t>(gram.stride))),
          places(static_cast<size_t>(gram.stride)), pursuit(setting.kernels, setting.most) {}

    void operator()(int64_t first, int64_t last) {
        correlate_chunk(first, last);
        for (int64_t i = first; i < last && !setting.aborted(); i++) {
            pursue(i, initial.data() + (i - first) * gram.stride);
            setting.counters.finished++;
        }
    }

  private:
    const Setting& setting;
    const Gram& gram;
    // Correlations of a chunk of signals with the atoms, [chunk, stride].
    std::vector<double> initial;
    std::vector<double> scores;
    AlignedFloats initial_float, correlations;
    std::vector<int32_t> places;
    Pursuit pursuit;
    std::vector<double> products;
    Residual residual;
    // Gram rows of the chosen atoms, and their coefficients in single precision.
    std::vector<const float*> high, low;
    std::vector<float> factors;

    void correlate_chunk(int64_t first, int64_t last) {
        constexpr int64_t block = 64;
        const float *left[gram_chunk], *right[block];
        for (int64_t i = first; i < last; i++)
            left[i - first] = setting.signals.rows[i];
        for (int64_t j = 0; j < setting.atoms() && !setting.aborted(); j += block) {
            const int64_t columns = std::min(block, setting.atoms() - j);
            for (int64_t m = 0; m < columns; m++)
                right[m] = setting.dictionary.rows[j + m];
            setting.dots(left, last - first, right, columns, setting.dimension(), initial.data() + j,
                         gram.stride);
        }
        for (int64_t i = first; i < last; i++)
            for (int64_t j = 0; j < setting.atoms(); j++) {
                double& product = initial[(i - first) * gram.stride + j];
                product = unit(product, setting.signals.lengths[i], setting.dictionary.lengths[j]);
            }
    }

    void pursue(int64_t signal, const double* own) {
        pursuit.begin(setting.never);
        high.clear();
        low.clear();
        float largest = 0;
        for (int64_t j = 0; j < gram.stride; j++) {
            initial_float[j] = static_cast<float>(own[j]);
            largest = std::max(largest, std::abs(initial_float[j]));
        }
        bool in_double = false;
        while (pursuit.size() < setting.most && !setting.aborted()) {
            Choice choice;
            if (pursuit.size() == 0)
                choose(own, own, choice);
            else if (in_double || !shortlist(own, largest, choice)) {
                in_double = true;
                setting.kernels.score(own, high.data(), low.data(), pursuit.coefficients().data(),
                                      pursuit.size(), gram.stride, scores.data());
                choose(scores.data(), own, choice);
            }
            if (!advance(setting, pursuit, choice)) {
                setting.record(signal, pursuit, true, residual);
                return;
            }
            high.push_back(gram.high(choice.atom));
            low.push_back(gram.low(choice.atom));
            setting.record(signal, pursuit, false, residual);
        }
        if (!setting.aborted())
            setting.record(signal, pursuit, true, residual);
    }

    // Of the atom with the chosen ones. Their high rows have just been read; the low halves lie together in
    // the atom's own row.
    void chosen_products(int32_t atom, std::vector<double>& to) const {
        const size_t count = pursuit.chosen.size();
        const float* own_low = gram.low(atom);
        to.resize(count);
        for (int32_t other : pursuit.chosen)
            __builtin_prefetch(own_low + other);
        for (size_t i = 0; i < count; i++)
            to[i] = double(high[i][atom]) + double(own_low[pursuit.chosen[i]]);
    }

    // The best of all scores.
    void choose(const double* all, const double* own, Choice& choice) {
        for (int64_t j = 0; j < setting.atoms(); j++)
            if (!pursuit.taken[j] && (choice.atom < 0 || std::abs(all[j]) > std::abs(choice.score))) {
                choice.atom = static_cast<int32_t>(j);
                choice.score = all[j];
            }
        if (choice.atom < 0)
            return;
        choice.initial = own[choice.atom];
        chosen_products(choice.atom, choice.gram);
    }

    // The best of those whose float correlation may be the largest. False where they are too many.
    bool shortlist(const double* own, double largest_initial, Choice& choice) {
        const int64_t count = pursuit.size();
        const std::span<const double> coefficients = pursuit.coefficients();
        factors.assign(coefficients.begin(), coefficients.end());
        setting.kernels.correlate(initial_float.get(), high.data(), factors.data(), count, gram.stride,
                                  correlations.get());
        double products_sum = 0;
        for (int64_t i = 0; i < count; i++) {
            correlations[pursuit.chosen[i]] = 0;
            products_sum += std::abs(coefficients[i]) * gram.largest(pursuit.chosen[i]);
        }
        const double stretches = static_cast<double>((count + omp_stretch - 1) / omp_stretch);
        const double roundings =
            largest_initial + (3 + omp_stretch) * products_sum + stretches * (largest_initial + products_sum);
        // A hundredth for what is of second order, 1e-30 for what is too small for a float.
        const double error = 1.01 * 0x1p-24 * roundings + 1e-30 + pursuit.zero_bound(setting.dimension());
        const double best = setting.kernels.largest(correlations.get(), gram.stride);
        const double bound = best * (1 - 0x1p-22) - 2 * error;
        if (!(bound > 0))
            return false;
        const int64_t room = std::min(gram.stride, 16 + setting.atoms() / 16);
        const int64_t found = setting.kernels.collect(correlations.get(), gram.stride,
                                                      static_cast<float>(bound), places.data(), room);
        if (found > room)
            return false;
        for (int32_t atom : std::span(places.data(), static_cast<size_t>(found))) {
            if (pursuit.taken[atom])
                continue;
            chosen_products(atom, products);
            choice.improve(atom, pursuit.score(own[atom], products), own[atom], products);
        }
        return true;
    }
};

// ---- correlations of residuals ----

// The unit atoms as right-hand factor of a float product.
class PackedDictionary {
  public:
    static int64_t bytes(int64_t atoms, int64_t dimension, int64_t panel) {
        return round_up(atoms, panel) * dimension * int64_t{sizeof(float)};
    }

    PackedDictionary(const Setting& setting, int64_t width, int threads)
        : dimension(setting.dimension()),
          memory(aligned_floats(static_cast<size_t>(round_up(setting.atoms(), width) * dimension))) {
        const int64_t groups = (setting.atoms() + width - 1) / width;
        run_tasks(threads, groups, &setting.counters.abort, [&](int64_t task, int) {
            const int64_t first = task * width;
            pack_rows(
                first, std::min(width, setting.atoms() - first), dimension,
                [&](int64_t j) { return setting.dictionary.rows[j]; },
                [&](int64_t j) { return setting.never[j] ? 0 : 1 / setting.dictionary.lengths[j]; },
                memory.get() + first * dimension, width);
        });
    }

    const float* from(int64_t atom) const { return memory.get() + atom * dimension; }

  private:
    const int64_t dimension;
    AlignedFloats memory;
};

class ProductWorker {
  public:
    static int64_t bytes(int64_t chunk, int64_t atoms, int64_t dimension, int64_t most) {
        return chunk * (Pursuit::bytes(most, atoms) + 64) + product_chunk * (dimension + group) * 4 +
               dimension * 8 + most * 24 + atoms * 8;
    }

    ProductWorker(const Setting& setting, const PackedDictionary& dictionary, const ProductKernels& product,
                  int64_t chunk)
        : setting(setting), dictionary(dictionary), product(product),
          tiles(aligned_floats(static_cast<size_t>(product_chunk * setting.dimension()))),
          correlations(aligned_floats(static_cast<size_t>(product_chunk * group))),
          places(static_cast<size_t>(group)) {
        for (int64_t i = 0; i < chunk; i++)
            pursuits.emplace_back(setting.kernels, setting.most);
    }

    void operator()(int64_t first, int64_t last) {
        live.clear();
        for (int64_t i = first; i < last; i++) {
            Pursuit& pursuit = pursuits[i - first];
            pursuit.begin(setting.never);
            live.push_back({i, &pursuit, 0, 0, {}});
        }
        while (!live.empty() && !setting.aborted()) {
            int64_t place = 0;
            std::erase_if(live, [&](Live& one) {
                const bool ready = prepare(one, place);
                place += ready;
                return !ready;
            });
            correlate();
            std::erase_if(live, [&](Live& one) { return !step(one); });
        }
    }

  private:
    struct Live {
        int64_t signal;
        Pursuit* pursuit;
        // Bound on the error of a correlation with the unit residual; the largest |correlation| so far.
        double error;
        double best;
        // Atoms whose |correlation| may be the largest.
        std::vector<std::pair<int32_t, float>> candidates;
    };

    const Setting& setting;
    const PackedDictionary& dictionary;
    const ProductKernels& product;
    AlignedFloats tiles, correlations;
    std::vector<int32_t> places;
    std::vector<Pursuit> pursuits;
    std::vector<Live> live;
    Residual residual;
    std::vector<double> products;
    std::vector<const float*> chosen_rows;

    bool finish(const Live& one) {
        setting.record(one.signal, *one.pursuit, true, residual);
        setting.counters.finished++;
        return false;
    }

    // Packs the unit residual at `place` among the live ones. False where this signal is done.
    bool prepare(Live& one, int64_t place) {
        if (one.pursuit->size() == setting.most)
            return finish(one);
        const double norm = setting.residual(one.signal, *one.pursuit, residual);
        const double length = setting.signals.lengths[one.signal];
        const double zero = one.pursuit->zero_bound(setting.dimension());
        // Scores are no larger than the residual, up to half the bound.
        if (!(norm > zero / 2 * length))
            return finish(one);
        one.error = cosine_error(setting.dimension()) + zero * length / norm;
        one.best = 0;
        one.candidates.clear();
        const int64_t k = setting.dimension();
        float* lane = tiles.get() + place / product.tile * product.tile * k + place % product.tile;
        for (int64_t l = 0; l < k; l++)
            lane[l * product.tile] = static_cast<float>(residual.vector[l] / norm);
        return true;
    }

    void correlate() {
        const int64_t k = setting.dimension(), count = static_cast<int64_t>(live.size());
        const int64_t tile_count = (count + product.tile - 1) / product.tile;
        for (int64_t first = 0; first < setting.atoms() && count > 0 && !setting.aborted(); first += group) {
            const int64_t width = std::min(group, setting.atoms() - first);
            product.dots(tiles.get(), tile_count, dictionary.from(first),
                         (width + product.panel - 1) / product.panel, k, correlations.get(), group);
            for (int64_t i = 0; i < count; i++)
                scan(live[i], correlations.get() + i * group, first, width);
        }
    }

    // Keeps those of the group's atoms that may have the largest correlation.
    void scan(Live& one, float* values, int64_t first, int64_t width) {
        const int64_t padded = round_up(width, omp_padding);
        std::fill(values + width, values + padded, 0.0f);
        for (int32_t atom : one.pursuit->chosen)
            if (atom >= first && atom < first + width)
                values[atom - first] = 0;
        one.best = std::max(one.best, double(setting.kernels.largest(values, padded)));
        const int64_t found =
            setting.kernels.collect(values, padded, static_cast<float>(bound(one)), places.data(), group);
        for (int32_t place : std::span(places.data(), static_cast<size_t>(found)))
            if (place < width && !one.pursuit->taken[first + place])
                one.candidates.push_back({static_cast<int32_t>(first + place), std::abs(values[place])});
    }

    static double bound(const Live& one) { return one.best * (1 - 0x1p-22) - 2 * one.error; }

    // False where this signal is done.
    bool step(Live& one) {
        if (setting.aborted())
            return false;
        Pursuit& pursuit = *one.pursuit;
        chosen_rows.clear();
        for (int32_t atom : pursuit.chosen)
            chosen_rows.push_back(setting.dictionary.rows[atom]);
        Choice choice;
        for (const auto& [atom, correlation] : one.candidates) {
            if (correlation < bound(one))
                continue;
            const double initial = setting.initial(one.signal, atom);
            chosen_products(pursuit, atom);
            choice.improve(atom, pursuit.score(initial, products), initial, products);
        }
        if (!advance(setting, pursuit, choice))
            return finish(one);
        setting.record(one.signal, pursuit, false, residual);
        return true;
    }

    // With the digits that the Gram matrix keeps.
    void chosen_products(const Pursuit& pursuit, int32_t atom) {
        products.resize(pursuit.chosen.size());
        const float* row = setting.dictionary.rows[atom];
        setting.dots(&row, 1, chosen_rows.data(), pursuit.size(), setting.dimension(), products.data(),
                     pursuit.size());
        for (int64_t i = 0; i < pursuit.size(); i++) {
            const double exact = unit(products[i], setting.dictionary.lengths[atom],
                                      setting.dictionary.lengths[pursuit.chosen[i]]);
            const float high = static_cast<float>(exact), low = static_cast<float>(exact - high);
            products[i] = double(high) + double(low);
        }
    }
};

// ---- the whole ----

struct Course {
    OmpWay way;
    int64_t chunk;
    int threads;
};

Course choose_course(OmpWay wanted, const Setting& setting, const OmpOptions& options, int64_t panel) {
    const int64_t a = setting.atoms(), d = setting.dimension(), k = setting.most,
                  s = setting.signals.rows.count;
    const int threads = std::max(options.threads, 1);
    // Chunks small enough that every thread gets some.
    const auto chunk_of = [&](int64_t largest) { return std::clamp<int64_t>(s / (4 * threads), 1, largest); };

    // In multiply-adds at the full speed of floats: one in double costs two, an element of a Gram row three
    // from L2 and four from beyond, an element of a residual six.
    const double row_cost = 4 * k * a <= static_cast<int64_t>(l2_bytes()) ? 3 : 4;
    const double gram_cost = double(a) * a * d + 2.0 * s * a * d + row_cost / 2 * s * a * k * k;
    const double product_cost = double(s) * k * a * d + 3.0 * s * k * k * d;
    const bool gram_fits = Gram::bytes(a) + threads * GramWorker::bytes(1, a, d, k) <= options.memory_budget;
    if (wanted == OmpWay::gram || (wanted == OmpWay::cheapest && gram_fits && gram_cost <= product_cost)) {
        int64_t chunk = chunk_of(gram_chunk);
        while (chunk > 1 &&
               Gram::bytes(a) + threads * GramWorker::bytes(chunk, a, d, k) > options.memory_budget)
            chunk--;
        return {OmpWay::gram, chunk, threads};
    }
    Course course{OmpWay::product, chunk_of(product_chunk), threads};
    const auto bytes = [&] {
        return PackedDictionary::bytes(a, d, panel) +
               course.threads * ProductWorker::bytes(course.chunk, a, d, k);
    };
    while (course.chunk > 1 && bytes() > options.memory_budget)
        course.chunk--;
    while (course.threads > 1 && bytes() > options.memory_budget)
        course.threads--;
    if (bytes() > options.memory_budget)
        throw Error("the memory budget is " + std::to_string(options.memory_budget) +
                    " bytes, expected at least " + std::to_string(bytes()) + " for this dictionary");
    return course;
}

void check(const OmpOptions& options, int64_t atoms, int64_t dimension) {
    if (atoms < 1)
        throw Error("the dictionary is empty, expected at least one atom");
    if (dimension < 1)
        throw Error("the dimension is " + std::to_string(dimension) + ", expected at least 1");
    if (options.sparsities.empty())
        throw Error("no sparsity is given, expected at least one");
    int32_t before = 0;
    for (int32_t sparsity : options.sparsities) {
        if (sparsity <= before)
            throw Error("sparsity " + std::to_string(sparsity) + " comes after " + std::to_string(before) +
                        ", expected ascending whole numbers of at least 1");
        before = sparsity;
    }
}

} // namespace

const OmpKernels& omp_kernels_of([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
    if (isa == Isa::avx512)
        return avx512_omp_kernels;
    if (isa == Isa::avx2)
        return avx2_omp_kernels;
#endif
    return portable_omp_kernels;
}

OmpResult omp_with(Isa isa, OmpWay way, const float* dictionary_data, int64_t atoms, const float* signal_data,
                   int64_t signal_count, int64_t dimension, const OmpOptions& options,
                   JobCounters& counters) {
    check(options, atoms, dimension);
    const int threads = std::max(options.threads, 1);
    const Vectors dictionary("dictionary", {dictionary_data, atoms, dimension}, threads, counters.abort);
    const Vectors signals("signals", {signal_data, signal_count, dimension}, threads, counters.abort);
    const OmpResult aborted{.by_sparsity = {}, .aborted = true};
    if (counters.abort)
        return aborted;

    OmpResult result = nothing_chosen(options.sparsities, signal_count);
    // More atoms than these are never independent.
    const int64_t most = std::min({int64_t{options.sparsities.back()}, atoms, dimension});
    Setting setting{dictionary, signals, omp_kernels_of(isa), double_dots_of(isa), most, {},
                    result,     counters};
    for (int64_t j = 0; j < atoms; j++)
        setting.never.push_back(dictionary.lengths[j] == 0);

    const ProductKernels& product = product_kernels_of(isa);
    const Course course = choose_course(way, setting, options, product.panel);
    if (course.way == OmpWay::gram) {
        const Gram gram(setting, course.threads);
        in_chunks<GramWorker>(course.chunk, course.threads, setting, gram);
    } else {
        const PackedDictionary packed(setting, product.panel, course.threads);
        in_chunks<ProductWorker>(course.chunk, course.threads, setting, packed, product);
    }
    if (setting.aborted())
        return aborted;

    summarize(result, signal_count, dimension);
    return result;
}

OmpResult omp(const float* dictionary, int64_t atoms, const float* signals, int64_t signal_count,
              int64_t dimension, const OmpOptions& options, JobCounters& counters) {
    return omp_with(widest_isa(), OmpWay::cheapest, dictionary, atoms, signals, signal_count, dimension,
                    options, counters);
}

} // namespace latdyn
