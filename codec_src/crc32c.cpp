#include "crc32c.hpp"

#include <array>
#include <cstring>

#include "processor.hpp"

#if KEMP_X86
#include <nmmintrin.h>
#if defined(_MSC_VER) && !defined(__clang__)
#define KEMP_TARGET_CRC
#else
#define KEMP_TARGET_CRC __attribute__((target("sse4.2")))
#endif
#elif defined(__ARM_FEATURE_CRC32)
// Only where the whole build may assume it, as on every Apple processor.
#define KEMP_ARM_CRC
#include <arm_acle.h>
#endif

namespace kemp {
namespace {

constexpr std::uint32_t kPolynomial = 0x82F63B78u;  // bits reversed

// Entry [k][b] is what a byte b does to the checksum when k more bytes follow it: eight look-ups
// that do not wait for each other take in eight bytes.
using Tables = std::array<std::array<std::uint32_t, 256>, 8>;

constexpr Tables make_tables() {
  Tables tables{};
  for (std::uint32_t b = 0; b < 256; ++b) {
    std::uint32_t crc = b;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? kPolynomial : 0u);
    tables[0][b] = crc;
  }
  for (std::size_t k = 1; k < 8; ++k)
    for (std::uint32_t b = 0; b < 256; ++b) {
      const std::uint32_t crc = tables[k - 1][b];
      tables[k][b] = crc >> 8 ^ tables[0][crc & 0xFFu];
    }
  return tables;
}

constexpr Tables kTables = make_tables();

#if KEMP_X86
bool has_instruction() { return processor().sse42; }

KEMP_TARGET_CRC std::uint32_t by_instruction(const std::uint8_t* data, std::size_t size) {
  std::uint64_t crc = 0xFFFFFFFFu;
  for (; size >= 8; size -= 8, data += 8) {
    std::uint64_t word;
    std::memcpy(&word, data, sizeof word);
    crc = _mm_crc32_u64(crc, word);
  }
  auto narrow = static_cast<std::uint32_t>(crc);
  for (; size > 0; --size, ++data) narrow = _mm_crc32_u8(narrow, *data);
  return ~narrow;
}
#elif defined(KEMP_ARM_CRC)
bool has_instruction() { return true; }

std::uint32_t by_instruction(const std::uint8_t* data, std::size_t size) {
  std::uint32_t crc = 0xFFFFFFFFu;
  for (; size >= 8; size -= 8, data += 8) {
    std::uint64_t word;
    std::memcpy(&word, data, sizeof word);
    crc = __crc32cd(crc, word);
  }
  for (; size > 0; --size, ++data) crc = __crc32cb(crc, *data);
  return ~crc;
}
#else
bool has_instruction() { return false; }
std::uint32_t by_instruction(const std::uint8_t* data, std::size_t size) {
  return crc32c_portable(data, size);
}
#endif

}  // namespace

std::uint32_t crc32c_portable(const std::uint8_t* data, std::size_t size) {
  std::uint32_t crc = 0xFFFFFFFFu;
  for (; size >= 8; size -= 8, data += 8) {
    std::uint32_t next = 0;
    for (std::size_t i = 0; i < 4; ++i)
      next ^= kTables[7 - i][(crc >> (8 * i) & 0xFFu) ^ data[i]] ^ kTables[3 - i][data[4 + i]];
    crc = next;
  }
  for (; size > 0; --size, ++data) crc = crc >> 8 ^ kTables[0][(crc ^ *data) & 0xFFu];
  return ~crc;
}

std::uint32_t crc32c(const std::uint8_t* data, std::size_t size) {
  static const bool fast = has_instruction();
  return fast ? by_instruction(data, size) : crc32c_portable(data, size);
}

}  // namespace kemp
