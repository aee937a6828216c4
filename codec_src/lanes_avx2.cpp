// Eight lanes: what lanes_kernel.hpp asks of a vector, in AVX2.
// This file alone is compiled for such processors, and called on no other.

#include "lanes.hpp"

#if KEMP_X86

#include <immintrin.h>

#include "lanes_kernel.hpp"

namespace kemp {
namespace {

struct Avx2 {
  static constexpr int kLanes = 8;
  using I = __m256i;
  using F = __m256;
  struct M {
    __m256i v;  // all ones or none in each lane
  };
  struct Addresses {
    __m256i of_0_to_3, of_4_to_7;
  };

  static KEMP_INLINE I set(std::uint32_t v) { return _mm256_set1_epi32(static_cast<int>(v)); }
  static KEMP_INLINE I load(const std::uint32_t* p) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
  }
  static KEMP_INLINE void store(std::uint32_t* p, I v) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(p), v);
  }
  static KEMP_INLINE I add(I a, I b) { return _mm256_add_epi32(a, b); }
  static KEMP_INLINE I sub(I a, I b) { return _mm256_sub_epi32(a, b); }
  static KEMP_INLINE I mul(I a, I b) { return _mm256_mullo_epi32(a, b); }
  static KEMP_INLINE I min(I a, I b) { return _mm256_min_epu32(a, b); }
  static KEMP_INLINE I or_(I a, I b) { return _mm256_or_si256(a, b); }
  static KEMP_INLINE I xor_(I a, I b) { return _mm256_xor_si256(a, b); }
  static KEMP_INLINE I not_(I a) { return xor_(a, set(0xFFFFFFFFu)); }
  static KEMP_INLINE I low_half(I a) { return _mm256_and_si256(a, set(0xFFFF)); }
  static KEMP_INLINE I sllv(I a, I n) { return _mm256_sllv_epi32(a, n); }
  static KEMP_INLINE I srlv(I a, I n) { return _mm256_srlv_epi32(a, n); }
  template <int N>
  static KEMP_INLINE I srl(I a) {
    return _mm256_srli_epi32(a, N);
  }
  template <int N>
  static KEMP_INLINE I sll(I a) {
    return _mm256_slli_epi32(a, N);
  }

  static KEMP_INLINE M all() { return {set(0xFFFFFFFFu)}; }
  static KEMP_INLINE bool any(M m) { return _mm256_testz_si256(m.v, m.v) == 0; }
  static KEMP_INLINE unsigned bits(M m) {
    return static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(m.v)));
  }
  static KEMP_INLINE M both(M a, M b) { return {_mm256_and_si256(a.v, b.v)}; }
  static KEMP_INLINE M not_less(I a, I b) {
    return {_mm256_cmpeq_epi32(_mm256_max_epu32(a, b), a)};
  }
  static KEMP_INLINE M less(I a, I b) { return {not_(not_less(a, b).v)}; }
  static KEMP_INLINE M differ(I a, I b) { return {not_(_mm256_cmpeq_epi32(a, b))}; }
  static KEMP_INLINE I select(M m, I yes, I no) { return _mm256_blendv_epi8(no, yes, m.v); }
  static KEMP_INLINE I keep(M m, I a) { return _mm256_and_si256(m.v, a); }
  static KEMP_INLINE I increment(M m, I a) { return sub(a, m.v); }

  // No conversion knows unsigned numbers: in two halves, which are exact, and their sum rounded.
  static KEMP_INLINE F to_real(I a) {
    const F high = _mm256_cvtepi32_ps(srl<16>(a)), low = _mm256_cvtepi32_ps(low_half(a));
    return _mm256_add_ps(_mm256_mul_ps(high, _mm256_set1_ps(65536.0f)), low);
  }

  // The quotient, or one less while it is below 2^16: the three roundings are off by at most
  // 3 * 2^-24, and the divisor is taken too large by twice that. What is too large for an int
  // becomes 2^31, which is large enough to be found out.
  static KEMP_INLINE I divide_down(I a, I b) {
    const F larger = _mm256_mul_ps(to_real(b), _mm256_set1_ps(1.0f + 0x1p-21f));
    return _mm256_cvttps_epi32(_mm256_div_ps(to_real(a), larger));
  }

  // Leading zeros, in whole bytes, of numbers that are not 0: 8 for each bound that they are below.
  static KEMP_INLINE I settled_bits(I a) {
    const auto below = [&](std::uint32_t bound)
                           KEMP_LAMBDA_INLINE { return _mm256_cmpeq_epi32(min(a, set(bound)), a); };
    const I bytes = add(add(below(0xFFFFFFu), below(0xFFFFu)), below(0xFFu));
    return sll<3>(sub(set(0), bytes));
  }

  static KEMP_INLINE void shift_in(I& ahead, I& next, I& after, I n) {
    const I rest = sub(set(32), n);  // a shift by 32 gives 0, as it should
    ahead = or_(sllv(ahead, n), srlv(next, rest));
    next = or_(sllv(next, n), srlv(after, rest));
    after = sllv(after, n);
  }

  static KEMP_INLINE Addresses load_addresses(const std::uint64_t* p) {
    const auto* v = reinterpret_cast<const __m256i*>(p);
    return {_mm256_load_si256(v), _mm256_load_si256(v + 1)};
  }
  static KEMP_INLINE void store_addresses(std::uint64_t* p, Addresses a) {
    auto* v = reinterpret_cast<__m256i*>(p);
    _mm256_store_si256(v, a.of_0_to_3);
    _mm256_store_si256(v + 1, a.of_4_to_7);
  }
  static KEMP_INLINE Addresses advance(Addresses a, I bytes) {
    return {
        _mm256_add_epi64(a.of_0_to_3, _mm256_cvtepu32_epi64(_mm256_castsi256_si128(bytes))),
        _mm256_add_epi64(a.of_4_to_7, _mm256_cvtepu32_epi64(_mm256_extracti128_si256(bytes, 1)))};
  }

  // Splits four and four 64-bit numbers into eight low and eight high halves.
  static KEMP_INLINE void split(__m256i a, __m256i b, I& low, I& high) {
    const __m256 x = _mm256_castsi256_ps(a), y = _mm256_castsi256_ps(b);
    const __m256 lows = _mm256_shuffle_ps(x, y, 0x88), highs = _mm256_shuffle_ps(x, y, 0xDD);
    low = _mm256_permute4x64_epi64(_mm256_castps_si256(lows), 0xD8);
    high = _mm256_permute4x64_epi64(_mm256_castps_si256(highs), 0xD8);
  }

  static KEMP_INLINE void gather_bytes(Addresses a, I& next, I& after) {
    // Reverses each eight bytes: the stream is big-endian.
    const I reverse = _mm256_setr_epi32(0x04050607, 0x00010203, 0x0C0D0E0F, 0x08090A0B, 0x04050607,
                                        0x00010203, 0x0C0D0E0F, 0x08090A0B);
    const __m256i first =
        _mm256_i64gather_epi64(static_cast<const long long*>(nullptr), a.of_0_to_3, 1);
    const __m256i second =
        _mm256_i64gather_epi64(static_cast<const long long*>(nullptr), a.of_4_to_7, 1);
    split(_mm256_shuffle_epi8(first, reverse), _mm256_shuffle_epi8(second, reverse), after, next);
  }

  static KEMP_INLINE I lane_times(std::uint32_t stride) {
    return _mm256_mullo_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), set(stride));
  }

  static KEMP_INLINE I gather_bin(const std::uint8_t* bins, I bin) {
    const I index = add(bin, lane_times(kBinStride));
    const I found = _mm256_i32gather_epi32(reinterpret_cast<const int*>(bins), index, 1);
    return _mm256_and_si256(found, set(0xFF));
  }

  static KEMP_INLINE void gather_lasts(const std::uint16_t* lasts, I symbol, I& of_01, I& of_23) {
    const I index = add(symbol, lane_times(kSymbolStride));
    const auto* base = reinterpret_cast<const long long*>(lasts);
    split(_mm256_i32gather_epi64(base, _mm256_castsi256_si128(index), 2),
          _mm256_i32gather_epi64(base, _mm256_extracti128_si256(index, 1), 2), of_01, of_23);
  }

  static KEMP_INLINE void count(std::uint32_t* frequency, I symbol, I by) {
    alignas(32) std::uint32_t indices[8], increments[8];
    store(indices, add(symbol, lane_times(kSymbolStride)));
    store(increments, by);
    for (int lane = 0; lane < 8; ++lane) frequency[indices[lane]] += increments[lane];
  }

  static KEMP_INLINE F zero() { return _mm256_setzero_ps(); }
  static KEMP_INLINE F plus(F a, F b) { return _mm256_add_ps(a, b); }
  static KEMP_INLINE F minus(F a, F b) { return _mm256_sub_ps(a, b); }
  static KEMP_INLINE F load_reals(const float* p) { return _mm256_load_ps(p); }
  static KEMP_INLINE void store_reals(float* p, F a) { _mm256_store_ps(p, a); }
  static KEMP_INLINE I as_bits(F a) { return _mm256_castps_si256(a); }
  static KEMP_INLINE F as_reals(I a) { return _mm256_castsi256_ps(a); }
  static KEMP_INLINE bool any_nan(F a) {
    return _mm256_movemask_ps(_mm256_cmp_ps(a, a, _CMP_UNORD_Q)) != 0;
  }

  // Eight samples of each lane: transposes, and stores them at sample x of the lanes' rows.
  template <bool PlusTwo>
  static void store_block(const float* samples, char* const (&rows)[8], std::size_t x) {
    F r[8], t[8];
    for (int i = 0; i < 8; ++i) {
      r[i] = _mm256_load_ps(samples + i * 8);
      if constexpr (PlusTwo) r[i] = _mm256_sub_ps(r[i], _mm256_set1_ps(2.0f));
    }
    for (int i = 0; i < 8; i += 2) {
      t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
      t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
      for (int k = 0; k < 2; ++k) {
        const __m256d a = _mm256_castps_pd(t[i + k]), b = _mm256_castps_pd(t[i + k + 2]);
        r[i + 2 * k] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b));
        r[i + 2 * k + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
      }
    // r[4 j + k] now holds, in each half h, samples 4 j to 4 j + 3 of lane 4 h + k.
    for (int k = 0; k < 4; ++k) {
      store_row(rows[k], x, _mm256_permute2f128_ps(r[k], r[4 + k], 0x20));
      store_row(rows[4 + k], x, _mm256_permute2f128_ps(r[k], r[4 + k], 0x31));
    }
  }

  static KEMP_INLINE void store_row(char* row, std::size_t x, F samples) {
    _mm256_storeu_ps(reinterpret_cast<float*>(row + x * sizeof(float)), samples);
  }
};

}  // namespace

const LanesKernel kAvx2Lanes = {Avx2::kLanes, workspace<Avx2>, decode_lanes<Avx2>};

}  // namespace kemp

#endif
