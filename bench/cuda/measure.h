// What the rows of bench/cuda share: how they are asked for, timed and printed.
#pragma once

#include "latdyn/error.h"
#include "runtime.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <string>
#include <vector>

namespace latdyn::bench {

struct Options {
    // Large cases are divided by it.
    int64_t part = 1;
    // Shapes for trying the program itself out.
    bool small = false;
    // Where graphs come from, and where points and their endpoints go for peers; empty: nowhere.
    std::string graphs = ".gpu/graphs";
    std::string points;
    // No further run of a case begins after so many seconds.
    double patience() const { return part > 1 ? 2 : 8; }
};

struct Case {
    std::string name, shape;
    double flops, bytes;
    // How the products are computed that `flops` counts: what a row is held against.
    const char* precision = "tf32";
    // Further members of the row's JSON, each after a comma.
    std::string more = "";
};

inline std::string by(std::initializer_list<int64_t> sizes) {
    std::string out;
    for (int64_t size : sizes)
        out += (out.empty() ? "" : " x ") + std::to_string(size);
    return out;
}

// A string of JSON.
inline std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (char letter : text) {
        if (letter == '"' || letter == '\\')
            out += '\\';
        out += letter < ' ' && letter >= 0 ? ' ' : letter;
    }
    return out + "\"";
}

inline std::string member(const std::string& name, double value) {
    char text[64];
    std::snprintf(text, sizeof text, "%.9g", value);
    return ", " + quoted(name) + ": " + text;
}
inline std::string member(const std::string& name, const std::string& text) {
    return ", " + quoted(name) + ": " + quoted(text);
}

// A row that could not be measured, and why.
inline void say_failed(const std::string& name, const std::string& variant, const std::string& why) {
    std::printf("{\"name\": %s, \"variant\": %s, \"failed\": %s}\n", quoted(name).c_str(),
                quoted(variant).c_str(), quoted(why).c_str());
    std::fflush(stdout);
}

// Runs body(); what a model or the memory does not allow is a row that says so.
template <class Body> void attempt(const std::string& name, const std::string& variant, Body body) {
    try {
        body();
    } catch (const Error& error) {
        say_failed(name, variant, error.what());
    } catch (const cuda::DeviceError& error) {
        if (error.failure != cuda::Failure::out_of_memory)
            throw;
        say_failed(name, variant, error.what());
    }
}

inline std::string list_of(const std::vector<double>& seconds) {
    std::string out;
    for (double one : seconds) {
        char text[64];
        std::snprintf(text, sizeof text, "%s%.6g", out.empty() ? "" : ", ", one);
        out += text;
    }
    return "[" + out + "]";
}

inline void say(const Case& one, const std::vector<double>& device, const std::vector<double>& wall) {
    std::printf("{\"name\": %s, \"shape\": %s, \"precision\": \"%s\", \"flops\": %.6g, \"bytes\": %.6g, "
                "\"seconds\": %s, \"wallSeconds\": %s%s}\n",
                quoted(one.name).c_str(), quoted(one.shape).c_str(), one.precision, one.flops, one.bytes,
                list_of(device).c_str(), list_of(wall).c_str(), one.more.c_str());
    std::fflush(stdout);
}

class Clock {
  public:
    double seconds() const {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }

  private:
    std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
};

// Runs body(job) three times (once where options.small), or fewer times where that takes longer than the
// patience there is, and prints the row. Body may say in `one` what it found.
template <class Body> void measure(const Options& options, const Case& one, Body body) {
    std::vector<double> device, wall;
    const Clock all;
    const int most = options.small ? 1 : 3;
    for (int i = 0; i < most && (i == 0 || all.seconds() < options.patience()); i++) {
        cuda::Job job;
        job.stage = [](cuda::Stage stage) { cuda::mark(stage == cuda::Stage::computed); };
        job.note = [](const std::string& sentence) { std::fprintf(stderr, "%s\n", sentence.c_str()); };
        const Clock run;
        body(job);
        wall.push_back(run.seconds());
        device.push_back(cuda::seconds_between_marks());
    }
    say(one, device, wall);
}

// Work that is enqueued and nothing else, as often as makes a good part of a second: seconds of one of them.
template <class Body> void measure_enqueued(const Options& options, const Case& one, Body body) {
    std::vector<double> device, wall;
    const auto time = [&](int64_t times) {
        const Clock run;
        cuda::mark(0);
        for (int64_t i = 0; i < times; i++)
            body();
        cuda::mark(1);
        cuda::synchronize();
        device.push_back(cuda::seconds_between_marks() / static_cast<double>(times));
        wall.push_back(run.seconds() / static_cast<double>(times));
    };
    time(1);
    if (!options.small) {
        // The first was for warming up.
        device.clear();
        wall.clear();
        time(1);
        const int64_t times = std::clamp<int64_t>(static_cast<int64_t>(0.1 / device[0]), 1, 1000);
        device.clear();
        wall.clear();
        for (int i = 0; i < 3; i++)
            time(times);
    }
    say(one, device, wall);
}

// Calls body("") and, where products go by warpgroups, body("mma.sync") without them: the same work by the
// instruction that older devices have.
template <class Body> void with_each_instruction(Body body) {
    body("");
    if (!cuda::warpgroups())
        return;
    setenv("LATDYN_CUDA_WARPGROUPS", "0", 1);
    body("mma.sync");
    unsetenv("LATDYN_CUDA_WARPGROUPS");
}

// kernels.cpp, convolutions.cpp, extraction.cpp
void run_kernels(const Options& options);
void run_convolutions(const Options& options);
void run_extraction(const Options& options);

} // namespace latdyn::bench
