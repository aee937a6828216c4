#include "codec.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

#include "lorenzo.hpp"
#include "quasi_static_model.hpp"
#include "range_coder.hpp"
#include "residual.hpp"

namespace kemp {
namespace {

// The transforms, one rounding each: what numpy's `2.0 + a` and `a - 2.0` do to float32.
struct Plain {
  template <class Real>
  static Real to_stream(Real a) {
    return a;
  }
  template <class Real>
  static Real from_stream(Real a) {
    return a;
  }
};

struct PlusTwo {
  template <class Real>
  static Real to_stream(Real a) {
    return a + Real{2};
  }
  template <class Real>
  static Real from_stream(Real a) {
    return a - Real{2};
  }
};

// Rows move between the array, whose samples need not be aligned or adjacent, and the front.
template <class Shift, class Real>
void load_row(const char* row, std::ptrdiff_t stride, Real* samples, std::size_t nx) {
  if (stride == sizeof(Real)) {
    std::memcpy(samples, row, nx * sizeof(Real));
    for (std::size_t x = 0; x < nx; ++x) samples[x] = Shift::to_stream(samples[x]);
  } else {
    for (std::size_t x = 0; x < nx; ++x, row += stride) {
      Real a;
      std::memcpy(&a, row, sizeof a);
      samples[x] = Shift::to_stream(a);
    }
  }
}

template <class Shift, class Real>
void store_row(const Real* samples, char* row, std::ptrdiff_t stride, std::size_t nx) {
  for (std::size_t x = 0; x < nx; ++x, row += stride) {
    const Real a = Shift::from_stream(samples[x]);
    std::memcpy(row, &a, sizeof a);
  }
}

// Calls `code_row(y, z, field)` in the stream's order, with the front and the model made ready.
template <class Real, class CodeRow>
void for_each_row(const StreamHeader& header, Front<Real>& front, QuasiStaticModel& model,
                  CodeRow code_row) {
  for (std::uint32_t f = 0; f < header.extent[3]; ++f) {
    front.reset();
    model.reset();
    for (std::uint32_t z = 0; z < header.extent[2]; ++z, front.next_plane())
      for (std::uint32_t y = 0; y < header.extent[1]; ++y) code_row(y, z, f);
  }
}

template <class Array>
auto row_of(const Array& array, std::uint32_t y, std::uint32_t z, std::uint32_t f) {
  return array.data + static_cast<std::ptrdiff_t>(y) * array.strides[1] +
         static_cast<std::ptrdiff_t>(z) * array.strides[2] +
         static_cast<std::ptrdiff_t>(f) * array.strides[3];
}

// A sample is one symbol and up to four pieces of verbatim bits.
template <class Real>
constexpr std::size_t kItemsPerSample = 1 + sizeof(Real) / 2;

// Maps the samples of a row and their predictions to ordered integers. While nothing is dropped,
// all neighbours are known beforehand and the loop has no chain through `here[x - 1]`.
template <class Real>
void map_row(const Neighbourhood<Real>& n, const OrderedInteger<Real>& ordered, std::size_t nx,
             BitsOf<Real>* actual, BitsOf<Real>* predicted) {
  const auto count = static_cast<std::ptrdiff_t>(nx);
  bool any_nan = false;
  for (std::ptrdiff_t x = 0; x < count; ++x) {
    const Real p = predict(n, x);
    any_nan |= p != p;
    predicted[x] = ordered.forward(p);
    actual[x] = ordered.forward(n.here[x]);
  }
  if (!any_nan) return;
  for (std::ptrdiff_t x = 0; x < count; ++x) {
    const Real p = predict(n, x);
    if (p != p) predicted[x] = ordered.forward(predict_nan(n, x));
  }
}

// The lossy counterpart: each sample is replaced by what the decoder will see in its place.
template <class Real>
void map_and_truncate_row(const Neighbourhood<Real>& n, const OrderedInteger<Real>& ordered,
                          std::size_t nx, BitsOf<Real>* actual, BitsOf<Real>* predicted) {
  const auto count = static_cast<std::ptrdiff_t>(nx);
  for (std::ptrdiff_t x = 0; x < count; ++x) {
    Real p = predict(n, x);
    if (p != p) p = predict_nan(n, x);
    predicted[x] = ordered.forward(p);
    actual[x] = ordered.forward(n.here[x]);
    n.here[x] = ordered.inverse(actual[x]);
  }
}

template <class Real, class Shift, class Residual>
void encode_samples(const StreamHeader& header, const ConstArray& array, RangeEncoder& stream) {
  const std::size_t nx = header.extent[0];
  const OrderedInteger<Real> ordered(header.bits());
  const Residual residual(header.bits());
  const bool lossless = header.bits() == header.width();
  QuasiStaticModel model(residual.symbols());
  Front<Real> front(nx, header.extent[1]);
  std::vector<BitsOf<Real>> actual(nx), predicted(nx);

  for_each_row(header, front, model, [&](std::uint32_t y, std::uint32_t z, std::uint32_t f) {
    const Neighbourhood<Real> row = front.row(y);
    load_row<Shift>(row_of(array, y, z, f), array.strides[0], row.here, nx);
    if (lossless)
      map_row(row, ordered, nx, actual.data(), predicted.data());
    else
      map_and_truncate_row(row, ordered, nx, actual.data(), predicted.data());
    stream.promise(nx * kItemsPerSample<Real>);
    RangeEncoder local = stream;  // a copy whose state can live in registers
    for (std::size_t x = 0; x < nx; ++x) residual.encode(local, model, actual[x], predicted[x]);
    stream = local;
  });
}

template <class Real, class Shift, class Residual>
void decode_samples(const StreamHeader& header, const MutableArray& array, RangeDecoder& stream) {
  const std::size_t nx = header.extent[0];
  const OrderedInteger<Real> ordered(header.bits());
  const Residual residual(header.bits());
  QuasiStaticModel model(residual.symbols());
  Front<Real> front(nx, header.extent[1]);

  for_each_row(header, front, model, [&](std::uint32_t y, std::uint32_t z, std::uint32_t f) {
    const Neighbourhood<Real> row = front.row(y);
    RangeDecoder local = stream;  // a copy whose state can live in registers
    for (std::ptrdiff_t x = 0; x < static_cast<std::ptrdiff_t>(nx); ++x) {
      Real p = predict(row, x);
      if (p != p) p = predict_nan(row, x);
      row.here[x] = ordered.inverse(residual.decode(local, model, ordered.forward(p)));
    }
    stream = local;
    if (stream.exhausted()) stream.finish();
    store_row<Shift>(row.here, row_of(array, y, z, f), array.strides[0], nx);
  });
}

// Turns the run-time facts of a stream into the types that its loops are compiled for.
template <class Run>
void dispatch(const StreamHeader& header, Transform transform, Run run) {
  const bool narrow = header.bits() <= NarrowResidual::kMostBits;
  const auto with_residual = [&](auto real, auto shift) {
    narrow ? run(real, shift, static_cast<NarrowResidual*>(nullptr))
           : run(real, shift, static_cast<WideResidual*>(nullptr));
  };
  if (header.is_double)
    with_residual(double{}, Plain{});
  else if (transform == Transform::plus_two)
    with_residual(float{}, PlusTwo{});
  else
    with_residual(float{}, Plain{});
}

// The reference pads the stream of an array without samples with zeros to this length.
std::size_t empty_stream_size(const StreamHeader& header) { return 24 * (header.width() / 8); }

// No stream holds more samples than this: a symbol's share of the 2^16 stays below 2^16 - n + 1,
// so each costs some fraction of a bit. It bounds what a lying header can make a caller allocate.
std::uint64_t most_samples(const StreamHeader& header, std::size_t size) {
  const unsigned symbols = header.bits() <= NarrowResidual::kMostBits
                               ? NarrowResidual(header.bits()).symbols()
                               : WideResidual(header.bits()).symbols();
  const double cheapest = -std::log2(1.0 - (symbols - 1) / 65536.0);
  return 1024 + static_cast<std::uint64_t>(8.0 * static_cast<double>(size) / cheapest);
}

}  // namespace

void encode(const StreamHeader& header, const ConstArray& array, Transform transform,
            ByteBuffer& out) {
  header.check();
  const std::size_t start = out.size();
  RangeEncoder stream(out);
  header.write(stream);
  if (header.samples() != 0)
    dispatch(header, transform, [&](auto real, auto shift, auto* residual) {
      encode_samples<decltype(real), decltype(shift), std::remove_pointer_t<decltype(residual)>>(
          header, array, stream);
    });
  stream.finish();
  if (header.samples() == 0) out.append_zeros(empty_stream_size(header) - (out.size() - start));
}

StreamHeader read_header(const std::uint8_t* data, std::size_t size) {
  RangeDecoder stream(data, size);
  const StreamHeader header = StreamHeader::read(stream);
  if (header.samples() > most_samples(header, size))
    throw CodecError("the header promises " + header.describe_extent() + " samples, more than " +
                     std::to_string(size) + " bytes can hold: the stream is truncated or damaged");
  return header;
}

void decode(const std::uint8_t* data, std::size_t size, const StreamHeader& expected,
            const MutableArray& array, Transform transform) {
  RangeDecoder stream(data, size);
  const StreamHeader header = StreamHeader::read(stream);
  if (!(header == expected)) throw CodecError("the stream changed while it was being decoded");
  if (header.samples() == 0) {
    const auto* rest = data + std::min(size, stream.position());
    if (!std::all_of(rest, data + size, [](std::uint8_t byte) { return byte == 0; }))
      throw CodecError("an empty stream has trailing bytes");
    return;
  }
  dispatch(header, transform, [&](auto real, auto shift, auto* residual) {
    decode_samples<decltype(real), decltype(shift), std::remove_pointer_t<decltype(residual)>>(
        header, array, stream);
  });
  stream.finish();
}

}  // namespace kemp
