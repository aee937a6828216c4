// The codec: streams to and from strided arrays, many at a time where there are many.
//
// Read the headers in the order in which a sample meets them: stream_header.hpp, rows.hpp,
// lorenzo.hpp, residual.hpp, quasi_static_model.hpp, range_coder.hpp. docs/fpzip-format.md
// describes the bytes. Then encode.cpp, decode.cpp and lanes_kernel.hpp, which decodes many streams
// in step.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "bytes.hpp"
#include "range_coder.hpp"
#include "rows.hpp"
#include "stream_header.hpp"

namespace kemp {

// What a stream begins with: its header, and the state of the coder behind it.
struct StreamStart {
  StreamHeader header;
  CoderState state;
};

// Throws CodecError unless the bytes begin with the header of a stream that they could hold.
StreamStart read_header(const std::uint8_t* data, std::size_t size);

struct EncodeJob {
  ConstArray array;
  ByteBuffer out;                  // the stream is appended here
  std::vector<CoderState> fields;  // and the state at the start of each field here
};

// Encodes arrays of one shape, two at a time: the latencies of one hide those of the other.
void encode(const StreamHeader& header, Transform transform, EncodeJob* jobs, std::size_t count);

// Some consecutive fields of a stream.
struct DecodeJob {
  const std::uint8_t* data = nullptr;
  std::size_t size = 0;  // where nothing but these fields is in `data`, exactly what they take
  CoderState start{};    // at the first of the fields; its offset counts from `data`
  bool exact = true;     // `data` end where the last of the fields ends
  bool keep_states = false;
  MutableArray array{};  // from the first of the fields on; nothing is stored where `data` is null
  std::vector<CoderState> fields;  // if asked for: the state at each of their starts and
                                   // behind the last
  std::string error;               // empty unless this job's bytes are damaged
};

// The ways to decode, all with the same result.
enum class Path { plain, interleaved, avx2, avx512 };

// The fastest path that this processor has.
Path best_path();

// Decodes `fields` fields for each of the jobs, whose streams are of one shape, with the others in
// step where the path allows. A job that fails leaves its array with nothing of use.
void decode(const StreamHeader& header, std::uint32_t fields, Transform transform, DecodeJob* jobs,
            std::size_t count, Path path);

}  // namespace kemp
