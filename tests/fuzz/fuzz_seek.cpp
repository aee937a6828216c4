// Fields decoded from states that come from outside, as those of a section table do: any bytes, any
// offset and any state that the binding lets through, in groups and by every path.
//
// The input is bytes and, behind them, how they are decoded; seeds.py writes the same order down.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>

#include "crc32c.hpp"
#include "harness.hpp"

namespace kemp::fuzz {
namespace {

constexpr std::uint32_t kMostSamples = 1 << 13;  // of all streams together, to stay quick

// One of the states that CoderState::possible allows. Its offset is still to be settled.
CoderState any_state(FuzzedDataProvider& input) {
  CoderState state{};
  state.low = input.ConsumeIntegral<std::uint32_t>();
  state.range = std::max(input.ConsumeIntegral<std::uint32_t>(), std::uint32_t{1} << 16);
  if (std::uint64_t{state.low} + state.range > std::uint64_t{1} << 32) state.low = 0u - state.range;
  require(state.possible(), "this state should be possible");
  return state;
}

// Nearly always somewhere in the bytes, or just behind them, else far away.
std::uint64_t any_offset(std::uint16_t at, std::size_t size) {
  if (at > 0xFFF0) return ~std::uint64_t{0} >> (4 * (at & 0xF));
  return at % (size + 2);
}

void run(FuzzedDataProvider& input) {
  Request request{};
  const auto flags = input.ConsumeIntegral<std::uint8_t>();
  request.keep_states = (flags & 1) != 0;
  request.store = (flags & 2) == 0;
  request.exact = (flags & 4) == 0;
  request.layout = static_cast<Layout>(flags >> 3 & (kLayouts - 1));
  request.header.is_double = (flags & 0x20) != 0;
  if ((flags & 0x40) != 0 && !request.header.is_double) request.transform = Transform::plus_two;
  request.header.precision = input.ConsumeIntegralInRange<std::uint8_t>(0, 64);
  request.header.extent = {input.ConsumeIntegralInRange<std::uint16_t>(0, 600),
                           input.ConsumeIntegralInRange<std::uint8_t>(0, 40),
                           input.ConsumeIntegralInRange<std::uint8_t>(0, 8),
                           input.ConsumeIntegralInRange<std::uint8_t>(0, 5)};
  request.fields = request.header.extent[3];
  try {
    request.header.check();
  } catch (const CodecError&) {
    return;
  }
  auto count = input.ConsumeIntegralInRange<std::uint32_t>(1, 40);
  const auto samples = static_cast<std::uint32_t>(request.header.samples());
  if (samples > kMostSamples) return;
  if (samples > 0) count = std::min(count, kMostSamples / samples);

  std::vector<std::uint16_t> cuts, places;
  std::vector<CoderState> states;
  for (std::uint32_t n = 0; n < count; ++n) {
    cuts.push_back(input.ConsumeIntegral<std::uint16_t>());
    places.push_back(input.ConsumeIntegral<std::uint16_t>());
    states.push_back(any_state(input));
  }
  const Bytes data = input.ConsumeRemainingBytes<std::uint8_t>();
  require(crc32c(data.data(), data.size()) == crc32c_portable(data.data(), data.size()),
          "checksums disagree");
  copies().clear();
  std::vector<Source> sources;
  for (std::uint32_t n = 0; n < count; ++n) {
    // All of the bytes, or those up to some place.
    const std::size_t size = std::min<std::size_t>(cuts[n], data.size());
    states[n].offset = any_offset(places[n], size);
    sources.push_back({copies().add(data.data(), size), states[n]});
  }
  decode_by_all_paths(request, sources);
}

}  // namespace
}  // namespace kemp::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider input(data, size);
  kemp::fuzz::run(input);
  return 0;
}
