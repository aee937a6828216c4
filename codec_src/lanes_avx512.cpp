// Sixteen lanes: what lanes_kernel.hpp asks of a vector, in AVX-512 (F, BW, CD, DQ, VL, VBMI2).
// This file alone is compiled for such processors, and called on no other.

#include "lanes.hpp"

#if KEMP_X86

#include <immintrin.h>

#include "lanes_kernel.hpp"

namespace kemp {
namespace {

struct Avx512 {
  static constexpr int kLanes = 16;
  using I = __m512i;
  using F = __m512;
  using M = __mmask16;
  struct Addresses {
    __m512i of_0_to_7, of_8_to_15;
  };

  static KEMP_INLINE I set(std::uint32_t v) { return _mm512_set1_epi32(static_cast<int>(v)); }
  static KEMP_INLINE I load(const std::uint32_t* p) { return _mm512_load_si512(p); }
  static KEMP_INLINE void store(std::uint32_t* p, I v) { _mm512_store_si512(p, v); }
  static KEMP_INLINE I add(I a, I b) { return _mm512_add_epi32(a, b); }
  static KEMP_INLINE I sub(I a, I b) { return _mm512_sub_epi32(a, b); }
  static KEMP_INLINE I mul(I a, I b) { return _mm512_mullo_epi32(a, b); }
  static KEMP_INLINE I min(I a, I b) { return _mm512_min_epu32(a, b); }
  static KEMP_INLINE I or_(I a, I b) { return _mm512_or_si512(a, b); }
  static KEMP_INLINE I xor_(I a, I b) { return _mm512_xor_si512(a, b); }
  static KEMP_INLINE I not_(I a) { return _mm512_ternarylogic_epi32(a, a, a, 0x55); }
  static KEMP_INLINE I low_half(I a) { return _mm512_and_si512(a, set(0xFFFF)); }
  static KEMP_INLINE I sllv(I a, I n) { return _mm512_sllv_epi32(a, n); }
  static KEMP_INLINE I srlv(I a, I n) { return _mm512_srlv_epi32(a, n); }
  template <int N>
  static KEMP_INLINE I srl(I a) {
    return _mm512_srli_epi32(a, N);
  }
  template <int N>
  static KEMP_INLINE I sll(I a) {
    return _mm512_slli_epi32(a, N);
  }

  static KEMP_INLINE M all() { return 0xFFFF; }
  static KEMP_INLINE bool any(M m) { return m != 0; }
  static KEMP_INLINE unsigned bits(M m) { return m; }
  static KEMP_INLINE M both(M a, M b) { return _kand_mask16(a, b); }
  static KEMP_INLINE M less(I a, I b) { return _mm512_cmplt_epu32_mask(a, b); }
  static KEMP_INLINE M not_less(I a, I b) { return _mm512_cmpge_epu32_mask(a, b); }
  static KEMP_INLINE M differ(I a, I b) { return _mm512_cmpneq_epi32_mask(a, b); }
  static KEMP_INLINE I select(M m, I yes, I no) { return _mm512_mask_mov_epi32(no, m, yes); }
  static KEMP_INLINE I keep(M m, I a) { return _mm512_maskz_mov_epi32(m, a); }
  static KEMP_INLINE I increment(M m, I a) { return _mm512_mask_add_epi32(a, m, a, set(1)); }

  // The quotient, or one less. Every rounding goes down, those of the divisor up.
  static KEMP_INLINE I divide_down(I a, I b) {
    const F x = _mm512_cvt_roundepu32_ps(a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
    const F y = _mm512_cvt_roundepu32_ps(b, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
    return _mm512_cvttps_epu32(_mm512_div_round_ps(x, y, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC));
  }

  // Leading zeros, in whole bytes, of numbers that are not 0.
  static KEMP_INLINE I settled_bits(I a) {
    return _mm512_and_si512(_mm512_lzcnt_epi32(a), set(24));
  }

  static KEMP_INLINE void shift_in(I& ahead, I& next, I& after, I n) {
    ahead = _mm512_shldv_epi32(ahead, next, n);
    next = _mm512_shldv_epi32(next, after, n);
    after = _mm512_sllv_epi32(after, n);
  }

  static KEMP_INLINE Addresses load_addresses(const std::uint64_t* p) {
    return {_mm512_load_si512(p), _mm512_load_si512(p + 8)};
  }
  static KEMP_INLINE void store_addresses(std::uint64_t* p, Addresses a) {
    _mm512_store_si512(p, a.of_0_to_7);
    _mm512_store_si512(p + 8, a.of_8_to_15);
  }
  static KEMP_INLINE Addresses advance(Addresses a, I bytes) {
    return {
        _mm512_add_epi64(a.of_0_to_7, _mm512_cvtepu32_epi64(_mm512_castsi512_si256(bytes))),
        _mm512_add_epi64(a.of_8_to_15, _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64(bytes, 1)))};
  }

  // Splits eight and eight 64-bit numbers into sixteen low and sixteen high halves.
  static KEMP_INLINE void split(__m512i a, __m512i b, I& low, I& high) {
    const I even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    low = _mm512_permutex2var_epi32(a, even, b);
    high = _mm512_permutex2var_epi32(a, _mm512_add_epi32(even, set(1)), b);
  }

  static KEMP_INLINE void gather_bytes(Addresses a, I& next, I& after) {
    // Reverses each eight bytes: the stream is big-endian.
    const I reverse = _mm512_set4_epi32(0x08090A0B, 0x0C0D0E0F, 0x00010203, 0x04050607);
    const __m512i first = _mm512_i64gather_epi64(a.of_0_to_7, nullptr, 1);
    const __m512i second = _mm512_i64gather_epi64(a.of_8_to_15, nullptr, 1);
    split(_mm512_shuffle_epi8(first, reverse), _mm512_shuffle_epi8(second, reverse), after, next);
  }

  static KEMP_INLINE I lane_times(std::uint32_t stride) {
    const I lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_mullo_epi32(lane, set(stride));
  }

  static KEMP_INLINE I gather_bin(const std::uint8_t* bins, I bin) {
    const I index = _mm512_add_epi32(bin, lane_times(kBinStride));
    return _mm512_and_si512(_mm512_i32gather_epi32(index, bins, 1), set(0xFF));
  }

  static KEMP_INLINE void gather_lasts(const std::uint16_t* lasts, I symbol, I& of_01, I& of_23) {
    const I index = _mm512_add_epi32(symbol, lane_times(kSymbolStride));
    split(_mm512_i32gather_epi64(_mm512_castsi512_si256(index), lasts, 2),
          _mm512_i32gather_epi64(_mm512_extracti64x4_epi64(index, 1), lasts, 2), of_01, of_23);
  }

  static KEMP_INLINE void count(std::uint32_t* frequency, I symbol, I by) {
    const I index = _mm512_add_epi32(symbol, lane_times(kSymbolStride));
    const I counts = _mm512_i32gather_epi32(index, frequency, 4);
    _mm512_i32scatter_epi32(frequency, index, _mm512_add_epi32(counts, by), 4);
  }

  static KEMP_INLINE F zero() { return _mm512_setzero_ps(); }
  static KEMP_INLINE F plus(F a, F b) { return _mm512_add_ps(a, b); }
  static KEMP_INLINE F minus(F a, F b) { return _mm512_sub_ps(a, b); }
  static KEMP_INLINE F load_reals(const float* p) { return _mm512_load_ps(p); }
  static KEMP_INLINE void store_reals(float* p, F a) { _mm512_store_ps(p, a); }
  static KEMP_INLINE I as_bits(F a) { return _mm512_castps_si512(a); }
  static KEMP_INLINE F as_reals(I a) { return _mm512_castsi512_ps(a); }
  static KEMP_INLINE bool any_nan(F a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q) != 0; }

  // Sixteen samples of each lane: transposes, and stores them at sample x of the lanes' rows.
  template <bool PlusTwo>
  static void store_block(const float* samples, char* const (&rows)[16], std::size_t x) {
    F r[16], t[16];
    for (int i = 0; i < 16; ++i) {
      r[i] = _mm512_load_ps(samples + i * 16);
      if constexpr (PlusTwo) r[i] = _mm512_sub_ps(r[i], _mm512_set1_ps(2.0f));
    }
    for (int i = 0; i < 16; i += 2) {
      t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
      t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
      for (int k = 0; k < 2; ++k) {
        const __m512d a = _mm512_castps_pd(t[i + k]), b = _mm512_castps_pd(t[i + k + 2]);
        r[i + 2 * k] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
        r[i + 2 * k + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
      }
    // r[4 j + k] now holds, in each quarter q, samples 4 j to 4 j + 3 of lane 4 q + k.
    for (int k = 0; k < 4; ++k) {
      const F a = _mm512_shuffle_f32x4(r[k], r[4 + k], 0x88),
              b = _mm512_shuffle_f32x4(r[k], r[4 + k], 0xDD);
      const F c = _mm512_shuffle_f32x4(r[8 + k], r[12 + k], 0x88),
              d = _mm512_shuffle_f32x4(r[8 + k], r[12 + k], 0xDD);
      store_row(rows[k], x, _mm512_shuffle_f32x4(a, c, 0x88));
      store_row(rows[8 + k], x, _mm512_shuffle_f32x4(a, c, 0xDD));
      store_row(rows[4 + k], x, _mm512_shuffle_f32x4(b, d, 0x88));
      store_row(rows[12 + k], x, _mm512_shuffle_f32x4(b, d, 0xDD));
    }
  }

  static KEMP_INLINE void store_row(char* row, std::size_t x, F samples) {
    _mm512_storeu_ps(row + x * sizeof(float), samples);
  }
};

}  // namespace

const LanesKernel kAvx512Lanes = {Avx512::kLanes, workspace<Avx512>, decode_lanes<Avx512>};

}  // namespace kemp

#endif
