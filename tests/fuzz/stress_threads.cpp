// Many threads encode and decode at once, from buffers that they share: under the thread sanitizer.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "codec.hpp"
#include "crc32c.hpp"

namespace {

using namespace kemp;

constexpr unsigned kThreads = 32;
constexpr unsigned kStreams = 40;

struct Shared {
  StreamHeader header{false, 0, {23, 6, 4, 3}};
  std::vector<std::vector<float>> arrays;
  std::vector<std::vector<std::uint8_t>> streams;
  std::vector<std::uint32_t> checksums;
};

std::array<std::ptrdiff_t, 4> strides(const StreamHeader& header) {
  const auto row = static_cast<std::ptrdiff_t>(header.extent[0] * sizeof(float));
  return {sizeof(float), row, row * header.extent[1], row * header.extent[1] * header.extent[2]};
}

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "stress: %s\n", what);
  std::abort();
}

std::vector<std::vector<std::uint8_t>> encode_some(const Shared& shared, std::size_t first,
                                                   std::size_t count) {
  std::vector<EncodeJob> jobs(count);
  for (std::size_t n = 0; n < count; ++n)
    jobs[n].array = {reinterpret_cast<const char*>(shared.arrays[first + n].data()),
                     strides(shared.header)};
  encode(shared.header, Transform::none, jobs.data(), count);
  std::vector<std::vector<std::uint8_t>> streams;
  for (const EncodeJob& job : jobs)
    streams.emplace_back(job.out.data(), job.out.data() + job.out.size());
  return streams;
}

void decode_some(const Shared& shared, std::size_t first, std::size_t count, Path path) {
  std::vector<std::vector<float>> outs(count, std::vector<float>(shared.arrays[0].size()));
  std::vector<DecodeJob> jobs(count);
  for (std::size_t n = 0; n < count; ++n) {
    const auto& stream = shared.streams[first + n];
    jobs[n].data = stream.data();
    jobs[n].size = stream.size();
    jobs[n].start = read_header(stream.data(), stream.size()).state;
    jobs[n].array = {reinterpret_cast<char*>(outs[n].data()), strides(shared.header)};
  }
  decode(shared.header, shared.header.extent[3], Transform::none, jobs.data(), count, path);
  for (std::size_t n = 0; n < count; ++n) {
    require(jobs[n].error.empty(), "a stream does not decode");
    require(outs[n] == shared.arrays[first + n], "a stream decodes to something else");
  }
}

void work(const Shared& shared, unsigned seed, const std::atomic<bool>& stopped,
          std::atomic<std::uint64_t>& done) {
  std::mt19937 random(seed);
  while (!stopped) {
    const std::size_t first = random() % kStreams;
    const std::size_t count = 1 + random() % (kStreams - first);
    if (random() % 4 == 0) {
      const auto streams = encode_some(shared, first, count);
      for (std::size_t n = 0; n < count; ++n)
        require(streams[n] == shared.streams[first + n], "an array encodes to something else");
    } else {
      decode_some(shared, first, count,
                  static_cast<Path>(random() % (static_cast<unsigned>(best_path()) + 1)));
    }
    const auto& stream = shared.streams[first];
    require(crc32c(stream.data(), stream.size()) == shared.checksums[first], "a checksum differs");
    ++done;
  }
}

}  // namespace

// Takes the number of seconds to go on for.
int main(int count, char** arguments) {
  const int seconds = count > 1 ? std::atoi(arguments[1]) : 10;
  Shared shared;
  std::mt19937 random(1);
  for (unsigned n = 0; n < kStreams; ++n) {
    auto& array = shared.arrays.emplace_back(shared.header.samples());
    float value = 0.5f;
    for (float& sample : array)
      sample = value += static_cast<float>(static_cast<int>(random() % 256) - 128) / 4096;
  }
  shared.streams = encode_some(shared, 0, kStreams);
  for (const auto& stream : shared.streams)
    shared.checksums.push_back(crc32c_portable(stream.data(), stream.size()));

  std::atomic<bool> stopped{false};
  std::atomic<std::uint64_t> done{0};
  std::vector<std::thread> threads;
  for (unsigned n = 0; n < kThreads; ++n)
    threads.emplace_back([&, n] { work(shared, n, stopped, done); });
  std::this_thread::sleep_for(std::chrono::seconds(seconds));
  stopped = true;
  for (std::thread& thread : threads) thread.join();
  std::printf("%u threads, %d seconds: %llu groups of streams\n", kThreads, seconds,
              static_cast<unsigned long long>(done));
}
