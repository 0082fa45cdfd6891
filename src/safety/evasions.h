// Disguises of a text, for measuring how the filter bears them.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace opencc {
class SimpleConverter;
}

namespace inkling {

class Evasions {
 public:
  // `mixed`: lines "Chinese<tab>English" of words that change places; `splits`: the text of split.txt.
  Evasions(std::string_view mixed, std::string_view splits);
  ~Evasions();
  static const std::vector<std::string>& kinds();
  // Nothing when the kind does not apply (pinyin of an English text) or leaves the text as it is.
  std::optional<std::string> disguise(const std::string& text, std::string_view kind) const;

 private:
  std::vector<std::pair<std::string, std::string>> mixed_;
  std::unordered_map<char32_t, std::u32string> parts_;
  std::unique_ptr<opencc::SimpleConverter> traditional_;
};

}  // namespace inkling
