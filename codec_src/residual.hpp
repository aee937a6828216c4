// Ordered-integer residual: what is left of a sample once its prediction is known.
//
// Sample and prediction are mapped to unsigned integers that keep the order of the reals, so that
// their difference is small where the prediction is close, whatever its sign or exponent.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#endif

#include "quasi_static_model.hpp"
#include "range_coder.hpp"

namespace kemp {

template <class Real>
using BitsOf = std::conditional_t<sizeof(Real) == 4, std::uint32_t, std::uint64_t>;

template <class Real>
KEMP_INLINE BitsOf<Real> bits_of(Real value) {
  BitsOf<Real> bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

template <class Real>
KEMP_INLINE Real real_of(BitsOf<Real> bits) {
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

  KEMP_INLINE Bits forward(Real value) const {
    return flip_negative(static_cast<Bits>(~bits_of(value)) >> dropped_);
  }

  KEMP_INLINE Real inverse(Bits ordered) const {
    return real_of<Real>(static_cast<Bits>(~flip_negative(ordered)) << dropped_);
  }

 private:
  // The complement turned positive numbers into a run that falls from the middle and negative ones
  // into a rising one below it: reversing one of the two halves makes a single rising run.
  KEMP_INLINE Bits flip_negative(Bits u) const {
    const Bits sign = u >> (kWidth - dropped_ - 1);
    return u ^ (static_cast<Bits>(0 - sign) >> (dropped_ + 1));
  }

  unsigned dropped_;
};

// Position of the highest bit that is set. Without a count of leading zeros, which baseline vectors
// lack, it is the exponent of the value as a float; clearing the second bit keeps a rounding from
// reaching the next power of two. Anything at all for 0.
KEMP_INLINE std::uint32_t floor_log2(std::uint32_t value) {
  const auto rounded = static_cast<float>(static_cast<std::int32_t>(value & ~(value >> 1)));
  const std::uint32_t exponent = (bits_of(rounded) >> 23) - 127;
  const auto top = static_cast<std::uint32_t>(static_cast<std::int32_t>(value) >> 31);
  return (exponent & ~top) | (31 & top);
}

KEMP_INLINE std::uint32_t floor_log2(std::uint64_t value) {
#if defined(_MSC_VER) && !defined(__clang__)
  unsigned long top = 0;
  _BitScanReverse64(&top, value);
  return top;
#else
  return 63u - static_cast<unsigned>(__builtin_clzll(value | 1));
#endif
}

// A residual as the stream holds it: a symbol of the model, then perhaps verbatim bits. Packed in
// one word, and made without a branch, so that a compiler finds it easy to make many at once.
struct Coded {
  std::uint32_t word;

  static constexpr unsigned kNoBits = 0xFFFF;  // not a number of 0 bits: that would be coded

  unsigned symbol() const { return word & 0xFFFFu; }
  unsigned length() const { return word >> 16; }  // of the verbatim bits
};

// Up to 8 bits of precision, every difference is a symbol of its own.
class NarrowResidual {
 public:
  static constexpr unsigned kMostBits = 8;

  explicit NarrowResidual(unsigned precision) : centre_((1u << precision) - 1) {}

  unsigned symbols() const { return 2 * centre_ + 1; }

  template <class Bits>
  KEMP_INLINE Coded code(Bits actual, Bits predicted, Bits*) const {
    return {static_cast<std::uint32_t>(centre_ + actual - predicted) | Coded::kNoBits << 16};
  }

  template <class Bits>
  KEMP_INLINE void encode_bits(RangeEncoder&, Coded, Bits) const {}

  template <class Bits>
  KEMP_INLINE Bits decode(RangeDecoder& decoder, SteadyTable& table, Bits predicted) const {
    return static_cast<Bits>(predicted + table.decode(decoder) - centre_);
  }

 private:
  unsigned centre_;
};

// Above, a symbol gives the sign and the length of the difference; its low bits follow verbatim.
// The sign of a difference is noise, so it is applied by arithmetic and never branched on.
class WideResidual {
 public:
  explicit WideResidual(unsigned precision) : centre_(precision) {}

  unsigned symbols() const { return 2 * centre_ + 1; }

  template <class Bits>
  KEMP_INLINE Coded code(Bits actual, Bits predicted, Bits* distance) const {
    const Bits below = Bits{0} - static_cast<Bits>(actual < predicted);
    const Bits d = ((actual - predicted) ^ below) - below;
    *distance = d;
    const std::uint32_t length = floor_log2(d);
    const auto sign = static_cast<std::uint32_t>(below);
    const std::uint32_t symbol = centre_ + (((length + 1) ^ sign) - sign);
    const std::uint32_t equal = 0u - static_cast<std::uint32_t>(d == 0);
    return {((symbol | length << 16) & ~equal) | ((centre_ | Coded::kNoBits << 16) & equal)};
  }

  template <class Bits>
  KEMP_INLINE void encode_bits(RangeEncoder& encoder, Coded coded, Bits distance) const {
    const unsigned length = coded.length();
    if (KEMP_UNLIKELY(length == Coded::kNoBits)) return;
    encoder.encode_bits(distance ^ (Bits{1} << length), length);
  }

  template <class Bits>
  KEMP_INLINE Bits decode(RangeDecoder& decoder, SteadyTable& table, Bits predicted) const {
    const unsigned symbol = table.decode(decoder);
    if (KEMP_UNLIKELY(symbol == centre_)) return predicted;
    const unsigned sign = 0u - (symbol < centre_);
    const unsigned length = ((symbol - centre_) ^ sign) - sign - 1;
    const Bits distance = (Bits{1} << length) + decoder.template decode_bits<Bits>(length);
    const Bits below = static_cast<Bits>(0) - static_cast<Bits>(sign & 1);
    return predicted + ((distance ^ below) - below);
  }

 private:
  unsigned centre_;
};

}  // namespace kemp
