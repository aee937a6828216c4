// Decoding stream by stream, or a few in turn; lanes_kernel.hpp has the loop for many in step.

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <vector>

#include "codec.hpp"
#include "lanes.hpp"
#include "lorenzo.hpp"
#include "quasi_static_model.hpp"
#include "range_coder.hpp"
#include "residual.hpp"
#include "sample_types.hpp"

namespace kemp {
namespace {

// With fewer streams, most lanes would be idle.
constexpr std::size_t kFewestLanes = 4;

// What is needed to decode one stream.
template <class Types>
struct Lane {
  using Real = typename Types::Real;

  Lane(const StreamHeader& header, unsigned symbols, const DecodeJob& job, std::size_t number)
      : bytes(job.data, job.size),
        stream(bytes, job.start),
        model(symbols, QuasiStaticModel::Use::decode),
        front(header.extent[0], header.extent[1], number) {}

  IncomingBytes bytes;
  RangeDecoder stream;
  QuasiStaticModel model;
  Front<Real> front;
};

// Decodes a stretch of a row, from `x` on. Symbols do not depend on the samples, so the processor
// reconstructs a sample while it is busy with the symbol of the next; what bounds a single stream
// is the chain of divisions and table look-ups through the range coder.
template <class Types>
struct Stretch {
  using Real = typename Types::Real;

  RangeDecoder stream;
  SteadyTable table;
  Neighbourhood<Real> row;

  KEMP_INLINE Stretch(Lane<Types>& lane, const Neighbourhood<Real>& neighbourhood, std::size_t run)
      : stream(lane.stream), table(lane.model.begin(run)), row(neighbourhood) {
    stream.promise(run * Types::kItems);
  }

  KEMP_INLINE void decode(const OrderedInteger<Real>& ordered,
                          const typename Types::Residual& residual, std::ptrdiff_t x) {
    Real p = predict(row, x);
    if (KEMP_UNLIKELY(p != p)) p = predict_nan(row, x);
    row.here[x] = ordered.inverse(residual.decode(stream, table, ordered.forward(p)));
  }

  KEMP_INLINE void save(Lane<Types>& lane) {
    lane.stream = stream;
    lane.model.end(table);
    if (stream.exhausted()) throw CodecError(kEndsEarly);
  }
};

// Decodes row y of one stream, or of two in turn.
template <int N, class Types>
KEMP_INLINE void decode_row_inline(unsigned bits, std::vector<Lane<Types>>& lanes, std::uint32_t y,
                                   std::size_t nx) {
  const OrderedInteger<typename Types::Real> ordered(bits);
  const typename Types::Residual residual(bits);
  for (std::size_t x = 0; x < nx;) {
    std::size_t run = nx - x;
    for (Lane<Types>& lane : lanes) run = std::min(run, lane.model.steady());
    const auto first = static_cast<std::ptrdiff_t>(x);
    const auto end = static_cast<std::ptrdiff_t>(x += run);
    Stretch<Types> a(lanes[0], lanes[0].front.row(y), run);
    if constexpr (N == 1) {
      for (std::ptrdiff_t i = first; i < end; ++i) a.decode(ordered, residual, i);
    } else {
      Stretch<Types> b(lanes[1], lanes[1].front.row(y), run);
      for (std::ptrdiff_t i = first; i < end; ++i) {
        a.decode(ordered, residual, i);
        b.decode(ordered, residual, i);
      }
      b.save(lanes[1]);
    }
    a.save(lanes[0]);
  }
}

// Where no bits are dropped, as nearly always, the compiler knows it and leaves the shifts out.
template <int N, class Types>
KEMP_INLINE void decode_any_row(unsigned bits, std::vector<Lane<Types>>& lanes, std::uint32_t y,
                                std::size_t nx) {
  constexpr unsigned width = OrderedInteger<typename Types::Real>::kWidth;
  if (bits == width)
    decode_row_inline<N, Types>(width, lanes, y, nx);
  else
    decode_row_inline<N, Types>(bits, lanes, y, nx);
}

template <int N, class Types>
void decode_row(unsigned bits, std::vector<Lane<Types>>& lanes, std::uint32_t y, std::size_t nx) {
  decode_any_row<N, Types>(bits, lanes, y, nx);
}

template <int N, class Types>
KEMP_TARGET_AVX2 void decode_row_avx2(unsigned bits, std::vector<Lane<Types>>& lanes,
                                      std::uint32_t y, std::size_t nx) {
  decode_any_row<N, Types>(bits, lanes, y, nx);
}

template <int N, class Types>
void decode_samples(const StreamHeader& header, std::uint32_t fields, DecodeJob* jobs) {
  const std::size_t nx = header.extent[0];
  const typename Types::Residual residual(header.bits());
  const auto decode_one_row = processor().avx2 ? decode_row_avx2<N, Types> : decode_row<N, Types>;
  std::vector<Lane<Types>> lanes;
  lanes.reserve(N);  // what a lane's stream points to must not move
  for (std::size_t n = 0; n < N; ++n) lanes.emplace_back(header, residual.symbols(), jobs[n], n);

  for (std::uint32_t f = 0; f < fields; ++f) {
    for (int n = 0; n < N; ++n) {
      lanes[n].front.reset();
      lanes[n].model.reset();
      if (jobs[n].keep_states) jobs[n].fields.push_back(lanes[n].stream.state());
    }
    for (std::uint32_t z = 0; z < header.extent[2]; ++z) {
      for (std::uint32_t y = 0; y < header.extent[1]; ++y) {
        decode_one_row(header.bits(), lanes, y, nx);
        for (int n = 0; n < N; ++n)
          if (jobs[n].array.data != nullptr)
            store_row<typename Types::Shift>(lanes[n].front.row(y).here, jobs[n].array.row(y, z, f),
                                             jobs[n].array.strides[0], nx);
      }
      for (Lane<Types>& lane : lanes) lane.front.next_plane();
    }
  }
  for (int n = 0; n < N; ++n) {
    if (jobs[n].keep_states) jobs[n].fields.push_back(lanes[n].stream.state());
    if (jobs[n].exact) lanes[n].stream.finish();
  }
}

template <int N>
void decode_together(const StreamHeader& header, std::uint32_t fields, Transform transform,
                     DecodeJob* jobs) {
  try {
    with_sample_types(header, transform, [&](auto types) {
      decode_samples<N, decltype(types)>(header, fields, jobs);
    });
  } catch (const CodecError& error) {
    // One of several failed: each alone shows which, and leaves the others whole.
    if constexpr (N == 1)
      jobs[0].error = error.what();
    else
      for (int n = 0; n < N; ++n) {
        jobs[n].fields.clear();
        decode_together<1>(header, fields, transform, jobs + n);
      }
  }
}

// No stream holds more samples than this: a symbol's share of the 2^16 stays below 2^16 - n + 1,
// so each costs some fraction of a bit. It bounds what a lying header can make a caller allocate.
std::uint64_t most_samples(const StreamHeader& header, std::size_t size) {
  const unsigned symbols = header.bits() <= NarrowResidual::kMostBits
                               ? NarrowResidual(header.bits()).symbols()
                               : WideResidual(header.bits()).symbols();
  const double cheapest = -std::log2(1.0 - (symbols - 1) / 65536.0);
  return 1024 + static_cast<std::uint64_t>(8.0 * static_cast<double>(size) / cheapest);
}

void check_empty(const DecodeJob& job) {
  const auto* rest = job.data + std::min<std::uint64_t>(job.size, job.start.offset + 4);
  if (!std::all_of(rest, job.data + job.size, [](std::uint8_t byte) { return byte == 0; }))
    throw CodecError("an empty stream has trailing bytes");
}

}  // namespace

StreamStart read_header(const std::uint8_t* data, std::size_t size) {
  IncomingBytes bytes(data, size);
  RangeDecoder stream(bytes);
  const StreamHeader header = StreamHeader::read(stream);
  if (header.samples() > most_samples(header, size))
    throw CodecError("the header promises " + header.describe_extent() + " samples, more than " +
                     std::to_string(size) + " bytes can hold: the stream is truncated or damaged");
  return {header, stream.state()};
}

#if KEMP_X86
namespace {

// Decodes by vectors what can be: float32 with residuals of a symbol and verbatim bits.
bool lanes_apply(const StreamHeader& header) {
  return !header.is_double && header.bits() > NarrowResidual::kMostBits;
}

void decode_in_lanes(const LanesKernel& kernel, const StreamHeader& header, std::uint32_t fields,
                     Transform transform, DecodeJob* jobs, std::size_t count) {
  const LanesShape shape{{header.extent[0], header.extent[1], header.extent[2]},
                         fields,
                         header.bits(),
                         transform == Transform::plus_two};
  std::vector<LaneJob> lanes(count);
  std::vector<LaneState> states(jobs->keep_states ? count * (fields + 1) : 0);
  for (std::size_t n = 0; n < count; ++n) {
    const DecodeJob& job = jobs[n];
    LaneJob& lane = lanes[n];
    lane.at = job.data + std::min<std::uint64_t>(job.start.offset, job.size);
    lane.end = job.data + job.size;
    lane.low = job.start.low;
    lane.range = job.start.range;
    lane.exact = job.exact;
    lane.out = job.array.data;
    std::copy(job.array.strides.begin(), job.array.strides.end(), lane.strides);
    lane.states = job.keep_states ? states.data() + n * (fields + 1) : nullptr;
  }
  constexpr std::size_t kAlignment = 64;
  // Not a vector, which would write zeros over megabytes that the kernel fills anyway.
  std::size_t space = kernel.workspace(shape, count) + kAlignment;
  const std::unique_ptr<char[]> memory(new char[space]);
  void* start = memory.get();
  std::align(kAlignment, space - kAlignment, start, space);
  kernel.decode(shape, lanes.data(), count, start);
  // A lane only knows that something is wrong; alone, the stream tells what.
  for (std::size_t n = 0; n < count; ++n) {
    if (lanes[n].failed) {
      decode_together<1>(header, fields, transform, jobs + n);
    } else if (jobs[n].keep_states) {
      for (std::uint32_t field = 0; field <= fields; ++field) {
        const LaneState& state = lanes[n].states[field];
        jobs[n].fields.push_back({jobs[n].start.offset + state.offset, state.low, state.range});
      }
    }
  }
}

}  // namespace
#endif

float settled_prediction(const float (&terms)[7]) {
  const float above_north[] = {terms[6], terms[1]}, north[] = {terms[5], terms[2]};
  const float above[] = {terms[3], terms[4]};
  float here[] = {terms[0], 0};
  return predict_nan(Neighbourhood<float>{here + 1, north + 1, above + 1, above_north + 1}, 0);
}

void decode(const StreamHeader& header, std::uint32_t fields, Transform transform, DecodeJob* jobs,
            std::size_t count, Path path) {
  if (header.samples() == 0) {
    for (std::size_t n = 0; n < count; ++n) {
      try {
        if (jobs[n].exact) check_empty(jobs[n]);
      } catch (const CodecError& error) {
        jobs[n].error = error.what();
      }
    }
    return;
  }
#if KEMP_X86
  if (path >= Path::avx2) {
    const LanesKernel& kernel = path == Path::avx512 ? kAvx512Lanes : kAvx2Lanes;
    while (count >= kFewestLanes && lanes_apply(header)) {
      const std::size_t batch = std::min(count, 2 * kernel.lanes);
      decode_in_lanes(kernel, header, fields, transform, jobs, batch);
      jobs += batch;
      count -= batch;
    }
  }
#endif
  if (path >= Path::interleaved)
    for (; count >= 2; count -= 2, jobs += 2) decode_together<2>(header, fields, transform, jobs);
  for (; count >= 1; --count, ++jobs) decode_together<1>(header, fields, transform, jobs);
}

Path best_path() {
  return processor().avx512 ? Path::avx512 : processor().avx2 ? Path::avx2 : Path::interleaved;
}

}  // namespace kemp
