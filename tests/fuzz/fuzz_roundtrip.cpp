// Arrays of any bits, any shape and any precision: encoded as the plain codec does, and decoded to
// what it says a decoder sees; whole and field by field, alone and in groups.
//
// The input is samples and, behind them, what to make of them; seeds.py writes the same order down.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>

#include "harness.hpp"

namespace kemp::fuzz {
namespace {

constexpr std::uint32_t kMostSamples = 1 << 13;  // of all arrays together, to stay quick

template <class Real>
Bytes random_walk(const Bytes& data, std::size_t samples, std::size_t at) {
  Bytes bytes(samples * sizeof(Real));
  Real value{0.5};
  for (std::size_t i = 0; i < samples; ++i) {
    const auto step = static_cast<std::int8_t>(data[(at + i) % data.size()]);
    value += static_cast<Real>(step) / 2048;
    std::memcpy(&bytes[i * sizeof value], &value, sizeof value);
  }
  return bytes;
}

// Samples in the stream's order: the input's own bits, over and over, or smooth ones.
Bytes make_samples(const Bytes& data, const StreamHeader& header, std::uint32_t n, bool smooth) {
  const auto samples = static_cast<std::size_t>(header.samples());
  if (data.empty()) return Bytes(samples * sample_size(header));
  if (smooth)
    return header.is_double ? random_walk<double>(data, samples, n)
                            : random_walk<float>(data, samples, n);
  Bytes bytes(samples * sample_size(header));
  for (std::size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = data[(i + n * sample_size(header)) % data.size()];
  return bytes;
}

void to_stream(Transform transform, Bytes& samples) {
  if (transform == Transform::none) return;
  for (std::size_t i = 0; i < samples.size(); i += sizeof(float)) {
    float a;
    std::memcpy(&a, &samples[i], sizeof a);
    a = PlusTwo::to_stream(a);
    std::memcpy(&samples[i], &a, sizeof a);
  }
}

void check_fields(const Request& whole, const std::vector<Bytes>& streams,
                  const std::vector<EncodeJob>& jobs, const std::vector<Bytes>& expected) {
  Request one = whole;
  one.fields = one.header.extent[3] = 1;
  one.exact = true;
  one.keep_states = false;
  const std::size_t size = field_size(whole.header);
  for (std::uint32_t f = 0; f < whole.fields; ++f) {
    copies().clear();
    std::vector<Source> sources;
    for (std::size_t n = 0; n < streams.size(); ++n) {
      CoderState state = jobs[n].fields[f];
      require(state.possible(), "an encoder was in a state that no coder can be in");
      const std::size_t end =
          f + 1 < whole.fields ? jobs[n].fields[f + 1].offset + 4 : streams[n].size();
      const auto* const bytes = streams[n].data() + state.offset;
      const auto copy = copies().add(bytes, end - static_cast<std::size_t>(state.offset));
      state.offset = 0;
      sources.push_back({copy, state});
    }
    const std::vector<Outcome> outcomes = decode_by_all_paths(one, sources);
    for (std::size_t n = 0; n < streams.size(); ++n) {
      require(outcomes[n].error.empty(), "a field does not decode");
      require(std::equal(outcomes[n].samples.begin(), outcomes[n].samples.end(),
                         expected[n].begin() + static_cast<std::ptrdiff_t>(f * size)),
              "a field decodes to something else");
    }
  }
}

void run(FuzzedDataProvider& input) {
  Request request{};
  const auto flags = input.ConsumeIntegral<std::uint8_t>();
  request.exact = request.store = true;
  request.keep_states = (flags & 1) != 0;
  const bool smooth = (flags & 2) != 0;
  request.layout = static_cast<Layout>(flags >> 3 & (kLayouts - 1));
  request.header.is_double = (flags & 0x20) != 0;
  if ((flags & 0x40) != 0 && !request.header.is_double) request.transform = Transform::plus_two;
  request.header.precision = input.ConsumeIntegralInRange<std::uint8_t>(0, 64);
  request.header.extent = {input.ConsumeIntegralInRange<std::uint16_t>(0, 1200),
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
  const auto total = static_cast<std::uint32_t>(request.header.samples());
  if (total > kMostSamples) return;
  if (total > 0) count = std::min(count, kMostSamples / total);
  const Bytes data = input.ConsumeRemainingBytes<std::uint8_t>();

  std::vector<Array> arrays(count, Array(request.header, request.fields, request.layout));
  std::vector<EncodeJob> jobs(count);
  std::vector<Bytes> samples;
  for (std::uint32_t n = 0; n < count; ++n) {
    samples.push_back(make_samples(data, request.header, n, smooth));
    arrays[n].fill(samples[n]);
    jobs[n].array = arrays[n].source();
  }
  encode(request.header, request.transform, jobs.data(), count);

  copies().clear();
  std::vector<Bytes> streams;
  std::vector<Source> sources;
  for (std::uint32_t n = 0; n < count; ++n) {
    require(arrays[n].take() == samples[n], "encoding changed its source");
    const ByteBuffer& out = jobs[n].out;
    streams.emplace_back(out.data(), out.data() + out.size());
    if (total > 0) {
      to_stream(request.transform, samples[n]);
      Bytes expected(samples[n].size() * 2 + 1024);
      expected.resize(plain_encode(samples[n].data(), request.header.is_double,
                                   request.header.precision, request.header.extent.data(),
                                   expected.data(), expected.size()));
      require(streams[n] == expected, "the plain codec encodes to something else");
      from_stream(request.transform, samples[n]);
    }
    const auto copy = copies().add(streams[n].data(), streams[n].size());
    const StreamStart start = read_header(copy.data, copy.size);
    require(start.header == request.header, "a header does not survive");
    sources.push_back({copy, start.state});
  }
  const std::vector<Outcome> outcomes = decode_by_all_paths(request, sources);
  for (std::uint32_t n = 0; n < count; ++n) {
    require(outcomes[n].error.empty(), "what was encoded does not decode");
    require(outcomes[n].samples == samples[n], "what was encoded decodes to something else");
    if (total == 0 || !request.keep_states) continue;
    std::vector<CoderState> states = outcomes[n].states;
    states.pop_back();  // behind the last field
    require(same(states, jobs[n].fields), "encoder and decoder disagree on where fields start");
  }
  if (total > 0) check_fields(request, streams, jobs, samples);
}

}  // namespace
}  // namespace kemp::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider input(data, size);
  kemp::fuzz::run(input);
  return 0;
}
