// Latents drawn ahead for the most asked wishes: answering one costs a decode. A folder of *.latent files
// (pipeline/latent_file.h) and index.json: {"version": 2, "entries": [{"file", "sha256", "prompts": [...], "prompt",
// "style", "seed", "width", "height", "steps", "fingerprint", "safety_version"}]}.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/embedded.h"

namespace inkling::server {

struct PoolEntry {
  std::filesystem::path path;        // in the index: a plain file name
  std::vector<std::string> prompts;  // canonical_prompt() of every wish that this answers
  std::string prompt, style;         // as drawn
  int64_t seed = 0;
  int width = 0, height = 0, steps = 0;
  std::string fingerprint, safety_version;  // of the model and the filter that stood when it was drawn
  std::string sha256;                       // of the file; write_index computes it
};

class LatentPool {
 public:
  using Entry = PoolEntry;
  LatentPool() = default;  // empty
  // An absent folder or index is an empty pool. Entries that are wrong (a field, a name that leaves the folder, a
  // missing or empty file) are left out and told in warnings(); so is an index that is no JSON.
  explicit LatentPool(const std::filesystem::path& folder);

  // `variant` picks among several of one wish (modulo their number). A file that is no longer what was written is
  // passed over.
  std::optional<Entry> find(const std::string& canonical_prompt, const std::string& fingerprint,
                            const std::string& safety_version, uint64_t variant = 0) const;
  size_t size() const { return entries_.size(); }
  const std::vector<Entry>& entries() const { return entries_; }
  const std::vector<std::string>& warnings() const { return warnings_; }

  // Replaces the index atomically. `entries[i].path` may be absolute; its file name is stored.
  static void write_index(const std::filesystem::path& folder, const std::vector<Entry>& entries);

 private:
  void add(const std::filesystem::path& folder, const nlohmann::json& json);
  std::vector<Entry> entries_;
  std::unordered_map<std::string, std::vector<size_t>> by_prompt_;
  std::vector<std::string> warnings_;
};

// The most asked animals with their names, for building a pool: data/server/animals.json.
struct PoolAnimal {
  std::string id, prompt;            // prompt: what to draw
  std::vector<std::string> prompts;  // wishes it answers, in English and Chinese
};
std::vector<PoolAnimal> pool_animals();

}  // namespace inkling::server
