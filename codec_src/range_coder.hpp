// Carry-less range coder (G. N. N. Martin, "Range encoding", 1979), as the fpzip stream uses it.
//
// `low` and `range` describe the interval that the message so far has narrowed the number line to.
// A byte is settled once both ends of the interval agree on it; where the interval becomes too
// small while its ends still straddle a byte boundary, it is cut at the boundary, so that no carry
// can ever reach a byte already written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#endif

#include "bytes.hpp"
#include "errors.hpp"

namespace kemp {

// Frequencies of a model add up to 2^16, and verbatim numbers travel in pieces of at most 16 bits.
constexpr unsigned kFrequencyBits = 16;
constexpr unsigned kPieceBits = 16;

inline unsigned leading_zeros(std::uint32_t x) {
#if defined(_MSC_VER) && !defined(__clang__)
  unsigned long top;
  _BitScanReverse(&top, x);
  return 31 - top;
#else
  return static_cast<unsigned>(__builtin_clz(x));
#endif
}

// The arithmetic that both directions share: how the interval narrows and how it is widened again.
class Interval {
 public:
  std::uint32_t low() const { return low_; }
  std::uint32_t range() const { return range_; }

 protected:
  void divide(unsigned bits) { range_ >>= bits; }

  void narrow(std::uint32_t start, std::uint32_t width) {
    low_ += range_ * start;
    range_ *= width;
  }

  // Number of leading bytes on which both ends agree: 0 to 3, since range is never 0.
  unsigned settled_bytes() const { return leading_zeros(low_ ^ (low_ + range_)) / 8; }

  void drop(unsigned count) {
    low_ <<= 8 * count;
    range_ <<= 8 * count;
  }

  // Below 2^16 the next division would reach 0. The ends then differ in their first byte, so the
  // low 16 bits of `low` are not 0 and the cut range is a multiple of 2^16 that is not 0 either.
  bool too_narrow() const { return range_ < (std::uint32_t{1} << 16); }
  void cut() { range_ = 0u - low_; }

 private:
  std::uint32_t low_ = 0;
  std::uint32_t range_ = 0xFFFFFFFFu;
};

class RangeEncoder : Interval {
 public:
  explicit RangeEncoder(ByteBuffer& out) : out_(&out) {}

  // Makes room for `items` items and the end; without it, encode_* would write past the buffer. An
  // item emits at most three bytes, but writes four at once, and the end is four.
  void promise(std::size_t items) {
    settle();
    base_ = at_ = out_->reserve(4 * items + 8);
  }

  // A symbol that holds [start, start + width) of the model's 2^16.
  void encode_symbol(std::uint32_t start, std::uint32_t width) {
    divide(kFrequencyBits);
    narrow(start, width);
    normalise();
  }

  // A number of `bits` <= 16 bits, verbatim.
  void encode_piece(std::uint32_t value, unsigned bits) {
    divide(bits);
    narrow(value, 1);
    normalise();
  }

  // A number of any length: its low 16 bits first. A number of no bits is coded all the same.
  template <class Unsigned>
  void encode_bits(Unsigned value, unsigned bits) {
    for (; bits > kPieceBits; bits -= kPieceBits, value >>= kPieceBits)
      encode_piece(static_cast<std::uint32_t>(value & 0xFFFFu), kPieceBits);
    encode_piece(static_cast<std::uint32_t>(value), bits);
  }

  void finish() {
    store_big_endian(at_, low());
    at_ += 4;
    settle();
  }

 private:
  void normalise() {
    emit(settled_bytes());
    if (too_narrow()) {
      emit(2);
      cut();
    }
  }

  void emit(unsigned count) {
    store_big_endian(at_, low());
    at_ += count;
    drop(count);
  }

  void settle() {
    out_->advance(static_cast<std::size_t>(at_ - base_));
    base_ = at_;
  }

  ByteBuffer* out_;
  std::uint8_t* base_ = nullptr;
  std::uint8_t* at_ = nullptr;
};

class RangeDecoder : Interval {
 public:
  RangeDecoder(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {
    code_ = next_four();
    position_ = 4;
  }

  // Where in the model's 2^16 the next symbol lies. To be followed by `consume_symbol`.
  std::uint32_t decode_frequency() {
    divide(kFrequencyBits);
    return quotient(kFrequencyBits);
  }

  void consume_symbol(std::uint32_t start, std::uint32_t width) {
    narrow(start, width);
    normalise();
  }

  std::uint32_t decode_piece(unsigned bits) {
    divide(bits);
    const std::uint32_t value = quotient(bits);
    narrow(value, 1);
    normalise();
    return value;
  }

  template <class Unsigned>
  Unsigned decode_bits(unsigned bits) {
    Unsigned value = 0;
    unsigned shift = 0;
    for (; bits > kPieceBits; bits -= kPieceBits, shift += kPieceBits)
      value += static_cast<Unsigned>(decode_piece(kPieceBits)) << shift;
    return value + (static_cast<Unsigned>(decode_piece(bits)) << shift);
  }

  // Past the end, zeros are read, so that no read is out of bounds; a caller that goes on for long
  // asks in between whether it has come to that.
  bool exhausted() const { return position_ > size_; }

  // The decoder has taken in exactly what the encoder emitted: the only check the format allows.
  void finish() const {
    if (exhausted()) throw CodecError("the stream ends too early: it is truncated or damaged");
    if (position_ < size_)
      throw CodecError("the stream ends " + std::to_string(size_ - position_) +
                       " bytes before its data do: it is damaged or has trailing bytes");
  }

  std::size_t position() const { return position_; }

 private:
  // In a whole stream code - low < range. Anything else is damage, found here at the first item
  // that it affects, which also keeps every value that leaves this class within its bounds.
  std::uint32_t quotient(unsigned bits) {
    const std::uint32_t value = (code_ - low()) / range();
    if (value >> bits != 0) throw CodecError("the stream is damaged");
    return value;
  }

  void normalise() {
    take(settled_bytes());
    if (too_narrow()) {
      take(2);
      cut();
    }
  }

  void take(unsigned count) {
    const std::uint64_t window = std::uint64_t{code_} << 32 | next_four();
    code_ = static_cast<std::uint32_t>(window << (8 * count) >> 32);
    position_ += count;
    drop(count);
  }

  std::uint32_t next_four() const {
    if (size_ >= 4 && position_ <= size_ - 4) return load_big_endian(data_ + position_);
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i)
      value = value << 8 | (position_ + i < size_ ? data_[position_ + i] : 0u);
    return value;
  }

  const std::uint8_t* data_;
  std::size_t size_;
  std::size_t position_ = 0;
  std::uint32_t code_;
};

}  // namespace kemp
