// The safety filter of the children's page: texts before anything is drawn, pictures before anything is shown.
// docs/safety.md says what each layer sees, how it was measured and what it cannot see.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/embedded.h"
#include "formats/image.h"

namespace inkling {

enum class SafetyLayer : uint8_t { none, list, classifier, picture, error };
std::string_view name(SafetyLayer layer);

struct SafetyVerdict {
  bool blocked = false;
  SafetyLayer layer = SafetyLayer::none;  // that blocked
  std::string category;  // "sexual", "horror", "violence", "drugs", "hate", "self_harm", "weapons", "error" or empty
  double score = 0;      // list: severity / 3; classifier and picture: probability of the worst category
};

// Immutable once made, so one filter serves all threads.
class SafetyFilter {
 public:
  // Throws ModelError when a file is missing or damaged.
  explicit SafetyFilter(std::span<const EmbeddedFile> data = embedded_safety());
  ~SafetyFilter();
  SafetyFilter(SafetyFilter&&) noexcept;
  SafetyFilter& operator=(SafetyFilter&&) noexcept;

  // A prompt or an instruction; any bytes. A failure inside counts as blocked, with layer error.
  SafetyVerdict check_text(std::string_view utf8) const noexcept;
  // A result or an upload, 1, 3 or 4 channels. A failure inside counts as blocked, with layer error.
  SafetyVerdict check_picture(const Image& picture) const noexcept;
  // Hex; changes with lists, classifiers and rules: part of every cache key.
  const std::string& version() const;

  // Called with "list", "classifier" or "picture" before that layer runs; what it throws is that layer's failure.
  // For fault drills. Set it before the filter is shared.
  void set_probe(std::function<void(std::string_view layer)> probe);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

enum class Language : uint8_t { english, chinese };
// Chinese when there is one Han character (traditional or not), else English.
Language language_of(std::string_view utf8);

struct Refusal {
  std::string message;
  std::array<std::string, 3> suggestions;
};
// A friendly sentence and three different wishes to try instead; the same for the same seed.
Refusal make_refusal(const SafetyVerdict& verdict, Language language, uint64_t seed);
// Every wish that make_refusal may suggest.
std::vector<std::string> all_suggestions(Language language);

struct Wish {
  std::string prompt;
  std::string style;               // for apply_style of pipeline/style.h
  std::vector<std::string> added;  // what was put in, in the prompt's language
};
// Completes a short wish by an adjective, a pose and a place of the world that the shipped model learned; a long
// one is left alone. The same wish gives the same result. The style's words are not added here.
Wish complete_wish(std::string_view prompt);

}  // namespace inkling
