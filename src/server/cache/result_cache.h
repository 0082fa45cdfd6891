// Finished pictures on disk: an SQLite index (WAL) beside one file an entry. A blob is written under a temporary name
// and renamed before the index knows it, and its checksum is verified on each read, so a crash at any point costs an
// entry and never gives a wrong picture. Trouble with the disk makes misses, not errors.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "server/policy/config.h"

namespace inkling::server {

struct CachedResult {
  std::vector<std::string> blobs;  // encoded pictures
  nlohmann::json metadata;         // what the caller needs to answer with them
};

struct CacheStats {
  uint64_t hits = 0, misses = 0, corrupt = 0, evicted = 0, failed_puts = 0;
  int64_t entries = 0, bytes = 0;
};

class ResultCache {
 public:
  // Makes the folder. A damaged or foreign index is moved aside and begun anew. When the folder cannot be written the
  // cache is out of order: every get misses, every put fails.
  ResultCache(const std::filesystem::path& folder, CacheLimits limits);
  ~ResultCache();
  ResultCache(ResultCache&&) noexcept;

  // Time is unix seconds: entries live over restarts.
  std::optional<CachedResult> get(const std::string& key, double now_unix);
  // False: not kept (disk full, read-only, larger than the whole cache). Never throws for trouble with the disk.
  bool put(const std::string& key, const CachedResult& result, double now_unix);
  void remove(const std::string& key);
  CacheStats stats() const;
  bool in_order() const;                       // the last write succeeded
  int64_t uses(const std::string& key) const;  // hits of a present entry

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace inkling::server
