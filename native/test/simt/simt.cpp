#include "simt.h"

#include "races.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

simt::Index threadIdx, blockIdx, blockDim, gridDim;

namespace simt {

namespace {

constexpr size_t stack_bytes = size_t{128} << 10;
constexpr unsigned most_threads = 1024;
// Of one warp: open ones, and those that some lanes have not come back from.
constexpr unsigned most_meetings = 12;
constexpr size_t most_shared = 227 << 10;

// ---- stacks that can be left and come back to ----

#if defined(__x86_64__)

// Saves what a call has to keep on this stack, and its end at *save; goes on on the stack that ends at
// `load`.
extern "C" void simt_switch(void** save, void* load);
asm(R"(
.text
.type simt_switch, @function
simt_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size simt_switch, .-simt_switch
)");

struct Context {
    void* end = nullptr;

    void prepare(unsigned char* stack, void (*entry)()) {
        void** top = reinterpret_cast<void**>(stack + stack_bytes);
        // A call would have pushed a return address: on entry the stack is 8 off a multiple of 16.
        *--top = nullptr;
        *--top = reinterpret_cast<void*>(entry);
        for (int i = 0; i < 6; i++)
            *--top = nullptr;
        end = top;
    }
    static void change(Context& from, Context& to) { simt_switch(&from.end, to.end); }
};

#else

struct Context {
    ucontext_t context;

    void prepare(unsigned char* stack, void (*entry)()) {
        getcontext(&context);
        context.uc_stack.ss_sp = stack;
        context.uc_stack.ss_size = stack_bytes;
        context.uc_link = nullptr;
        makecontext(&context, entry, 0);
    }
    static void change(Context& from, Context& to) { swapcontext(&from.context, &to.context); }
};

#endif

struct Copy {
    void* to;
    const void* from;
    size_t bytes;
    int group;
    // Where it was issued.
    const void* place;
};

// A product of a warpgroup as one thread sees it. Where it ran already nothing is left to run.
struct Product {
    float* sums;
    std::function<void()> run;
    int group;
    races::Reads reads;
};
// Sums that products under way add to, and what is in them, out of sight.
struct Sums {
    float* at;
    std::vector<float> hidden;
    int products;
};

enum class State { ready, waiting, finished };

struct Fiber {
    Context context;
    State state = State::ready;
    unsigned char* stack = nullptr;
    // Of meet_block.
    int sum = 0;
    std::vector<Copy> copies;
    int group = 0;
    std::vector<Product> products;
    std::vector<Sums> sums;
    int product_group = 0;
#if defined(__SANITIZE_ADDRESS__)
    void* fake_stack = nullptr;
#endif
};

// A meeting of some lanes of a warp.
struct Meeting {
    const char* what = nullptr;
    unsigned mask = 0, arrived = 0, left = 0;
    Where where{};
    unsigned char slots[32][largest_slot];
};

std::string text(Where where) {
    return std::string(where.file) + ":" + std::to_string(where.line);
}

// Memory whose end is followed by a page without rights.
class Guarded {
  public:
    explicit Guarded(size_t bytes) {
        const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
        const size_t used = (std::max<size_t>(bytes, 16) + 15) / 16 * 16;
        whole = (used + page - 1) / page * page + page;
        base = static_cast<unsigned char*>(
            mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        if (base == MAP_FAILED)
            throw std::bad_alloc();
        mprotect(base + whole - page, page, PROT_NONE);
        data = base + whole - page - used;
    }
    ~Guarded() { munmap(base, whole); }
    Guarded(const Guarded&) = delete;

    unsigned char* data;

  private:
    unsigned char* base;
    size_t whole;
};

struct Machine {
    std::mutex busy;
    Schedule schedule = Schedule::forward;
    std::mt19937_64 random;
    size_t shared_limit = most_shared;
    bool warpgroups = true;

    std::vector<Fiber> fibers;
    std::vector<Meeting> meetings;
    std::unique_ptr<Guarded> stacks, shared;
    Context host;
#if defined(__SANITIZE_ADDRESS__)
    void* host_fake_stack = nullptr;
    const void* host_stack = nullptr;
    size_t host_stack_bytes = 0;
#endif

    const char* name = "";
    const std::function<void()>* body = nullptr;
    unsigned threads = 0, current = 0, finished = 0;
    // Of the block's barrier.
    unsigned arrived = 0;
    int sum = 0;
    Where barrier{};
    std::exception_ptr failure;

    [[noreturn]] void fault(const std::string& what) const {
        throw Fault(std::string(name) + ", block " + std::to_string(blockIdx.x) + ", thread " +
                    std::to_string(threadIdx.x) + ": " + what);
    }
};

Machine machine;
// Ready before any other object is made: environment.cpp sets it that early.
constinit int64_t launches_left = -1;

// Entered and left around every change of stacks, so that the address sanitizer knows which one is in use.
void to_host([[maybe_unused]] bool for_good) {
    Fiber& fiber = machine.fibers[machine.current];
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fiber.fake_stack, machine.host_stack,
                                   machine.host_stack_bytes);
#endif
    Context::change(fiber.context, machine.host);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fiber.fake_stack, nullptr, nullptr);
#endif
}

void to_fiber(unsigned i) {
    Fiber& fiber = machine.fibers[i];
    machine.current = i;
    threadIdx.x = i;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&machine.host_fake_stack, fiber.stack, stack_bytes);
#endif
    races::enter(i);
    Context::change(machine.host, fiber.context);
    races::leave();
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(machine.host_fake_stack, nullptr, nullptr);
#endif
}

void fiber_main() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &machine.host_stack, &machine.host_stack_bytes);
#endif
    try {
        (*machine.body)();
        if (machine.arrived > 0)
            machine.fault("ends while others wait at the barrier of " + text(machine.barrier));
        if (!machine.fibers[machine.current].copies.empty())
            machine.fault("ends before its asynchronous copies are waited for");
        if (!machine.fibers[machine.current].products.empty())
            machine.fault("ends before its products are waited for");
    } catch (...) {
        if (!machine.failure)
            machine.failure = std::current_exception();
    }
    machine.fibers[machine.current].state = State::finished;
    machine.finished++;
    to_host(true);
    __builtin_unreachable();
}

// Gives way until somebody makes this fiber ready.
void wait() {
    machine.fibers[machine.current].state = State::waiting;
    to_host(false);
}

void run_block() {
    machine.finished = machine.arrived = 0;
    machine.sum = 0;
    machine.meetings.assign(machine.threads / 32 * most_meetings, {});
    races::ignore(1, machine.meetings.data(), machine.meetings.size() * sizeof(Meeting));
    races::begin_block(blockIdx.x);
    for (unsigned i = 0; i < machine.threads; i++) {
        Fiber& fiber = machine.fibers[i];
        fiber.state = State::ready;
        fiber.group = 0;
        fiber.sums.clear();
        fiber.product_group = 0;
#if defined(__SANITIZE_ADDRESS__)
        // What an earlier thread has left there without an end.
        __asan_unpoison_memory_region(fiber.stack, stack_bytes);
#endif
        fiber.context.prepare(fiber.stack, fiber_main);
    }
    std::vector<unsigned> order(machine.threads);
    std::iota(order.begin(), order.end(), 0u);
    if (machine.schedule == Schedule::reverse)
        std::reverse(order.begin(), order.end());
    while (machine.finished < machine.threads) {
        if (machine.schedule == Schedule::random)
            std::shuffle(order.begin(), order.end(), machine.random);
        bool moved = false;
        for (unsigned i : order) {
            if (machine.fibers[i].state != State::ready)
                continue;
            moved = true;
            to_fiber(i);
            // The others are left where they stand: nothing of theirs has to be undone.
            if (machine.failure)
                std::rethrow_exception(machine.failure);
        }
        if (!moved)
            throw Fault(std::string(machine.name) + ", block " + std::to_string(blockIdx.x) +
                        ": no thread can go on; " + std::to_string(machine.arrived) + " of " +
                        std::to_string(machine.threads) +
                        " wait at the barrier, the rest for lanes of their warp");
    }
}

} // namespace

void use_schedule(Schedule schedule, uint64_t seed) {
    machine.schedule = schedule;
    machine.random.seed(seed);
}

void limit_shared_memory(size_t bytes) {
    machine.shared_limit = std::min(bytes, most_shared);
}

size_t shared_memory_limit() {
    return machine.shared_limit;
}

void offer_warpgroups(bool offered) {
    machine.warpgroups = offered;
}

bool warpgroups() {
    return machine.warpgroups;
}

void fail_launch_after(int64_t launches) {
    launches_left = launches;
}

void run(const char* name, unsigned grid, unsigned threads, size_t shared,
         const std::function<void()>& body) {
    const std::lock_guard lock(machine.busy);
    if (grid < 1 || grid > 2147483647u || threads < 32 || threads > most_threads || threads % 32 != 0 ||
        shared > machine.shared_limit)
        throw Fault(std::string(name) + ": no device takes a grid of " + std::to_string(grid) +
                    " blocks of " + std::to_string(threads) + " threads with " + std::to_string(shared) +
                    " bytes of shared memory");
    if (launches_left >= 0 && launches_left-- == 0)
        throw Fault(std::string(name) + ": an illegal memory access was encountered");
    if (!machine.stacks) {
        machine.stacks = std::make_unique<Guarded>(stack_bytes * most_threads);
        machine.fibers.resize(most_threads);
        for (unsigned i = 0; i < most_threads; i++)
            machine.fibers[i].stack = machine.stacks->data + i * stack_bytes;
        races::ignore(0, machine.stacks->data, stack_bytes * most_threads);
    }
    // Of a launch that has failed.
    for (Fiber& fiber : machine.fibers) {
        for (const Copy& copy : fiber.copies)
            races::drop_copy(copy.from, copy.bytes);
        fiber.copies.clear();
        for (const Product& product : fiber.products)
            races::drop_product(product.reads);
        fiber.products.clear();
    }
    machine.name = name;
    machine.body = &body;
    machine.threads = threads;
    machine.failure = nullptr;
    machine.shared = std::make_unique<Guarded>(shared);
    races::begin_launch(name, machine.shared->data, shared);
    gridDim.x = grid;
    blockDim.x = threads;
    std::vector<unsigned> order(grid);
    std::iota(order.begin(), order.end(), 0u);
    if (machine.schedule == Schedule::reverse)
        std::reverse(order.begin(), order.end());
    if (machine.schedule == Schedule::random)
        std::shuffle(order.begin(), order.end(), machine.random);
    for (unsigned block : order) {
        blockIdx.x = block;
        std::memset(machine.shared->data, 0xff, shared);
        run_block();
    }
}

unsigned char* shared_memory() {
    return machine.shared->data;
}

int meet_block(int value, Where where) {
    if (machine.finished > 0)
        machine.fault("waits at the barrier of " + text(where) + ", which others have ended without");
    if (machine.arrived == 0) {
        machine.barrier = where;
        machine.sum = 0;
    } else if (machine.barrier.line != where.line || std::strcmp(machine.barrier.file, where.file) != 0) {
        machine.fault("waits at the barrier of " + text(where) + " while others wait at that of " +
                      text(machine.barrier));
    }
    machine.sum += value;
    if (++machine.arrived < machine.threads) {
        wait();
        return machine.fibers[machine.current].sum;
    }
    machine.arrived = 0;
    races::meet_block();
    for (unsigned i = 0; i < machine.threads; i++) {
        machine.fibers[i].sum = machine.sum;
        machine.fibers[i].state = State::ready;
    }
    return machine.sum;
}

void meet_warp(const char* what, unsigned mask, void* slot, size_t bytes, void (*complete)(Slots, unsigned),
               Where where) {
    const unsigned self = machine.current, warp = self / 32, lane = self % 32;
    if (!(mask >> lane & 1))
        machine.fault(std::string(what) + " at " + text(where) + ": this lane is not in the mask");
    // One meeting for each mask: groups of lanes may be at different places.
    Meeting* meeting = nullptr;
    for (unsigned i = 0; i < most_meetings && !meeting; i++) {
        Meeting& one = machine.meetings[warp * most_meetings + i];
        if (one.mask == mask && one.arrived != one.mask)
            meeting = &one;
        else if (one.mask != 0 && one.arrived != one.mask && (one.mask & mask) != 0)
            machine.fault(std::string(what) + " at " + text(where) + " while lanes of its mask wait for " +
                          one.what + " at " + text(one.where));
    }
    for (unsigned i = 0; i < most_meetings && !meeting; i++)
        if (machine.meetings[warp * most_meetings + i].mask == 0) {
            meeting = &machine.meetings[warp * most_meetings + i];
            *meeting = {};
            meeting->what = what;
            meeting->mask = mask;
            meeting->where = where;
        }
    if (!meeting)
        machine.fault(std::string(what) + " at " + text(where) + ": too many groups of one warp wait");
    if (meeting->what != what && std::strcmp(meeting->what, what) != 0)
        machine.fault(std::string(what) + " meets " + meeting->what + " at " + text(where));
    if (meeting->where.line != where.line || std::strcmp(meeting->where.file, where.file) != 0)
        machine.fault(std::string(what) + " at " + text(where) + " meets that of " + text(meeting->where));
    std::memcpy(meeting->slots[lane], slot, bytes);
    meeting->arrived |= 1u << lane;
    if (meeting->arrived != meeting->mask) {
        wait();
    } else {
        complete(meeting->slots, mask);
        for (unsigned i = 0; i < 32; i++)
            if (mask >> i & 1)
                machine.fibers[warp * 32 + i].state = State::ready;
    }
    std::memcpy(slot, meeting->slots[lane], bytes);
    meeting->left |= 1u << lane;
    if (meeting->left == meeting->mask)
        meeting->mask = 0;
}

void copy_later(void* to, const void* from, size_t bytes) {
    Fiber& fiber = machine.fibers[machine.current];
    const void* place = __builtin_return_address(0);
    races::issue_copy(to, from, bytes, place);
    fiber.copies.push_back({to, from, bytes, fiber.group, place});
}

void commit_copies() {
    machine.fibers[machine.current].group++;
}

void wait_copies(int groups_left) {
    Fiber& fiber = machine.fibers[machine.current];
    const int before = fiber.group - groups_left;
    std::erase_if(fiber.copies, [&](const Copy& copy) {
        if (copy.group >= before)
            return false;
        std::memcpy(copy.to, copy.from, copy.bytes);
        races::finish_copy(copy.to, copy.from, copy.bytes, copy.place);
        return true;
    });
}

void order_memory(unsigned mask) {
    races::meet_lanes(mask);
}

void publish_shared() {
    races::publish();
}

namespace {

races::Reads run_product(const std::function<void()>& run, Sums& sums, const void* place = nullptr) {
    std::swap_ranges(sums.hidden.begin(), sums.hidden.end(), sums.at);
    races::begin_product(place);
    run();
    const races::Reads reads = races::end_product();
    std::swap_ranges(sums.hidden.begin(), sums.hidden.end(), sums.at);
    return reads;
}

} // namespace

void multiply_later(float* sums, int count, const void* product, size_t bytes, void (*run_it)(const void*)) {
    const races::Pause pause;
    const void* place = __builtin_return_address(0);
    const auto* from = static_cast<const unsigned char*>(product);
    std::function<void()> run = [copy = std::vector(from, from + bytes), run_it] { run_it(copy.data()); };
    Fiber& fiber = machine.fibers[machine.current];
    auto of =
        std::find_if(fiber.sums.begin(), fiber.sums.end(), [&](const Sums& one) { return one.at == sums; });
    if (of == fiber.sums.end()) {
        fiber.sums.push_back({sums, std::vector<float>(sums, sums + count), 0});
        of = fiber.sums.end() - 1;
        std::memset(sums, 0xff, sizeof(float) * count);
    }
    of->products++;
    // What it reads has to be known from the start where races are looked for.
    const bool at_once = finds_races || machine.schedule == Schedule::reverse ||
                         (machine.schedule == Schedule::random && machine.random() % 2 == 0);
    // Those before it on the same sums come first.
    const bool alone = std::none_of(fiber.products.begin(), fiber.products.end(),
                                    [&](const Product& one) { return one.sums == sums && one.run; });
    races::Reads reads;
    if (at_once && alone) {
        reads = run_product(run, *of, place);
        run = nullptr;
    }
    fiber.products.push_back({sums, std::move(run), fiber.product_group, std::move(reads)});
}

void commit_products() {
    machine.fibers[machine.current].product_group++;
}

void wait_products(int groups_left) {
    const races::Pause pause;
    Fiber& fiber = machine.fibers[machine.current];
    const int before = fiber.product_group - groups_left;
    std::erase_if(fiber.products, [&](const Product& product) {
        if (product.group >= before)
            return false;
        const auto of = std::find_if(fiber.sums.begin(), fiber.sums.end(),
                                     [&](const Sums& one) { return one.at == product.sums; });
        if (product.run)
            run_product(product.run, *of);
        races::finish_product(product.reads);
        if (--of->products == 0) {
            std::copy(of->hidden.begin(), of->hidden.end(), of->at);
            fiber.sums.erase(of);
        }
        return true;
    });
}

void step_aside() {
    if (machine.schedule == Schedule::random && machine.random() % 4 == 0) {
        machine.fibers[machine.current].state = State::ready;
        to_host(false);
    }
}

} // namespace simt
