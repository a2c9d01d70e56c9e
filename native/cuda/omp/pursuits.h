// Matching pursuit on the device: what its kernels work on, and their launches. omp.cu tells the steps.
#pragma once

#include "device.h"
#include "pairs.h"

#include <cstdint>

namespace latdyn::cuda {

// The signals of a block, by their place in it.
struct Pursuits {
    const float *signals, *atoms;
    const double *signal_lengths, *atom_lengths;
    // [atoms, atoms]; null where it does not fit.
    const double* gram;
    int64_t atom_count, columns, most, padded, factor_size, words;
    double error;
    // [signals]
    int32_t* size;
    int32_t* done;
    double* zero;
    RowBounds* bounds;
    uint32_t* best_bound;
    Key *best, *before;
    int32_t* index;
    // [signals, most], [signals, padded] twice, [signals, factor_size], [signals, most]
    int32_t* chosen;
    double *solution, *projections, *factor, *inverse;
    // [signals, words]: bit j set where atom j is chosen or never will be.
    uint32_t* excluded;
    // [signals, columns]
    double* residual;
    float* unit_residual;
    // What comes out: for sparsity q, coefficients [signals, sparsities[q]] and norms [signals].
    const int32_t* sparsities;
    const int64_t* coefficient_begin;
    int32_t sparsity_count;
    int64_t signal_count;
    float* coefficients;
    double* norms;
};

// gram.cu. Products of all pairs of unit atoms, to `out` [count, count].
void fill_gram(const DeviceRows& atoms, const double* lengths, double* out);

// select.cu, for `count` signals of the list `live`.
// Residuals, how much of them a score may be off by, and what comes out where nothing is added.
void find_residuals(const Pursuits& p, const int32_t* live, int64_t count);
// The list without signals that are done, to `still`; how many those are, to `still_count`.
void list_still(const int32_t* live, int64_t count, const int32_t* done, int32_t* still,
                int32_t* still_count);
// Every candidate is scored; p.best and p.index are the best atom so far.
void score_candidates(const Pursuits& p, const int32_t* live, int64_t count, const Candidates& candidates);

// append.cu. The atom of p.index joins, or the signal is done.
void append_best(const Pursuits& p, const int32_t* live, int64_t count);

// ---- on the device ----

// As two floats hold it, like the CPU's.
__device__ inline double gram_value(double product, double length, double other) {
    const double exact_value = length == 0 || other == 0 ? 0 : exact::div(product, exact::mul(length, other));
    const float high = static_cast<float>(exact_value);
    const float low = static_cast<float>(exact::sub(exact_value, double(high)));
    return exact::add(double(high), double(low));
}

__device__ inline double initial_of(const Pursuits& p, unsigned mask, int64_t s, int64_t atom) {
    const double product = group_dot(mask, p.signals + s * p.columns, p.atoms + atom * p.columns, p.columns);
    const double length = p.signal_lengths[s], other = p.atom_lengths[atom];
    return length == 0 || other == 0 ? 0 : exact::div(product, exact::mul(length, other));
}

// The product of the atom with chosen atom i, by a group, to all of it.
__device__ inline double computed_gram(const Pursuits& p, unsigned mask, int64_t s, int64_t atom, int64_t i) {
    const int64_t other = p.chosen[s * p.most + i];
    const double product =
        group_dot(mask, p.atoms + atom * p.columns, p.atoms + other * p.columns, p.columns);
    return gram_value(product, p.atom_lengths[atom], p.atom_lengths[other]);
}

} // namespace latdyn::cuda
