// The reader of bench/cuda's graph files: known bytes, every cut and every changed byte; and, where a file is
// named, f of its points as JSON, for whoever has computed them otherwise.
#include "check.h"
#include "graph_file.h"
#include "latdyn/error.h"
#include "latdyn/iterate.h"

#include <cstring>
#include <string>
#include <vector>

using namespace latdyn;

namespace {

struct Writer {
    std::vector<unsigned char> bytes;

    template <class Element> void list(std::initializer_list<Element> elements) {
        for (const Element& element : elements) {
            const auto* from = reinterpret_cast<const unsigned char*>(&element);
            bytes.insert(bytes.end(), from, from + sizeof element);
        }
    }
    void text(const std::string& string) {
        list<int32_t>({static_cast<int32_t>(string.size())});
        bytes.insert(bytes.end(), string.begin(), string.end());
    }
};

// y = relu(0.5·x + (1, −1)), two elements, and three points.
std::vector<unsigned char> known_bytes() {
    Writer out;
    for (char letter : std::string("LDGRAPH2"))
        out.bytes.push_back(static_cast<unsigned char>(letter));
    out.text("half");
    out.list<int32_t>({4});
    const auto value = [&](std::initializer_list<int64_t> shape, std::initializer_list<float> constant) {
        out.list<int32_t>({static_cast<int32_t>(shape.size())});
        out.list(shape);
        out.list<int32_t>({constant.size() > 0});
        out.list(constant);
    };
    value({2}, {});
    value({2, 2}, {0.5f, 0, 0, 0.5f});
    value({2}, {1, -1});
    value({2}, {});
    out.list<int32_t>({1});
    out.text("linear");
    out.text("the only one");
    out.list<int32_t>({3, 0, 1, 2, 3});
    out.list<int32_t>({1});
    out.text("unused");
    out.list<int32_t>({2});
    out.list<double>({3, 4.5});
    out.text("relu");
    out.list<float>({0, 0});
    out.list<int32_t>({-1});
    out.list<int32_t>({0, 3});
    out.list<int32_t>({3});
    out.list<float>({1, 2, 3, 4, -5, 6});
    return out.bytes;
}

std::vector<float> map_points(const bench::GraphFile& file, int64_t rows) {
    std::vector<float> out(static_cast<size_t>(rows * file.k()));
    JobCounters counters;
    apply(*compile(file.graph, {}), file.points.data(), rows, out.data(), 1, counters);
    return out;
}

// What parsing says; "" where it goes well.
std::string complaint(const std::vector<unsigned char>& bytes) {
    try {
        bench::parse_graph_file(bytes, "a file");
        return "";
    } catch (const Error& error) {
        return error.what();
    }
}

bool one_sentence(const std::string& message) {
    return message.rfind("a file: ", 0) == 0 && message.find('\n') == std::string::npos &&
           message.size() < 300;
}

void known() {
    const bench::GraphFile file = bench::parse_graph_file(known_bytes(), "a file");
    CHECK(file.name == "half" && file.k() == 2 && file.point_rows == 3, "%s, %lld points", file.name.c_str(),
          static_cast<long long>(file.point_rows));
    const Node& node = file.graph.nodes.at(0);
    CHECK(node.name == "the only one" && node.attributes.at("unused") == std::vector<double>({3, 4.5}) &&
              node.residual == -1,
          "%s", node.name.c_str());
    CHECK(map_points(file, 3) == std::vector<float>({1.5f, 0, 2.5f, 1, 0, 2}), "f of the points");
}

void damaged() {
    const std::vector<unsigned char> whole = known_bytes();
    for (size_t length = 0; length < whole.size(); length++) {
        const std::string message = complaint(
            std::vector<unsigned char>(whole.begin(), whole.begin() + static_cast<int64_t>(length)));
        CHECK(one_sentence(message), "cut off at %zu: \"%s\"", length, message.c_str());
    }
    std::vector<unsigned char> longer = whole;
    longer.push_back(0);
    CHECK(complaint(longer).find("has 1 bytes too many") != std::string::npos, "%s",
          complaint(longer).c_str());
    int refused = 0;
    for (size_t at = 0; at < whole.size(); at++)
        for (int change : {0x01, 0x7f, 0x80, 0xff}) {
            std::vector<unsigned char> bytes = whole;
            bytes[at] ^= static_cast<unsigned char>(change);
            const std::string message = complaint(bytes);
            CHECK(message.empty() || one_sentence(message), "byte %zu changed: %s", at, message.c_str());
            refused += !message.empty();
        }
    // Most of the bytes are counts, shapes and names; those of floats and of texts may be any.
    CHECK(refused > static_cast<int>(whole.size()), "only %d changes are refused", refused);
    CHECK(complaint({'P', 'K', 3, 4, 0, 0, 0, 0, 0}) ==
              "a file: does not begin with LDGRAPH2, expected a file of export-graphs.mjs",
          "another file");
}

int print_points(const char* path) {
    const bench::GraphFile file = bench::read_graph_file(path);
    const int64_t rows = std::min<int64_t>(file.point_rows, 3);
    std::printf("{\"name\": \"%s\", \"points\": %lld, \"k\": %lld, \"flops\": %.0f, \"images\": [",
                file.name.c_str(), static_cast<long long>(file.point_rows), static_cast<long long>(file.k()),
                file.graph.nominal_flops());
    const std::vector<float> images = map_points(file, rows);
    for (size_t i = 0; i < images.size(); i++)
        std::printf("%s%.9g", i ? ", " : "", static_cast<double>(images[i]));
    std::printf("]}\n");
    return 0;
}

} // namespace

int main(int count, char** arguments) {
    if (count > 1) {
        try {
            return print_points(arguments[1]);
        } catch (const std::exception& error) {
            std::fprintf(stderr, "graph_file: %s\n", error.what());
            return 1;
        }
    }
    known();
    damaged();
    return test::finish("graph_file");
}
