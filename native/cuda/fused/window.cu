#include "window.h"

#include "graph/window_tables.h"

#include <algorithm>
#include <numeric>

namespace latdyn::cuda::fused {

namespace {

constexpr int tile_channels = 16, column_rows = 8;
// Steps of a sum that a part has at least.
constexpr int least_steps = 4;

// Channels of a step: what an instruction multiplies.
int step_channels(Precision precision) {
    return precision == Precision::bf16 ? 16 : 8;
}

// A window of few output channels would leave most rows of an instruction idle: there a patch of positions is
// computed at once, (position, channel) in place of channels, over all taps that one of them has. Weights of
// taps that a position does not have are zeros.
struct Patch {
    int h = 1, w = 1;
    int size() const { return h * w; }
};

// Output positions (or patches of them) that have the same taps.
struct PositionClass {
    int taps = 0;
    // [taps][patch]: which of the kernel's taps that is for a position of the patch; −1: none.
    std::vector<int32_t> kernel;
    // At [i] of positions: the first of the patch, and where tap j reads: [i·taps + j], −1 in the padding.
    std::vector<int32_t> positions, from;
    // Of the sum.
    int steps = 0;
};

// Taps of a patch, as it stands: where they read, beside where the patch's own reading begins.
struct PatchTap {
    int h, w;
    std::vector<int32_t> kernel;
};

std::vector<PatchTap> taps_of_patch(const WindowShape& s, const Patch& patch, int class_h, int class_w) {
    std::vector<PatchTap> taps;
    for (int a = 0; a < patch.h; a++)
        for (int b = 0; b < patch.w; b++) {
            const int h = s.transposed ? (class_h + a) % s.stride_h : 0,
                      w = s.transposed ? (class_w + b) % s.stride_w : 0;
            for (const WindowTap& tap : taps_of(s, h, w)) {
                const int y = (s.transposed ? a / s.stride_h : a * s.stride_h) + tap.h,
                          x = (s.transposed ? b / s.stride_w : b * s.stride_w) + tap.w;
                const auto found = std::find_if(
                    taps.begin(), taps.end(), [&](const PatchTap& one) { return one.h == y && one.w == x; });
                PatchTap& one =
                    found != taps.end()
                        ? *found
                        : taps.emplace_back(PatchTap{y, x, std::vector<int32_t>(patch.size(), -1)});
                one.kernel[a * patch.w + b] = tap.kernel_index;
            }
        }
    std::sort(taps.begin(), taps.end(),
              [](const PatchTap& a, const PatchTap& b) { return a.h != b.h ? a.h < b.h : a.w < b.w; });
    return taps;
}

// The patch that costs fewest instructions; one position where channels fill them, or where operands are
// gathered.
Patch patch_of(const WindowShape& s, Precision precision) {
    Patch best;
    if (s.groups > 1 || is_gathered(s, precision) || s.out_channels > tile_channels / 2)
        return best;
    const int step_h = s.transposed ? s.stride_h : 1, step_w = s.transposed ? s.stride_w : 1;
    int64_t least = 0;
    for (int h = 0; h < step_h; h++)
        for (int w = 0; w < step_w; w++)
            least += static_cast<int64_t>(taps_of(s, h, w).size());
    // Of one patch of step_h × step_w positions, one after the other; then of all.
    least *= int64_t{s.out_height} * s.out_width / (step_h * step_w);
    for (int h = step_h; h <= tile_channels; h += step_h)
        for (int w = step_w; h * w * s.out_channels <= tile_channels; w += step_w) {
            if (s.out_height % h != 0 || s.out_width % w != 0)
                continue;
            const Patch patch{h, w};
            const int64_t cost = static_cast<int64_t>(taps_of_patch(s, patch, 0, 0).size()) *
                                 (int64_t{s.out_height} / h) * (s.out_width / w);
            if (cost < least) {
                least = cost;
                best = patch;
            }
        }
    return best;
}

std::vector<PositionClass> classes_of(const WindowShape& s, Precision precision) {
    const Patch patch = patch_of(s, precision);
    const bool patched = patch.size() > 1;
    // Classes are (h, w) modulo the stride of a transposed window; patches hold whole strides.
    const int class_h = s.transposed && !patched ? s.stride_h : 1,
              class_w = s.transposed && !patched ? s.stride_w : 1;
    const int move_h = std::max(class_h, patch.h), move_w = std::max(class_w, patch.w);
    const int step_h = s.transposed ? move_h / s.stride_h : move_h * s.stride_h,
              step_w = s.transposed ? move_w / s.stride_w : move_w * s.stride_w;
    const int channels = s.channels / s.groups, step = step_channels(precision);
    const bool gathered = is_gathered(s, precision);
    std::vector<PositionClass> classes;
    for (int h = 0; h < class_h; h++)
        for (int w = 0; w < class_w; w++) {
            const std::vector<PatchTap> taps = taps_of_patch(s, patch, h, w);
            PositionClass one;
            one.taps = static_cast<int>(taps.size());
            one.steps = gathered ? (one.taps * channels + step - 1) / step : one.taps * (channels / step);
            for (const PatchTap& tap : taps)
                one.kernel.insert(one.kernel.end(), tap.kernel.begin(), tap.kernel.end());
            for (int i = 0; h + i * move_h < s.out_height; i++)
                for (int j = 0; w + j * move_w < s.out_width; j++) {
                    one.positions.push_back((h + i * move_h) * s.out_width + w + j * move_w);
                    for (const PatchTap& tap : taps) {
                        const int y = i * step_h + tap.h, x = j * step_w + tap.w;
                        const bool inside = y >= 0 && y < s.height && x >= 0 && x < s.width;
                        one.from.push_back(inside ? y * s.width + x : -1);
                    }
                }
            if (!one.positions.empty())
                classes.push_back(std::move(one));
        }
    return classes;
}

// A patch fills no more than one tile.
int tiles_of_group(const WindowShape& s) {
    return (s.out_channels / s.groups + tile_channels - 1) / tile_channels;
}

int64_t items_for(const WindowShape& s, const std::vector<PositionClass>& classes, int tiles, int columns,
                  int rows) {
    int64_t items = 0;
    for (const PositionClass& one : classes) {
        const int64_t of_class = static_cast<int64_t>(one.positions.size()) * (rows / column_rows);
        items += (of_class + columns - 1) / columns;
    }
    return items * s.groups * (tiles_of_group(s) / tiles);
}

// How the work is cut: as large as it can be with something for every warp.
struct Cut {
    int parts, tiles, columns;
};

Cut cut_of(const WindowShape& s, const std::vector<PositionClass>& classes, Precision precision, int rows,
           bool quick) {
    Cut cut{1, 1, most_columns};
    // Parts by the shape alone, as for eight rows.
    int steps = 0;
    for (const PositionClass& one : classes)
        steps = std::max(steps, one.steps);
    const int64_t items = items_for(s, classes, 1, most_columns, column_rows);
    while (2 * cut.parts * items <= warps && steps / (2 * cut.parts) >= least_steps)
        cut.parts *= 2;
    const auto enough = [&](int tiles, int columns) {
        return items_for(s, classes, tiles, columns, rows) * cut.parts >= warps;
    };
    if (quick && !is_gathered(s, precision) && tiles_of_group(s) % most_tiles == 0 &&
        enough(most_tiles, cut.columns))
        cut.tiles = most_tiles;
    while (cut.tiles == 1 && cut.columns > 1 && !enough(1, cut.columns))
        cut.columns /= 2;
    // No more than there are.
    size_t most = 0;
    for (const PositionClass& one : classes)
        most = std::max(most, one.positions.size() * (rows / column_rows));
    while (cut.columns > 1 && cut.columns / 2 >= static_cast<int>(most))
        cut.columns /= 2;
    return cut;
}

// The fragment of 16 output channels and one step, as the lanes want it. weight(output, channel of the step).
template <class Weight> void append_fragment(std::vector<float>& to, Precision precision, Weight weight) {
    if (precision == Precision::float32) {
        // [half][channel 2g or 2g + 1][g][4]
        for (int half = 0; half < 2; half++)
            for (int j = 0; j < 2; j++)
                for (int g = 0; g < 8; g++)
                    for (int k = 0; k < 4; k++)
                        to.push_back(weight(2 * g + j, 4 * half + k));
        return;
    }
    // Rows g and g + 8 of the instruction are channels 2g and 2g + 1; what it calls k = t and t + 4 (or pairs
    // 2t and 2t + 8) are elements 2t and 2t + 1 of the step (or pairs of them).
    for (int lane = 0; lane < 32; lane++)
        for (int word = 0; word < 4; word++) {
            const int output = 2 * (lane / 4) + word % 2, k = 2 * (lane % 4) + word / 2;
            to.push_back(precision == Precision::bf16
                             ? bf16_pair(weight(output, 2 * k), weight(output, 2 * k + 1))
                             : finite_tf32(weight(output, k)));
        }
}

template <class Row> int32_t append_row(std::vector<int32_t>& to, const Row& row) {
    const int32_t at = static_cast<int32_t>(to.size());
    const int32_t* words = reinterpret_cast<const int32_t*>(&row);
    to.insert(to.end(), words, words + sizeof row / 4);
    return at;
}

// What is read four numbers at a time begins at a multiple of four.
void align(std::vector<int32_t>& to) {
    to.resize((to.size() + 3) / 4 * 4);
}

// Where elements of a gathered step lie, for each position of a class: [positions][steps·step_channels].
std::vector<int32_t> append_gathered(const WindowShape& s, const PositionClass& one, int step, int rows,
                                     std::vector<int32_t>& to) {
    align(to);
    std::vector<int32_t> begins;
    const int taps = one.taps, channels = s.channels / s.groups;
    for (size_t i = 0; i < one.positions.size(); i++) {
        begins.push_back(static_cast<int32_t>(to.size()));
        for (int k = 0; k < one.steps * step; k++) {
            const int from = k < taps * channels ? one.from[i * taps + k / channels] : -1;
            to.push_back(from < 0 ? -1 : from * rows * s.channels + k % channels);
        }
    }
    return begins;
}

} // namespace

bool is_gathered(const WindowShape& shape, Precision precision) {
    return shape.channels / shape.groups % step_channels(precision) != 0;
}

bool is_quick(const WindowShape& shape, Precision precision, const Operator& op, Element y, bool residual) {
    // Chunks hold an even number of channels, so two of them stay side by side.
    return !residual && shape.out_channels / shape.groups % 2 == 0 &&
           shape.out_channels % (y == Element::bf16 ? 16 : 8) == 0 &&
           patch_of(shape, precision).size() == 1 &&
           (op.activation.kind == ActivationKind::none || op.activation.kind == ActivationKind::relu);
}

int parts_of(const WindowShape& shape, Precision precision) {
    return cut_of(shape, classes_of(shape, precision), precision, column_rows, false).parts;
}

int64_t part_words(const WindowShape& shape, Precision precision, int rows, bool quick) {
    const Cut cut = cut_of(shape, classes_of(shape, precision), precision, rows, quick);
    return int64_t{warps} / cut.parts * (cut.parts - 1) * cut.tiles * cut.columns * 128;
}

void append_window(const WindowShape& s, std::span<const float> weights, Precision precision, int rows,
                   Operator& op, Tables& to) {
    const std::vector<PositionClass> classes = classes_of(s, precision);
    const Cut cut = cut_of(s, classes, precision, rows, op.quick);
    const int step = step_channels(precision), channels = s.channels / s.groups;
    const Patch patch = patch_of(s, precision);
    const int of_position = s.out_channels / s.groups, outputs = of_position * patch.size();
    const int area = s.kernel_h * s.kernel_w;
    const int blocks = tiles_of_group(s) / cut.tiles, column_tiles = rows / column_rows;
    const int row_words = op.x.element == Element::bf16 ? op.x.channels / 2 : op.x.channels;
    op.gathered = is_gathered(s, precision);
    op.tiles = cut.tiles;
    op.parts = cut.parts;
    op.part_words = cut.tiles * cut.columns * 128;
    // `output` counts channels within positions of the patch.
    const auto weight_at = [&](const PositionClass& one, int group, int output, int tap, int channel) {
        if (output >= outputs)
            return 0.0f;
        const int index = one.kernel[tap * patch.size() + output / of_position], o = output % of_position;
        if (index < 0)
            return 0.0f;
        const int64_t at = s.transposed ? int64_t{group * channels + channel} * of_position + o
                                        : int64_t{group * of_position + o} * channels + channel;
        return weights[at * area + index];
    };
    if (patch.size() > 1) {
        op.patch = static_cast<int32_t>(to.numbers.size());
        for (int output = 0; output < outputs; output++) {
            const int position = output / of_position;
            to.numbers.push_back(position / patch.w * s.out_width + position % patch.w);
            to.numbers.push_back(output % of_position);
        }
    }

    // Each with what it costs.
    std::vector<std::pair<int64_t, std::vector<Item>>> work;
    for (const PositionClass& one : classes) {
        const int taps = one.taps, of_tap = channels / step;
        std::vector<int32_t> gathered;
        if (op.gathered)
            gathered = append_gathered(s, one, step, rows, to.numbers);
        const int all = static_cast<int>(one.positions.size()) * column_tiles;
        for (int group = 0; group < s.groups; group++)
            for (int block = 0; block < blocks; block++) {
                const int32_t fragment = static_cast<int32_t>(to.fragments.size() / 128);
                for (int i = 0; i < one.steps; i++)
                    for (int tile = 0; tile < cut.tiles; tile++)
                        append_fragment(to.fragments, precision, [&](int output, int k) {
                            const int column = i * step + k;
                            if (column >= taps * channels)
                                return 0.0f;
                            return weight_at(one, group, (block * cut.tiles + tile) * tile_channels + output,
                                             column / channels, column % channels);
                        });
                for (int first = 0; first < all; first += cut.columns) {
                    Item item{};
                    item.channel = group * outputs + block * cut.tiles * tile_channels;
                    item.channel_end = (group + 1) * outputs;
                    item.x_channel = group * channels;
                    const int columns = std::min(cut.columns, all - first);
                    const auto place = [&](int q) { return (first + q) / column_tiles; };
                    const auto row = [&](int q) { return (first + q) % column_tiles * column_rows; };
                    for (int q = 0; q < most_columns; q++)
                        item.columns[q] = q < columns ? one.positions[place(q)] * rows + row(q) : -1;
                    std::vector<Item> of_parts;
                    int64_t cost = 0;
                    for (int part = 0; part < cut.parts; part++) {
                        const int low = one.steps * part / cut.parts,
                                  high = one.steps * (part + 1) / cut.parts;
                        item.part = part;
                        item.entries = 0;
                        // Entries of an item lie one after the other.
                        align(to.numbers);
                        item.first_entry = static_cast<int32_t>(to.numbers.size());
                        const auto append = [&](int begin, int end, int from_step, auto column) {
                            if (begin >= end)
                                return;
                            Entry entry{};
                            bool any = false;
                            for (int q = 0; q < most_columns; q++) {
                                entry.columns[q] = q < columns ? column(q) : -1;
                                any = any || entry.columns[q] >= 0;
                                cost += entry.columns[q] >= 0 ? end - begin : 0;
                            }
                            if (!any)
                                return;
                            entry.fragment = fragment + begin * cut.tiles;
                            entry.first = from_step;
                            entry.chunks = end - begin;
                            append_row(to.numbers, entry);
                            item.entries++;
                        };
                        if (op.gathered) {
                            append(low, high, low, [&](int q) { return gathered[place(q)]; });
                        } else {
                            for (int tap = 0; tap < taps; tap++) {
                                const int begin = std::max(low, tap * of_tap),
                                          end = std::min(high, (tap + 1) * of_tap);
                                append(begin, end, group * of_tap + begin - tap * of_tap, [&](int q) {
                                    const int from = one.from[place(q) * taps + tap];
                                    return from < 0 ? -1 : op.x.word + (from * rows + row(q)) * row_words;
                                });
                            }
                        }
                        of_parts.push_back(item);
                    }
                    work.emplace_back(cost, std::move(of_parts));
                }
            }
    }
    // The longest first, and every second round backwards: warps get about the same.
    std::stable_sort(work.begin(), work.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    const size_t round = warps / static_cast<size_t>(cut.parts);
    for (size_t begin = round; begin < work.size(); begin += 2 * round)
        std::reverse(work.begin() + static_cast<int64_t>(begin),
                     work.begin() + static_cast<int64_t>(std::min(begin + round, work.size())));
    align(to.numbers);
    op.item_table = static_cast<int32_t>(to.numbers.size());
    op.items = 0;
    for (const auto& [cost, items] : work)
        for (const Item& item : items) {
            append_row(to.numbers, item);
            op.items++;
        }
}

} // namespace latdyn::cuda::fused
