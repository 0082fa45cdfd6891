// A file that appears complete or not at all.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace inkling {

// Written under a temporary name beside `path`; commit() renames it. Without commit() the temporary file is
// removed. A path that is something else than a file (a device, a pipe) is written directly. Errors throw
// RuntimeError with path and reason.
class OutputFile {
 public:
  explicit OutputFile(std::filesystem::path path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write_zeros(size_t count);
  // At a place of its own, whatever was written before; not for pipes.
  void write_at(int64_t offset, std::span<const std::byte> bytes);
  void resize(int64_t bytes);  // what was never written reads as zeros
  void commit();

 private:
  [[noreturn]] void fail(int error) const;

  std::filesystem::path path_;
  std::filesystem::path written_;  // temporary name, or path_
  int fd_ = -1;
};

}  // namespace inkling
