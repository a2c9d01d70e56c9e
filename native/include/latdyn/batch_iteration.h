// The loop z[t+1] = f(z[t]) where someone else computes f: hands out batches of points, takes what f made of
// them, and decides as the native loop does. Places of a batch are refilled as points finish; once the queue
// is empty the batch shrinks to the points that are left.
#pragma once

#include "latdyn/iterate.h"

#include <memory>
#include <span>
#include <vector>

namespace latdyn {

// One thread at a time. Several batches may be out at once; they share the queue.
class BatchIteration {
  public:
    // initial [rows, k]. What `initial` and `output` point to has to live as long as this.
    BatchIteration(const float* initial, int64_t rows, int64_t k, const IterateOptions& options,
                   const IterateOutput& output);
    ~BatchIteration();

    // A new batch with the next points of the queue, at most `most`; its number.
    int64_t open(int64_t most);
    // The points [n, k] that f is to be applied to; none where the batch is done.
    std::span<const float> points(int64_t batch) const;
    // Takes f of them, as many numbers.
    void advance(int64_t batch, const float* mapped);
    // Points that are not done keep how far they got, as unfinished ones. Nothing may be called after it.
    void close();

    int64_t finished() const { return done; }
    int64_t evaluations() const { return applied; }

  private:
    struct Batch;
    const float* initial;
    const int64_t rows, k;
    const IterateOptions options;
    const IterateOutput output;
    int64_t queue = 0, done = 0, applied = 0;
    std::vector<std::unique_ptr<Batch>> batches;

    bool refill(Batch& batch, int64_t place);
    void keep_endpoint(const Batch& batch, int64_t place);
};

} // namespace latdyn
