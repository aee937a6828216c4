// Bytes going out and coming in. Either way room is promised ahead, so that the hot loops need not
// ask where a buffer ends.
#pragma once

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

#if defined(_MSC_VER) && !defined(__clang__)
#include <stdlib.h>
#endif

namespace kemp {

// Every processor that the core is built for is little-endian.
inline std::uint32_t swap_bytes(std::uint32_t v) {
#if defined(_MSC_VER) && !defined(__clang__)
  return _byteswap_ulong(v);
#else
  return __builtin_bswap32(v);
#endif
}

inline std::uint32_t load_big_endian(const std::uint8_t* p) {
  std::uint32_t v;
  std::memcpy(&v, p, sizeof v);
  return swap_bytes(v);
}

inline void store_big_endian(std::uint8_t* p, std::uint32_t v) {
  v = swap_bytes(v);
  std::memcpy(p, &v, sizeof v);
}

// The memory of a thread's last buffers, for its next ones. Memory that is new from the system
// costs a tenth of an encode, a page at a time; what is kept is no more than a large chunk needs.
class SpareMemory {
 public:
  struct Block {
    std::uint8_t* start = nullptr;
    std::size_t size = 0;
  };

  SpareMemory() = default;
  SpareMemory(const SpareMemory&) = delete;
  SpareMemory& operator=(const SpareMemory&) = delete;
  ~SpareMemory() {
    for (Block& block : blocks_) std::free(block.start);
  }

  static SpareMemory& of_this_thread() {
    thread_local SpareMemory spare;
    return spare;
  }

  Block take() {
    for (Block& block : blocks_)
      if (block.start != nullptr) return std::exchange(block, {});
    return {};
  }

  void give(Block given) {
    for (Block& block : blocks_)
      if (block.start == nullptr && given.size <= kMost) {
        block = given;
        return;
      }
    std::free(given.start);
  }

 private:
  static constexpr std::size_t kMost = std::size_t{32} << 20;

  std::array<Block, 2> blocks_;  // as many streams as are encoded in turn
};

class ByteBuffer {
 public:
  ByteBuffer() : block_(SpareMemory::of_this_thread().take()) {}
  ByteBuffer(ByteBuffer&& other) noexcept
      : block_(std::exchange(other.block_, {})), size_(std::exchange(other.size_, 0)) {}
  ByteBuffer& operator=(ByteBuffer&& other) noexcept {
    std::swap(block_, other.block_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~ByteBuffer() { SpareMemory::of_this_thread().give(block_); }

  const std::uint8_t* data() const { return block_.start; }
  std::size_t size() const { return size_; }

  // Where the next byte goes; at least `room` bytes may be written there before `advance`.
  std::uint8_t* reserve(std::size_t room) {
    if (block_.size - size_ < room) grow(size_ + room);
    return block_.start + size_;
  }

  void advance(std::size_t count) { size_ += count; }

  void append_zeros(std::size_t count) {
    std::memset(reserve(count), 0, count);
    advance(count);
  }

 private:
  void grow(std::size_t least) {
    // realloc, not vector: large buffers then move by page tables and are never zero-filled.
    const std::size_t size = least + least / 2;
    if (size_ == 0) std::free(std::exchange(block_, {}).start);  // spare memory, nothing to move
    void* moved = std::realloc(block_.start, size);
    if (moved == nullptr) throw std::bad_alloc();
    block_ = {static_cast<std::uint8_t*>(moved), size};
  }

  SpareMemory::Block block_;
  std::size_t size_ = 0;
};

// The bytes of a stream, then zeros without end. The zeros are not there before they are asked for:
// near the end, reading moves to a copy of the rest that is padded with them.
class IncomingBytes {
 public:
  IncomingBytes(const std::uint8_t* data, std::size_t size)
      : start_(data), end_(data + size), size_(size) {}

  const std::uint8_t* at(std::uint64_t offset) const {
    return start_ + (offset < size_ ? offset : size_);
  }

  // Makes `room` bytes readable from `at` on, and returns where they are now. A reader that is past
  // the end already is sent back to it: it reads zeros, and is as far past the end as before.
  const std::uint8_t* promise(const std::uint8_t* at, std::size_t room) {
    if (end_ > at && static_cast<std::size_t>(end_ - at) >= room) return at;
    const std::size_t here = position(at);
    std::vector<std::uint8_t> padded((here < size_ ? size_ - here : 0) + 2 * room);
    if (here < size_) std::memcpy(padded.data(), at, size_ - here);
    padded_ = std::move(padded);
    start_ = padded_.data();
    end_ = start_ + padded_.size();
    before_ = here;
    return start_;
  }

  std::size_t position(const std::uint8_t* at) const {
    return before_ + static_cast<std::size_t>(at - start_);
  }

  std::size_t size() const { return size_; }

 private:
  const std::uint8_t* start_;  // of what is being read: the data themselves, or the padded copy
  const std::uint8_t* end_;
  std::size_t before_ = 0;  // position of `start_` in the stream
  std::size_t size_;
  std::vector<std::uint8_t> padded_;
};

}  // namespace kemp
