// Names of wishes in the caches.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace inkling::server {

// SHA-256 of the canonical JSON: members sorted, no spaces. The caller puts in everything that can change a byte of the
// answer: wish, model fingerprint, safety version, program version, and the owner when there are uploads.
std::string cache_key(const nlohmann::json& canonical);

// Prompts that a person would call the same: ASCII in lower case, white space (full-width too) trimmed and collapsed,
// closing punctuation dropped. For counting and for the latent pool, never for the exact cache.
std::string canonical_prompt(std::string_view utf8);

}  // namespace inkling::server
