// The one error that bad bytes or an impossible array can cause.
#pragma once

#include <stdexcept>
#include <string>

namespace kemp {

// Becomes napari_kemp.CodecError at the Python boundary.
struct CodecError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace kemp
