// What the tests of formats/ share: test files, a folder that vanishes, and checks of errors.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "base/error.h"
#include "formats/tensor_file.h"

namespace inkling::testing {

using Bytes = std::vector<std::byte>;

inline std::filesystem::path data_path(const std::string& name) {
  return std::filesystem::path(INKLING_SOURCE_DIR) / "tests/formats/data" / name;
}

inline Bytes to_bytes(std::string_view text) {
  const auto* begin = reinterpret_cast<const std::byte*>(text.data());
  return {begin, begin + text.size()};
}

inline Bytes read_bytes(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  return to_bytes(text);
}

inline void write_bytes(const std::filesystem::path& path, const Bytes& bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}
inline void write_bytes(const std::filesystem::path& path, std::string_view text) { write_bytes(path, to_bytes(text)); }

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "inkling-test-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw RuntimeError("mkdtemp failed");
    path_ = pattern;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }
  size_t file_count() const {
    return static_cast<size_t>(
        std::distance(std::filesystem::directory_iterator(path_), std::filesystem::directory_iterator()));
  }

 private:
  std::filesystem::path path_;
};

// `action` must throw ErrorType with a message that holds `part`.
template <typename ErrorType>
void expect_error(const std::function<void()>& action, const std::string& part) {
  try {
    action();
    ADD_FAILURE() << "no error; expected one with: " << part;
  } catch (const ErrorType& error) {
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
        << "got: " << error.what() << "\nexpected: " << part;
  } catch (const std::exception& error) {
    ADD_FAILURE() << "an error of another type: " << error.what() << "\nexpected: " << part;
  }
}

// Peak resident memory in KiB since reset_peak_memory(), by /proc.
inline void reset_peak_memory() { std::ofstream("/proc/self/clear_refs") << "5"; }
inline long peak_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::stol(line.substr(6));
  return 0;
}

// Loads every tensor and reads every byte, so that a wrong offset shows under AddressSanitizer.
inline uint64_t touch_all(const TensorFile& file) {
  uint64_t sum = 0;
  for (const TensorEntry& entry : file.entries()) {
    const Tensor tensor = file.load(entry);
    for (int64_t i = 0; i < tensor.bytes(); ++i) sum += static_cast<uint64_t>(tensor.raw()[i]);
  }
  return sum;
}

// Feeds every prefix of `bytes` and every change of one byte; each must be read or throw Error.
inline void survive_damage(const Bytes& bytes, const std::function<void(const Bytes&)>& read) {
  const auto attempt = [&](const Bytes& damaged) {
    try {
      read(damaged);
    } catch (const Error&) {
    }
  };
  for (size_t length = 0; length < bytes.size(); ++length)
    attempt(Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length)));
  for (size_t i = 0; i < bytes.size(); ++i) {
    Bytes damaged = bytes;
    for (const int mask : {1, 2, 4, 8, 16, 32, 64, 128, 255}) {
      damaged[i] = bytes[i] ^ static_cast<std::byte>(mask);
      attempt(damaged);
    }
  }
}

}  // namespace inkling::testing
