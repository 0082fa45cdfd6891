#include "formats/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace inkling {

namespace fs = std::filesystem;

OutputFile::OutputFile(fs::path path) : path_(std::move(path)), written_(path_) {
  static std::atomic<unsigned> counter{0};
  std::error_code ignored;
  const fs::file_status status = fs::status(path_, ignored);
  const bool directly = fs::exists(status) && !fs::is_regular_file(status);
  int flags = O_WRONLY | O_CLOEXEC;
  if (!directly) {
    written_ += fmt::format(".{}-{}.tmp", ::getpid(), counter++);
    flags |= O_CREAT | O_EXCL;
  }
  fd_ = ::open(written_.c_str(), flags, 0666);
  if (fd_ < 0) fail(errno);
}

OutputFile::~OutputFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  if (written_ != path_) ::unlink(written_.c_str());
}

void OutputFile::fail(int error) const {
  throw RuntimeError("{}: cannot be written: {}", path_.string(), std::strerror(error));
}

void OutputFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), std::min<size_t>(bytes.size(), 1 << 30));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(errno);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void OutputFile::write_zeros(size_t count) {
  static constexpr std::array<std::byte, 4096> kZeros{};
  for (; count > 0; count -= std::min(count, kZeros.size()))
    write(std::span(kZeros).first(std::min(count, kZeros.size())));
}

void OutputFile::write_at(int64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd_, bytes.data(), std::min<size_t>(bytes.size(), 1 << 30), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(errno);
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset += written;
  }
}

void OutputFile::resize(int64_t bytes) {
  if (::ftruncate(fd_, bytes) != 0) fail(errno);
}

void OutputFile::commit() {
  const int closed = ::close(fd_);  // network file systems report a full disk here
  const int error = errno;
  fd_ = -1;
  const bool renamed = closed == 0 && (written_ == path_ || ::rename(written_.c_str(), path_.c_str()) == 0);
  if (renamed) return;
  const int reason = closed == 0 ? errno : error;
  if (written_ != path_) ::unlink(written_.c_str());
  fail(reason);
}

}  // namespace inkling
