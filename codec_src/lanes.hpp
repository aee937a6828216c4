// Many streams decoded in step, one a lane of a vector: the interface of the kernels.
//
// The kernels are compiled for processors that the rest of the core may not assume. So that no
// inline function compiled there can replace one that runs everywhere, they share nothing with the
// rest but the plain structs here: no class, no template, and of the standard library only what is
// compiled elsewhere, memcpy and memset.
#pragma once

#include <cstddef>
#include <cstdint>

#include "processor.hpp"

namespace kemp {

// float32 of more than 8 bits of precision: residuals of a symbol and verbatim bits.
struct LanesShape {
  std::uint32_t extent[3];  // nx, ny, nz of a field
  std::uint32_t fields;     // for each stream to decode
  std::uint32_t bits;       // of precision
  bool plus_two;
};

// Where a field starts: the state of the coder, `offset` counted from the job's first byte.
struct LaneState {
  std::uint64_t offset;
  std::uint32_t low;
  std::uint32_t range;
};

struct LaneJob {
  const std::uint8_t* at;   // the first of the coder's bytes
  const std::uint8_t* end;  // of all there are
  std::uint32_t low;
  std::uint32_t range;
  bool exact;   // the last field ends at `end`
  bool failed;  // result: these bytes are damaged, and what was stored is of no use
  char* out;    // sample 0 of the first field; null where the samples are not wanted
  std::ptrdiff_t strides[4];
  LaneState* states;  // result: one for each field, and one behind the last; may be null
};

// A kernel takes up to twice the streams that its vectors have lanes.
struct LanesKernel {
  std::size_t lanes;
  // Bytes of memory to lend to `decode`, aligned to 64 bytes.
  std::size_t (*workspace)(const LanesShape& shape, std::size_t jobs);
  void (*decode)(const LanesShape& shape, LaneJob* jobs, std::size_t count, void* workspace);
};

#if KEMP_X86
extern const LanesKernel kAvx2Lanes;
extern const LanesKernel kAvx512Lanes;
#endif

// A prediction that comes out as NaN, from its terms in the order of the sum.
float settled_prediction(const float (&terms)[7]);

}  // namespace kemp
