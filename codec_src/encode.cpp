// Encoding: a row is predicted as a whole, then coded symbol by symbol.
//
// All of the time is the latency of the range coder's chain from one item to the next, which leaves
// most of the processor idle: prediction costs next to nothing beside it, and a second stream in
// the same loop runs nearly for free.

#include <algorithm>
#include <vector>

#include "codec.hpp"
#include "lorenzo.hpp"
#include "quasi_static_model.hpp"
#include "range_coder.hpp"
#include "residual.hpp"
#include "sample_types.hpp"

namespace kemp {
namespace {

// Predicts the samples of a row and codes their residuals. While nothing is dropped, all neighbours
// are known beforehand and the loop has no chain through `here[x - 1]`.
template <class Real, class Residual>
KEMP_INLINE void code_residuals(const Neighbourhood<Real>& n, const OrderedInteger<Real>& ordered,
                                const Residual& residual, std::size_t nx,
                                Coded* KEMP_RESTRICT coded, BitsOf<Real>* KEMP_RESTRICT distances) {
  const auto count = static_cast<std::ptrdiff_t>(nx);
  BitsOf<Real> nans = 0;
  for (std::ptrdiff_t x = 0; x < count; ++x) {
    const Real p = predict(n, x);
    nans |= static_cast<BitsOf<Real>>(p != p);
    coded[x] = residual.code(ordered.forward(n.here[x]), ordered.forward(p), &distances[x]);
  }
  if (nans == 0) return;
  for (std::ptrdiff_t x = 0; x < count; ++x) {
    Real p = predict(n, x);
    if (p != p) p = predict_nan(n, x);
    coded[x] = residual.code(ordered.forward(n.here[x]), ordered.forward(p), &distances[x]);
  }
}

// The lossy counterpart: each sample is replaced by what the decoder will see in its place.
template <class Real, class Residual>
KEMP_INLINE void truncate_and_code_residuals(const Neighbourhood<Real>& n,
                                             const OrderedInteger<Real>& ordered,
                                             const Residual& residual, std::size_t nx,
                                             Coded* KEMP_RESTRICT coded,
                                             BitsOf<Real>* KEMP_RESTRICT distances) {
  const auto count = static_cast<std::ptrdiff_t>(nx);
  for (std::ptrdiff_t x = 0; x < count; ++x) {
    Real p = predict(n, x);
    if (p != p) p = predict_nan(n, x);
    const BitsOf<Real> actual = ordered.forward(n.here[x]);
    coded[x] = residual.code(actual, ordered.forward(p), &distances[x]);
    n.here[x] = ordered.inverse(actual);
  }
}

// What encoding one stream needs.
template <class Types>
struct Lane {
  using Real = typename Types::Real;

  Lane(const StreamHeader& header, unsigned symbols, ByteBuffer& out, std::size_t number)
      : stream(out),
        model(symbols, QuasiStaticModel::Use::encode),
        front(header.extent[0], header.extent[1], number),
        coded(header.extent[0]),
        distances(header.extent[0]) {}

  RangeEncoder stream;
  QuasiStaticModel model;
  Front<Real> front;
  std::vector<Coded> coded;
  std::vector<BitsOf<Real>> distances;
};

// Codes the residuals of one row of a stream, which lies at `source`.
template <class Types>
KEMP_INLINE void prepare_row(const StreamHeader& header, Lane<Types>& lane, std::uint32_t y,
                             const char* source, std::ptrdiff_t stride) {
  using Real = typename Types::Real;
  const std::size_t nx = header.extent[0];
  const typename Types::Residual residual(header.bits());
  const Neighbourhood<Real> row = lane.front.row(y);
  load_row<typename Types::Shift>(source, stride, row.here, nx);
  if (header.bits() == header.width())
    code_residuals(row, OrderedInteger<Real>(OrderedInteger<Real>::kWidth), residual, nx,
                   lane.coded.data(), lane.distances.data());
  else
    truncate_and_code_residuals(row, OrderedInteger<Real>(header.bits()), residual, nx,
                                lane.coded.data(), lane.distances.data());
  lane.stream.promise(nx * Types::kItems);
}

template <class Types>
KEMP_INLINE void code_row(const typename Types::Residual& residual, Lane<Types>& lane,
                          std::size_t nx) {
  RangeEncoder stream = lane.stream;  // a copy whose state can live in registers
  const Coded* const coded = lane.coded.data();
  const auto* const distances = lane.distances.data();
  for (std::size_t x = 0; x < nx;) {
    std::size_t run = nx - x;
    SteadyTable table = lane.model.begin(run);
    for (const std::size_t end = x + run; x < end; ++x) {
      table.encode(stream, coded[x].symbol());
      residual.encode_bits(stream, coded[x], distances[x]);
    }
    lane.model.end(table);
  }
  lane.stream = stream;
}

// The same for a row of each of two streams.
template <class Types>
KEMP_INLINE void code_two_rows(const typename Types::Residual& residual, Lane<Types>& a,
                               Lane<Types>& b, std::size_t nx) {
  RangeEncoder stream_a = a.stream, stream_b = b.stream;
  const Coded* const coded_a = a.coded.data();
  const Coded* const coded_b = b.coded.data();
  const auto* const distances_a = a.distances.data();
  const auto* const distances_b = b.distances.data();
  for (std::size_t x = 0; x < nx;) {
    std::size_t run = std::min({nx - x, a.model.steady(), b.model.steady()});
    SteadyTable table_a = a.model.begin(run), table_b = b.model.begin(run);
    for (const std::size_t end = x + run; x < end; ++x) {
      table_a.encode(stream_a, coded_a[x].symbol());
      table_b.encode(stream_b, coded_b[x].symbol());
      residual.encode_bits(stream_a, coded_a[x], distances_a[x]);
      residual.encode_bits(stream_b, coded_b[x], distances_b[x]);
    }
    a.model.end(table_a);
    b.model.end(table_b);
  }
  a.stream = stream_a;
  b.stream = stream_b;
}

// Encodes row (y, z) of a field of one stream, or of two.
template <class Types>
using EncodeRow = void (*)(const StreamHeader&, const EncodeJob*, std::vector<Lane<Types>>&,
                           std::uint32_t y, std::uint32_t z, std::uint32_t field);

template <class Types>
KEMP_INLINE void encode_row_inline(const StreamHeader& header, const EncodeJob* jobs,
                                   std::vector<Lane<Types>>& lanes, std::uint32_t y,
                                   std::uint32_t z, std::uint32_t field) {
  const typename Types::Residual residual(header.bits());
  for (std::size_t n = 0; n < lanes.size(); ++n) {
    const ConstArray& array = jobs[n].array;
    if (y + 1 < header.extent[1])
      prefetch_row<typename Types::Real>(array.row(y + 1, z, field), array.strides[0],
                                         header.extent[0]);
    prepare_row(header, lanes[n], y, array.row(y, z, field), array.strides[0]);
  }
  if (lanes.size() == 2)
    code_two_rows(residual, lanes[0], lanes[1], header.extent[0]);
  else
    code_row(residual, lanes[0], header.extent[0]);
}

template <class Types>
void encode_row(const StreamHeader& header, const EncodeJob* jobs, std::vector<Lane<Types>>& lanes,
                std::uint32_t y, std::uint32_t z, std::uint32_t field) {
  encode_row_inline(header, jobs, lanes, y, z, field);
}

template <class Types>
KEMP_TARGET_AVX2 void encode_row_avx2(const StreamHeader& header, const EncodeJob* jobs,
                                      std::vector<Lane<Types>>& lanes, std::uint32_t y,
                                      std::uint32_t z, std::uint32_t field) {
  encode_row_inline(header, jobs, lanes, y, z, field);
}

template <class Types>
void encode_samples(const StreamHeader& header, EncodeJob* jobs, std::vector<Lane<Types>>& lanes) {
  const EncodeRow<Types> code = processor().avx2 ? encode_row_avx2<Types> : encode_row<Types>;
  for (std::uint32_t f = 0; f < header.extent[3]; ++f) {
    for (std::size_t n = 0; n < lanes.size(); ++n) {
      lanes[n].front.reset();
      lanes[n].model.reset();
      jobs[n].fields.push_back(lanes[n].stream.state());
    }
    for (std::uint32_t z = 0; z < header.extent[2]; ++z) {
      for (std::uint32_t y = 0; y < header.extent[1]; ++y) code(header, jobs, lanes, y, z, f);
      for (Lane<Types>& lane : lanes) lane.front.next_plane();
    }
  }
}

// The reference pads the stream of an array without samples with zeros to this length.
std::size_t empty_stream_size(const StreamHeader& header) { return 24 * (header.width() / 8); }

void encode_empty(const StreamHeader& header, EncodeJob& job) {
  RangeEncoder stream(job.out);
  header.write(stream);
  stream.finish();
  job.out.append_zeros(empty_stream_size(header) - job.out.size());
}

// Encodes one array, or two together.
void encode_together(const StreamHeader& header, Transform transform, EncodeJob* jobs,
                     std::size_t count) {
  with_sample_types(header, transform, [&](auto types) {
    using Types = decltype(types);
    const typename Types::Residual residual(header.bits());
    std::vector<Lane<Types>> lanes;
    for (std::size_t n = 0; n < count; ++n) {
      // Most streams are shorter than their samples; memory that is not used is never touched.
      jobs[n].out.reserve(header.samples() * sizeof(typename Types::Real));
      lanes.emplace_back(header, residual.symbols(), jobs[n].out, n);
      header.write(lanes[n].stream);
    }
    encode_samples(header, jobs, lanes);
    for (Lane<Types>& lane : lanes) lane.stream.finish();
  });
}

}  // namespace

void encode(const StreamHeader& header, Transform transform, EncodeJob* jobs, std::size_t count) {
  header.check();
  if (header.samples() == 0) {
    std::for_each(jobs, jobs + count, [&](EncodeJob& job) { encode_empty(header, job); });
    return;
  }
  for (std::size_t n = 0; n < count; n += 2)
    encode_together(header, transform, jobs + n, std::min<std::size_t>(2, count - n));
}

}  // namespace kemp
