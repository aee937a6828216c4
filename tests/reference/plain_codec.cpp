// The fpzip stream as docs/fpzip-format.md describes it, with no thought for speed: a living
// specification, and what the tests hold the fast codec against. Bytes are trusted here.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

using u32 = std::uint32_t;
using u64 = std::uint64_t;

struct Coder {
  u32 low = 0, range = 0xFFFFFFFFu, code = 0;
  std::vector<std::uint8_t> out;
  const std::uint8_t *in = nullptr, *end = nullptr;  // null while encoding

  void next_byte() {
    if (in)
      code = code << 8 | (in < end ? *in : 0), ++in;
    else
      out.push_back(static_cast<std::uint8_t>(low >> 24));
  }
  void start_decoding(const std::uint8_t* data, std::size_t size) {
    in = data;
    end = data + size;
    for (int i = 0; i < 4; ++i) next_byte();
  }
  void normalise() {
    while ((low >> 24) == ((low + range) >> 24)) {
      next_byte();
      low <<= 8;
      range <<= 8;
    }
    if (range < 1u << 16) {
      for (int i = 0; i < 2; ++i) {
        next_byte();
        low <<= 8;
      }
      range = 0u - low;
    }
  }
  void narrow(u32 start, u32 width) {
    low += range * start;
    range *= width;
    normalise();
  }
  // A number of up to 64 bits: coded when encoding, returned when decoding.
  u64 number(u64 value, unsigned bits) {
    u64 result = 0;
    for (unsigned done = 0;; done += 16) {
      const unsigned n = bits - done > 16 ? 16 : bits - done;
      range >>= n;
      const u32 piece =
          in ? (code - low) / range : static_cast<u32>(value >> done & ((u64{1} << n) - 1));
      narrow(piece, 1);
      result |= u64{piece} << done;
      if (done + n == bits) return result;
    }
  }
  void finish() {
    for (int i = 0; i < 4; ++i, low <<= 8) next_byte();
  }
};

struct Model {
  std::vector<u32> frequency, cumulative;
  u32 interval, left, more, increment;

  explicit Model(unsigned n) : frequency(n), cumulative(n + 1) {
    for (unsigned s = 0; s < n; ++s) frequency[s] = 65536 / n + (s < 65536 % n);
    interval = n >> 4 | 2;
    more = 0;
    renew();
  }
  void renew() {
    if (more > 0) {
      left = more;
      more = 0;
      ++increment;
      return;
    }
    if (interval != 1024) interval = interval * 2 < 1024 ? interval * 2 : 1024;
    u32 missing = 65536;
    for (std::size_t s = 0; s < frequency.size(); ++s) {
      cumulative[s + 1] = cumulative[s] + frequency[s];
      frequency[s] = frequency[s] >> 1 | 1;
      missing -= frequency[s];
    }
    increment = missing / interval;
    more = missing % interval;
    left = interval - more;
  }
  unsigned symbol(Coder& coder, unsigned s) {
    coder.range >>= 16;
    if (coder.in) {
      const u32 t = (coder.code - coder.low) / coder.range;
      for (s = 0; s + 1 < frequency.size() && cumulative[s + 1] <= t;) ++s;
    }
    coder.narrow(cumulative[s], cumulative[s + 1] - cumulative[s]);
    if (left == 0) renew();
    --left;
    frequency[s] += increment;
    return s;
  }
};

// A sum of which the first NaN wins, made quiet; inf - inf is the default NaN of x86.
template <class Real, class Bits>
Real settle(Real a, Real b, Real sum) {
  const unsigned mantissa = sizeof(Real) == 4 ? 23 : 52;
  Bits bits;
  if (std::isnan(a) || std::isnan(b)) {
    std::memcpy(&bits, std::isnan(a) ? &a : &b, sizeof bits);
    bits |= Bits{1} << (mantissa - 1);
  } else if (std::isnan(sum)) {
    bits = ~Bits{0} << (mantissa - 1);
  } else {
    return sum;
  }
  std::memcpy(&sum, &bits, sizeof bits);
  return sum;
}

template <class Real, class Bits>
void code_samples(Coder& coder, Real* samples, unsigned precision, const u32 (&n)[4]) {
  const unsigned width = 8 * sizeof(Real), kept = precision ? precision : width;
  const unsigned dropped = width - kept;
  const auto flip = [&](Bits u) {
    return static_cast<Bits>(u ^ (static_cast<Bits>(0 - (u >> (kept - 1))) >> (dropped + 1)));
  };
  const auto forward = [&](Real a) {
    Bits bits;
    std::memcpy(&bits, &a, sizeof bits);
    return flip(static_cast<Bits>(~bits) >> dropped);
  };
  const auto inverse = [&](Bits u) {
    const Bits bits = static_cast<Bits>(~flip(u)) << dropped;
    Real a;
    std::memcpy(&a, &bits, sizeof a);
    return a;
  };
  for (u32 field = 0; field < n[3]; ++field, samples += std::size_t{n[0]} * n[1] * n[2]) {
    const bool wide = kept > 8;
    const unsigned centre = wide ? kept : (1u << kept) - 1;
    Model model(2 * centre + 1);
    for (u32 z = 0; z < n[2]; ++z)
      for (u32 y = 0; y < n[1]; ++y)
        for (u32 x = 0; x < n[0]; ++x) {
          const auto f = [&](u32 i, u32 j, u32 k) -> Real {
            if (i > x || j > y || k > z) return 0;
            return samples[((std::size_t{z} - k) * n[1] + y - j) * n[0] + x - i];
          };
          Real p = f(1, 0, 0);
          const Real terms[] = {-f(0, 1, 1), f(0, 1, 0),  -f(1, 0, 1),
                                f(0, 0, 1),  -f(1, 1, 0), f(1, 1, 1)};
          const Real plain[] = {f(0, 1, 1), f(0, 1, 0), f(1, 0, 1),
                                f(0, 0, 1), f(1, 1, 0), f(1, 1, 1)};
          for (int i = 0; i < 6; ++i) p = settle<Real, Bits>(p, plain[i], p + terms[i]);
          Real& sample = samples[(std::size_t{z} * n[1] + y) * n[0] + x];
          const Bits q = forward(p);
          Bits r = coder.in ? 0 : forward(sample);
          if (!wide) {
            r = static_cast<Bits>(q + model.symbol(coder, static_cast<unsigned>(centre + r - q)) -
                                  centre);
          } else {
            Bits d = r > q ? r - q : q - r;
            unsigned k = 0;
            while (k + 1 < width && d >> (k + 1)) ++k;
            const unsigned s = model.symbol(coder, r == q  ? centre
                                                   : r > q ? centre + 1 + k
                                                           : centre - 1 - k);
            d = 0;
            if (s != centre) {
              k = s > centre ? s - centre - 1 : centre - 1 - s;
              const Bits actual = r > q ? r - q : q - r;
              d = (Bits{1} << k) |
                  static_cast<Bits>(coder.number(actual & ((Bits{1} << k) - 1), k));
            }
            r = s > centre ? q + d : q - d;
          }
          sample = inverse(r);
        }
  }
}

void code_stream(Coder& coder, void* samples, u32 type, u32 precision, u32 (&n)[4]) {
  for (const char letter : {'f', 'p', 'z', '\0'}) coder.number(static_cast<u64>(letter), 8);
  coder.number(0x0110, 16);
  coder.number(1, 8);
  coder.number(type, 1);
  coder.number(precision, 7);
  for (u32& extent : n) coder.number(extent, 32);
  if (type)
    code_samples<double, u64>(coder, static_cast<double*>(samples), precision, n);
  else
    code_samples<float, u32>(coder, static_cast<float*>(samples), precision, n);
}

}  // namespace

// Samples in the stream's order, x fastest. Encoding replaces them by what a decoder will see, and
// returns the length of the stream, of which at most `capacity` bytes are stored.
extern "C" std::size_t plain_encode(void* samples, u32 type, u32 precision, const u32* extent,
                                    std::uint8_t* out, std::size_t capacity) {
  Coder coder;
  u32 n[4] = {extent[0], extent[1], extent[2], extent[3]};
  code_stream(coder, samples, type, precision, n);
  coder.finish();
  std::memcpy(out, coder.out.data(), coder.out.size() < capacity ? coder.out.size() : capacity);
  return coder.out.size();
}

// Returns how many bytes the samples took.
extern "C" std::size_t plain_decode(const std::uint8_t* data, std::size_t size, void* samples,
                                    u32 type, u32 precision, const u32* extent) {
  Coder coder;
  coder.start_decoding(data, size);
  u32 n[4] = {extent[0], extent[1], extent[2], extent[3]};
  code_stream(coder, samples, type, precision, n);
  return static_cast<std::size_t>(coder.in - data);
}
