#include "server/cache/template_cache.h"

#include "server/cache/cache_key.h"

namespace inkling::server {

namespace {
std::string key_of(const TemplateKey& key) {
  return cache_key({{"instruction", key.instruction},
                    {"picture", key.picture_hash},
                    {"owner", key.owner},
                    {"settings", key.settings}});
}
bool usable(const TemplateKey& key) { return !key.instruction.empty() && !key.picture_hash.empty(); }
}  // namespace

std::optional<CachedResult> TemplateCache::get(const TemplateKey& key, double now_unix) {
  return usable(key) ? cache_.get(key_of(key), now_unix) : std::nullopt;
}

bool TemplateCache::put(const TemplateKey& key, const CachedResult& result, double now_unix) {
  return usable(key) && cache_.put(key_of(key), result, now_unix);
}

int64_t TemplateCache::uses(const TemplateKey& key) const { return usable(key) ? cache_.uses(key_of(key)) : 0; }

}  // namespace inkling::server
