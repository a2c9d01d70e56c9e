// Adam on the mean squared error of a network that gives back its input.
//
// A step's rows are cut into shards of 64. Each shard goes through the network and back by itself, on
// oneDNN's single-threaded matrix product, into a gradient of its own; the gradients are added in order of
// the shards. So the result does not depend on who computed which shard. Three products of 2·64·in·out FLOPs
// a layer and shard; one layer fewer for what the first layer's input would get.
#include "latdyn/train_mlp.h"

#include "latdyn/error.h"
#include "latdyn/philox.h"
#include "onednn_program.h"
#include "workers.h"

#include <dnnl.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

namespace latdyn {

namespace {

constexpr int64_t shard_rows = 64;

// out [m, n] = a [m, k] · b, all row-major; b is [n, k] where transposed, else [k, n].
void product(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float* a,
             const float* b, float* out) {
    const dnnl_status_t status = dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, 1.0f,
                                            a, transpose_a ? m : k, b, transpose_b ? k : n, 0.0f, out, n);
    if (status != dnnl_success)
        throw Error("oneDNN's matrix product failed");
}

// The function and its derivative at x.
struct Pair {
    float value, slope;
};

Pair activate(ActivationKind kind, float x) {
    switch (kind) {
    case ActivationKind::relu:
        return x > 0 ? Pair{x, 1} : Pair{0, 0};
    case ActivationKind::tanh: {
        const float y = std::tanh(x);
        return {y, 1 - y * y};
    }
    case ActivationKind::gelu: {
        const float half = 0.5f * std::erfc(-x * 0.70710678f);
        return {x * half, half + x * 0.39894228f * std::exp(-0.5f * x * x)};
    }
    case ActivationKind::silu: {
        const float s = 1 / (1 + std::exp(-x));
        return {x * s, s * (1 + x * (1 - s))};
    }
    default:
        throw Error("training knows the activations relu, tanh, gelu and silu");
    }
}

// One shard's way through the network and back.
class Shard {
  public:
    explicit Shard(const MlpShape& shape)
        : shape(shape), gradient(static_cast<size_t>(shape.parameters())),
          outputs(static_cast<size_t>(shape.layers()) + 1), slopes(static_cast<size_t>(shape.layers())) {
        for (size_t i = 0; i < outputs.size(); i++)
            outputs[i].resize(static_cast<size_t>(shard_rows * shape.widths[i]));
        for (size_t i = 0; i < slopes.size(); i++)
            if (shape.activated[i])
                slopes[i].resize(outputs[i + 1].size());
        const int64_t widest = *std::max_element(shape.widths.begin(), shape.widths.end());
        error.resize(static_cast<size_t>(shard_rows * widest));
        before.resize(error.size());
    }

    float* input() { return outputs[0].data(); }
    double loss() const { return squares; }
    const float* gradient_of() const { return gradient.data(); }

    // Gradient of the sum over the rows of |output − input|², times `factor`.
    void run(const float* parameters, int64_t rows, float factor) {
        forward(parameters, rows);
        const int64_t elements = rows * shape.widths[0];
        squares = 0;
        const float* out = outputs.back().data();
        for (int64_t i = 0; i < elements; i++) {
            const float difference = out[i] - outputs[0][i];
            squares += double(difference) * difference;
            error[i] = 2 * factor * difference;
        }
        backward(parameters, rows);
    }

  private:
    const MlpShape& shape;
    std::vector<float> gradient;
    // Of each layer its input, and the last one's output; the slopes of its activation.
    std::vector<std::vector<float>> outputs, slopes;
    // What the loss makes of a layer's output, and of its input.
    std::vector<float> error, before;
    double squares = 0;

    void forward(const float* parameters, int64_t rows) {
        const float* weight = parameters;
        for (int64_t i = 0; i < shape.layers(); i++) {
            const int64_t in = shape.widths[i], out = shape.widths[i + 1];
            float* y = outputs[i + 1].data();
            product(false, true, rows, out, in, outputs[i].data(), weight, y);
            const float* bias = weight + in * out;
            for (int64_t r = 0; r < rows; r++)
                for (int64_t o = 0; o < out; o++)
                    y[r * out + o] += bias[o];
            if (shape.activated[i])
                for (int64_t e = 0; e < rows * out; e++) {
                    const Pair pair = activate(shape.activation, y[e]);
                    y[e] = pair.value;
                    slopes[i][e] = pair.slope;
                }
            weight = bias + out;
        }
    }

    void backward(const float* parameters, int64_t rows) {
        int64_t end = shape.parameters();
        for (int64_t i = shape.layers() - 1; i >= 0; i--) {
            const int64_t in = shape.widths[i], out = shape.widths[i + 1];
            const int64_t begin = end - (in + 1) * out;
            if (shape.activated[i])
                for (int64_t e = 0; e < rows * out; e++)
                    error[e] *= slopes[i][e];
            product(true, false, out, in, rows, error.data(), outputs[i].data(), gradient.data() + begin);
            float* bias = gradient.data() + begin + in * out;
            std::fill_n(bias, out, 0.0f);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t o = 0; o < out; o++)
                    bias[o] += error[r * out + o];
            if (i > 0) {
                product(false, false, rows, in, out, error.data(), parameters + begin, before.data());
                std::swap(error, before);
            }
            end = begin;
        }
    }
};

class Adam {
  public:
    Adam(const TrainOptions& options, int64_t parameters)
        : options(options), mean(static_cast<size_t>(parameters)), square(mean.size()) {}

    // Parameters [first, end), whose gradients the shards hold in parts.
    void move(const std::vector<Shard>& shards, int64_t live, int64_t first, int64_t end, float* parameters) {
        const double correct1 = 1 - std::pow(options.beta1, steps),
                     correct2 = 1 - std::pow(options.beta2, steps);
        const float rate = static_cast<float>(options.learning_rate / correct1),
                    root = static_cast<float>(1 / std::sqrt(correct2));
        const float b1 = static_cast<float>(options.beta1), b2 = static_cast<float>(options.beta2);
        const float decay = static_cast<float>(options.weight_decay),
                    epsilon = static_cast<float>(options.epsilon);
        for (int64_t p = first; p < end; p++) {
            float gradient = decay * parameters[p];
            for (int64_t s = 0; s < live; s++)
                gradient += shards[s].gradient_of()[p];
            mean[p] += (1 - b1) * (gradient - mean[p]);
            square[p] += (1 - b2) * (gradient * gradient - square[p]);
            parameters[p] -= rate * mean[p] / (std::sqrt(square[p]) * root + epsilon);
        }
    }
    void next() { steps++; }

  private:
    const TrainOptions& options;
    std::vector<float> mean, square;
    int64_t steps = 0;
};

// 0 … count − 1 in an order that depends on the seed and the epoch alone (Fisher and Yates).
void shuffle(std::vector<int64_t>& order, uint64_t seed, uint32_t epoch) {
    std::iota(order.begin(), order.end(), 0);
    for (size_t i = order.size(); i > 1; i--) {
        const PhiloxWords words =
            philox4x32_10({{static_cast<uint32_t>(i), epoch, 0, 1}}, static_cast<uint32_t>(seed),
                          static_cast<uint32_t>(seed >> 32));
        const uint64_t word = uint64_t{words.w[0]} << 32 | words.w[1];
        std::swap(order[i - 1], order[word % i]);
    }
}

void check(const MlpShape& shape, int64_t count, const TrainOptions& options) {
    if (shape.layers() < 1 || shape.activated.size() != static_cast<size_t>(shape.layers()))
        throw Error("a network has at least one layer, each with or without activation");
    if (shape.widths.front() != shape.widths.back())
        throw Error("the network takes " + std::to_string(shape.widths.front()) + " elements and gives " +
                    std::to_string(shape.widths.back()) + ": it cannot give back its input");
    if (count < 1)
        throw Error("there are no rows to train on");
    if (options.epochs < 0 || options.batch_rows < 1)
        throw Error("training takes at least 0 epochs of steps of at least one row");
}

} // namespace

TrainResult train_mlp(const MlpShape& shape, const float* rows, int64_t count, const TrainOptions& options,
                      float* parameters, JobCounters& counters) {
    check(shape, count, options);
    activate(shape.activation, 0);
    const int64_t columns = shape.widths[0], total = shape.parameters();
    const int64_t batch = std::min(options.batch_rows, count);
    const int64_t most_shards = (batch + shard_rows - 1) / shard_rows;
    const int threads = static_cast<int>(std::clamp<int64_t>(most_shards, 1, std::max(options.threads, 1)));
    std::vector<Shard> shards(static_cast<size_t>(most_shards), Shard(shape));
    std::vector<int64_t> order(static_cast<size_t>(count));
    Adam adam(options, total);
    TrainResult result;
    for (int32_t epoch = 0; epoch < options.epochs; epoch++) {
        shuffle(order, options.seed, static_cast<uint32_t>(epoch));
        double squares = 0;
        for (int64_t begin = 0; begin < count; begin += batch) {
            if (counters.abort.load(std::memory_order_relaxed)) {
                result.aborted = true;
                return result;
            }
            const int64_t live = std::min(batch, count - begin);
            const int64_t live_shards = (live + shard_rows - 1) / shard_rows;
            const float factor = 1 / static_cast<float>(live * columns);
            run_workers(threads, [&](int thread) {
                const onednn::OneThread one;
                const FlushDenormals flush;
                for (int64_t s = thread; s < live_shards; s += threads) {
                    const int64_t first = s * shard_rows, own = std::min(shard_rows, live - first);
                    for (int64_t r = 0; r < own; r++)
                        std::copy_n(rows + order[begin + first + r] * columns, columns,
                                    shards[s].input() + r * columns);
                    shards[s].run(parameters, own, factor);
                }
            });
            adam.next();
            run_workers(threads, [&](int thread) {
                const FlushDenormals flush;
                const int64_t share = (total + threads - 1) / threads;
                adam.move(shards, live_shards, std::min(total, thread * share),
                          std::min(total, (thread + 1) * share), parameters);
            });
            for (int64_t s = 0; s < live_shards; s++)
                squares += shards[s].loss();
            counters.finished.fetch_add(live, std::memory_order_relaxed);
        }
        result.losses.push_back(squares / static_cast<double>(count * columns));
        if (!std::isfinite(result.losses.back()))
            throw Error("the loss is no longer finite in epoch " + std::to_string(epoch + 1) +
                        ": a smaller learning rate may help");
    }
    return result;
}

} // namespace latdyn
