// What the compiler and the processor offer. Nothing is compiled for more than the platform's
// baseline except functions marked here, and they are only called where `processor()` allows it.
#pragma once

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#define KEMP_INLINE __forceinline
#define KEMP_NOINLINE __declspec(noinline)
#define KEMP_LAMBDA_INLINE
#define KEMP_UNLIKELY(condition) (condition)
#define KEMP_RESTRICT __restrict
#define KEMP_PREFETCH(address) static_cast<void>(address)
#else
#define KEMP_INLINE inline __attribute__((always_inline))
#define KEMP_NOINLINE __attribute__((noinline))
#define KEMP_LAMBDA_INLINE __attribute__((always_inline))
#define KEMP_UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define KEMP_RESTRICT __restrict__
#define KEMP_PREFETCH(address) __builtin_prefetch(address)
#endif

// A build without the flags for the lanes' files, or for two architectures at once, goes without.
#if !defined(KEMP_NO_LANES) && (defined(__x86_64__) || (defined(_M_X64) && !defined(_M_ARM64EC)))
#define KEMP_X86 1
#else
#define KEMP_X86 0
#endif

// Scalar code gains a tenth from shifts that leave the flags alone, and row passes from wide
// vectors. No FMA: a product and a sum contracted would round once instead of twice.
#if KEMP_X86 && !(defined(_MSC_VER) && !defined(__clang__))
#define KEMP_TARGET_AVX2 __attribute__((target("avx2,bmi,bmi2,lzcnt")))
#else
#define KEMP_TARGET_AVX2
#endif

namespace kemp {

struct Processor {
  bool sse42 = false;
  bool avx2 = false;    // with BMI1, BMI2 and LZCNT, which come with it everywhere
  bool avx512 = false;  // F, BW, CD, DQ, VL and VBMI2
};

// Asked once.
const Processor& processor();

}  // namespace kemp
