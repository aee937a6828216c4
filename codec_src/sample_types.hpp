// From the run-time facts of a stream to the types that its loops are compiled for.
#pragma once

#include "residual.hpp"
#include "rows.hpp"
#include "stream_header.hpp"

namespace kemp {

template <class RealType, class ShiftType, class ResidualType>
struct SampleTypes {
  using Real = RealType;
  using Shift = ShiftType;
  using Residual = ResidualType;

  // A sample is one symbol and, in the worst case, some pieces of verbatim bits.
  static constexpr std::size_t kItems = 1 + sizeof(Real) / 2;
};

// Calls `run` with the SampleTypes of a stream.
template <class Run>
void with_sample_types(const StreamHeader& header, Transform transform, Run run) {
  const bool narrow = header.bits() <= NarrowResidual::kMostBits;
  if (header.is_double)
    narrow ? run(SampleTypes<double, Plain, NarrowResidual>{})
           : run(SampleTypes<double, Plain, WideResidual>{});
  else if (transform == Transform::plus_two)
    narrow ? run(SampleTypes<float, PlusTwo, NarrowResidual>{})
           : run(SampleTypes<float, PlusTwo, WideResidual>{});
  else
    narrow ? run(SampleTypes<float, Plain, NarrowResidual>{})
           : run(SampleTypes<float, Plain, WideResidual>{});
}

}  // namespace kemp
