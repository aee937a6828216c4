// Stream header: what is in the stream, coded through the same range coder as the samples.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <string>

#include "errors.hpp"
#include "range_coder.hpp"

namespace kemp {

struct StreamHeader {
  bool is_double;
  unsigned precision;                   // bits kept of each sample; 0 for all
  std::array<std::uint32_t, 4> extent;  // nx, ny, nz, nf; x is the fastest axis

  unsigned width() const { return is_double ? 64 : 32; }
  unsigned bits() const { return precision == 0 ? width() : precision; }

  bool operator==(const StreamHeader& other) const {
    return is_double == other.is_double && precision == other.precision && extent == other.extent;
  }

  // Samples in all. Only called on headers that were checked, so it cannot overflow.
  std::uint64_t samples() const {
    return std::uint64_t{1} * extent[0] * extent[1] * extent[2] * extent[3];
  }

  // Throws unless the precision is legal and the samples can be counted in an address space.
  void check() const {
    const bool legal =
        precision == 0 || (is_double ? precision >= 4 && precision % 2 == 0 : precision >= 2);
    if (!legal || precision > width())
      throw CodecError(
          "precision " + std::to_string(precision) + " is not one of " +
          (is_double ? "0 or the even numbers 4 to 64 (float64)" : "0 or 2 to 32 (float32)"));
    // As extents that a signed 32-bit int holds: the reference's own limit.
    std::uint64_t product = width() / 8;
    for (const std::uint32_t n : extent) {
      if (n > 0x7FFFFFFFu || (n != 0 && product > (std::uint64_t{1} << 62) / n))
        throw CodecError("the extents " + describe_extent() + " are too large for an fpzip stream");
      if (n != 0) product *= n;
    }
  }

  std::string describe_extent() const {
    std::string text;
    for (const std::uint32_t n : extent) text += (text.empty() ? "" : " x ") + std::to_string(n);
    return text;
  }

  static constexpr std::size_t kItems = 17;  // coded numbers, 32-bit ones counted twice

  void write(RangeEncoder& encoder) const {
    encoder.promise(kItems);
    for (const char letter : kMagic) encoder.encode_bits<std::uint32_t>(letter, 8);
    encoder.encode_bits<std::uint32_t>(kVersion, 16);
    encoder.encode_bits<std::uint32_t>(kMode, 8);
    encoder.encode_bits<std::uint32_t>(is_double, 1);
    encoder.encode_bits<std::uint32_t>(precision, 7);
    for (const std::uint32_t n : extent) encoder.encode_bits<std::uint32_t>(n, 32);
  }

  static StreamHeader read(RangeDecoder& decoder) {
    decoder.promise(kItems);
    for (const char letter : kMagic)
      if (decoder.decode_piece(8) != static_cast<std::uint32_t>(letter))
        throw CodecError("this is not an fpzip stream (its first bytes are not fpzip's)");
    const std::uint32_t version = decoder.decode_piece(16);
    const std::uint32_t mode = decoder.decode_piece(8);
    if (version != kVersion || mode != kMode)
      throw CodecError("fpzip stream version " + std::to_string(version) + ", mode " +
                       std::to_string(mode) + " is not supported (only version " +
                       std::to_string(kVersion) + ", mode " + std::to_string(kMode) + " is)");
    StreamHeader header{};
    header.is_double = decoder.decode_piece(1) != 0;
    header.precision = decoder.decode_piece(7);
    for (std::uint32_t& n : header.extent) n = decoder.decode_bits<std::uint32_t>(32);
    if (decoder.exhausted()) throw CodecError("the stream ends within its header: it is truncated");
    header.check();
    return header;
  }

 private:
  static constexpr char kMagic[4] = {'f', 'p', 'z', '\0'};
  static constexpr std::uint32_t kVersion = 0x0110;
  static constexpr std::uint32_t kMode = 1;  // floating-point arithmetic, "fast"
};

}  // namespace kemp
