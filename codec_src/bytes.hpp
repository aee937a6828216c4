// Bytes going out and coming in. Either way room is promised ahead, so that the hot loops need not
// ask where a buffer ends.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
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

class ByteBuffer {
 public:
  const std::uint8_t* data() const { return bytes_.get(); }
  std::size_t size() const { return size_; }

  // Where the next byte goes; at least `room` bytes may be written there before `advance`.
  std::uint8_t* reserve(std::size_t room) {
    if (capacity_ - size_ < room) grow(size_ + room);
    return bytes_.get() + size_;
  }

  void advance(std::size_t count) { size_ += count; }

  void append_zeros(std::size_t count) {
    std::memset(reserve(count), 0, count);
    advance(count);
  }

 private:
  struct Free {
    void operator()(std::uint8_t* p) const { std::free(p); }
  };

  void grow(std::size_t least) {
    // realloc, not vector: large buffers then move by page tables and are never zero-filled.
    const std::size_t capacity = least + least / 2;
    void* moved = std::realloc(bytes_.get(), capacity);
    if (moved == nullptr) throw std::bad_alloc();
    static_cast<void>(bytes_.release());
    bytes_.reset(static_cast<std::uint8_t*>(moved));
    capacity_ = capacity;
  }

  std::unique_ptr<std::uint8_t[], Free> bytes_;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
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
