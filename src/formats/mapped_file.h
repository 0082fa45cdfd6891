// The bytes of a tensor file: a read-only mapping of a file, or a span that somebody else owns.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/storage.h"

namespace inkling {

class ByteSource : public Storage {
 public:
  ByteSource(std::byte* data, int64_t bytes, std::string name) : Storage(data, bytes), name_(std::move(name)) {}
  const std::string& name() const { return name_; }  // for error messages
  std::span<const std::byte> view() const { return {data_, static_cast<size_t>(bytes_)}; }
  // Throws ModelError when the file has become shorter than it was when opened: touching the lost pages would
  // raise SIGBUS. Cheap (one fstat), but no guarantee: the file may still shrink afterwards.
  virtual void check_size() const {}
  // These bytes are not needed soon: a mapping gives their memory back and reads them again when touched.
  virtual void release(int64_t, int64_t) const {}

 private:
  std::string name_;
};

// Maps a regular file; throws ModelError when it cannot. Writing through the Storage faults, by design.
std::shared_ptr<ByteSource> map_file(const std::filesystem::path& path);
// The bytes must outlive the result.
std::shared_ptr<ByteSource> borrow_bytes(std::span<const std::byte> bytes, const std::string& name);

// A whole regular file in memory, which unlike a mapping is safe when the file shrinks. Throws ArgumentError
// when it cannot be read or takes more than max_bytes.
std::vector<std::byte> read_small_file(const std::filesystem::path& path, int64_t max_bytes);

// Text from a file for an error message: quoted, control characters escaped, cut at 120 bytes.
std::string show(std::string_view text);

}  // namespace inkling
