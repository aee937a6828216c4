// CRC-32C (Castagnoli), by the processor's own instruction where it has one.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kemp {

std::uint32_t crc32c(const std::uint8_t* data, std::size_t size);

// The same by tables: what every other processor does, and what the tests hold the first against.
std::uint32_t crc32c_portable(const std::uint8_t* data, std::size_t size);

}  // namespace kemp
