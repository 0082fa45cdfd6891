// Encoded prompts of earlier requests, in host memory: a prompt met again costs no text encoder. Exact: the key names
// every token, the content of every picture that the text model saw, and the networks; what comes back are the bytes
// that were put in. The least recently used entries go first.
#pragma once

#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "pipeline/engine.h"
#include "pipeline/job.h"
#include "tensor/tensor.h"

namespace inkling {

// Of a prompt in a job. networks: names the networks and the arithmetic that encode it.
std::string embedding_key(const std::string& networks, const EncodedPrompt& prompt,
                          const std::vector<VisionInput>& vision);

class EmbeddingCache {
 public:
  explicit EmbeddingCache(int64_t max_bytes) : max_bytes_(max_bytes) {}

  std::optional<Tensor> get(const std::string& key);  // host f32 [L, text_dim]; not to be written to
  // An embedding larger than the whole cache is not kept.
  void put(const std::string& key, const Tensor& embedding);
  EmbeddingCacheStats stats() const;

 private:
  struct Entry {
    std::string key;
    Tensor embedding;
    int64_t bytes() const { return embedding.bytes() + static_cast<int64_t>(key.size()); }
  };

  const int64_t max_bytes_;
  mutable std::mutex mutex_;
  std::list<Entry> entries_;  // most recently used first
  std::map<std::string_view, std::list<Entry>::iterator> index_;
  EmbeddingCacheStats stats_;
};

}  // namespace inkling
