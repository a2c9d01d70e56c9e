// What native/cuda does on a device, one line of JSON a row; report.py holds the rows against the limits and
// the peers that peers.py measures on the same card.
//
//   cuda_bench [--quick] [--small] [--only kernels|convolutions|extraction] [--graphs FOLDER] [--points
//   FOLDER]
//
//   --quick   tenths of the large cases
//   --small   shapes for trying the program itself out, also where there is no device (cuda_bench_on_host)
//   --graphs  where export-graphs.mjs has put its files (default: .gpu/graphs)
//   --points  a folder for initial points and endpoints, for peers.py
#include "latdyn/error.h"
#include "measure.h"

#include <cstring>

using namespace latdyn;

namespace {

struct Part {
    const char* name;
    void (*run)(const bench::Options&);
};
constexpr Part parts[] = {{"kernels", bench::run_kernels},
                          {"convolutions", bench::run_convolutions},
                          {"extraction", bench::run_extraction}};

struct Asked {
    bench::Options options;
    std::string only;
};

Asked asked_by(int count, char** arguments) {
    Asked asked;
    for (int i = 1; i < count; i++) {
        const std::string name = arguments[i];
        const auto value = [&] {
            if (i + 1 >= count)
                throw Error(name + " is followed by nothing, expected a value");
            return std::string(arguments[++i]);
        };
        if (name == "--quick")
            asked.options.part = 10;
        else if (name == "--small")
            asked.options.small = true;
        else if (name == "--only")
            asked.only = value();
        else if (name == "--graphs")
            asked.options.graphs = value();
        else if (name == "--points")
            asked.options.points = value();
        else
            throw Error("unknown option " + name +
                        ", expected --quick, --small, --only, --graphs or --points");
    }
    bool known = asked.only.empty();
    for (const Part& part : parts)
        known = known || asked.only == part.name;
    if (!known)
        throw Error("--only is " + asked.only + ", expected kernels, convolutions or extraction");
    return asked;
}

} // namespace

int main(int count, char** arguments) {
    Asked asked;
    try {
        asked = asked_by(count, arguments);
    } catch (const Error& error) {
        std::fprintf(stderr, "cuda_bench: %s\n", error.what());
        return 2;
    }
    int status = 0;
    for (const Part& part : parts) {
        if (!asked.only.empty() && asked.only != part.name)
            continue;
        // A part that fails does not keep the next one from running, unless the device is broken.
        try {
            cuda::use_device(0);
            part.run(asked.options);
        } catch (const cuda::DeviceError& error) {
            std::fprintf(stderr, "cuda_bench: %s: %s\n", part.name, error.what());
            if (error.failure != cuda::Failure::out_of_memory)
                return 1;
            status = 1;
        } catch (const std::exception& error) {
            std::fprintf(stderr, "cuda_bench: %s: %s\n", part.name, error.what());
            status = 1;
        }
    }
    return status;
}
