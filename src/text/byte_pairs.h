// Byte-pair merging: the part of the tokenizer that knows ids.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace inkling {

class BytePairs {
 public:
  // tokens by id and merges by rank, in the byte-to-unicode spelling. Throws ModelError.
  BytePairs(std::vector<std::string> tokens, const std::vector<std::pair<std::string, std::string>>& merges);

  // Appends the ids of one piece. O(n log n) in its length.
  void encode(std::string_view piece, std::vector<int32_t>& ids) const;
  // Appends the bytes that a token stands for; false when there is no such token.
  bool decode(int32_t id, std::string& bytes) const;
  int32_t find(std::string_view token) const;  // -1 when absent
  int32_t size() const { return static_cast<int32_t>(tokens_.size()); }
  std::string_view token(int32_t id) const { return tokens_[static_cast<size_t>(id)]; }

 private:
  struct Merge {
    uint64_t pair = kEmpty;  // left id << 32 | right id
    int32_t rank = 0, id = 0;
  };
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  static uint64_t pair_of(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  size_t slot(uint64_t pair) const;  // of the pair, or the free one where it would be
  const Merge* merge_of(int32_t left, int32_t right) const;

  std::vector<std::string> tokens_;
  std::unordered_map<std::string_view, int32_t> ids_;  // views of tokens_
  std::vector<Merge> merges_;                          // open addressing; size is a power of two, at most half full
  std::array<int32_t, 256> byte_ids_{};
};

}  // namespace inkling
