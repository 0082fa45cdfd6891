#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace inkling::testing {

inline std::string environment(const char* name, const std::string& fallback) {
  const char* value = std::getenv(name);
  return value && *value ? value : fallback;
}

inline std::filesystem::path small_tokenizer_dir() { return std::string(INKLING_SOURCE_DIR) + "/tests/text/data"; }

// The small committed tokenizer, or that of INKLING_TOKENIZER_DIR.
inline std::filesystem::path tokenizer_dir() { return environment("INKLING_TOKENIZER_DIR", small_tokenizer_dir()); }

inline const Tokenizer& tokenizer() {
  static const Tokenizer loaded = Tokenizer::load(tokenizer_dir());
  return loaded;
}

struct Vector {
  std::string text;
  std::vector<int32_t> ids, plain;
};

// JSON lines {"text", "ids"} and, where it differs, "plain"; see make_vectors.py. INKLING_TOKENIZER_VECTORS
// names a file for the tokenizer of INKLING_TOKENIZER_DIR.
inline const std::vector<Vector>& vectors() {
  static const std::vector<Vector> loaded = [] {
    std::vector<Vector> result;
    const bool other = tokenizer_dir() != small_tokenizer_dir();
    const std::string own = (small_tokenizer_dir() / "vectors.jsonl").string();
    std::ifstream file(environment("INKLING_TOKENIZER_VECTORS", other ? "" : own));
    for (std::string line; std::getline(file, line);) {
      const auto row = nlohmann::json::parse(line);
      const auto ids = row.at("ids").get<std::vector<int32_t>>();
      result.push_back({row.at("text").get<std::string>(), ids, row.value("plain", ids)});
    }
    return result;
  }();
  return loaded;
}

// A directory that goes away with the test.
class TemporaryDir {
 public:
  TemporaryDir() {
    std::string name = (std::filesystem::temp_directory_path() / "inkling-test-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TemporaryDir() { std::filesystem::remove_all(path_); }
  TemporaryDir(const TemporaryDir&) = delete;
  TemporaryDir& operator=(const TemporaryDir&) = delete;
  const std::filesystem::path& path() const { return path_; }
  void write(const std::string& name, const std::string& content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
  }

 private:
  std::filesystem::path path_;
};

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace inkling::testing
