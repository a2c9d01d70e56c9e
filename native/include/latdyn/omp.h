// Batched orthogonal matching pursuit: every signal as a combination of few atoms of one dictionary.
#pragma once

#include "latdyn/iterate.h"

#include <cstdint>
#include <utility>
#include <vector>

namespace latdyn {

struct OmpOptions {
    // How many atoms to choose: ascending, each at least 1. All of them come from one pass.
    std::vector<int32_t> sparsities;
    int threads = 1;
    // Bytes for everything but the arguments and the result.
    int64_t memory_budget = int64_t{1} << 30;
};

// What `sparsity` atoms make of the signals.
struct OmpSelection {
    int32_t sparsity = 0;
    // [signals, sparsity]: atoms in the order of selection; −1 after an early stop.
    std::vector<int32_t> support;
    // [signals, sparsity]: factors of the atoms as given, not of the unit-length ones; 0 after an early stop.
    std::vector<float> coefficients;
    // [signals]: ||signal − combination||, with the coefficients in double.
    std::vector<double> residual_norm;
    // Mean of the squared residual per element, over all signals; 0 where there is none.
    double mean_squared_error = 0;
    // Signals with fewer than `sparsity` atoms.
    int64_t early_stops = 0;
};

struct OmpResult {
    // One for each sparsity; empty where aborted.
    std::vector<OmpSelection> by_sparsity;
    bool aborted = false;
};

// A selection for each sparsity, nothing chosen yet.
inline OmpResult nothing_chosen(const std::vector<int32_t>& sparsities, int64_t signal_count) {
    OmpResult result;
    for (int32_t sparsity : sparsities) {
        OmpSelection selection;
        selection.sparsity = sparsity;
        selection.support.assign(static_cast<size_t>(signal_count) * sparsity, -1);
        selection.coefficients.assign(static_cast<size_t>(signal_count) * sparsity, 0);
        selection.residual_norm.assign(static_cast<size_t>(signal_count), 0);
        result.by_sparsity.push_back(std::move(selection));
    }
    return result;
}

// Errors and early stops, from residuals and supports.
inline void summarize(OmpResult& result, int64_t signal_count, int64_t dimension) {
    for (OmpSelection& selection : result.by_sparsity) {
        double sum = 0;
        for (int64_t i = 0; i < signal_count; i++) {
            sum += selection.residual_norm[i] * selection.residual_norm[i];
            if (selection.support[(i + 1) * selection.sparsity - 1] < 0)
                selection.early_stops++;
        }
        if (signal_count > 0)
            selection.mean_squared_error =
                sum / (static_cast<double>(signal_count) * static_cast<double>(dimension));
    }
}

// dictionary [atoms, dimension], signals [signal_count, dimension]. A step takes the atom whose unit-length
// form has the largest |correlation| with the residual among those not chosen yet (the first of equals), then
// fits all chosen ones by least squares: the semantics of scikit-learn's orthogonal_mp on unit-length atoms.
// A signal stops early where its residual is zero up to rounding, where no atom is left (atoms of length zero
// are never chosen), and where the next atom depends on the chosen ones up to what single precision tells
// apart: its distance from their span is at most 2⁻²¹.
//
// Everything that decides is computed in double in a fixed order: the result has the same bits whatever the
// number of threads, the budget, the other signals and the instruction set. Counts finished signals. Throws
// Error where an element is not finite, a sparsity is not as said, or the budget is too small for one signal.
OmpResult omp(const float* dictionary, int64_t atoms, const float* signals, int64_t signal_count,
              int64_t dimension, const OmpOptions& options, JobCounters& counters);

} // namespace latdyn
