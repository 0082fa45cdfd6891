// The word lists: what blocks, how badly, and what is innocent although it holds a listed word.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "safety/aho_corasick.h"
#include "safety/normalize.h"

namespace inkling {

struct ListFinding {
  int severity = 0;  // 2 and 3 block; 1 is a hint for the classifier; 0: nothing
  std::string category;
};

class WordLists {
 public:
  // The texts of zh.txt, en.txt and allow.txt. Throws ModelError.
  WordLists(const Normalizer& normalizer, std::string_view zh, std::string_view en, std::string_view allow);
  // The worst finding in one reading of a text.
  ListFinding check(const Reading& reading) const;
  static bool is_category(std::string_view name);

 private:
  enum class Bound : uint8_t { none, word, inflected };  // how the end of a Latin term must stand
  enum class Inner : uint8_t { none, space, optional };  // what a term wants before a letter
  struct Term {
    std::u32string letters;
    std::vector<uint8_t> runs;
    std::vector<Inner> inner;
    Bound bound = Bound::none;
    uint8_t severity = 0;  // 0: allowed
    uint8_t category = 0;
    bool han = false;  // all of it
  };
  struct Span {
    size_t begin, end;
    const Term* term;
  };
  void read_list(const Normalizer& normalizer, std::string_view text, std::string_view file, bool allow);
  void add(const Reading& reading, bool allow, int severity, int category, bool exact);
  void add_pinyin(const std::u32string& word, int severity, int category, bool whole);
  std::optional<Span> match(const Reading& reading, const Term& term, size_t end) const;

  std::vector<Term> terms_;
  AhoCorasick automaton_;
};

// Syllables without tones of a word of Han characters, by ICU; for umlauts "v" as it is typed.
std::vector<std::u32string> pinyin_of(const std::u32string& han);

}  // namespace inkling
