// The launches of an iteration beside its plan's: what they do is in iteration_steps.cu.
#pragma once

#include "capture.h"
#include "iteration.h"

namespace latdyn::cuda {

// Numbers of the device.
enum Word : int { word_next, word_finished, word_evaluations, word_live, word_steps, word_count };

// What the host sees while the loop runs.
struct Progress {
    unsigned long long next, finished, evaluations, live;
    // Of the host, for the device.
    int32_t stop;
};

// What the device counts, and what of it the host sees.
struct Counters {
    Buffer<unsigned long long> words{word_count};
    Mapped<Progress> progress;
};

struct ControlTask {
    int64_t rows;
    unsigned long long* words;
    volatile Progress* progress;
    // Steps until the host is to look, and how many lie between two looks at the host's word.
    unsigned steps, look_every;
    // So few live points that the list is to be made shorter. (While there is a queue, all slots are full.)
    unsigned long long shrink_at;
    Condition condition;
};

// Slot i gets row i.
void fill_all(const Residence& points);
// The points of listed slots, to `to` [width, k]; zeros where the list has −1.
void gather_listed(const Residence& points, const int32_t* list, int64_t width, float* to);
// Every listed slot (the first `width` where the list is null) takes the step to its row of points.mapped.
void advance_listed(const Residence& points, const int32_t* list, int64_t width);
// Counts a step, and says whether there is another one.
void control_step(const ControlTask& task);
// The listed slots (the first `width`) that are not empty, in their order and then −1, to `out` [room], which
// has room for them.
void list_full(const Residence& points, const int32_t* list, int64_t width, int32_t* out, int64_t room);
// Points that are not done are written to their rows, as far as they got.
void keep_all(const Residence& points);

} // namespace latdyn::cuda
