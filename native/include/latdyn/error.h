#pragma once

#include <stdexcept>

namespace latdyn {

// What the caller gave cannot be used. Translated once, at the N-API border, into a JavaScript Error.
struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

} // namespace latdyn
