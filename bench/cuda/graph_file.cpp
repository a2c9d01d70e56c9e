#include "graph_file.h"

#include "latdyn/error.h"

#include <cstring>
#include <fstream>
#include <iterator>

namespace latdyn::bench {

namespace {

constexpr char magic[] = "LDGRAPH2";

class Reader {
  public:
    Reader(std::span<const unsigned char> bytes, const std::string& what) : bytes(bytes), what(what) {}

    [[noreturn]] void fail(const std::string& why) const {
        throw Error(what + ": " + why + " at byte " + std::to_string(at));
    }

    template <class Element> std::vector<Element> list(int64_t count) {
        // Compared as counts: a product of what the file says might not fit.
        if (count < 0 || static_cast<size_t>(count) > (bytes.size() - at) / sizeof(Element))
            fail("is cut off: " + std::to_string(count) + " elements of " + std::to_string(sizeof(Element)) +
                 " bytes are announced, " + std::to_string(bytes.size() - at) + " bytes are left");
        std::vector<Element> out(static_cast<size_t>(count));
        if (count > 0)
            std::memcpy(out.data(), bytes.data() + at, out.size() * sizeof(Element));
        at += out.size() * sizeof(Element);
        return out;
    }
    template <class Element> Element one() { return list<Element>(1)[0]; }
    int32_t count(const char* of) {
        const int32_t value = one<int32_t>();
        if (value < 0)
            fail(std::string("has ") + std::to_string(value) + " " + of);
        return value;
    }
    std::string text() {
        const std::vector<char> letters = list<char>(count("bytes of text"));
        return std::string(letters.begin(), letters.end());
    }
    void end() const {
        if (at != bytes.size())
            fail("has " + std::to_string(bytes.size() - at) + " bytes too many");
    }

  private:
    const std::span<const unsigned char> bytes;
    const std::string& what;
    size_t at = 0;
};

// Elements of a shape; no more than a file could hold.
int64_t elements(Reader& reader, const std::vector<int64_t>& shape) {
    int64_t product = 1;
    for (int64_t d : shape) {
        if (d < 1 || d > INT32_MAX || product > INT32_MAX / d)
            reader.fail("has a dimension of " + std::to_string(d));
        product *= d;
    }
    return product;
}

Value read_value(Reader& reader) {
    Value value;
    value.shape = reader.list<int64_t>(reader.count("dimensions"));
    const int64_t size = elements(reader, value.shape);
    const int32_t constant = reader.one<int32_t>();
    if (constant != 0 && constant != 1)
        reader.fail("says " + std::to_string(constant) + " where 0 or 1 is expected");
    value.is_constant = constant == 1;
    if (value.is_constant)
        value.constant = reader.list<float>(size);
    return value;
}

Node read_node(Reader& reader) {
    Node node;
    node.op = reader.text();
    node.name = reader.text();
    for (int32_t input : reader.list<int32_t>(reader.count("inputs")))
        node.inputs.push_back(input);
    node.output = reader.one<int32_t>();
    for (int32_t left = reader.count("attributes"); left > 0; left--) {
        const std::string key = reader.text();
        node.attributes[key] = reader.list<double>(reader.count("numbers"));
    }
    const std::optional<ActivationKind> kind = activation_named(reader.text());
    if (!kind)
        reader.fail("names no activation");
    node.activation.kind = *kind;
    node.activation.alpha = reader.one<float>();
    node.activation.beta = reader.one<float>();
    node.residual = reader.one<int32_t>();
    return node;
}

} // namespace

GraphFile parse_graph_file(std::span<const unsigned char> bytes, const std::string& what) {
    Reader reader(bytes, what);
    const size_t length = sizeof magic - 1;
    if (bytes.size() < length || std::memcmp(bytes.data(), magic, length) != 0)
        throw Error(what + ": does not begin with " + magic + ", expected a file of export-graphs.mjs");
    reader.list<char>(static_cast<int64_t>(length));
    GraphFile file;
    file.name = reader.text();
    for (int32_t left = reader.count("values"); left > 0; left--)
        file.graph.values.push_back(read_value(reader));
    for (int32_t left = reader.count("nodes"); left > 0; left--)
        file.graph.nodes.push_back(read_node(reader));
    file.graph.input = reader.one<int32_t>();
    file.graph.output = reader.one<int32_t>();
    try {
        file.graph.validate();
    } catch (const Error& error) {
        throw Error(what + ": " + error.what());
    }
    file.point_rows = reader.count("points");
    file.points = reader.list<float>(file.point_rows * file.k());
    reader.end();
    return file;
}

GraphFile read_graph_file(const std::string& path) {
    std::ifstream stream(path, std::ios::binary);
    if (!stream)
        throw Error(path + ": cannot be opened");
    const std::vector<char> bytes((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
    return parse_graph_file({reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()}, path);
}

} // namespace latdyn::bench
