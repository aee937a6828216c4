// The codec: whole streams to and from strided arrays.
//
// Read the headers in the order in which a sample meets them: stream_header.hpp, lorenzo.hpp,
// residual.hpp, quasi_static_model.hpp, range_coder.hpp. docs/fpzip-format.md describes the bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "bytes.hpp"
#include "stream_header.hpp"

namespace kemp {

// What happens to a sample between the array and the stream.
enum class Transform {
  none,
  plus_two,  // kempressed: affinities in [0, 1] move to [2, 3], where all share one exponent
};

// Four axes in the stream's order x, y, z, field. Strides are in bytes and may be anything.
struct ConstArray {
  const char* data;
  std::array<std::ptrdiff_t, 4> strides;
};

struct MutableArray {
  char* data;
  std::array<std::ptrdiff_t, 4> strides;
};

// Appends the stream of `array` to `out`.
void encode(const StreamHeader& header, const ConstArray& array, Transform transform,
            ByteBuffer& out);

// Throws CodecError unless the bytes begin with the header of a stream that they could hold.
StreamHeader read_header(const std::uint8_t* data, std::size_t size);

// Decodes a whole stream, whose header must be `expected`, into `array`. Throws CodecError for any
// stream that is damaged in a way that can be seen; `array` then holds nothing of use.
void decode(const std::uint8_t* data, std::size_t size, const StreamHeader& expected,
            const MutableArray& array, Transform transform);

}  // namespace kemp
