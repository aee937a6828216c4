// Bytes going out: a buffer that grows, with room promised ahead so that the hot loops need not
// ask.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

namespace kemp {

inline std::uint32_t load_big_endian(const std::uint8_t* p) {
  return std::uint32_t{p[0]} << 24 | std::uint32_t{p[1]} << 16 | std::uint32_t{p[2]} << 8 | p[3];
}

inline void store_big_endian(std::uint8_t* p, std::uint32_t v) {
  p[0] = static_cast<std::uint8_t>(v >> 24);
  p[1] = static_cast<std::uint8_t>(v >> 16);
  p[2] = static_cast<std::uint8_t>(v >> 8);
  p[3] = static_cast<std::uint8_t>(v);
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

}  // namespace kemp
