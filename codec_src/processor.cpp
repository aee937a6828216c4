#include "processor.hpp"

namespace kemp {
namespace {

#if KEMP_X86 && defined(_MSC_VER) && !defined(__clang__)
Processor ask() {
  int leaf1[4], leaf7[4], extended[4];
  __cpuid(leaf1, 1);
  __cpuidex(leaf7, 7, 0);
  __cpuid(extended, 0x80000001);
  const auto bit = [](int word, int n) { return (static_cast<unsigned>(word) >> n & 1u) != 0; };
  Processor p;
  p.sse42 = bit(leaf1[2], 20);
  // The system must save the wide registers too: XCR0 says so, where OSXSAVE lets it be read.
  const unsigned long long saved = bit(leaf1[2], 27) ? _xgetbv(0) : 0;
  p.avx2 = (saved & 0x06) == 0x06 && bit(leaf7[1], 5) && bit(leaf7[1], 3) && bit(leaf7[1], 8) &&
           bit(extended[2], 5);
  p.avx512 = p.avx2 && (saved & 0xE6) == 0xE6 && bit(leaf7[1], 16) && bit(leaf7[1], 17) &&
             bit(leaf7[1], 28) && bit(leaf7[1], 30) && bit(leaf7[1], 31) && bit(leaf7[2], 6);
  return p;
}
#elif KEMP_X86
Processor ask() {
  Processor p;
  p.sse42 = __builtin_cpu_supports("sse4.2");
  p.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2");
  p.avx512 = p.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi2");
  return p;
}
#else
Processor ask() { return {}; }
#endif

}  // namespace

const Processor& processor() {
  static const Processor known = ask();
  return known;
}

}  // namespace kemp
