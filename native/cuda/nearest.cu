// Nearest neighbours of two sets both ways, from one pass over the pairs: pairs.h on all of them. 2·N·M·k
// FLOPs on tensor cores (TF32 with proven bounds), then some tens of candidates a row in double, 8·k bytes
// each. Limited by mma.sync; shapes and bytes are in tile.h and pairs.cu.
#include "kernels.h"

#include "bounds.h"
#include "latdyn/error.h"
#include "pairs.h"

#include <cmath>
#include <limits>

namespace latdyn::cuda {

namespace {

// A row of zeros has the same cosine with every row but other zeros: nothing has to be searched.
void settle_zeros(const DeviceRows& of, const DeviceRows& other, Nearest& found) {
    const auto zero = std::find(other.host_squares.begin(), other.host_squares.end(), 0.0);
    const bool there = zero != other.host_squares.end();
    for (int64_t i = 0; i < of.count; i++)
        if (of.host_squares[i] == 0) {
            found.value[i] = there ? 1 : 0;
            found.index[i] = there ? static_cast<int32_t>(zero - other.host_squares.begin()) : 0;
        }
}

Nearest result(const Best& best, bool cosine) {
    Nearest out;
    out.index = best.index.read();
    for (double score : best.scores())
        // 0 − score, not −score: a cosine of zero has no sign.
        out.value.push_back(cosine ? 0 - score : std::sqrt(score));
    return out;
}

} // namespace

NearestResult nearest(const float* a, int64_t a_rows, const float* b, int64_t b_rows, int64_t columns,
                      Metric metric, const Job& job) {
    if (a_rows < 1)
        throw Error("a has no rows, expected at least one");
    if (b_rows < 1)
        throw Error("b has no rows, expected at least one");
    const bool cosine = metric == Metric::cosine;
    const DeviceRows left = finite_rows(a, a_rows, columns, "a"),
                     right = finite_rows(b, b_rows, columns, "b");
    job.stage(Stage::resident);
    const Bounded bounded =
        cosine ? bounded_cosines(left, right) : bounded_distances(left, right, Centre::of_both);
    PairTask task{};
    task.left = bounded.left.side();
    task.right = bounded.right.side();
    task.stages = stages_of(columns);
    task.score = cosine ? Score::cosine : Score::distance;
    task.improve = true;

    constexpr double none = std::numeric_limits<double>::infinity();
    Best of_left(a_rows, none), of_right(b_rows, none);
    Candidates candidates(job);
    const Scored scored{left, right, cosine ? Exact::cosine : Exact::squared_distance, &of_left, &of_right};
    NearestResult out;
    out.aborted =
        !for_candidates(job, candidates, task, 0, [&] { score_candidates(candidates, task, scored); });
    job.stage(Stage::computed);
    if (out.aborted)
        return out;
    out.of_a = result(of_left, cosine);
    out.of_b = result(of_right, cosine);
    if (cosine) {
        settle_zeros(left, right, out.of_a);
        settle_zeros(right, left, out.of_b);
    }
    return out;
}

} // namespace latdyn::cuda
