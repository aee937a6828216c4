// Ordered-integer residual: what is left of a sample once its prediction is known.
//
// Sample and prediction are mapped to unsigned integers that keep the order of the reals, so that
// their difference is small where the prediction is close, whatever its sign or exponent.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "quasi_static_model.hpp"
#include "range_coder.hpp"

namespace kemp {

template <class Real>
using BitsOf = std::conditional_t<sizeof(Real) == 4, std::uint32_t, std::uint64_t>;

template <class Real>
BitsOf<Real> bits_of(Real value) {
  BitsOf<Real> bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

template <class Real>
Real real_of(BitsOf<Real> bits) {
  Real value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Keeps the `precision` most significant bits; the rest are dropped toward the smaller magnitude.
template <class Real>
class OrderedInteger {
 public:
  using Bits = BitsOf<Real>;
  static constexpr unsigned kWidth = 8 * sizeof(Real);

  explicit OrderedInteger(unsigned precision) : dropped_(kWidth - precision) {}

  Bits forward(Real value) const {
    return flip_negative(static_cast<Bits>(~bits_of(value)) >> dropped_);
  }

  Real inverse(Bits ordered) const {
    return real_of<Real>(static_cast<Bits>(~flip_negative(ordered)) << dropped_);
  }

 private:
  // The complement turned positive numbers into a run that falls from the middle and negative ones
  // into a rising one below it: reversing one of the two halves makes a single rising run.
  Bits flip_negative(Bits u) const {
    const Bits sign = u >> (kWidth - dropped_ - 1);
    return u ^ (static_cast<Bits>(0 - sign) >> (dropped_ + 1));
  }

  unsigned dropped_;
};

template <class Bits>
unsigned floor_log2(Bits value) {
#if defined(_MSC_VER) && !defined(__clang__)
  unsigned long top;
  _BitScanReverse64(&top, value);
  return top;
#else
  return 63u - static_cast<unsigned>(__builtin_clzll(value));
#endif
}

// Up to 8 bits, every difference is a symbol of its own.
class NarrowResidual {
 public:
  static constexpr unsigned kMostBits = 8;

  explicit NarrowResidual(unsigned precision) : centre_((1u << precision) - 1) {}

  unsigned symbols() const { return 2 * centre_ + 1; }

  template <class Bits>
  void encode(RangeEncoder& encoder, QuasiStaticModel& model, Bits actual, Bits predicted) const {
    model.encode(encoder, static_cast<unsigned>(centre_ + actual - predicted));
  }

  template <class Bits>
  Bits decode(RangeDecoder& decoder, QuasiStaticModel& model, Bits predicted) const {
    return static_cast<Bits>(predicted + model.decode(decoder) - centre_);
  }

 private:
  unsigned centre_;
};

// Above, a symbol gives the sign and the length of the difference; its low bits follow verbatim.
class WideResidual {
 public:
  explicit WideResidual(unsigned precision) : centre_(precision) {}

  unsigned symbols() const { return 2 * centre_ + 1; }

  template <class Bits>
  void encode(RangeEncoder& encoder, QuasiStaticModel& model, Bits actual, Bits predicted) const {
    if (actual == predicted) {
      model.encode(encoder, centre_);
      return;
    }
    const bool above = actual > predicted;
    const Bits distance = above ? actual - predicted : predicted - actual;
    const unsigned length = floor_log2(distance);
    model.encode(encoder, above ? centre_ + 1 + length : centre_ - 1 - length);
    encoder.encode_bits(distance ^ (Bits{1} << length), length);
  }

  template <class Bits>
  Bits decode(RangeDecoder& decoder, QuasiStaticModel& model, Bits predicted) const {
    const unsigned symbol = model.decode(decoder);
    if (symbol == centre_) return predicted;
    const bool above = symbol > centre_;
    const unsigned length = above ? symbol - centre_ - 1 : centre_ - 1 - symbol;
    const Bits distance = (Bits{1} << length) + decoder.template decode_bits<Bits>(length);
    return above ? predicted + distance : predicted - distance;
  }

 private:
  unsigned centre_;
};

}  // namespace kemp
