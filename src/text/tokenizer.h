// Byte-level BPE of Qwen2 / Qwen2.5-VL (reference/qwen-image.md section 2).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace inkling {

class Tokenizer {
 public:
  // `dir` holds vocab.json + merges.txt (+ tokenizer_config.json / added_tokens.json) or tokenizer.json.
  // Throws ModelError.
  static Tokenizer load(const std::filesystem::path& dir);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Special-token strings in `text` become their ids (for templates).
  std::vector<int32_t> encode(std::string_view text) const;
  // Special-token strings in `text` are plain text (for what a user typed). Invalid UTF-8: ArgumentError.
  std::vector<int32_t> encode_plain(std::string_view text) const;
  std::string decode(std::span<const int32_t> ids) const;
  // -1 when absent.
  int32_t token_id(std::string_view token) const;
  int32_t vocab_size() const;  // largest id + 1

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace inkling
