// What there is in an array beside affinities, and what kempressing it rounds away.
#pragma once

#include <array>
#include <cstdint>

#include "rows.hpp"

namespace kemp {

struct Census {
  std::uint64_t outside = 0;  // finite, but below 0 or above 1
  std::uint64_t nan = 0;
  std::uint64_t infinite = 0;
  float rounding = 0;  // largest difference between a finite sample and what it is decoded to
};

// Looks at an array of float32, in one pass and without encoding anything.
Census take_census(const ConstArray& array, const std::array<std::uint32_t, 4>& extent);

}  // namespace kemp
