#include "census.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace kemp {
namespace {

// The bits of a float32 as a number: rising for rising positive ones, with infinity and NaN behind.
KEMP_INLINE std::int32_t bits_of(float a) {
  std::int32_t bits;
  std::memcpy(&bits, &a, sizeof bits);
  return bits;
}

constexpr std::int32_t kOne = 0x3F800000, kInfinity = 0x7F800000, kMagnitude = 0x7FFFFFFF;

// All in integers, and without a branch: the compiler makes vectors of it.
KEMP_INLINE void look_at_row(const char* row, std::ptrdiff_t stride, std::int32_t nx,
                             Census& census) {
  std::int32_t unlike = 0, nan = 0, infinite = 0, rounding = 0;
  for (std::int32_t x = 0; x < nx; ++x) {
    float a;
    std::memcpy(&a, row + x * stride, sizeof a);
    const std::int32_t bits = bits_of(a), size = bits & kMagnitude;
    nan += size > kInfinity;
    infinite += size == kInfinity;
    unlike += (bits > kOne) | ((bits < 0) & (size != 0));
    const std::int32_t off =
        bits_of(PlusTwo::from_stream(PlusTwo::to_stream(a)) - a) & kMagnitude & -(size < kInfinity);
    rounding = std::max(rounding, off);
  }
  census.nan += static_cast<std::uint64_t>(nan);
  census.infinite += static_cast<std::uint64_t>(infinite);
  census.outside += static_cast<std::uint64_t>(unlike - nan - infinite);
  float largest;
  std::memcpy(&largest, &rounding, sizeof largest);
  census.rounding = std::max(census.rounding, largest);
}

// As many as are looked at while one comes from memory.
constexpr std::uint32_t kRowsAhead = 4;

KEMP_INLINE Census look_at_rows(const ConstArray& array,
                                const std::array<std::uint32_t, 4>& extent) {
  Census census;
  const auto nx = static_cast<std::int32_t>(extent[0]);
  for (std::uint32_t f = 0; f < extent[3]; ++f)
    for (std::uint32_t z = 0; z < extent[2]; ++z)
      for (std::uint32_t y = 0; y < extent[1]; ++y) {
        if (y + kRowsAhead < extent[1])
          prefetch_row<float>(array.row(y + kRowsAhead, z, f), array.strides[0], extent[0]);
        const char* const row = array.row(y, z, f);
        // Twice, since only the constant is known to leave nothing between two samples.
        if (array.strides[0] == sizeof(float))
          look_at_row(row, sizeof(float), nx, census);
        else
          look_at_row(row, array.strides[0], nx, census);
      }
  return census;
}

KEMP_TARGET_AVX2 Census look_at_rows_avx2(const ConstArray& array,
                                          const std::array<std::uint32_t, 4>& extent) {
  return look_at_rows(array, extent);
}

}  // namespace

Census take_census(const ConstArray& array, const std::array<std::uint32_t, 4>& extent) {
  return processor().avx2 ? look_at_rows_avx2(array, extent) : look_at_rows(array, extent);
}

}  // namespace kemp
