// Rows of samples between an array, whose strides may be anything, and the front of a field. The
// kempressed transform happens on the way, so it costs no pass of its own.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "processor.hpp"

namespace kemp {

// What happens to a sample between the array and the stream.
enum class Transform {
  none,
  plus_two,  // kempressed: affinities in [0, 1] move to [2, 3], where all share one exponent
};

// Four axes in the stream's order x, y, z, field. Strides are in bytes.
template <class Pointer>
struct StridedArray {
  Pointer data;
  std::array<std::ptrdiff_t, 4> strides;

  Pointer row(std::uint32_t y, std::uint32_t z, std::uint32_t field) const {
    return data + static_cast<std::ptrdiff_t>(y) * strides[1] +
           static_cast<std::ptrdiff_t>(z) * strides[2] +
           static_cast<std::ptrdiff_t>(field) * strides[3];
  }
};

using ConstArray = StridedArray<const char*>;
using MutableArray = StridedArray<char*>;

// The transforms, one rounding each: what numpy's `2.0 + a` and `a - 2.0` do to float32.
struct Plain {
  template <class Real>
  static KEMP_INLINE Real to_stream(Real a) {
    return a;
  }
  template <class Real>
  static KEMP_INLINE Real from_stream(Real a) {
    return a;
  }
};

struct PlusTwo {
  template <class Real>
  static KEMP_INLINE Real to_stream(Real a) {
    return a + Real{2};
  }
  template <class Real>
  static KEMP_INLINE Real from_stream(Real a) {
    return a - Real{2};
  }
};

// Asks for a row that is read soon. Processors foresee the rest of a row, but not the next one of
// an array that is cut out of a larger one.
template <class Real>
KEMP_INLINE void prefetch_row(const char* row, std::ptrdiff_t stride, std::size_t nx) {
  constexpr std::size_t kCacheLine = 64;
  if (stride != static_cast<std::ptrdiff_t>(sizeof(Real))) return;
  for (std::size_t at = 0; at < nx * sizeof(Real); at += kCacheLine) KEMP_PREFETCH(row + at);
}

template <class Shift, class Real>
KEMP_INLINE void load_row(const char* row, std::ptrdiff_t stride, Real* samples, std::size_t nx) {
  const auto load = [&](std::size_t x, std::ptrdiff_t step) {
    Real a;
    std::memcpy(&a, row + static_cast<std::ptrdiff_t>(x) * step, sizeof a);
    samples[x] = Shift::to_stream(a);
  };
  if (stride == sizeof(Real))  // a constant, which lets the compiler use vectors
    for (std::size_t x = 0; x < nx; ++x) load(x, sizeof(Real));
  else
    for (std::size_t x = 0; x < nx; ++x) load(x, stride);
}

template <class Shift, class Real>
KEMP_INLINE void store_row(const Real* samples, char* row, std::ptrdiff_t stride, std::size_t nx) {
  const auto store = [&](std::size_t x, std::ptrdiff_t step) {
    const Real a = Shift::from_stream(samples[x]);
    std::memcpy(row + static_cast<std::ptrdiff_t>(x) * step, &a, sizeof a);
  };
  if (stride == sizeof(Real))  // a constant, which lets the compiler use vectors
    for (std::size_t x = 0; x < nx; ++x) store(x, sizeof(Real));
  else
    for (std::size_t x = 0; x < nx; ++x) store(x, stride);
}

}  // namespace kemp
