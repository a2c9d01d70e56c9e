#include "graph_from_js.h"

#include "latdyn/error.h"

#include <cmath>

namespace latdyn::addon {

Napi::Value field(const Napi::Object& object, const char* key, const std::string& where) {
    const Napi::Value value = object.Get(key);
    if (value.IsUndefined())
        throw Error(where + ": \"" + key + "\" is missing");
    return value;
}

double number(const Napi::Object& object, const char* key, const std::string& where) {
    const Napi::Value value = field(object, key, where);
    if (!value.IsNumber())
        throw Error(where + ": \"" + key + "\" should be a number");
    return value.As<Napi::Number>().DoubleValue();
}

int64_t integer(const Napi::Object& object, const char* key, const std::string& where, int64_t least,
                int64_t most) {
    const double value = number(object, key, where);
    if (!(value >= static_cast<double>(least) && value <= static_cast<double>(most)) ||
        value != std::floor(value))
        throw Error(
            where + ": \"" + key + "\" is " + Napi::Number::New(object.Env(), value).ToString().Utf8Value() +
            ", expected a whole number from " + std::to_string(least) + " to " + std::to_string(most));
    return static_cast<int64_t>(value);
}

std::string text(const Napi::Object& object, const char* key, const std::string& where) {
    const Napi::Value value = field(object, key, where);
    if (!value.IsString())
        throw Error(where + ": \"" + key + "\" should be a string");
    return value.As<Napi::String>().Utf8Value();
}

Napi::Float32Array floats(const Napi::Value& value, const std::string& where) {
    if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_float32_array)
        throw Error(where + " should be a Float32Array");
    return value.As<Napi::Float32Array>();
}

namespace {

Napi::Array array(const Napi::Object& object, const char* key, const std::string& where) {
    const Napi::Value value = field(object, key, where);
    if (!value.IsArray())
        throw Error(where + ": \"" + key + "\" should be an array");
    return value.As<Napi::Array>();
}

std::vector<double> numbers(const Napi::Array& list, const std::string& where) {
    std::vector<double> out;
    for (uint32_t i = 0; i < list.Length(); i++) {
        const Napi::Value value = list.Get(i);
        if (!value.IsNumber())
            throw Error(where + " should hold numbers only");
        out.push_back(value.As<Napi::Number>().DoubleValue());
    }
    return out;
}

std::vector<int64_t> whole_numbers(const Napi::Array& list, const std::string& where) {
    std::vector<int64_t> out;
    for (double v : numbers(list, where)) {
        if (v != std::floor(v) || std::abs(v) > 2147483647.0)
            throw Error(where + " should hold whole numbers only");
        out.push_back(static_cast<int64_t>(v));
    }
    return out;
}

Napi::Object object_at(const Napi::Array& list, uint32_t i, const std::string& where) {
    const Napi::Value value = list.Get(i);
    if (!value.IsObject())
        throw Error(where + " should be an object");
    return value.As<Napi::Object>();
}

Activation activation_from_js(const Napi::Object& object, const std::string& where) {
    const std::string kind = text(object, "kind", where);
    const std::optional<ActivationKind> found = activation_named(kind);
    if (!found || *found == ActivationKind::none)
        throw Error(where + ": \"" + kind + "\" is not an activation");
    return {*found, static_cast<float>(number(object, "alpha", where)),
            static_cast<float>(number(object, "beta", where))};
}

} // namespace

Graph graph_from_js(const Napi::Object& object) {
    Graph graph;
    const Napi::Array values = array(object, "values", "graph");
    for (uint32_t i = 0; i < values.Length(); i++) {
        const Napi::HandleScope scope(object.Env());
        const std::string where = "value " + std::to_string(i);
        const Napi::Object from = object_at(values, i, where);
        Value value;
        value.shape = whole_numbers(array(from, "shape", where), where + ": \"shape\"");
        if (const Napi::Value constant = from.Get("constant"); !constant.IsUndefined()) {
            const Napi::Float32Array data = floats(constant, where + ": \"constant\"");
            value.is_constant = true;
            value.constant.assign(data.Data(), data.Data() + data.ElementLength());
        }
        graph.values.push_back(std::move(value));
    }
    const Napi::Array nodes = array(object, "nodes", "graph");
    for (uint32_t i = 0; i < nodes.Length(); i++) {
        const Napi::HandleScope scope(object.Env());
        std::string where = "node " + std::to_string(i);
        const Napi::Object from = object_at(nodes, i, where);
        Node node;
        node.op = text(from, "op", where);
        node.name = text(from, "name", where);
        where = "node \"" + node.name + "\" (" + node.op + ")";
        for (int64_t id : whole_numbers(array(from, "inputs", where), where + ": \"inputs\""))
            node.inputs.push_back(static_cast<int>(id));
        node.output = static_cast<int>(integer(from, "output", where, 0, 2147483647));
        const Napi::Value attributes = field(from, "attributes", where);
        if (!attributes.IsObject())
            throw Error(where + ": \"attributes\" should be an object");
        const Napi::Object named = attributes.As<Napi::Object>();
        const Napi::Array keys = named.GetPropertyNames();
        for (uint32_t a = 0; a < keys.Length(); a++) {
            const std::string key = keys.Get(a).ToString().Utf8Value();
            const Napi::Value value = named.Get(key);
            if (value.IsNumber())
                node.attributes[key] = {value.As<Napi::Number>().DoubleValue()};
            else if (value.IsArray())
                node.attributes[key] = numbers(value.As<Napi::Array>(), where + ": \"" + key + "\"");
            else
                throw Error(where + ": attribute \"" + key + "\" should be a number or an array of numbers");
        }
        if (const Napi::Value activation = from.Get("activation"); activation.IsObject())
            node.activation = activation_from_js(activation.As<Napi::Object>(), where);
        if (!from.Get("residual").IsUndefined())
            node.residual = static_cast<int>(integer(from, "residual", where, 0, 2147483647));
        graph.nodes.push_back(std::move(node));
    }
    graph.input = static_cast<int>(integer(object, "input", "graph", 0, 2147483647));
    graph.output = static_cast<int>(integer(object, "output", "graph", 0, 2147483647));
    return graph;
}

} // namespace latdyn::addon
