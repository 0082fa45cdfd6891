// The files of a tokenizer, read and checked but not yet indexed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace inkling {

struct Vocabulary {
  std::vector<std::string> tokens;  // by id, in the byte-to-unicode spelling of the files; empty: unused id
  std::vector<std::pair<std::string, std::string>> merges;  // by rank, same spelling
  std::vector<std::pair<std::string, int32_t>> added;       // strings that are one token wherever they stand
};

// vocab.json + merges.txt, with the added tokens of tokenizer_config.json and added_tokens.json, or
// tokenizer.json. Throws ModelError.
Vocabulary read_vocabulary(const std::filesystem::path& dir);

}  // namespace inkling
