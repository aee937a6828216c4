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

#include "bytes.hpp"
#include "errors.hpp"
#include "processor.hpp"

namespace kemp {

// Frequencies of a model add up to 2^16, and verbatim numbers travel in pieces of at most 16 bits.
constexpr unsigned kFrequencyBits = 16;
constexpr unsigned kPieceBits = 16;

// An item settles at most three bytes, and a cut two more.
constexpr std::size_t kMostBytesPerItem = 5;

constexpr char kDamaged[] = "the stream is damaged";
constexpr char kEndsEarly[] = "the stream ends too early: it is truncated or damaged";
inline std::string ends_late(std::size_t bytes) {
  return "the stream ends " + std::to_string(bytes) +
         " bytes before its data do: it is damaged, or has a damaged section table or trailing "
         "bytes";
}

// The state of a coder between two items: all that a decoder needs to start there.
struct CoderState {
  std::uint64_t offset;  // bytes that the encoder had emitted
  std::uint32_t low;
  std::uint32_t range;

  // Every state that a coder comes to is an interval of at least 2^16 that lies within [0, 2^32].
  // All that keeps divisors from being 0 follows from this, so a state from outside is asked.
  bool possible() const {
    return range >= std::uint32_t{1} << 16 && std::uint64_t{low} + range <= std::uint64_t{1} << 32;
  }
};

KEMP_INLINE unsigned leading_zeros(std::uint32_t x) {
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
  Interval() = default;
  Interval(std::uint32_t low, std::uint32_t range) : low_(low), range_(range) {}

  KEMP_INLINE void divide(unsigned bits) { range_ >>= bits; }

  // Returns the number of leading bits, in whole bytes, on which both ends agree: 0 to 24, since
  // range is never 0. Each end has a product of its own, not a sum with the other, because all of
  // an encoder's time is the latency of this chain, and there are no more products than that,
  // because processors multiply and count zeros one at a time.
  KEMP_INLINE unsigned narrow(std::uint32_t start, std::uint32_t end) {
    const std::uint32_t to_start = range_ * start;
    const std::uint32_t to_end = range_ * end;
    const std::uint32_t far_end = low_ + to_end;
    low_ += to_start;
    range_ = to_end - to_start;
    return leading_zeros(low_ ^ far_end) & ~7u;
  }

  // The same for one of the parts that the interval was divided into.
  KEMP_INLINE unsigned narrow(std::uint32_t part) {
    const std::uint32_t to_start = range_ * part;
    const std::uint32_t far_end = low_ + range_ + to_start;
    low_ += to_start;
    return leading_zeros(low_ ^ far_end) & ~7u;
  }

  // The same where the interval keeps its width and begins at `low`.
  KEMP_INLINE unsigned move(std::uint32_t low) {
    low_ = low;
    return leading_zeros(low_ ^ (low_ + range_)) & ~7u;
  }

  KEMP_INLINE void drop(unsigned bits) {
    low_ <<= bits;
    range_ <<= bits;
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
  explicit RangeEncoder(ByteBuffer& out) : out_(&out), start_(out.size()) {}

  // Makes room for `items` items and the end; without it, encode_* would write past the buffer. An
  // item emits at most five bytes, but writes four at once, and the end is four.
  void promise(std::size_t items) {
    settle();
    base_ = at_ = out_->reserve(kMostBytesPerItem * items + 8);
  }

  // A symbol that holds [start, end) of the model's 2^16.
  KEMP_INLINE void encode_symbol(std::uint32_t start, std::uint32_t end) {
    divide(kFrequencyBits);
    normalise(narrow(start, end));
  }

  // A number of `bits` <= 16 bits, verbatim.
  KEMP_INLINE void encode_piece(std::uint32_t value, unsigned bits) {
    divide(bits);
    normalise(narrow(value));
  }

  // A number of any length: its low 16 bits first. A number of no bits is coded all the same.
  template <class Unsigned>
  KEMP_INLINE void encode_bits(Unsigned value, unsigned bits) {
    for (; bits > kPieceBits; bits -= kPieceBits, value >>= kPieceBits)
      encode_piece(static_cast<std::uint32_t>(value & 0xFFFFu), kPieceBits);
    encode_piece(static_cast<std::uint32_t>(value), bits);
  }

  void finish() {
    store_big_endian(at_, low());
    at_ += 4;
    settle();
  }

  CoderState state() const {
    return {out_->size() - start_ + static_cast<std::size_t>(at_ - base_), low(), range()};
  }

 private:
  KEMP_INLINE void normalise(unsigned settled) {
    emit(settled);
    if (KEMP_UNLIKELY(too_narrow())) {
      emit(16);
      cut();
    }
  }

  KEMP_INLINE void emit(unsigned bits) {
    store_big_endian(at_, low());
    at_ += bits / 8;
    drop(bits);
  }

  void settle() {
    out_->advance(static_cast<std::size_t>(at_ - base_));
    base_ = at_;
  }

  std::uint8_t* base_ = nullptr;
  std::uint8_t* at_ = nullptr;
  ByteBuffer* out_;
  std::size_t start_;  // of the stream in the buffer
};

// Of the code word only its distance above `low` is kept: that is what both divisions want, and it
// moves on without `low`.
class RangeDecoder : Interval {
 public:
  // Starts at `state`, whose offset counts from the first of `bytes`, which must outlive this.
  explicit RangeDecoder(IncomingBytes& bytes, const CoderState& state = kStart)
      : Interval(state.low, state.range), bytes_(&bytes), at_(bytes.at(state.offset)) {
    promise(1);
    ahead_ = load_big_endian(at_) - low();
    at_ += 4;
  }

  // Makes the next `items` items readable without a look at where the data end. Past the end,
  // zeros are read; a decoder that goes on for long asks in between whether it has come to that.
  void promise(std::size_t items) { at_ = bytes_->promise(at_, kMostBytesPerItem * items + 4); }

  // Where in the model's 2^16 the next symbol lies. To be followed by `consume_symbol`.
  KEMP_INLINE std::uint32_t decode_frequency() {
    divide(kFrequencyBits);
    return quotient(kFrequencyBits);
  }

  KEMP_INLINE void consume_symbol(std::uint32_t start, std::uint32_t end) {
    ahead_ -= range() * start;
    normalise(narrow(start, end));
  }

  KEMP_INLINE std::uint32_t decode_piece(unsigned bits) {
    // The division leaves what remains ahead, and `low` moves by all else: no product is waited
    // for.
    const std::uint32_t code = low() + ahead_;
    divide(bits);
    const std::uint32_t value = quotient(bits);
    ahead_ %= range();
    normalise(move(code - ahead_));
    return value;
  }

  template <class Unsigned>
  KEMP_INLINE Unsigned decode_bits(unsigned bits) {
    Unsigned value = 0;
    unsigned shift = 0;
    for (; bits > kPieceBits; bits -= kPieceBits, shift += kPieceBits)
      value += static_cast<Unsigned>(decode_piece(kPieceBits)) << shift;
    return value + (static_cast<Unsigned>(decode_piece(bits)) << shift);
  }

  // Whether more was read than there is.
  bool exhausted() const { return position() > bytes_->size(); }

  // The decoder has taken in exactly what the encoder emitted: the only check the format allows.
  void finish() const {
    if (exhausted()) throw CodecError(kEndsEarly);
    if (position() < bytes_->size()) throw CodecError(ends_late(bytes_->size() - position()));
  }

  std::size_t position() const { return bytes_->position(at_); }

  CoderState state() const { return {position() - 4, low(), range()}; }

 private:
  static constexpr CoderState kStart{0, 0, 0xFFFFFFFFu};

  // In a whole stream the quotient is within bounds. Anything else is damage, found here at the
  // first item that it affects, which also keeps every value that leaves this class in its bounds.
  KEMP_INLINE std::uint32_t quotient(unsigned bits) const {
    const std::uint32_t value = ahead_ / range();
    if (KEMP_UNLIKELY(value >> bits != 0)) throw CodecError(kDamaged);
    return value;
  }

  KEMP_INLINE void normalise(unsigned settled) {
    take(settled);
    if (KEMP_UNLIKELY(too_narrow())) {
      take(16);
      cut();
    }
  }

  KEMP_INLINE void take(unsigned bits) {
    const std::uint64_t window = std::uint64_t{ahead_} << 32 | load_big_endian(at_);
    ahead_ = static_cast<std::uint32_t>(window << bits >> 32);
    at_ += bits / 8;
    drop(bits);
  }

  IncomingBytes* bytes_;
  const std::uint8_t* at_;
  std::uint32_t ahead_;
};

}  // namespace kemp
