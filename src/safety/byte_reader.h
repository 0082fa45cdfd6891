// Bounds-checked reading of the filter's binary files.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace inkling {

inline uint64_t fnv1a(std::string_view bytes, uint64_t hash = 0xcbf29ce484222325u) {
  for (const char c : bytes) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  return hash;
}

// Little-endian values; the last 8 bytes are the FNV-1a hash of all before them.
class ByteReader {
 public:
  ByteReader(std::string_view bytes, std::string_view file, std::string_view magic) : file_(file) {
    if (bytes.size() < magic.size() + 8)
      throw ModelError("{}: got {} bytes, the file is cut short", file, bytes.size());
    left_ = bytes.substr(0, bytes.size() - 8);
    uint64_t hash = 0;
    std::memcpy(&hash, bytes.data() + left_.size(), 8);
    if (hash != fnv1a(left_)) throw ModelError("{}: the checksum is wrong, the file is damaged", file);
    if (take(magic.size()) != magic) throw ModelError("{}: not a file of this kind", file);
  }
  template <typename T>
  T read() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  template <typename T>
  std::vector<T> read_many(uint64_t count) {
    if (count > left_.size() / sizeof(T))
      throw ModelError("{}: asks for {} values, the file is cut short", file_, count);
    std::vector<T> values(count);
    const std::string_view bytes = take(count * sizeof(T));
    if (count > 0) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  std::string_view take(size_t count) {
    if (count > left_.size()) throw ModelError("{}: the file is cut short", file_);
    const std::string_view taken = left_.substr(0, count);
    left_.remove_prefix(count);
    return taken;
  }
  void finish() const {
    if (!left_.empty()) throw ModelError("{}: {} bytes too many", file_, left_.size());
  }

 private:
  std::string_view left_, file_;
};

}  // namespace inkling
