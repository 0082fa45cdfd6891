#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "safety/byte_reader.h"
#include "safety/normalize.h"
#include "safety/picture_check.h"
#include "safety/safety.h"
#include "safety/text_classifier.h"
#include "safety/word_lists.h"

namespace inkling {

namespace {

// Part of the version: raise it when the code judges differently with the same data.
constexpr std::string_view kRules = "1";
// Chosen on the training side's folds (tools/safety/train_text.py prints the curve). A hint of the lists lowers it.
constexpr double kBlockAt = 0.75, kBlockWithHint = 0.55;

std::string_view file_of(std::span<const EmbeddedFile> data, std::string_view path) {
  for (const EmbeddedFile& f : data)
    if (f.path == path) return f.bytes;
  throw ModelError("safety: {} is missing", path);
}

std::string hash_of(std::span<const EmbeddedFile> data) {
  uint64_t a = fnv1a(kRules), b = fnv1a(kRules, 0x84222325cbf29ce4u);
  for (const EmbeddedFile& f : data)
    for (const std::string_view part : {f.path, std::string_view("\0", 1), f.bytes})
      a = fnv1a(part, a), b = fnv1a(part, b ^ a);
  return fmt::format("{:016x}{:016x}", a, b);
}

SafetyVerdict failed() noexcept {
  SafetyVerdict verdict;
  verdict.blocked = true;
  verdict.layer = SafetyLayer::error;
  verdict.score = 1;
  verdict.category = "error";  // short enough to need no memory
  return verdict;
}

}  // namespace

std::string_view name(SafetyLayer layer) {
  switch (layer) {
    case SafetyLayer::none: return "none";
    case SafetyLayer::list: return "list";
    case SafetyLayer::classifier: return "classifier";
    case SafetyLayer::picture: return "picture";
    case SafetyLayer::error: return "error";
  }
  return "error";
}

struct SafetyFilter::Parts {
  explicit Parts(std::span<const EmbeddedFile> data)
      : normalizer(file_of(data, "homoglyphs.txt"), file_of(data, "split.txt")),
        lists(normalizer, file_of(data, "zh.txt"), file_of(data, "en.txt"), file_of(data, "allow.txt")),
        classifier(file_of(data, "classifier.bin")),
        picture(file_of(data, "picture.bin")),
        version(hash_of(data)) {}

  void before(std::string_view layer) const {
    if (probe) probe(layer);
  }
  SafetyVerdict check_text(std::string_view utf8) const;

  Normalizer normalizer;
  WordLists lists;
  TextClassifier classifier;
  PictureCheck picture;
  std::string version;
  std::function<void(std::string_view)> probe;
};

SafetyVerdict SafetyFilter::Parts::check_text(std::string_view utf8) const {
  before("list");
  ListFinding worst;
  std::vector<std::u32string> plain;
  for (const std::u32string& variant : normalizer.variants(normalizer.fold(utf8))) {
    const Reading reading = read_letters(variant);
    const ListFinding finding = lists.check(reading);
    if (finding.severity > worst.severity) worst = finding;
    if (worst.severity == 3) break;
    plain.push_back(plain_text(reading));
  }
  if (worst.severity >= 2) return {true, SafetyLayer::list, worst.category, worst.severity / 3.0};
  before("classifier");
  SafetyVerdict verdict;
  for (const std::u32string& text : plain) {
    const Classified c = classifier.classify(text);
    if (c.probability <= verdict.score) continue;
    verdict.score = c.probability;
    verdict.category = c.category;
  }
  verdict.blocked = verdict.score >= (worst.severity > 0 ? kBlockWithHint : kBlockAt);
  if (verdict.blocked)
    verdict.layer = SafetyLayer::classifier;
  else
    verdict.category.clear();
  return verdict;
}

SafetyFilter::SafetyFilter(std::span<const EmbeddedFile> data) : parts_(std::make_unique<Parts>(data)) {}
SafetyFilter::~SafetyFilter() = default;
SafetyFilter::SafetyFilter(SafetyFilter&&) noexcept = default;
SafetyFilter& SafetyFilter::operator=(SafetyFilter&&) noexcept = default;

SafetyVerdict SafetyFilter::check_text(std::string_view utf8) const noexcept {
  try {
    return parts_->check_text(utf8);
  } catch (...) {
    return failed();
  }
}

SafetyVerdict SafetyFilter::check_picture(const Image& picture) const noexcept {
  try {
    parts_->before("picture");
    const PictureFinding finding = parts_->picture.check(picture);
    SafetyVerdict verdict;
    verdict.score = finding.probability;
    verdict.blocked = !finding.category.empty();
    verdict.category = finding.category;
    if (verdict.blocked) verdict.layer = SafetyLayer::picture;
    return verdict;
  } catch (...) {
    return failed();
  }
}

const std::string& SafetyFilter::version() const { return parts_->version; }
void SafetyFilter::set_probe(std::function<void(std::string_view)> probe) { parts_->probe = std::move(probe); }

}  // namespace inkling
