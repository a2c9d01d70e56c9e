// Races between the threads of a launch, from every access to memory (instrumentation.cpp). What orders a
// device's threads is so regular that each can be compared exactly, between blocks too.
//
// Two accesses to one place, not both reads, are a race unless something orders them:
//   - one thread's program, but for asynchronous copies, which are under way from issue to wait
//   - the block's barriers, __syncwarp for the lanes of its mask, and the beginning and the end of a launch.
//     Shuffles, votes and products of a warp order no memory (CUDA C++ Programming Guide, "Warp Shuffle
//     Functions": they imply no memory barrier).
// Atomics and volatile accesses do not race with one another, and order nothing.
//
// Time is counted in phases. One begins with every block and at every barrier of a block, and none has the
// number of another, so a phase says which launch, block and interval between barriers an access belongs to:
// earlier launches and earlier phases of the same block are before, other blocks of the launch are never
// ordered. Within a phase only lanes of a warp can be ordered; they have vector clocks.
#include "races.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>

namespace simt {

namespace {

using races::Kind;

struct Record {
    // No phase has number 0.
    uint32_t phase = 0;
    // Of the thread's own, between two meetings of its lane.
    uint32_t clock = 0;
    // Of the instruction after the access, from the program's beginning.
    uint32_t place = 0;
    uint16_t thread = 0;
    // A copy that is not waited for yet.
    bool pending = false;
};

// Accesses of one kind since the last write that was ordered after them all. Three stand for however many
// there were: what comes later is unordered with one of them if it is with any.
struct Accesses {
    // From another block than the one that runs, if there is one.
    Record earlier;
    // From the block that runs: unordered with each other, and as far apart as there were.
    Record now[2];
};

struct Cell {
    Record write;
    Accesses reads;
    // The last of the copies and products under way that read here, and their number.
    Record copy;
    uint16_t copies = 0;
    Kind copied = Kind::copied_from;
    bool has_atomics = false;
};

struct Atomics {
    Accesses changes, looks;
};

constexpr size_t page_bytes = 4096;

// A cell for every four bytes, or for every byte where something else than whole words is accessed.
struct Page {
    unsigned word = 4;
    std::vector<Cell> cells = std::vector<Cell>(page_bytes / 4);
};

constexpr const char* verb(Kind kind) {
    constexpr const char* words[] = {
        "reads",       "writes",    "reads (volatile)", "changes (atomic or volatile)",
        "copies from", "copies to", "multiplies",       "writes, without publishing,"};
    return words[static_cast<int>(kind)];
}

struct Race {
    std::string kernel, where;
    Record first, second;
    Kind first_kind, second_kind;
    unsigned first_block, second_block;
};

struct Range {
    uintptr_t from = 0, bytes = 0;
    bool has(uintptr_t at) const { return at - from < bytes; }
};

// Of this thread of the host: others may run code of their own meanwhile.
thread_local bool running = false;

struct Detector {
    Range ignored[2], shared;
    // Phases of the launch and of the block that run begin here.
    uint32_t launch = 1, block = 1, phase = 1;
    // The first phase that matters where it looks: shared memory is each block's own.
    uint32_t first = 1;
    const char* name = "";
    // First phase and number of the blocks of the launch, in the order of time.
    std::vector<std::pair<uint32_t, unsigned>> blocks;

    // The thread that runs, and when.
    Record self;
    // seen[t][l]: accesses of lane l of t's warp with at most this clock are before what t does next.
    std::vector<std::array<uint32_t, 32>> seen = std::vector<std::array<uint32_t, 32>>(1024);

    // Accesses of a thread with at most this clock are such as products see.
    std::vector<uint32_t> published = std::vector<uint32_t>(1024);
    // Of the product that runs: where it was started, and which words of shared memory it reads.
    const void* multiplying = nullptr;
    races::Reads words;
    // A warp issues its products as one: a word that several of its lanes read is the first one's. Of every
    // warp the number of its latest product and what that reads; of every thread the number of its latest.
    struct {
        uint32_t product = 0;
        std::vector<bool> has;
        races::Reads words;
    } warps[32];
    uint32_t products[1024] = {};

    std::unordered_map<uintptr_t, Page> pages;
    struct {
        uintptr_t number = 0;
        Page* page = nullptr;
    } recent[256];
    std::unordered_map<const Cell*, Atomics> atomics;

    std::vector<Race> found;
    std::set<std::tuple<uint32_t, Kind, uint32_t, Kind>> known;

    Detector() {
        for (size_t t = 0; t < seen.size(); t++)
            seen[t][t % 32] = 1;
    }
    ~Detector();

    Page& page_at(uintptr_t at) {
        const uintptr_t number = at / page_bytes;
        auto& slot = recent[number % std::size(recent)];
        if (!slot.page || slot.number != number)
            slot = {number, &pages[number]};
        return *slot.page;
    }

    void split(Page& page) {
        std::vector<Cell> cells(page_bytes);
        for (size_t i = 0; i < page_bytes; i++) {
            const Cell& whole = page.cells[i / 4];
            cells[i] = whole;
            if (whole.has_atomics)
                atomics[&cells[i]] = atomics[&whole];
        }
        for (const Cell& whole : page.cells)
            atomics.erase(&whole);
        page = {1, std::move(cells)};
    }

    template <class Touch> void each_cell(uintptr_t at, size_t bytes, Touch touch) {
        first = shared.has(at) ? block : launch;
        while (bytes > 0) {
            Page& page = page_at(at);
            const size_t offset = at % page_bytes, count = std::min(bytes, page_bytes - offset);
            if (page.word == 4 && (offset % 4 != 0 || count % 4 != 0))
                split(page);
            for (size_t i = 0; i < count; i += page.word)
                touch(page.cells[(offset + i) / page.word], at + i);
            at += count;
            bytes -= count;
        }
    }

    // Whether `one` is before what this thread does now.
    bool before(const Record& one) const {
        if (one.phase < first)
            return true;
        if (one.pending || one.phase < block)
            return false;
        if (one.phase < phase || one.thread == self.thread)
            return true;
        return one.thread / 32 == self.thread / 32 && one.clock <= seen[self.thread][one.thread % 32];
    }

    void add(Accesses& accesses, const Record& one) {
        auto& [a, b] = accesses.now;
        if (a.phase == one.phase && a.thread == one.thread) {
            a = one;
            return;
        }
        for (Record* old : {&a, &b})
            if (old->phase < block) {
                if (old->phase >= first)
                    accesses.earlier = *old;
                *old = {};
            }
        if (before(a)) {
            a = one;
            if (before(b))
                b = {};
        } else if (before(b)) {
            b = one;
        } else if (a.thread / 32 == b.thread / 32) {
            // Groups of lanes that meet are neighbours: those that differ in the highest digit are in no
            // group together unless all are.
            const int apart = a.thread ^ b.thread;
            if ((a.thread ^ one.thread) > apart)
                b = one;
            else if ((b.thread ^ one.thread) > apart)
                a = one;
        }
    }

    void compare(const Record& old, Kind old_kind, Kind kind, uintptr_t at) {
        if (!before(old))
            report(old, old_kind, kind, at);
    }
    void compare(const Accesses& accesses, Kind old_kind, Kind kind, uintptr_t at) {
        compare(accesses.earlier, old_kind, kind, at);
        for (const Record& one : accesses.now)
            compare(one, old_kind, kind, at);
    }

    void touch(Cell& cell, Kind kind, uintptr_t at) {
        compare(cell.write, cell.write.pending ? Kind::copied_to : Kind::write, kind, at);
        const bool changes = kind == Kind::write || kind == Kind::copied_to || kind == Kind::change;
        if (changes) {
            compare(cell.reads, Kind::read, kind, at);
            compare(cell.copy, cell.copied, kind, at);
        }
        if (kind == Kind::look || kind == Kind::change) {
            cell.has_atomics = true;
            Atomics& own = atomics[&cell];
            add(kind == Kind::look ? own.looks : own.changes, self);
            return;
        }
        if (cell.has_atomics) {
            Atomics& own = atomics[&cell];
            compare(own.changes, Kind::change, kind, at);
            if (changes) {
                compare(own.looks, Kind::look, kind, at);
                own = {};
            }
        }
        if (changes) {
            cell.write = self;
            cell.write.pending = kind == Kind::copied_to;
            cell.reads = {};
        } else {
            add(cell.reads, self);
        }
        if (kind == Kind::multiplied && cell.write.phase >= block &&
            cell.write.clock > published[cell.write.thread])
            report(cell.write, Kind::unpublished, kind, at);
        if (kind == Kind::copied_from || kind == Kind::multiplied) {
            cell.copied = kind;
            cell.copy = self;
            cell.copy.pending = true;
            cell.copies++;
        }
    }

    void access(const void* memory, size_t bytes, Kind kind, const void* place) {
        uintptr_t at = reinterpret_cast<uintptr_t>(memory);
        if (!running || ignored[0].has(at) || ignored[1].has(at))
            return;
        if (multiplying && shared.has(at)) {
            const size_t word = (at - shared.from) / 4;
            auto& warp = warps[self.thread / 32];
            if (warp.has.size() <= word)
                warp.has.resize(word + 1);
            if (warp.has[word])
                return;
            warp.has[word] = true;
            warp.words.push_back(static_cast<uint32_t>(word));
            words.push_back(static_cast<uint32_t>(word));
            at -= (at - shared.from) % 4;
            bytes = 4;
            kind = Kind::multiplied;
            place = multiplying;
        }
        self.place = races::place_of(place);
        each_cell(at, bytes, [&](Cell& cell, uintptr_t where) { touch(cell, kind, where); });
    }

    unsigned block_of(const Record& one) const {
        const auto after = std::upper_bound(blocks.begin(), blocks.end(), std::pair(one.phase, ~0u));
        return std::prev(after)->second;
    }

    void report(const Record& old, Kind old_kind, Kind kind, uintptr_t at) {
        if (!known.insert({old.place, old_kind, self.place, kind}).second)
            return;
        const std::string where = shared.has(at)
                                      ? "byte " + std::to_string(at - shared.from) + " of shared memory"
                                      : "global memory";
        found.push_back({name, where, old, self, old_kind, kind, block_of(old), block_of(self)});
    }

    static std::string text(const Race& race) {
        const auto side = [](const Record& one, unsigned block, Kind kind) {
            return "\n    block " + std::to_string(block) + ", thread " + std::to_string(one.thread) + ' ' +
                   verb(kind) + " at " + races::line_of(one.place);
        };
        return "race in " + race.kernel + " on " + race.where + ':' +
               side(race.first, race.first_block, race.first_kind) +
               side(race.second, race.second_block, race.second_kind);
    }
};

Detector detector;

Detector::~Detector() {
    running = false;
    if (found.empty())
        return;
    std::fflush(stdout);
    constexpr size_t most = 20;
    for (size_t i = 0; i < std::min(found.size(), most); i++)
        std::fprintf(stderr, "%s\n", text(found[i]).c_str());
    if (found.size() > most)
        std::fprintf(stderr, "and %zu more\n", found.size() - most);
    std::fflush(stderr);
    std::_Exit(66);
}

} // namespace

std::vector<std::string> take_races() {
    std::vector<std::string> texts;
    for (const Race& race : std::exchange(detector.found, {}))
        texts.push_back(Detector::text(race));
    detector.known.clear();
    return texts;
}

namespace races {

void access(const void* memory, size_t bytes, Kind kind, const void* place) {
    detector.access(memory, bytes, kind, place);
}

void ignore(int which, const void* from, size_t bytes) {
    detector.ignored[which] = {reinterpret_cast<uintptr_t>(from), bytes};
}

void begin_launch(const char* name, const void* shared, size_t bytes) {
    detector.name = name;
    detector.shared = {reinterpret_cast<uintptr_t>(shared), bytes};
    detector.launch = detector.phase + 1;
    detector.blocks.clear();
}

void begin_block(unsigned block) {
    detector.block = ++detector.phase;
    detector.blocks.emplace_back(detector.phase, block);
    for (auto& warp : detector.warps)
        warp.product = 0;
    std::fill(std::begin(detector.products), std::end(detector.products), 0);
}

void enter(unsigned thread) {
    detector.self.phase = detector.phase;
    detector.self.thread = static_cast<uint16_t>(thread);
    detector.self.clock = detector.seen[thread][thread % 32];
    running = true;
}

void leave() {
    running = false;
}

void meet_block() {
    detector.self.phase = ++detector.phase;
}

void meet_lanes(unsigned mask) {
    auto* warp = &detector.seen[detector.self.thread / 32 * 32];
    std::array<uint32_t, 32> joined{};
    for (unsigned lane = 0; lane < 32; lane++)
        if (mask >> lane & 1)
            for (unsigned i = 0; i < 32; i++)
                joined[i] = std::max(joined[i], warp[lane][i]);
    for (unsigned lane = 0; lane < 32; lane++)
        if (mask >> lane & 1) {
            warp[lane] = joined;
            warp[lane][lane]++;
        }
    detector.self.clock = detector.seen[detector.self.thread][detector.self.thread % 32];
}

void issue_copy(void* to, const void* from, size_t bytes, const void* place) {
    detector.access(from, bytes, Kind::copied_from, place);
    detector.access(to, bytes, Kind::copied_to, place);
}

void finish_copy(void* to, const void* from, size_t bytes, const void* place) {
    detector.self.place = races::place_of(place);
    drop_copy(from, bytes);
    detector.each_cell(reinterpret_cast<uintptr_t>(from), bytes,
                       [](Cell& cell, uintptr_t) { detector.add(cell.reads, detector.self); });
    // Whatever came in between was reported then.
    detector.each_cell(reinterpret_cast<uintptr_t>(to), bytes, [](Cell& cell, uintptr_t) {
        cell.write = detector.self;
        cell.reads = {};
    });
}

void drop_copy(const void* from, size_t bytes) {
    detector.each_cell(reinterpret_cast<uintptr_t>(from), bytes, [](Cell& cell, uintptr_t) {
        if (--cell.copies == 0)
            cell.copy = {};
    });
}

void begin_product(const void* place) {
    const unsigned thread = detector.self.thread;
    auto& warp = detector.warps[thread / 32];
    if (warp.product != ++detector.products[thread]) {
        warp.product = detector.products[thread];
        for (uint32_t word : warp.words)
            warp.has[word] = false;
        warp.words.clear();
    }
    detector.multiplying = place;
    running = true;
}

Reads end_product() {
    running = false;
    detector.multiplying = nullptr;
    return std::exchange(detector.words, {});
}

void finish_product(const Reads& reads) {
    for (uint32_t word : reads) {
        const uintptr_t at = detector.shared.from + word * 4;
        detector.each_cell(at, 4, [](Cell& cell, uintptr_t) {
            detector.add(cell.reads, detector.self);
            if (--cell.copies == 0)
                cell.copy = {};
        });
    }
}

void drop_product(const Reads& reads) {
    for (uint32_t word : reads)
        drop_copy(reinterpret_cast<const void*>(detector.shared.from + word * 4), 4);
}

void publish() {
    const unsigned thread = detector.self.thread;
    uint32_t& clock = detector.seen[thread][thread % 32];
    detector.published[thread] = clock;
    detector.self.clock = ++clock;
}

void resume() {
    running = true;
}

} // namespace races

} // namespace simt
