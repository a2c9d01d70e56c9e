// Orthogonal matching pursuit for many signals at once, as omp.cpp does it one by one: what decides is
// computed in double in the order that it is there, so supports are the CPU's exactly.
//
// A step of the live signals, L of them with n atoms each, dictionary A × d:
//   find_residuals, list_still (omp/select.cu): signals that are done leave
//   pack, candidate_pairs (pairs.cu)
//               unit residuals times dictionary on tensor cores, 2·L·A·d FLOPs; atoms whose |correlation| may
//               be the largest. Limited by mma.sync for L >= 128, by reading the dictionary, 4·A·d bytes,
//               below.
//   score_candidates (omp/select.cu), their correlations in double
//   append_best (omp/append.cu)
// Once: the Gram matrix in double where there is room for 8·A² bytes (omp/gram.cu); else the products that a
// candidate needs are computed when it is scored, n·d operations. Two short copies to the host a step: how
// many signals are live, how many candidates there are.
#include "kernels.h"

#include "bounds.h"
#include "latdyn/error.h"
#include "omp/pursuits.h"
#include "omp_kernels.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

namespace latdyn::cuda {

namespace {

struct Setting {
    const DeviceRows& dictionary;
    const DeviceRows& signals;
    const std::vector<int32_t>& sparsities;
    const Job& job;
    int64_t most;
    Buffer<double> atom_lengths, signal_lengths, gram_matrix;
    Buffer<float> packed;
    Buffer<RowBounds> atom_bounds;
    std::vector<uint32_t> never;
};

std::vector<double> lengths_of(const DeviceRows& rows) {
    std::vector<double> lengths;
    for (double square : rows.host_squares)
        lengths.push_back(std::sqrt(square));
    return lengths;
}

template <class Element> Buffer<Element> zeros(int64_t size) {
    Buffer<Element> buffer(size);
    buffer.fill_bytes(0);
    return buffer;
}

// A block of signals at work.
class Block {
  public:
    Block(const Setting& setting, int64_t signals)
        : setting(setting), atoms(setting.dictionary.count), columns(setting.dictionary.columns),
          padded((setting.most + 7) / 8 * 8), words((atoms + 31) / 32), room(signals), size(signals),
          done(signals), live(signals), still(signals), index(signals), chosen(signals * setting.most),
          zero(signals), solution(signals * padded), projections(signals * padded),
          factor(signals * omp_row(setting.most)), inverse(signals * setting.most),
          residual(signals * columns), unit_residual(signals * columns),
          packed(packed_size(signals, columns)), bounds(signals), best_bound(signals),
          excluded(signals * words), best(signals), before(signals), live_count(1),
          sparsities(std::span<const int32_t>(setting.sparsities)) {
        for (int32_t sparsity : setting.sparsities) {
            begins.push_back(total);
            total += signals * sparsity;
        }
        begin_of = Buffer<int64_t>(std::span<const int64_t>(begins));
        coefficients = Buffer<float>(total);
        norms = Buffer<double>(signals * static_cast<int64_t>(begins.size()));
    }

    // Signals [first, first + count). False where the job is to end.
    bool run(int64_t first, int64_t count, Candidates& candidates, OmpResult& result) {
        size.fill_bytes(0);
        done.fill_bytes(0);
        projections.fill_bytes(0);
        coefficients.fill_bytes(0);
        norms.fill_bytes(0);
        std::vector<uint32_t> bits;
        for (int64_t s = 0; s < count; s++)
            bits.insert(bits.end(), setting.never.begin(), setting.never.end());
        excluded.set(bits);
        std::vector<int32_t> all(static_cast<size_t>(count));
        std::iota(all.begin(), all.end(), 0);
        live.set(all);
        const Pursuits p = pursuits(first);
        for (int64_t at_work = count; at_work > 0;) {
            if (!setting.job.go_on(first + count - at_work))
                return false;
            find_residuals(p, live.get(), at_work);
            at_work = without_done(at_work);
            if (at_work == 0)
                break;
            if (!choose(p, at_work, first + count - at_work, candidates))
                return false;
            append_best(p, live.get(), at_work);
            at_work = without_done(at_work);
        }
        record(first, count, result);
        return true;
    }

  private:
    const Setting& setting;
    const int64_t atoms, columns, padded, words, room;
    Buffer<int32_t> size, done, live, still, index, chosen;
    Buffer<double> zero, solution, projections, factor, inverse, residual;
    Buffer<float> unit_residual, packed;
    Buffer<RowBounds> bounds;
    Buffer<uint32_t> best_bound, excluded;
    Buffer<Key> best, before;
    Buffer<int32_t> live_count;
    Buffer<int32_t> sparsities;
    std::vector<int64_t> begins;
    int64_t total = 0;
    Buffer<int64_t> begin_of;
    Buffer<float> coefficients;
    Buffer<double> norms;

    Pursuits pursuits(int64_t first) const {
        Pursuits p{};
        p.signals = setting.signals.data.get() + first * columns;
        p.atoms = setting.dictionary.data.get();
        p.signal_lengths = setting.signal_lengths.get() + first;
        p.atom_lengths = setting.atom_lengths.get();
        p.gram = setting.gram_matrix.get();
        p.atom_count = atoms;
        p.columns = columns;
        p.most = setting.most;
        p.padded = padded;
        p.factor_size = omp_row(setting.most);
        p.words = words;
        p.error = tf32_cosine_error(columns);
        p.size = size.get();
        p.done = done.get();
        p.zero = zero.get();
        p.bounds = bounds.get();
        p.best_bound = best_bound.get();
        p.best = best.get();
        p.before = before.get();
        p.index = index.get();
        p.chosen = chosen.get();
        p.solution = solution.get();
        p.projections = projections.get();
        p.factor = factor.get();
        p.inverse = inverse.get();
        p.excluded = excluded.get();
        p.residual = residual.get();
        p.unit_residual = unit_residual.get();
        p.sparsities = sparsities.get();
        p.coefficient_begin = begin_of.get();
        p.sparsity_count = static_cast<int32_t>(begins.size());
        p.signal_count = room;
        p.coefficients = coefficients.get();
        p.norms = norms.get();
        return p;
    }

    int64_t without_done(int64_t count) {
        list_still(live.get(), count, done.get(), still.get(), live_count.get());
        std::swap(live, still);
        return live_count.read()[0];
    }

    bool choose(const Pursuits& p, int64_t count, int64_t finished, Candidates& candidates) {
        pack(unit_residual.get(), columns, live.get(), count, {}, packed.get());
        PairTask task{};
        task.left = {packed.get(), live.get(), count, bounds.get(), best_bound.get()};
        task.right = {setting.packed.get(), nullptr, atoms, setting.atom_bounds.get(), nullptr};
        task.stages = stages_of(columns);
        task.score = Score::size;
        task.improve = true;
        task.excluded = excluded.get();
        task.excluded_words = words;
        Job quiet = setting.job;
        quiet.report = [&](int64_t, int64_t) { return setting.job.go_on(finished); };
        return for_candidates(quiet, candidates, task, finished,
                              [&] { score_candidates(p, live.get(), count, candidates); });
    }

    void record(int64_t first, int64_t count, OmpResult& result) const {
        const std::vector<int32_t> sizes = size.read(), atoms_chosen = chosen.read();
        for (size_t q = 0; q < begins.size(); q++) {
            OmpSelection& selection = result.by_sparsity[q];
            const int64_t sparsity = selection.sparsity;
            const std::vector<float> own = coefficients.read(begins[q], count * sparsity);
            std::copy(own.begin(), own.end(), selection.coefficients.begin() + first * sparsity);
            const std::vector<double> lengths = norms.read(static_cast<int64_t>(q) * room, count);
            std::copy(lengths.begin(), lengths.end(), selection.residual_norm.begin() + first);
            for (int64_t s = 0; s < count; s++)
                std::copy_n(atoms_chosen.begin() + s * setting.most, std::min<int64_t>(sizes[s], sparsity),
                            selection.support.begin() + (first + s) * sparsity);
        }
    }
};

void check(const std::vector<int32_t>& sparsities, int64_t atoms, int64_t dimension) {
    if (atoms < 1)
        throw Error("the dictionary is empty, expected at least one atom");
    if (dimension < 1)
        throw Error("the dimension is " + std::to_string(dimension) + ", expected at least 1");
    if (sparsities.empty())
        throw Error("no sparsity is given, expected at least one");
    int32_t before = 0;
    for (int32_t sparsity : sparsities) {
        if (sparsity <= before)
            throw Error("sparsity " + std::to_string(sparsity) + " comes after " + std::to_string(before) +
                        ", expected ascending whole numbers of at least 1");
        before = sparsity;
    }
}

// Empty where there is no room for it, or it would cost more than it saves.
Buffer<double> gram_of(const DeviceRows& dictionary, const Buffer<double>& lengths, int64_t signals,
                       int64_t most, const Job& job) {
    const int64_t atoms = dictionary.count;
    // A product that is computed when it is asked for: about two candidates a step.
    const double asked = static_cast<double>(signals) * static_cast<double>(most) * static_cast<double>(most);
    if (8 * atoms * atoms > job.room() / 2 ||
        asked < static_cast<double>(atoms) * static_cast<double>(atoms) / 2)
        return {};
    Buffer<double> out(atoms * atoms);
    fill_gram(dictionary, lengths.get(), out.get());
    return out;
}

} // namespace

OmpResult omp(const float* dictionary_data, int64_t atoms, const float* signal_data, int64_t signal_count,
              int64_t dimension, const std::vector<int32_t>& sparsities, const Job& job) {
    check(sparsities, atoms, dimension);
    const DeviceRows dictionary = finite_rows(dictionary_data, atoms, dimension, "dictionary");
    const DeviceRows signals = finite_rows(signal_data, signal_count, dimension, "signals");
    OmpResult result = nothing_chosen(sparsities, signal_count);
    if (signal_count == 0)
        return result;

    job.stage(Stage::resident);
    // More atoms than these are never independent.
    const int64_t most = std::min({int64_t{sparsities.back()}, atoms, dimension});
    const std::vector<double> lengths = lengths_of(dictionary);
    Setting setting{dictionary, signals, sparsities, job, most, {}, {}, {}, {}, {}, {}};
    setting.atom_lengths = Buffer<double>(std::span<const double>(lengths));
    setting.signal_lengths = Buffer<double>(std::span<const double>(lengths_of(signals)));
    setting.gram_matrix = gram_of(dictionary, setting.atom_lengths, signal_count, most, job);
    setting.packed = Buffer<float>(packed_size(atoms, dimension));
    const Buffer<double> scales = unit_scales(dictionary);
    pack(dictionary.data.get(), dimension, nullptr, atoms, {nullptr, scales.get(), 1}, setting.packed.get());
    setting.atom_bounds = zeros<RowBounds>(atoms);
    setting.never.assign(static_cast<size_t>((atoms + 31) / 32), 0);
    for (int64_t j = 0; j < atoms; j++)
        if (lengths[j] == 0)
            setting.never[j / 32] |= 1u << j % 32;

    // A list of candidates for a step: some a signal.
    Candidates candidates(job, int64_t{1} << 20);
    int64_t wanted = signal_count;
    const int64_t signal_bytes = 8 * (omp_row(most) + 4 * most) + 16 * dimension + atoms / 8;
    wanted = std::clamp<int64_t>(job.room() / signal_bytes, 1, wanted);
    auto [block, size] = make_fitting(job, "signals", wanted, 1,
                                      [&](int64_t some) { return std::make_unique<Block>(setting, some); });
    for (int64_t first = 0; first < signal_count; first += size)
        if (!block->run(first, std::min(size, signal_count - first), candidates, result))
            return {.by_sparsity = {}, .aborted = true};

    job.stage(Stage::computed);
    summarize(result, signal_count, dimension);
    return result;
}

} // namespace latdyn::cuda
