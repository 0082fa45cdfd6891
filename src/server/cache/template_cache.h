// Answers to common edits ("remove the watermark" of the very same picture), whatever words and language asked for
// them.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "server/cache/result_cache.h"

namespace inkling::server {

struct TemplateKey {
  std::string instruction;   // Instruction::key of editing/instruction.h; empty: not cacheable
  std::string picture_hash;  // of the uploaded bytes, all pictures
  std::string owner;         // uploads of one client never answer another
  nlohmann::json settings;   // everything else that changes the answer, fingerprint and safety version included
};

class TemplateCache {
 public:
  TemplateCache(const std::filesystem::path& folder, CacheLimits limits) : cache_(folder, limits) {}

  std::optional<CachedResult> get(const TemplateKey& key, double now_unix);
  bool put(const TemplateKey& key, const CachedResult& result, double now_unix);
  int64_t uses(const TemplateKey& key) const;
  CacheStats stats() const { return cache_.stats(); }
  bool in_order() const { return cache_.in_order(); }

 private:
  ResultCache cache_;
};

}  // namespace inkling::server
