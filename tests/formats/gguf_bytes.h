// Builds GGUF files by hand, right or wrong.
#pragma once

#include "helpers.h"

namespace inkling::testing {

class GgufBytes {
 public:
  GgufBytes(uint64_t tensors, uint64_t pairs, uint32_t version = 3, std::string_view magic = "GGUF") {
    raw(magic).number(version).number(tensors).number(pairs);
  }
  template <typename T>
  GgufBytes& number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    return *this;
  }
  GgufBytes& raw(std::string_view text) {
    bytes_ += text;
    return *this;
  }
  GgufBytes& string(std::string_view text) { return number<uint64_t>(text.size()).raw(text); }
  // A key and the number of its value's type; the value follows.
  GgufBytes& key(std::string_view text, uint32_t type) { return string(text).number(type); }
  // dims as in the file: innermost first.
  GgufBytes& tensor(std::string_view name, const std::vector<int64_t>& dims, uint32_t type, uint64_t offset) {
    string(name).number(static_cast<uint32_t>(dims.size()));
    for (const int64_t d : dims) number(d);
    return number(type).number(offset);
  }
  GgufBytes& pad(size_t alignment = 32) {
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment);
    return *this;
  }
  GgufBytes& zeros(size_t count) {
    bytes_.resize(bytes_.size() + count);
    return *this;
  }
  Bytes bytes() const { return to_bytes(bytes_); }

 private:
  std::string bytes_;
};

}  // namespace inkling::testing
