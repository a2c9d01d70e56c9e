// A step of a batch reads 12 bytes an element (point, f of it, anchor) and writes 4: memory bound, and next
// to nothing beside what it takes to compute f elsewhere.
#include "latdyn/batch_iteration.h"

#include "point_judge.h"
#include "workers.h"

#include <algorithm>

namespace latdyn {

struct BatchIteration::Batch {
    std::vector<Slot> slots;
    // [slots, k], row by row.
    std::vector<float> points, anchors;
    // [slots]: squares of the last steps.
    std::vector<double> steps;
};

namespace {

// Sums in double and in the order of the elements, as step_norms.h has them.
StepSquares measure(const float* z, const float* next, const float* anchor, int64_t k) {
    StepSquares out{};
    for (int64_t e = 0; e < k; e++) {
        const double n = next[e], s = next[e] - z[e], b = next[e] - anchor[e];
        out.step += s * s;
        out.norm += n * n;
        out.back += b * b;
    }
    return out;
}

} // namespace

BatchIteration::BatchIteration(const float* initial, int64_t rows, int64_t k, const IterateOptions& options,
                               const IterateOutput& output)
    : initial(initial), rows(rows), k(k), options(options), output(output) {
    std::fill_n(output.status, rows, static_cast<uint8_t>(Status::unfinished));
}

BatchIteration::~BatchIteration() = default;

int64_t BatchIteration::open(int64_t most) {
    const int64_t places = std::min(most, rows - queue);
    auto batch = std::make_unique<Batch>();
    batch->slots.resize(places);
    batch->points.resize(places * k);
    batch->anchors.resize(places * k);
    batch->steps.resize(places);
    for (int64_t place = 0; place < places; place++)
        refill(*batch, place);
    batches.push_back(std::move(batch));
    return static_cast<int64_t>(batches.size()) - 1;
}

std::span<const float> BatchIteration::points(int64_t batch) const {
    return batches[batch]->points;
}

void BatchIteration::advance(int64_t index, const float* mapped) {
    const FlushDenormals flush;
    Batch& batch = *batches[index];
    const PointJudge judge(options, output);
    const int64_t count = static_cast<int64_t>(batch.slots.size());
    applied += count;
    int64_t live = 0;
    for (int64_t place = 0; place < count; place++) {
        float* z = batch.points.data() + place * k;
        float* anchor = batch.anchors.data() + place * k;
        const float* next = mapped + place * k;
        const StepSquares squares = measure(z, next, anchor, k);
        std::copy_n(next, k, z);
        Slot& slot = batch.slots[place];
        const Verdict verdict = judge.judge(slot, squares);
        if (verdict.moves_anchor)
            std::copy_n(z, k, anchor);
        batch.steps[place] = squares.step;
        if (verdict.status != Status::unfinished) {
            keep_endpoint(batch, place);
            judge.record(slot, verdict.status, squares.step);
            done++;
            if (!refill(batch, place))
                continue;
        }
        // Those that are left move up; their order stays.
        if (live < place) {
            batch.slots[live] = slot;
            batch.steps[live] = batch.steps[place];
            std::copy_n(z, k, batch.points.data() + live * k);
            std::copy_n(anchor, k, batch.anchors.data() + live * k);
        }
        live++;
    }
    batch.slots.resize(live);
    batch.steps.resize(live);
    batch.points.resize(live * k);
    batch.anchors.resize(live * k);
}

void BatchIteration::close() {
    const PointJudge judge(options, output);
    for (const auto& batch : batches)
        for (size_t place = 0; place < batch->slots.size(); place++) {
            keep_endpoint(*batch, static_cast<int64_t>(place));
            judge.record(batch->slots[place], Status::unfinished, batch->steps[place]);
        }
    batches.clear();
}

// The next point of the queue; false where there is none left.
bool BatchIteration::refill(Batch& batch, int64_t place) {
    if (queue >= rows)
        return false;
    const int64_t row = queue++;
    const float* from = initial + row * k;
    double norm = 0;
    for (int64_t e = 0; e < k; e++)
        norm += static_cast<double>(from[e]) * from[e];
    std::copy_n(from, k, batch.points.data() + place * k);
    std::copy_n(from, k, batch.anchors.data() + place * k);
    batch.slots[place] = PointJudge(options, output).start(row, norm);
    return true;
}

void BatchIteration::keep_endpoint(const Batch& batch, int64_t place) {
    std::copy_n(batch.points.data() + place * k, k, output.endpoints + batch.slots[place].row * k);
}

} // namespace latdyn
