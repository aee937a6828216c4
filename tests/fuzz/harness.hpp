// What the fuzz targets share: bytes behind which no memory is, arrays of any strides, and one
// decode by every path that the processor has, which must agree.
#pragma once

#include <sanitizer/asan_interface.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "codec.hpp"

// tests/reference/plain_codec.cpp
extern "C" std::size_t plain_encode(void* samples, std::uint32_t type, std::uint32_t precision,
                                    const std::uint32_t* extent, std::uint8_t* out,
                                    std::size_t capacity);
extern "C" std::size_t plain_decode(const std::uint8_t* data, std::size_t size, void* samples,
                                    std::uint32_t type, std::uint32_t precision,
                                    const std::uint32_t* extent);

namespace kemp::fuzz {

using Bytes = std::vector<std::uint8_t>;

inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: %s\n", what);
  std::abort();
}

inline std::size_t sample_size(const StreamHeader& header) { return header.width() / 8; }

inline std::size_t field_size(const StreamHeader& header) {
  return sample_size(header) * header.extent[0] * header.extent[1] * header.extent[2];
}

// Copies of inputs. The page behind each cannot be read, since the address sanitizer does not see
// the gathers of the vector kernels; what is in front of them is poisoned for all other reads.
class GuardedCopies {
 public:
  struct Copy {
    const std::uint8_t* data;
    std::size_t size;
  };

  Copy add(const std::uint8_t* data, std::size_t size) {
    require(size <= kRoom, "an input has no room");
    if (used_ == slots_.size()) slots_.push_back(make_slot());
    std::uint8_t* const slot = slots_[used_++];
    std::uint8_t* const at = slot + kRoom - size;
    ASAN_POISON_MEMORY_REGION(slot, kRoom);
    ASAN_UNPOISON_MEMORY_REGION(at, size);
    if (size > 0) std::memcpy(at, data, size);
    return {at, size};
  }

  void clear() { used_ = 0; }

 private:
  static constexpr std::size_t kRoom = 1 << 18;
  static constexpr std::size_t kPage = 1 << 16;  // as large as pages are anywhere

  static std::uint8_t* make_slot() {
    void* const memory =
        mmap(nullptr, kRoom + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    require(memory != MAP_FAILED, "no memory for an input");
    auto* const slot = static_cast<std::uint8_t*>(memory);
    require(mprotect(slot + kRoom, kPage, PROT_NONE) == 0, "no guard page");
    return slot;
  }

  std::vector<std::uint8_t*> slots_;
  std::size_t used_ = 0;
};

inline GuardedCopies& copies() {
  static GuardedCopies all;
  return all;
}

// How an array lies in memory.
enum class Layout { fortran, c, reversed, stepped };
constexpr unsigned kLayouts = 4;

// An array x, y, z, field of some layout, with a canary in every byte that is not a sample's.
class Array {
 public:
  Array(const StreamHeader& header, std::uint32_t fields, Layout layout)
      : extent_(header.extent), size_(sample_size(header)) {
    extent_[3] = fields;
    const auto size = static_cast<std::ptrdiff_t>(size_);
    std::array<std::size_t, 4> order{0, 1, 2, 3};
    if (layout == Layout::c) order = {3, 2, 1, 0};
    if (layout == Layout::stepped) spacing_ = 3;
    // The extents of an array without samples may be so large that there are no strides for them.
    const bool empty = std::find(extent_.begin(), extent_.end(), 0u) != extent_.end();
    std::ptrdiff_t step = empty ? 0 : static_cast<std::ptrdiff_t>(spacing_) * size;
    for (const std::size_t axis : order) {
      strides_[axis] = step;
      step *= extent_[axis];
    }
    bytes_.assign(static_cast<std::size_t>(step), kCanary);
    if (layout == Layout::reversed && !bytes_.empty()) {
      start_ = static_cast<std::size_t>(strides_[0]) * (extent_[0] - 1);
      strides_[0] = -strides_[0];
    }
  }

  char* data() { return bytes_.empty() ? nullptr : reinterpret_cast<char*>(&bytes_[start_]); }
  ConstArray source() { return {data(), strides_}; }
  MutableArray target() { return {data(), strides_}; }

  void fill(const Bytes& samples) {
    const std::uint8_t* from = samples.data();
    each([&](std::uint8_t* sample) {
      std::memcpy(sample, from, size_);
      from += size_;
    });
  }

  // The samples in the stream's order. That nothing but them was written is made sure of.
  Bytes take() {
    Bytes samples(bytes_.size() / spacing_);
    std::uint8_t* to = samples.data();
    each([&](std::uint8_t* sample) {
      std::memcpy(to, sample, size_);
      std::memset(sample, kCanary, size_);
      to += size_;
    });
    require(bytes_ == Bytes(bytes_.size(), kCanary), "something between the samples was written");
    return samples;
  }

 private:
  static constexpr std::uint8_t kCanary = 0xA5;

  template <class Visit>
  void each(Visit visit) {
    if (bytes_.empty()) return;
    for (std::uint32_t f = 0; f < extent_[3]; ++f)
      for (std::uint32_t z = 0; z < extent_[2]; ++z)
        for (std::uint32_t y = 0; y < extent_[1]; ++y)
          for (std::uint32_t x = 0; x < extent_[0]; ++x)
            visit(reinterpret_cast<std::uint8_t*>(target().row(y, z, f) + strides_[0] * x));
  }

  std::array<std::uint32_t, 4> extent_;
  std::size_t size_;
  std::size_t spacing_ = 1;  // of samples, in samples
  std::array<std::ptrdiff_t, 4> strides_{};
  Bytes bytes_;
  std::size_t start_ = 0;
};

// What to decode out of streams of one shape.
struct Request {
  StreamHeader header;
  std::uint32_t fields;
  Transform transform;
  bool exact;
  bool keep_states;
  bool store;
  Layout layout;
};

struct Source {
  GuardedCopies::Copy bytes;
  CoderState start;
};

struct Outcome {
  std::string error;
  Bytes samples;                   // of no use after an error
  std::vector<CoderState> states;  // likewise
};

inline bool same(const std::vector<CoderState>& a, const std::vector<CoderState>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (a[i].offset != b[i].offset || a[i].low != b[i].low || a[i].range != b[i].range)
      return false;
  return true;
}

inline std::vector<Outcome> decode_by(Path path, const Request& request,
                                      const std::vector<Source>& sources) {
  std::vector<Array> arrays(sources.size(), Array(request.header, request.fields, request.layout));
  std::vector<DecodeJob> jobs(sources.size());
  for (std::size_t n = 0; n < jobs.size(); ++n) {
    jobs[n].data = sources[n].bytes.data;
    jobs[n].size = sources[n].bytes.size;
    jobs[n].start = sources[n].start;
    jobs[n].exact = request.exact;
    jobs[n].keep_states = request.keep_states;
    if (request.store) jobs[n].array = arrays[n].target();
  }
  decode(request.header, request.fields, request.transform, jobs.data(), jobs.size(), path);
  std::vector<Outcome> outcomes;
  for (std::size_t n = 0; n < jobs.size(); ++n)
    outcomes.push_back({jobs[n].error, arrays[n].take(), std::move(jobs[n].fields)});
  return outcomes;
}

// Decodes by every path, all of which must come to the same: to the same error or the same samples.
inline std::vector<Outcome> decode_by_all_paths(const Request& request,
                                                const std::vector<Source>& sources) {
  const std::vector<Outcome> expected = decode_by(Path::plain, request, sources);
  for (auto path = static_cast<int>(Path::interleaved); path <= static_cast<int>(best_path());
       ++path) {
    const std::vector<Outcome> outcomes = decode_by(static_cast<Path>(path), request, sources);
    for (std::size_t n = 0; n < sources.size(); ++n) {
      require(outcomes[n].error == expected[n].error, "paths disagree on an error");
      if (!expected[n].error.empty()) continue;
      require(outcomes[n].samples == expected[n].samples, "paths disagree on samples");
      require(same(outcomes[n].states, expected[n].states), "paths disagree on states");
    }
  }
  return expected;
}

// Applies the second half of the transform to samples that came without one.
inline void from_stream(Transform transform, Bytes& samples) {
  if (transform == Transform::none) return;
  for (std::size_t i = 0; i < samples.size(); i += sizeof(float)) {
    float a;
    std::memcpy(&a, &samples[i], sizeof a);
    a = PlusTwo::from_stream(a);
    std::memcpy(&samples[i], &a, sizeof a);
  }
}

}  // namespace kemp::fuzz
