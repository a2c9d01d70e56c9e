#include "onednn_program.h"

#include "latdyn/error.h"
#include "lifetimes.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl_debug.h>

#include <algorithm>

namespace latdyn::onednn {

OneThread::OneThread() : threads_(omp_get_max_threads()) {
    omp_set_num_threads(1);
}
OneThread::~OneThread() {
    omp_set_num_threads(threads_);
}

void fail(const std::string& node, const std::string& what) {
    throw Error("oneDNN, " + node + ": " + what);
}

int Program::add_buffer(size_t bytes) {
    Buffer buffer;
    buffer.bytes = bytes;
    buffers.push_back(std::move(buffer));
    return static_cast<int>(buffers.size()) - 1;
}

int Program::add_constant(size_t bytes) {
    const int id = add_buffer(bytes);
    buffers[id].constant = aligned_floats((bytes + sizeof(float) - 1) / sizeof(float));
    return id;
}

void Program::add_step(Step step) {
    const int index = static_cast<int>(steps.size());
    for (const Tensor& tensor : step.tensors) {
        Buffer& buffer = buffers[tensor.buffer];
        if (buffer.first < 0)
            buffer.first = index;
        buffer.last = index;
    }
    steps.push_back(std::move(step));
}

namespace {

constexpr size_t alignment = 64;

// Places what is no constant; the size of the arena.
size_t place(std::vector<Buffer>& buffers) {
    std::vector<Life> lives;
    std::vector<Buffer*> placed;
    for (Buffer& buffer : buffers)
        if (!buffer.constant && buffer.first >= 0) {
            lives.push_back(
                {.size = static_cast<int64_t>((buffer.bytes + alignment - 1) / alignment * alignment),
                 .first = buffer.first,
                 .last = buffer.last});
            placed.push_back(&buffer);
        }
    const int64_t size = place_by_lifetime(lives);
    for (size_t i = 0; i < lives.size(); ++i)
        placed[i]->offset = static_cast<size_t>(lives[i].offset);
    return static_cast<size_t>(size);
}

// Memory and oneDNN's handles on it, of one thread.
class OnednnWorkspace final : public Workspace {
  public:
    OnednnWorkspace(const Program& program, size_t arena_bytes)
        : arena_(aligned_floats(arena_bytes / sizeof(float))), stream_(program.engine) {
        const auto address = [&](int buffer) {
            const Buffer& b = program.buffers[buffer];
            // oneDNN and the loops only read what is constant; their interfaces do not say so.
            return b.constant ? b.constant.get() : arena_.get() + b.offset / sizeof(float);
        };
        input = address(program.input);
        output = address(program.output);
        calls_.resize(program.steps.size());
        for (size_t i = 0; i < program.steps.size(); ++i) {
            const Step& step = program.steps[i];
            for (size_t t = 0; t < step.tensors.size(); ++t) {
                float* data = address(step.tensors[t].buffer);
                if (step.loop) {
                    calls_[i].addresses.push_back(data);
                } else {
                    memories_.emplace_back(step.tensors[t].desc, program.engine, data);
                    calls_[i].arguments.push_back({step.arguments[t], memories_.back().get()});
                }
            }
        }
    }

    void run(const Program& program) {
        for (size_t i = 0; i < program.steps.size(); ++i) {
            const Step& step = program.steps[i];
            const Call& call = calls_[i];
            if (step.loop) {
                step.loop(call.addresses.data());
                continue;
            }
            const dnnl_status_t status =
                dnnl_primitive_execute(step.primitive.get(), stream_.get(),
                                       static_cast<int>(call.arguments.size()), call.arguments.data());
            if (status != dnnl_success)
                fail(step.node, dnnl_status2str(status));
        }
        stream_.wait();
    }

  private:
    struct Call {
        std::vector<dnnl_exec_arg_t> arguments;
        std::vector<float*> addresses;
    };
    AlignedFloats arena_;
    dnnl::stream stream_;
    std::vector<dnnl::memory> memories_;
    std::vector<Call> calls_;
};

class OnednnPlan final : public Plan {
  public:
    OnednnPlan(Program program, PlanInfo about) : program_(std::move(program)) {
        info = std::move(about);
        const int last = static_cast<int>(program_.steps.size());
        program_.buffers[program_.input].first = 0;
        program_.buffers[program_.input].last = last;
        program_.buffers[program_.output].last = last;
        info.arena_bytes = place(program_.buffers);
        info.weight_bytes = 0;
        for (Buffer& buffer : program_.buffers) {
            // What was only read to make a reordered copy is not needed any more.
            if (buffer.constant && buffer.first < 0)
                buffer.constant.reset();
            if (buffer.constant)
                info.weight_bytes += buffer.bytes;
        }
    }

    std::unique_ptr<Workspace> make_workspace() const override {
        try {
            return std::make_unique<OnednnWorkspace>(program_, info.arena_bytes);
        } catch (const dnnl::error& error) {
            fail("workspace", error.what());
        }
    }

    void run(Workspace& workspace) const override {
        const OneThread alone;
        static_cast<OnednnWorkspace&>(workspace).run(program_);
    }

  private:
    Program program_;
};

} // namespace

std::shared_ptr<Plan> finish(Program program, PlanInfo info) {
    return std::make_shared<OnednnPlan>(std::move(program), std::move(info));
}

} // namespace latdyn::onednn
