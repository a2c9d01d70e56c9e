// Training of small multilayer perceptrons that give back their input.
#pragma once

#include "latdyn/activation.h"
#include "latdyn/iterate.h"

#include <cstdint>
#include <vector>

namespace latdyn {

// Linear layers widths[0] → widths[1] → … → widths.back() = widths[0], each y = x·Wᵀ + b, then the activation
// where `activated` says so. Parameters lie one layer after the other, W [out, in] row-major, then b [out].
struct MlpShape {
    std::vector<int64_t> widths;
    // One per layer.
    std::vector<char> activated;
    // relu, tanh, gelu or silu.
    ActivationKind activation = ActivationKind::relu;

    int64_t layers() const { return static_cast<int64_t>(widths.size()) - 1; }
    int64_t parameters() const {
        int64_t sum = 0;
        for (int64_t i = 0; i < layers(); i++)
            sum += (widths[i] + 1) * widths[i + 1];
        return sum;
    }
};

// Adam (Kingma and Ba, "Adam: a method for stochastic optimization", 2015) with weight decay added to the
// gradient (not decoupled).
struct TrainOptions {
    int32_t epochs = 1;
    // Rows of a step; the last step of an epoch has what is left.
    int64_t batch_rows = 256;
    double learning_rate = 1e-3;
    double weight_decay = 0;
    double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
    // Of the order of the rows, drawn anew each epoch.
    uint64_t seed = 0;
    int threads = 1;
};

struct TrainResult {
    // Of each epoch, the mean over its steps' elements of (output − input)², before the step that it led to.
    std::vector<double> losses;
    bool aborted = false;
};

// Moves `parameters` so that the network gives back `rows` [count, widths[0]]. counters.finished counts rows
// over all epochs. The result does not depend on the number of threads. Returns within one step after
// `abort`. Throws Error where the shape does not close, there are no rows, or the loss stops being finite
// (the epoch is named).
TrainResult train_mlp(const MlpShape& shape, const float* rows, int64_t count, const TrainOptions& options,
                      float* parameters, JobCounters& counters);

} // namespace latdyn
