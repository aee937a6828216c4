// Quasi-static probability model (M. Schindler, 1997-99): an adaptive frequency table that is
// rebuilt rarely, first every few symbols, in the long run every 1024, and is static in between.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "range_coder.hpp"

namespace kemp {

// When tables are renewed, apart from what is in them. All that depends on the symbols seen is
// where in an interval the increment grows by one: rebuilding falls on the same symbol everywhere.
struct RenewalSchedule {
  static constexpr std::uint32_t kLongestInterval = 1024;

  static constexpr std::uint32_t first(unsigned symbols) { return symbols >> 4 | 2; }

  static constexpr std::uint32_t after(std::uint32_t interval) {
    return interval * 2 < kLongestInterval ? interval * 2 : kLongestInterval;
  }
};

// A stretch of symbols through which the table does not change: what the hot loops keep at hand.
//
// A symbol is counted when the next one is due, since the model is lazy: the symbol that finds an
// interval used up is coded with the old table and counted after the renewal.
struct SteadyTable {
  // 64 numbers of the 2^16, and the symbol that the first of them belongs to. Small bins, because
  // each that holds a second symbol is a branch that cannot be predicted.
  struct Bin {
    std::uint16_t symbol;
    std::uint16_t start;
    std::uint16_t last;
    std::uint16_t unused;  // a power of two is a shift
  };
  static constexpr unsigned kBinShift = 6;

  std::uint32_t* frequency;
  const std::uint32_t* cumulative;
  const Bin* bins;
  std::uint32_t increment;
  unsigned uncounted;

  KEMP_INLINE void encode(RangeEncoder& encoder, unsigned symbol) {
    frequency[uncounted] += increment;
    uncounted = symbol;
    encoder.encode_symbol(cumulative[symbol], cumulative[symbol + 1]);
  }

  KEMP_INLINE unsigned decode(RangeDecoder& decoder) {
    frequency[uncounted] += increment;
    const std::uint32_t t = decoder.decode_frequency();
    const Bin& bin = bins[t >> kBinShift];
    std::uint32_t symbol = bin.symbol;
    std::uint32_t start = bin.start;
    std::uint32_t end = bin.last + 1u;
    while (end <= t) {
      start = end;
      end = cumulative[++symbol + 1];
    }
    uncounted = symbol;
    decoder.consume_symbol(start, end);
    return symbol;
  }
};

class QuasiStaticModel {
 public:
  enum class Use { encode, decode };

  QuasiStaticModel(unsigned symbols, Use use)
      : symbols_(symbols),
        frequency_(symbols + 1),
        cumulative_(symbols + 1),
        bins_(use == Use::decode ? kTotal >> SteadyTable::kBinShift : 0) {}

  void reset() {
    const std::uint32_t each = kTotal / symbols_;
    const std::uint32_t remainder = kTotal % symbols_;
    for (unsigned s = 0; s < symbols_; ++s) frequency_[s] = each + (s < remainder ? 1 : 0);
    interval_ = RenewalSchedule::first(symbols_);
    postponed_ = 0;
    renew();
    // Nothing is uncounted yet: the first count goes where no symbol is.
    uncounted_ = symbols_;
    ++left_;
  }

  // Begins a stretch of `symbols` symbols, which becomes shorter where a renewal is due earlier.
  SteadyTable begin(std::size_t& symbols) {
    if (left_ == 0) renew();
    if (symbols > left_) symbols = left_;
    left_ -= static_cast<std::uint32_t>(symbols);
    return {frequency_.data(), cumulative_.data(), bins_.data(), increment_, uncounted_};
  }

  // Ends a stretch.
  void end(const SteadyTable& table) { uncounted_ = table.uncounted; }

  // How long a stretch could be now.
  std::size_t steady() {
    if (left_ == 0) renew();
    return left_;
  }

 private:
  static constexpr std::uint32_t kTotal = 1u << kFrequencyBits;
  static constexpr std::uint32_t kBinMask = (1u << SteadyTable::kBinShift) - 1;

  void renew() {
    if (postponed_ > 0) {
      left_ = postponed_;
      postponed_ = 0;
      ++increment_;
      return;
    }
    interval_ = RenewalSchedule::after(interval_);
    std::uint32_t sum = 0;
    std::uint32_t missing = kTotal;
    std::size_t bin = 0;
    for (unsigned s = 0; s < symbols_; ++s) {
      const std::uint32_t start = sum;
      cumulative_[s] = start;
      sum += frequency_[s];
      const std::size_t end_bin =
          std::min<std::size_t>(bins_.size(), (sum + kBinMask) >> SteadyTable::kBinShift);
      for (; bin < end_bin; ++bin)
        bins_[bin] = {static_cast<std::uint16_t>(s), static_cast<std::uint16_t>(start),
                      static_cast<std::uint16_t>(sum - 1), 0};
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
  unsigned uncounted_ = 0;
  std::vector<std::uint32_t> frequency_;
  std::vector<std::uint32_t> cumulative_;
  std::vector<SteadyTable::Bin> bins_;
};

}  // namespace kemp
