#pragma once

#include "latdyn/graph.h"

#include <napi.h>

namespace latdyn::addon {

// Field access that names what is missing or of the wrong kind. `where` is how messages call the object.
Napi::Value field(const Napi::Object& object, const char* key, const std::string& where);
double number(const Napi::Object& object, const char* key, const std::string& where);
// A whole number in [least, most].
int64_t integer(const Napi::Object& object, const char* key, const std::string& where, int64_t least,
                int64_t most);
std::string text(const Napi::Object& object, const char* key, const std::string& where);
Napi::Float32Array floats(const Napi::Value& value, const std::string& where);

Graph graph_from_js(const Napi::Object& object);

} // namespace latdyn::addon
