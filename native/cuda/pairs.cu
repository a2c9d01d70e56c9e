// candidate_pairs: a block of 256 threads a tile of 128 × 128 pairs: 32,768·k FLOPs on tensor cores, see
// tile.h for those and for its shared memory. Tiles go in groups of 16 on the left, so that those at work
// together share panels in L2: 2·k·128·4 bytes a tile from there. Limited as tile.h says; what comes after
// the product is about 40 operations for each of a thread's 64 pairs, worth k = 64 of it. score_pairs: 8
// lanes a candidate, 8·k bytes from wherever the rows are and 2·k or 3·k double operations. keep_lowest,
// forget_beaten: a thread a candidate or a row; nothing beside the others.
#include "filled.h"
#include "pair_tiles.h"

#include <algorithm>
#include <limits>

namespace latdyn::cuda {

namespace {

constexpr unsigned threads = 256;

// Bounds of a pair's score.
struct PairBounds {
    float low, high;
};

__device__ inline PairBounds bounds_of(Score score, float product, const RowBounds& left,
                                       const RowBounds& right) {
    if (score == Score::distance) {
        const float squares = left.square + right.square, error = left.error * right.length;
        const float low = fmaxf(0, squares - 2 * product - error);
        return {low, low + 2.06f * error + 0x1p-17f * squares + left.tiny};
    }
    const float s = score == Score::size ? -fabsf(product) : -product;
    return {s - left.error, s + left.error};
}

// What a thread has to know of the rows and columns of its part of a tile: 8 of each.
struct Line {
    int32_t row;
    bool there;
    RowBounds bounds;
};
__device__ inline Line line_at(const PairSide& side, int64_t place) {
    if (place >= side.count)
        return {-1, false, {0, 0, 0, 0}};
    const int32_t row = row_at(side, place);
    return {row, true, side.bounds[row]};
}

template <bool Warpgroups>
__global__ void __launch_bounds__(tile_threads, 1)
    candidate_pairs(PairTask task, int64_t first_tile, int64_t left_tiles, int64_t right_tiles,
                    Candidate* found, unsigned* count, unsigned capacity) {
    if constexpr (Warpgroups && !warpgroups_here)
        return;
    const TileNumber tile = tile_number(first_tile + blockIdx.x, left_tiles, right_tiles);
    const int64_t left_first = tile.left * tile_rows, right_first = tile.right * tile_rows;
    // Rows ascend, so a tile whose first right row is not before its last left one holds no such pair.
    if (task.earlier) {
        const int64_t last =
            left_first + tile_rows < task.left.count ? left_first + tile_rows : task.left.count;
        if (row_at(task.right, right_first) >= row_at(task.left, last - 1))
            return;
    }
    Accumulators products;
    tile_product<Warpgroups>(task, tile, products);

    // The smallest high of every row of the tile, with what is known of it so far: other blocks lower it
    // meanwhile, and whichever value is read is one that holds.
    const volatile uint32_t* const left_known = task.left.best;
    const volatile uint32_t* const right_known = task.right.best;
    uint32_t* left_best = reinterpret_cast<uint32_t*>(shared_memory());
    uint32_t* right_best = left_best + tile_rows;
    const uint32_t none = 0;
    if (threadIdx.x < tile_rows) {
        const int64_t place = left_first + threadIdx.x;
        left_best[threadIdx.x] =
            left_known && place < task.left.count ? left_known[row_at(task.left, place)] : none;
    } else {
        const int64_t place = right_first + threadIdx.x - tile_rows;
        right_best[threadIdx.x - tile_rows] =
            right_known && place < task.right.count ? right_known[row_at(task.right, place)] : none;
    }
    __syncthreads();

    Line right[4][2];
#pragma unroll
    for (int n = 0; n < 4; n++)
#pragma unroll
        for (int e = 0; e < 2; e++)
            right[n][e] = line_at(task.right, right_first + tile_place(0, n, e).column);
    // Calls take(bounds, left line, m, half, n, e) for the pairs that exist.
    const auto for_pairs = [&](auto&& take) {
#pragma unroll
        for (int m = 0; m < 4; m++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const Line left = line_at(task.left, left_first + tile_place(m, 0, 2 * half).row);
                const uint32_t* excluded =
                    task.excluded && left.there ? task.excluded + left.row * task.excluded_words : nullptr;
#pragma unroll
                for (int n = 0; n < 4; n++)
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        const Line& other = right[n][e];
                        const bool exists = left.there && other.there &&
                                            (!task.earlier || other.row < left.row) &&
                                            !(excluded && (excluded[other.row / 32] >> other.row % 32 & 1));
                        if (exists)
                            take(bounds_of(task.score, products[m][n][2 * half + e], left.bounds,
                                           other.bounds),
                                 left, m, half, n, e);
                    }
            }
    };
    if (task.improve) {
        uint32_t left_high[4][2], right_high[4][2];
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 2; j++)
                left_high[i][j] = right_high[i][j] = 0xffffffffu;
        for_pairs([&](PairBounds bounds, const Line&, int m, int half, int n, int e) {
            const uint32_t high = ordered(bounds.high);
            left_high[m][half] = high < left_high[m][half] ? high : left_high[m][half];
            right_high[n][e] = high < right_high[n][e] ? high : right_high[n][e];
        });
        // Four lanes hold pairs of one left row, eight those of one right row.
        const int lane = static_cast<int>(threadIdx.x) % 32;
        const auto smallest = [](uint32_t v, int from, int to) {
            for (int with = from; with < to; with *= 2) {
                const uint32_t other = __shfl_xor_sync(whole_warp, v, with);
                v = other < v ? other : v;
            }
            return v;
        };
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 2; j++) {
                const uint32_t of_left = smallest(left_high[i][j], 1, 4);
                if (task.left.best && lane % 4 == 0)
                    atomicMin(&left_best[tile_place(i, 0, 2 * j).row], of_left);
                const uint32_t of_right = smallest(right_high[i][j], 4, 32);
                if (task.right.best && lane < 4)
                    atomicMin(&right_best[tile_place(0, i, j).column], of_right);
            }
        __syncthreads();
        if (threadIdx.x < tile_rows) {
            const int64_t place = left_first + threadIdx.x;
            if (task.left.best && place < task.left.count)
                atomicMin(&task.left.best[row_at(task.left, place)], left_best[threadIdx.x]);
        } else {
            const int64_t place = right_first + threadIdx.x - tile_rows;
            if (task.right.best && place < task.right.count)
                atomicMin(&task.right.best[row_at(task.right, place)], right_best[threadIdx.x - tile_rows]);
        }
    }
    for_pairs([&](PairBounds bounds, const Line& left, int m, int half, int n, int e) {
        const uint32_t key = ordered(bounds.low);
        if (key > left_best[tile_place(m, 0, 2 * half).row] && key > right_best[tile_place(0, n, e).column])
            return;
        const unsigned place = atomicAdd(count, 1u);
        if (place < capacity)
            found[place] = {left.row, right[n][e].row, bounds.low, 0};
    });
}

// As above; what comes after the product is one float written for each pair.
template <bool Warpgroups>
__global__ void __launch_bounds__(tile_threads, 1)
    all_pairs(PairTask task, int64_t left_tiles, int64_t right_tiles, float* out, int64_t stride) {
    if constexpr (Warpgroups && !warpgroups_here)
        return;
    const TileNumber tile = tile_number(blockIdx.x, left_tiles, right_tiles);
    Accumulators products;
    tile_product<Warpgroups>(task, tile, products);
    Line right[4][2];
#pragma unroll
    for (int n = 0; n < 4; n++)
#pragma unroll
        for (int e = 0; e < 2; e++)
            right[n][e] = line_at(task.right, tile.right * tile_rows + tile_place(0, n, e).column);
#pragma unroll
    for (int m = 0; m < 4; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int64_t place = tile.left * tile_rows + tile_place(m, 0, 2 * half).row;
            if (place >= task.left.count)
                continue;
            const Line left = line_at(task.left, place);
            float* to = out + place * stride + tile.right * tile_rows;
#pragma unroll
            for (int n = 0; n < 4; n++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    const float product = products[m][n][2 * half + e];
                    float v = product;
                    if (!right[n][e].there)
                        v = __uint_as_float(0x7f800000u);
                    else if (task.score == Score::distance)
                        v = bounds_of(task.score, product, left.bounds, right[n][e].bounds).low;
                    to[tile_place(m, n, e).column] = v;
                }
        }
}

struct ScoreTask {
    const Candidate* found;
    int64_t count;
    Key* keys;
    const float *left, *right;
    const double *left_squares, *right_squares;
    int64_t columns;
    Exact exact;
    const uint32_t *left_low, *right_low;
    Key *left_key, *right_key;
};

__device__ inline double exact_score(const ScoreTask& task, const Candidate& pair, unsigned mask) {
    const float* x = task.left + pair.left * task.columns;
    const float* y = task.right + pair.right * task.columns;
    if (task.exact != Exact::cosine) {
        const double square = group_distance(mask, x, 1, y, 1, task.columns);
        return task.exact == Exact::distance ? exact::sqrt(square) : square;
    }
    const double squares = exact::mul(task.left_squares[pair.left], task.right_squares[pair.right]);
    // A zero vector has cosine 0 with any other, and 1 with a zero vector.
    if (squares == 0)
        return task.left_squares[pair.left] == task.right_squares[pair.right] ? -1 : 0;
    const double product = group_dot(mask, x, y, task.columns);
    const double score = exact::div(-product, exact::sqrt(squares));
    return score < -1 ? -1 : score > 1 ? 1 : score;
}

__global__ void score_pairs(ScoreTask task) {
    const unsigned mask = group_mask();
    const int64_t stride = int64_t{gridDim.x} * (threads / group_lanes);
    for (int64_t i = int64_t{blockIdx.x} * (threads / group_lanes) + threadIdx.x / group_lanes;
         i < task.count; i += stride) {
        const Candidate pair = task.found[i];
        // By now more is known.
        const uint32_t low = ordered(pair.low);
        const bool of_use = (task.left_low && low <= task.left_low[pair.left]) ||
                            (task.right_low && low <= task.right_low[pair.right]);
        Key key = ~Key{0};
        if (of_use)
            key = ordered(exact_score(task, pair, mask));
        if (threadIdx.x % group_lanes != 0)
            continue;
        task.keys[i] = key;
        if (of_use && task.left_key)
            atomicMin(&task.left_key[pair.left], key);
        if (of_use && task.right_key)
            atomicMin(&task.right_key[pair.right], key);
    }
}

// Where a row has a better score than before, the other row that it had is forgotten.
__global__ void forget_beaten(const Key* key, Key* before, int32_t* index, int64_t rows) {
    const int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x;
    if (i >= rows || key[i] == before[i])
        return;
    before[i] = key[i];
    index[i] = -1;
}

// Of the candidates that have their row's best score, the lowest. (−1 is the highest unsigned number.)
__global__ void keep_lowest(const Candidate* found, const Key* keys, int64_t count, const Key* left_key,
                            const Key* left_limit, int32_t* left_index, const Key* right_key,
                            const Key* right_limit, int32_t* right_index) {
    const int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x;
    if (i >= count)
        return;
    const Candidate pair = found[i];
    const Key key = keys[i];
    if (left_key && key == left_key[pair.left] && key < *left_limit)
        atomicMin(reinterpret_cast<unsigned*>(&left_index[pair.left]), static_cast<unsigned>(pair.right));
    if (right_key && key == right_key[pair.right] && key < *right_limit)
        atomicMin(reinterpret_cast<unsigned*>(&right_index[pair.right]), static_cast<unsigned>(pair.left));
}

int64_t blocks_for(int64_t count) {
    return (count + threads - 1) / threads;
}

void forget(Best& best) {
    const int64_t rows = best.index.size();
    if (rows > 0)
        launch("forget_beaten", forget_beaten, blocks_for(rows), threads, 0, best.key.get(),
               best.before.get(), best.index.get(), rows);
}

} // namespace

uint32_t ordered_of(float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return ordered(bits);
}
Key ordered_of(double v) {
    v = v == 0 ? 0.0 : v;
    Key bits;
    memcpy(&bits, &v, sizeof bits);
    return bits >> 63 ? ~bits : bits | Key{1} << 63;
}
double from_ordered_of(Key key) {
    const Key bits = key >> 63 ? key & ~(Key{1} << 63) : ~key;
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

Candidates::Candidates(const Job& job, int64_t wanted) : counter(1) {
    constexpr int64_t least = int64_t{tile_rows} * tile_rows;
    const int64_t bytes = int64_t{sizeof(Candidate)} + int64_t{sizeof(Key)};
    wanted = std::clamp(job.room() / 2 / bytes, least, std::max(wanted, least));
    found = make_fitting(job, "candidates", wanted, least, [&](int64_t size) {
                Buffer<Candidate> list(size);
                scores = Buffer<Key>(size);
                return list;
            }).first;
}

int64_t tiles_of(const PairTask& task) {
    return panels_of(task.left.count) * panels_of(task.right.count);
}

bool Candidates::collect(const PairTask& task, int64_t first, int64_t tiles) {
    return collect([&](Candidate* list, unsigned* count, unsigned room) {
        launch_tiles("candidate_pairs", candidate_pairs<false>, candidate_pairs<true>, tiles, task, first,
                     panels_of(task.left.count), panels_of(task.right.count), list, count, room);
    });
}

bool Candidates::collect(const std::function<void(Candidate*, unsigned*, unsigned)>& start) {
    counter.fill_bytes(0);
    start(found.get(), counter.get(), static_cast<unsigned>(capacity()));
    counted = counter.read()[0];
    return counted <= capacity();
}

bool for_candidates(const Job& job, Candidates& candidates, const PairTask& task, int64_t finished,
                    const std::function<void()>& use) {
    const int64_t total = tiles_of(task);
    const int64_t most = tiles_of_launch(task);
    int64_t tiles = most;
    for (int64_t first = 0; first < total;) {
        if (!job.go_on(finished + task.left.count * first / total))
            return false;
        const int64_t now = std::min(tiles, total - first);
        // A single tile always fits.
        if (!candidates.collect(task, first, now)) {
            tiles = std::max<int64_t>(1, now / 2);
            continue;
        }
        if (candidates.count() > 0)
            use();
        first += now;
        tiles = std::min(most, 2 * tiles);
    }
    return true;
}

void write_pairs(const PairTask& task, float* out, int64_t stride) {
    launch_tiles("all_pairs", all_pairs<false>, all_pairs<true>, tiles_of(task), task,
                 panels_of(task.left.count), panels_of(task.right.count), out, stride);
}

// One key more than rows: the limit itself.
Best::Best(int64_t rows, double limit)
    : key(filled(rows + 1, ordered_of(limit))), before(filled(rows, ordered_of(limit))), index(rows) {
    index.fill_bytes(0xff);
}

std::vector<double> Best::scores() const {
    std::vector<double> out;
    for (Key one : key.read(0, index.size()))
        out.push_back(from_ordered_of(one));
    return out;
}

void score_candidates(const Candidates& candidates, const PairTask& task, const Scored& scored) {
    const int64_t count = candidates.count();
    if (count == 0)
        return;
    Best *left = scored.left_best, *right = scored.right_best;
    launch("score_pairs", score_pairs, std::min<int64_t>((count + threads / 8 - 1) / (threads / 8), 1 << 16),
           threads, 0,
           ScoreTask{candidates.list(), count, candidates.keys(), scored.left.data.get(),
                     scored.right.data.get(), scored.left.squares.get(), scored.right.squares.get(),
                     scored.left.columns, scored.exact, task.left.best, task.right.best,
                     left ? left->key.get() : nullptr, right ? right->key.get() : nullptr});
    for (Best* best : {left, right})
        if (best)
            forget(*best);
    const auto limit = [](Best* best) { return best ? best->key.get() + best->index.size() : nullptr; };
    launch("keep_lowest", keep_lowest, blocks_for(count), threads, 0, candidates.list(), candidates.keys(),
           count, left ? left->key.get() : nullptr, limit(left), left ? left->index.get() : nullptr,
           right ? right->key.get() : nullptr, limit(right), right ? right->index.get() : nullptr);
}

} // namespace latdyn::cuda
