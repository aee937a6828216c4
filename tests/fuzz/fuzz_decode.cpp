// Whole streams of any bytes: header and samples, alone and in groups, by every path.
//
// The input is a stream and, behind it, how it is decoded; seeds.py writes the same order down.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>

#include "harness.hpp"

namespace kemp::fuzz {
namespace {

constexpr std::uint64_t kMostSamples = 1 << 14;  // of all streams together, to stay quick

// Streams of a group that differ: each a copy of one, some of them damaged behind the header.
Bytes variant(const Bytes& stream, std::size_t header_end, std::uint32_t seed, std::uint32_t n) {
  Bytes changed = stream;
  std::uint32_t number = seed + n * 0x9E3779B9u;
  const auto next = [&](std::size_t most) {
    number = number * 1664525u + 1013904223u;
    return static_cast<std::size_t>((std::uint64_t{number} * (most + 1)) >> 32);
  };
  const std::size_t body = stream.size() - header_end;
  if (n == 0 || body == 0) return changed;
  switch (next(4)) {
    case 0:
      changed[header_end + next(body - 1)] ^= static_cast<std::uint8_t>(1u << next(7));
      break;
    case 1:
      changed.resize(header_end + next(body));
      break;
    case 2:
      changed.resize(stream.size() + 1 + next(7), static_cast<std::uint8_t>(next(255)));
      break;
    case 3:
      std::reverse(changed.begin() + static_cast<std::ptrdiff_t>(header_end + next(body)),
                   changed.end());
      break;
    default:
      break;
  }
  return changed;
}

void run(FuzzedDataProvider& input) {
  auto count = input.ConsumeIntegralInRange<std::uint32_t>(1, 40);
  const auto flags = input.ConsumeIntegral<std::uint8_t>();
  const auto fields = input.ConsumeIntegral<std::uint8_t>();
  const auto seed = input.ConsumeIntegral<std::uint32_t>();
  const Bytes stream = input.ConsumeRemainingBytes<std::uint8_t>();

  copies().clear();
  StreamStart start{};
  try {
    const auto whole = copies().add(stream.data(), stream.size());
    start = read_header(whole.data, whole.size);
  } catch (const CodecError&) {
    return;
  }
  require(start.state.possible(), "a header leaves a state that no coder can be in");
  const std::uint64_t samples = start.header.samples();
  if (samples > kMostSamples) return;
  if (samples > 0) count = std::min(count, static_cast<std::uint32_t>(kMostSamples / samples));

  const std::size_t header_end =
      std::min(stream.size(), static_cast<std::size_t>(start.state.offset) + 4);
  std::vector<Source> sources;
  for (std::uint32_t n = 0; n < count; ++n) {
    const Bytes changed = variant(stream, header_end, seed, n);
    sources.push_back({copies().add(changed.data(), changed.size()), start.state});
  }

  Request request{};
  request.header = start.header;
  request.keep_states = (flags & 1) != 0;
  request.store = (flags & 2) == 0;
  request.transform =
      (flags & 4) != 0 && !start.header.is_double ? Transform::plus_two : Transform::none;
  request.layout = static_cast<Layout>(flags >> 3 & (kLayouts - 1));
  // Mostly all fields, else the first few of them.
  request.fields = start.header.extent[3];
  if (fields < 64) request.fields = std::min<std::uint32_t>(request.fields, fields);
  request.exact = request.fields == start.header.extent[3];
  const std::vector<Outcome> outcomes = decode_by_all_paths(request, sources);
  if (samples == 0 || !request.store) return;

  // What decodes at all, decodes to what the plain codec makes of it.
  StreamHeader part = start.header;
  part.extent[3] = request.fields;
  for (std::size_t n = 0; n < sources.size(); ++n) {
    if (!outcomes[n].error.empty()) continue;
    Bytes expected(field_size(part) * request.fields);
    plain_decode(sources[n].bytes.data, sources[n].bytes.size, expected.data(), part.is_double,
                 part.precision, part.extent.data());
    from_stream(request.transform, expected);
    require(outcomes[n].samples == expected, "the plain codec decodes to something else");
  }
}

}  // namespace
}  // namespace kemp::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider input(data, size);
  kemp::fuzz::run(input);
  return 0;
}
