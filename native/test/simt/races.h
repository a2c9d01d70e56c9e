// What tells the race detector (races.cpp) where a launch stands; without LATDYN_RACES nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace simt {

// ---- for tests ----

#ifdef LATDYN_RACES
constexpr bool finds_races = true;
// The races found since the last call, a text each; those that nobody takes end the program with exit
// code 66.
std::vector<std::string> take_races();
#else
constexpr bool finds_races = false;
inline std::vector<std::string> take_races() {
    return {};
}
#endif

// ---- for the machine ----

namespace races {

// Words of shared memory that a product of a warpgroup reads, from the beginning of it.
using Reads = std::vector<uint32_t>;

#ifdef LATDYN_RACES

// look, change: volatile or atomic. copied_…: asynchronous copies. multiplied: products of warpgroups.
// unpublished: a write that products do not see.
enum class Kind { read, write, look, change, copied_from, copied_to, multiplied, unpublished };
// By the thread that runs, where one does; `place` is the instruction after it.
void access(const void* memory, size_t bytes, Kind kind, const void* place);
// An address in the program as the distance from its beginning; then the file and line of the instruction
// before it and those that it was inlined into, or the bare number.
uint32_t place_of(const void* address);
std::string line_of(uint32_t place);

// What the machine keeps for itself, where nothing is looked for: stacks, and what lanes bring to a meeting.
void ignore(int which, const void* from, size_t bytes);
void begin_launch(const char* name, const void* shared, size_t bytes);
void begin_block(unsigned block);
// Accesses that follow are this thread's, until leave().
void enter(unsigned thread);
void leave();
// All threads of the block are at its barrier.
void meet_block();
// Lanes of the warp of the current thread wait for one another in a way that orders memory.
void meet_lanes(unsigned mask);
// An asynchronous copy of the current thread, called from `place`: from its issue until it is waited for it
// may read and write at any moment.
void issue_copy(void* to, const void* from, size_t bytes, const void* place);
void finish_copy(void* to, const void* from, size_t bytes, const void* place);
// What was issued by a launch that has failed never arrives.
void drop_copy(const void* from, size_t bytes);
// A product of a warpgroup, called from `place`: what is read in between it may read until it is finished.
void begin_product(const void* place);
Reads end_product();
void finish_product(const Reads& reads);
void drop_product(const Reads& reads);
// What this thread has written is for products to read.
void publish();
// The machine works for itself.
void resume();
struct Pause {
    Pause() { leave(); }
    ~Pause() { resume(); }
};

#else

inline void ignore(int, const void*, size_t) {}
inline void begin_launch(const char*, const void*, size_t) {}
inline void begin_block(unsigned) {}
inline void enter(unsigned) {}
inline void leave() {}
inline void meet_block() {}
inline void meet_lanes(unsigned) {}
inline void issue_copy(void*, const void*, size_t, const void*) {}
inline void finish_copy(void*, const void*, size_t, const void*) {}
inline void drop_copy(const void*, size_t) {}
inline void begin_product(const void*) {}
inline Reads end_product() {
    return {};
}
inline void finish_product(const Reads&) {}
inline void drop_product(const Reads&) {}
inline void publish() {}
struct Pause {
    Pause() {}
    ~Pause() {}
};

#endif

} // namespace races

} // namespace simt
