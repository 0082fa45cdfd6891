// A noun phrase of an instruction: "the red hat in the top right corner", 小猫头上的红色帽子.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "editing/lexicon.h"
#include "editing/normal_text.h"

namespace inkling {

std::string_view without_articles(std::string_view text);
std::string_view without_degree(std::string_view phrase);  // 一点, "a bit"

struct Phrase {
  std::string noun;  // canonical, or the user's own words
  std::string color, quote, owner;
  std::optional<Region> region;
  NounClass kind = NounClass::thing;
  int picture = 0;  // 2 or 3: of that picture
  int sense = 0;    // of the noun
  bool plural = false, all = false;
  bool known = false;  // every word is understood
  bool quoted = false;

  bool empty() const { return noun.empty() && !quoted && picture == 0; }
  std::string text() const;      // picture_2:red hat "NEW"
  std::string key() const;       // the same with sense, number
  std::string full_key() const;  // with region and owner too
};

// raw and lower: the same text, as in NormalText.
Phrase parse_phrase(std::string_view raw, std::string_view lower, const std::vector<std::string>& quotes);
// "the hat and the scarf", 帽子和围巾: the parts, if each is known by itself; else one phrase.
std::vector<Phrase> parse_phrases(std::string_view raw, std::string_view lower, const std::vector<std::string>& quotes);

}  // namespace inkling
