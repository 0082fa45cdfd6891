#include "formats/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace inkling {

namespace {

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&&) = delete;
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

class FileMapping final : public ByteSource {
 public:
  FileMapping(void* data, int64_t bytes, std::string name, FileDescriptor fd)
      : ByteSource(static_cast<std::byte*>(data), bytes, std::move(name)), fd_(std::move(fd)) {}
  ~FileMapping() override {
    if (data_ != nullptr) ::munmap(data_, static_cast<size_t>(bytes_));
  }
  void check_size() const override {
    struct stat status {};
    if (::fstat(fd_.get(), &status) != 0 || status.st_size < bytes_)
      throw ModelError("{}: the file was cut while it was in use: {} bytes of {} are left", name(), status.st_size,
                       bytes_);
  }
  void release(int64_t offset, int64_t bytes) const override {
    // Whole pages inside the range only: the others hold neighbours' bytes too.
    const int64_t page = ::sysconf(_SC_PAGESIZE), begin = (offset + page - 1) / page * page,
                  end = (offset + bytes) / page * page;
    if (begin < end) ::madvise(data_ + begin, static_cast<size_t>(end - begin), MADV_DONTNEED);
  }

 private:
  FileDescriptor fd_;  // kept for check_size()
};

template <typename ErrorType>
FileDescriptor open_regular(const std::filesystem::path& path, int64_t& bytes) {
  // Non-blocking: opening a FIFO must not hang.
  FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) throw ErrorType("{}: cannot be opened: {}", path.string(), std::strerror(errno));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) throw ErrorType("{}: cannot be read: {}", path.string(), std::strerror(errno));
  if (!S_ISREG(status.st_mode)) throw ErrorType("{}: is not a file", path.string());
  bytes = status.st_size;
  return fd;
}

}  // namespace

std::shared_ptr<ByteSource> map_file(const std::filesystem::path& path) {
  const std::string name = path.string();
  int64_t bytes = 0;
  FileDescriptor fd = open_regular<ModelError>(path, bytes);
  void* data = nullptr;
  if (bytes > 0) {
    data = ::mmap(nullptr, static_cast<size_t>(bytes), PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (data == MAP_FAILED) throw ModelError("{}: cannot be mapped: {}", name, std::strerror(errno));
  }
  return std::make_shared<FileMapping>(data, bytes, name, std::move(fd));
}

std::vector<std::byte> read_small_file(const std::filesystem::path& path, int64_t max_bytes) {
  int64_t size = 0;
  const FileDescriptor fd = open_regular<ArgumentError>(path, size);
  if (size > max_bytes)
    throw ArgumentError("{}: the file takes {} bytes, at most {} are allowed", path.string(), size, max_bytes);
  std::vector<std::byte> bytes(static_cast<size_t>(size));
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = ::read(fd.get(), bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw ArgumentError("{}: cannot be read: {}", path.string(), std::strerror(errno));
    if (count == 0) break;  // it shrank meanwhile
    done += static_cast<size_t>(count);
  }
  bytes.resize(done);
  return bytes;
}

std::shared_ptr<ByteSource> borrow_bytes(std::span<const std::byte> bytes, const std::string& name) {
  // Storage is for readers and writers alike; a tensor of a file is only ever read.
  return std::make_shared<ByteSource>(const_cast<std::byte*>(bytes.data()), static_cast<int64_t>(bytes.size()), name);
}

std::string show(std::string_view text) {
  constexpr size_t kMaxShown = 120;
  std::string result = "\"";
  for (const char c : text.substr(0, kMaxShown)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f || c == '"' || c == '\\') {
      result += fmt::format("\\x{:02x}", byte);
    } else {
      result += c;
    }
  }
  result += '"';
  if (text.size() > kMaxShown) result += fmt::format("... ({} bytes)", text.size());
  return result;
}

}  // namespace inkling
