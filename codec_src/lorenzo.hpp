// Lorenzo prediction: a sample from the seven neighbours that complete a cube with it
// (L. Ibarria et al., "Out-of-core compression and decompression of large n-dimensional scalar
// fields", Computer Graphics Forum 22(3), 2003).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <memory>

#include "errors.hpp"
#include "residual.hpp"

namespace kemp {

// The rows that a prediction looks at. Each may be read at index -1, which is the zero padding
// before x = 0, and `here` is filled from x = 0 on as the row is coded.
template <class Real>
struct Neighbourhood {
  Real* here;               // this row
  const Real* north;        // one row back in y
  const Real* above;        // one plane back in z
  const Real* above_north;  // one row and one plane back
};

// Which NaN an addition of NaNs yields depends on the processor and on how the compiler orders the
// operands. The codec needs one answer everywhere: the first NaN, made quiet; for inf - inf the
// default NaN of x86, where nearly all streams were written.
template <class Real>
Real settle_nan(Real left, Real right, Real sum) {
  constexpr unsigned mantissa_bits = sizeof(Real) == 4 ? 23 : 52;
  constexpr BitsOf<Real> quiet = BitsOf<Real>{1} << (mantissa_bits - 1);
  if (left != left) return real_of<Real>(bits_of(left) | quiet);
  if (right != right) return real_of<Real>(bits_of(right) | quiet);
  if (sum != sum) return real_of<Real>(~BitsOf<Real>{0} << (mantissa_bits - 1));
  return sum;
}

// The sum is taken strictly from left to right, with a rounding at each step: the stream depends
// on its last bit. A compiler may not reassociate it, and none does without -ffast-math.
template <class Real>
KEMP_INLINE Real predict(const Neighbourhood<Real>& n, std::ptrdiff_t x) {
  return n.here[x - 1] - n.above_north[x] + n.north[x] - n.above[x - 1] + n.above[x] -
         n.north[x - 1] + n.above_north[x - 1];
}

// The same sum for predictions that come out as NaN. Takes its rows by value: a loop whose rows
// have an address elsewhere would keep them, and all that is stored beside them, in memory.
template <class Real>
Real predict_nan(Neighbourhood<Real> n, std::ptrdiff_t x) {
  const auto plus = [](Real a, Real b) { return settle_nan(a, b, a + b); };
  const auto minus = [](Real a, Real b) { return settle_nan(a, b, a - b); };
  Real p = minus(n.here[x - 1], n.above_north[x]);
  p = plus(p, n.north[x]);
  p = minus(p, n.above[x - 1]);
  p = plus(p, n.above[x]);
  p = minus(p, n.north[x - 1]);
  return plus(p, n.above_north[x - 1]);
}

// The front of a field: the plane being coded and the one before it, each with a padding of zeros
// one sample wide before x = 0 and one row before y = 0.
template <class Real>
class Front {
 public:
  // Fronts that are used in turn are given numbers. Large blocks of memory begin at the same place
  // of a page; were fronts to do so too, the processor, which compares addresses within a page
  // only, would take the loads from one to wait for the stores to the other.
  Front(std::size_t nx, std::size_t ny, std::size_t number)
      : row_(nx + 1),
        plane_(row_ * (ny + 1)),
        size_(2 * plane_ + number * kSkew),
        start_(number * kSkew),
        // Not a vector, which would touch every page before a damaged stream shows itself.
        samples_(static_cast<Real*>(std::calloc(size_, sizeof(Real)))) {
    if (!samples_) throw CodecError("there is no memory for the extents in the header");
  }

  // A field starts with nothing but zeros behind it.
  void reset() {
    if (used_) std::fill_n(samples_.get(), size_, Real{0});
    used_ = true;
  }

  void next_plane() { current_ ^= 1; }

  Neighbourhood<Real> row(std::size_t y) {
    Real* here = samples_.get() + start_ + current_ * plane_ + (y + 1) * row_ + 1;
    const Real* above = samples_.get() + start_ + (current_ ^ 1) * plane_ + (y + 1) * row_ + 1;
    return {here, here - row_, above, above - row_};
  }

 private:
  struct Free {
    void operator()(Real* p) const { std::free(p); }
  };

  static constexpr std::size_t kSkew = 1552 / sizeof(Real);  // about three eighths of a page

  std::size_t row_;
  std::size_t plane_;
  std::size_t size_;
  std::size_t start_;
  std::unique_ptr<Real[], Free> samples_;
  std::size_t current_ = 0;
  bool used_ = false;
};

}  // namespace kemp
