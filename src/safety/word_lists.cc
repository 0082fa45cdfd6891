#include "safety/word_lists.h"

#include <unicode/brkiter.h>
#include <unicode/translit.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/error.h"
#include "safety/data_text.h"
#include "text/unicode.h"

namespace inkling {

namespace {

constexpr std::array<std::string_view, 7> kCategories = {"sexual", "horror",    "violence", "drugs",
                                                         "hate",   "self_harm", "weapons"};

bool is_latin(char32_t c) { return c >= 'a' && c <= 'z'; }

// English endings that keep a word's meaning; the doubled consonant of "stabbing" is a run of one letter here.
bool is_ending(std::u32string_view rest) {
  static constexpr std::array<std::u32string_view, 10> kEndings = {U"",   U"s",   U"es",  U"ed",   U"d",
                                                                   U"er", U"ers", U"ing", U"ings", U"y"};
  return std::ranges::find(kEndings, rest) != kEndings.end();
}

// Splits Han text into dictionary words, to see that 鸡巴 in 小鸡巴士 takes a piece of each of two words.
class WordBreaks {
 public:
  explicit WordBreaks(const Reading& reading) : breaks_(reading.size() + 1, false) {
    UErrorCode status = U_ZERO_ERROR;
    const std::unique_ptr<icu::BreakIterator> words(
        icu::BreakIterator::createWordInstance(icu::Locale::getSimplifiedChinese(), status));
    if (U_FAILURE(status)) throw RuntimeError("safety: ICU has no word breaks ({})", u_errorName(status));
    icu::UnicodeString text;
    std::vector<size_t> letter_at;  // of a UTF-16 position
    for (size_t i = 0; i < reading.size(); ++i) {
      text.append(static_cast<UChar32>(reading[i].c));
      letter_at.resize(static_cast<size_t>(text.length()), i);
    }
    letter_at.push_back(reading.size());
    words->setText(text);
    for (int32_t at = words->first(); at != icu::BreakIterator::DONE; at = words->next())
      breaks_[letter_at[static_cast<size_t>(at)]] = true;
  }
  // Both ends inside words of their own.
  bool straddles(size_t begin, size_t end) const {
    if (breaks_[begin] || breaks_[end]) return false;
    return std::find(breaks_.begin() + static_cast<ptrdiff_t>(begin), breaks_.begin() + static_cast<ptrdiff_t>(end),
                     true) != breaks_.begin() + static_cast<ptrdiff_t>(end);
  }

 private:
  std::vector<bool> breaks_;
};

const icu::Transliterator& han_to_latin() {
  static const std::unique_ptr<icu::Transliterator> t = [] {
    UErrorCode status = U_ZERO_ERROR;
    std::unique_ptr<icu::Transliterator> made(icu::Transliterator::createInstance(
        "Han-Latin; NFC; ü > v; ǖ > v; ǘ > v; ǚ > v; ǜ > v; NFD; [:Nonspacing Mark:] Remove", UTRANS_FORWARD, status));
    if (U_FAILURE(status) || !made) {
      status = U_ZERO_ERROR;
      made.reset(
          icu::Transliterator::createInstance("Han-Latin; NFD; [:Nonspacing Mark:] Remove", UTRANS_FORWARD, status));
    }
    if (U_FAILURE(status) || !made) throw RuntimeError("safety: ICU has no Han-Latin data ({})", u_errorName(status));
    return made;
  }();
  return *t;
}

}  // namespace

std::vector<std::u32string> pinyin_of(const std::u32string& han) {
  std::vector<std::u32string> syllables;
  for (const char32_t c : han) {
    icu::UnicodeString text(static_cast<UChar32>(c));
    han_to_latin().transliterate(text);
    std::u32string syllable;
    for (int32_t i = 0; i < text.length(); ++i)
      if (is_latin(text.charAt(i))) syllable.push_back(text.charAt(i));
    if (syllable.empty()) return {};
    syllables.push_back(syllable);
  }
  return syllables;
}

bool WordLists::is_category(std::string_view name) { return std::ranges::find(kCategories, name) != kCategories.end(); }

WordLists::WordLists(const Normalizer& normalizer, std::string_view zh, std::string_view en, std::string_view allow) {
  read_list(normalizer, zh, "zh.txt", false);
  read_list(normalizer, en, "en.txt", false);
  read_list(normalizer, allow, "allow.txt", true);
  std::vector<std::u32string_view> patterns;
  for (const Term& t : terms_) patterns.push_back(t.letters);
  automaton_ = AhoCorasick(patterns);
}

void WordLists::read_list(const Normalizer& normalizer, std::string_view text, std::string_view file, bool allow) {
  int severity = allow ? 0 : -1, category = 0;
  const size_t before = terms_.size();
  for (const DataLine& line : data_lines(text, file)) {
    if (line.text.starts_with('[') && line.text.ends_with(']')) {
      if (allow) continue;
      const auto words = split_fields(line.text.substr(1, line.text.size() - 2), ' ');
      const auto found = std::ranges::find(kCategories, words[0]);
      if (words.size() != 2 || found == kCategories.end() || words[1].size() != 1 || words[1] < "1" || words[1] > "3")
        throw ModelError("{}:{}: got '{}', expected [category severity 1..3]", file, line.number, line.text);
      category = static_cast<int>(found - kCategories.begin());
      severity = words[1][0] - '0';
      continue;
    }
    if (severity < 0) throw ModelError("{}:{}: terms before the first [category severity]", file, line.number);
    for (std::string_view word : split_fields(line.text, '|')) {
      const bool exact = word.ends_with('='), no_pinyin = word.ends_with('!');
      if (exact || no_pinyin) word.remove_suffix(1);
      const std::u32string folded = normalizer.fold(word);
      const Reading reading = read_letters(folded);
      if (reading.empty()) throw ModelError("{}:{}: a term without a letter", file, line.number);
      add(reading, allow, severity, category, exact);
      if (!allow && severity > 1 && std::ranges::all_of(folded, is_han))
        add_pinyin(folded, severity, category, !no_pinyin);
    }
  }
  if (terms_.size() == before) throw ModelError("{}: holds no terms", file);
}

void WordLists::add(const Reading& reading, bool allow, int severity, int category, bool exact) {
  Term term;
  for (const Letter& l : reading) {
    term.letters.push_back(l.c);
    term.runs.push_back(l.run);
    term.inner.push_back(l.before == Gap::none ? Inner::none : Inner::space);
  }
  term.inner[0] = Inner::none;
  term.severity = static_cast<uint8_t>(allow ? 0 : severity);
  term.category = static_cast<uint8_t>(category);
  term.han = std::ranges::all_of(term.letters, is_han);
  term.bound = exact ? Bound::word : Bound::inflected;
  terms_.push_back(std::move(term));
}

// The word in pinyin, and with one character in pinyin ("色qing").
void WordLists::add_pinyin(const std::u32string& word, int severity, int category, bool whole) {
  const std::vector<std::u32string> syllables = pinyin_of(word);
  if (word.size() < 2 || syllables.size() != word.size()) return;
  const auto build = [&](auto&& latin_at) {
    std::u32string text;
    std::vector<bool> starts;
    for (size_t i = 0; i < word.size(); ++i) {
      const std::u32string piece = latin_at(i) ? syllables[i] : std::u32string(1, word[i]);
      for (size_t k = 0; k < piece.size(); ++k) starts.push_back(k == 0);
      text += piece;
    }
    Reading reading;
    Term term;
    for (size_t i = 0; i < text.size(); ++i) {
      if (i > 0 && text[i] == text[i - 1]) {
        ++term.runs.back();
        continue;
      }
      term.letters.push_back(text[i]);
      term.runs.push_back(1);
      term.inner.push_back(starts[i] && i > 0 ? Inner::optional : Inner::none);
    }
    term.severity = static_cast<uint8_t>(severity);
    term.category = static_cast<uint8_t>(category);
    term.bound = Bound::word;
    terms_.push_back(std::move(term));
  };
  size_t letters = 0;
  for (const auto& s : syllables) letters += s.size();
  if (whole && letters >= 5) build([](size_t) { return true; });
  if (word.size() > 4) return;
  for (size_t k = 0; k < word.size(); ++k) build([&](size_t i) { return i == k; });
}

// Whether the term that the automaton saw end at `end` really stands there: runs, gaps and word bounds.
std::optional<WordLists::Span> WordLists::match(const Reading& reading, const Term& term, size_t end) const {
  const size_t n = term.letters.size(), begin = end - n;
  size_t gaps = 0, unexpected = 0;
  Gap worst = Gap::none, worst_unexpected = Gap::none;
  for (size_t i = 0; i < n; ++i) {
    const Letter& l = reading[begin + i];
    if (l.run < term.runs[i]) return std::nullopt;
    if (i == 0) continue;
    if (l.before != Gap::none) ++gaps;
    if (term.inner[i] == Inner::space && l.before == Gap::none && !is_han(l.c) && !is_han(term.letters[i - 1]))
      return std::nullopt;
    if (l.before == Gap::none) continue;
    worst = std::max(worst, l.before);
    if (term.inner[i] == Inner::none || (term.inner[i] == Inner::optional && l.before == Gap::stop)) {
      ++unexpected;
      worst_unexpected = std::max(worst_unexpected, l.before);
    }
  }
  const bool open_left = begin == 0 || reading[begin].before != Gap::none;
  const bool open_right = end == reading.size() || reading[end].before != Gap::none;
  const bool all_apart = gaps + 1 == n && n >= 3;
  if (term.han) {
    // Across the end of a clause a word counts only when nothing stands beside its parts: "黄色，情人节" is innocent.
    if (worst == Gap::stop && !(gaps + 1 == n && open_left && open_right)) return std::nullopt;
    return Span{begin, end, &term};
  }
  // "an al" of "an alley" must not match, "s-e-x" and "s e x" must.
  if (unexpected > 0 && worst_unexpected > Gap::joiner && !all_apart) return std::nullopt;
  // Letters apart by spaces: then a space does not end the word. By joiners ("s-e-x") it does.
  const bool spelled = unexpected > 0 && all_apart && worst_unexpected >= Gap::space;
  const auto single = [&](size_t i) {
    return is_latin(reading[i].c) && (i == 0 || reading[i].before != Gap::none) &&
           (i + 1 == reading.size() || reading[i + 1].before != Gap::none);
  };
  if (is_latin(term.letters[0]) && begin > 0 && is_latin(reading[begin - 1].c)) {
    if (!open_left) return std::nullopt;
    const char32_t before = reading[begin - 1].c;
    if (spelled && n < 5 && reading[begin].before == Gap::space && single(begin - 1) && before != 'a' && before != 'i')
      return std::nullopt;
  }
  if (!is_latin(term.letters[n - 1])) return Span{begin, end, &term};
  std::u32string rest;
  size_t stop = end;
  for (; stop < reading.size() && rest.size() < 6 && is_latin(reading[stop].c); ++stop) {
    const Gap gap = reading[stop].before;
    if (gap != Gap::none && !(spelled && gap <= Gap::space && single(stop))) break;
    rest.append(reading[stop].run, reading[stop].c);
  }
  if (term.bound == Bound::word ? rest.empty() : is_ending(rest)) return Span{begin, stop, &term};
  if (spelled && n >= 5) return Span{begin, end, &term};
  return std::nullopt;
}

ListFinding WordLists::check(const Reading& reading) const {
  std::vector<Span> bad, good;
  uint32_t state = 0;
  for (size_t i = 0; i < reading.size(); ++i) {
    state = automaton_.next(state, reading[i].c);
    automaton_.matches(state, [&](uint32_t p) {
      if (const auto span = match(reading, terms_[p], i + 1)) (span->term->severity ? bad : good).push_back(*span);
    });
  }
  ListFinding finding;
  if (bad.empty()) return finding;
  // The longest innocent word over every position, so that a long text with many matches stays linear.
  std::vector<uint32_t> innocent(reading.size(), 0);
  for (const Span& g : good)
    for (size_t i = g.begin; i < g.end; ++i)
      innocent[i] = std::max(innocent[i], static_cast<uint32_t>(g.end - g.begin));
  std::optional<WordBreaks> breaks;
  for (const Span& b : bad) {
    if (b.term->severity <= finding.severity) continue;
    const uint32_t length = static_cast<uint32_t>(b.end - b.begin);
    if (std::any_of(innocent.begin() + static_cast<ptrdiff_t>(b.begin),
                    innocent.begin() + static_cast<ptrdiff_t>(b.end), [&](uint32_t n) { return n > length; }))
      continue;
    if (b.term->han && length >= 2) {
      if (!breaks) breaks.emplace(reading);
      if (breaks->straddles(b.begin, b.end)) continue;
    }
    finding.severity = b.term->severity;
    finding.category = kCategories[b.term->category];
    if (finding.severity == 3) break;
  }
  return finding;
}

}  // namespace inkling
