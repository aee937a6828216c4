// Quasi-static probability model (M. Schindler, 1997-99): an adaptive frequency table that is
// rebuilt rarely, first every few symbols, in the long run every 1024, and is static in between.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "range_coder.hpp"

namespace kemp {

class QuasiStaticModel {
 public:
  explicit QuasiStaticModel(unsigned symbols)
      : symbols_(symbols), frequency_(symbols), cumulative_(symbols + 1) {}

  void reset() {
    const std::uint32_t each = kTotal / symbols_;
    const std::uint32_t remainder = kTotal % symbols_;
    for (unsigned s = 0; s < symbols_; ++s) frequency_[s] = each + (s < remainder ? 1 : 0);
    interval_ = symbols_ >> 4 | 2;
    postponed_ = 0;
    renew();
  }

  void encode(RangeEncoder& encoder, unsigned symbol) {
    const std::uint32_t start = cumulative_[symbol];
    encoder.encode_symbol(start, cumulative_[symbol + 1] - start);
    count(symbol);
  }

  unsigned decode(RangeDecoder& decoder) {
    const std::uint32_t t = decoder.decode_frequency();
    unsigned symbol = first_in_bin_[t >> kBinShift];
    while (cumulative_[symbol + 1] <= t) ++symbol;
    const std::uint32_t start = cumulative_[symbol];
    decoder.consume_symbol(start, cumulative_[symbol + 1] - start);
    count(symbol);
    return symbol;
  }

 private:
  static constexpr std::uint32_t kTotal = 1u << kFrequencyBits;
  static constexpr unsigned kLongestInterval = 1024;
  // Bins of 2^9 leave a search of less than one step on average, and are cheap to rebuild.
  static constexpr unsigned kBinShift = 9;

  // Lazy: the symbol that finds no interval left is coded with the old table before the renewal,
  // and counted after it.
  void count(unsigned symbol) {
    if (left_ == 0) renew();
    --left_;
    frequency_[symbol] += increment_;
  }

  void renew() {
    if (postponed_ > 0) {
      left_ = postponed_;
      postponed_ = 0;
      ++increment_;
      return;
    }
    if (interval_ != kLongestInterval)
      interval_ = interval_ * 2 < kLongestInterval ? interval_ * 2 : kLongestInterval;
    std::uint32_t sum = 0;
    std::uint32_t missing = kTotal;
    unsigned bin = 0;
    for (unsigned s = 0; s < symbols_; ++s) {
      cumulative_[s] = sum;
      sum += frequency_[s];
      for (; bin << kBinShift < sum; ++bin) first_in_bin_[bin] = static_cast<std::uint16_t>(s);
      frequency_[s] = frequency_[s] >> 1 | 1;
      missing -= frequency_[s];
    }
    cumulative_[symbols_] = sum;
    increment_ = missing / interval_;
    postponed_ = missing % interval_;
    left_ = interval_ - postponed_;
  }

  unsigned symbols_;
  std::uint32_t interval_ = 0;   // symbols from one rebuilt table to the next
  std::uint32_t left_ = 0;       // symbols until the next renewal
  std::uint32_t postponed_ = 0;  // symbols at the end of the interval that count one more
  std::uint32_t increment_ = 0;  // what each symbol adds to its frequency
  std::vector<std::uint32_t> frequency_;
  std::vector<std::uint32_t> cumulative_;
  std::array<std::uint16_t, (kTotal >> kBinShift)> first_in_bin_{};
};

}  // namespace kemp
