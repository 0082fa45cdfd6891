#include "pipeline/embedding_cache.h"

#include <cstring>

#include "pipeline/content_hash.h"

namespace inkling {

std::string embedding_key(const std::string& networks, const EncodedPrompt& prompt,
                          const std::vector<VisionInput>& vision) {
  std::string key = fmt::format("{} {} ", networks, prompt.drop);
  for (const int64_t start : prompt.image_starts) key += fmt::format("@{} ", start);
  for (const VisionInput& v : vision) {
    ContentHash content;
    content.add({v.patches.raw(), static_cast<size_t>(v.patches.bytes())});
    key += fmt::format("{}x{} {} ", v.height, v.width, content.hex());
  }
  const size_t at = key.size();
  key.resize(at + prompt.ids.size() * sizeof(int32_t));
  std::memcpy(key.data() + at, prompt.ids.data(), prompt.ids.size() * sizeof(int32_t));
  return key;
}

std::optional<Tensor> EmbeddingCache::get(const std::string& key) {
  std::lock_guard lock(mutex_);
  const auto known = index_.find(key);
  if (known == index_.end()) {
    ++stats_.misses;
    return std::nullopt;
  }
  ++stats_.hits;
  entries_.splice(entries_.begin(), entries_, known->second);
  return known->second->embedding;
}

void EmbeddingCache::put(const std::string& key, const Tensor& embedding) {
  std::lock_guard lock(mutex_);
  if (index_.contains(key)) return;
  // The encoder's output holds the template's rows too; only what is kept is counted, so it is copied.
  Tensor copy = host_tensor(embedding.shape(), embedding.span<float>());
  Entry entry{key, std::move(copy)};
  if (entry.bytes() > max_bytes_) return;
  stats_.bytes += entry.bytes();
  entries_.push_front(std::move(entry));
  index_[entries_.front().key] = entries_.begin();
  while (stats_.bytes > max_bytes_) {
    stats_.bytes -= entries_.back().bytes();
    index_.erase(entries_.back().key);
    entries_.pop_back();
  }
  stats_.entries = std::ssize(entries_);
}

EmbeddingCacheStats EmbeddingCache::stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace inkling
