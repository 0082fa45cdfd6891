// Completes a short wish with words of the drawn world that the shipped model learned (tools/world/spec.py,
// language.py).

#include <algorithm>
#include <array>

#include "safety/byte_reader.h"
#include "safety/normalize.h"
#include "safety/safety.h"
#include "text/unicode.h"

namespace inkling {

namespace {

// A wish longer than this says enough: characters of Chinese, words of English.
constexpr size_t kShortHan = 8, kShortWords = 5;

constexpr std::array<std::string_view, 3> kAdjectivesZh = {"可爱的", "开心的", "萌萌的"};
constexpr std::array<std::string_view, 4> kPosesZh = {"在挥手", "在吹泡泡", "拿着气球", "在看书"};
constexpr std::array<std::string_view, 4> kPlacesZh = {"在草地上", "在海边", "在森林里", "在彩虹下"};
constexpr std::array<std::string_view, 3> kAdjectivesEn = {"cute", "happy", "adorable"};
constexpr std::array<std::string_view, 4> kPosesEn = {"waving hello", "blowing bubbles", "holding a balloon",
                                                      "reading a book"};
constexpr std::array<std::string_view, 4> kPlacesEn = {"on a meadow", "at the beach", "in the forest",
                                                       "under a rainbow"};

// What already says a pose, a place, an adjective.
constexpr std::array<std::string_view, 16> kHasPoseZh = {"在", "着", "吃", "吹", "飞", "玩", "看", "画",
                                                         "睡", "弹", "打", "拿", "抱", "跑", "跳", "穿"};
constexpr std::array<std::string_view, 11> kHasPlaceZh = {"上",   "里", "下", "边",   "背景", "草地",
                                                          "森林", "海", "雪", "星空", "彩虹"};
constexpr std::array<std::string_view, 5> kHasAdjectiveZh = {"可爱", "开心", "萌", "漂亮", "快乐"};
constexpr std::array<std::string_view, 6> kHasPlaceEn = {"on", "at", "in", "under", "background", "by"};
constexpr std::array<std::string_view, 6> kHasAdjectiveEn = {"cute",  "happy",     "adorable",
                                                             "sweet", "beautiful", "pretty"};

template <size_t N>
std::string_view choose(const std::array<std::string_view, N>& from, std::string_view prompt, uint64_t salt) {
  return from[(fnv1a(prompt) >> (8 * salt)) % N];
}

template <size_t N>
bool holds(std::string_view text, const std::array<std::string_view, N>& any) {
  return std::ranges::any_of(any, [&](std::string_view word) { return text.find(word) != std::string_view::npos; });
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  for (size_t i = 0; i < text.size();) {
    const size_t end = std::min(text.find(' ', i), text.size());
    if (end > i) words.push_back(text.substr(i, end - i));
    i = end + 1;
  }
  return words;
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  text = text.substr(begin, text.find_last_not_of(kBlank) + 1 - begin);
  for (const std::string_view end : {".", "!", "。", "！"})
    if (text.ends_with(end)) text.remove_suffix(end.size());
  return text;
}

void complete_chinese(Wish& wish) {
  const std::string given = wish.prompt;
  if (!holds(given, kHasAdjectiveZh)) {
    wish.added.emplace_back(choose(kAdjectivesZh, given, 0));
    // "一只小鸭子": the adjective stands behind the count.
    size_t at = 0;
    for (const std::string_view count : {"一只", "一个", "一条", "一头", "一匹"})
      if (given.starts_with(count)) at = count.size();
    wish.prompt.insert(at, wish.added.back());
  }
  const bool place = !holds(given, kHasPlaceZh), pose = !holds(given, kHasPoseZh);
  if (place) {
    wish.added.emplace_back(choose(kPlacesZh, given, 1));
    wish.prompt += wish.added.back();
  }
  if (pose) {
    std::string_view words = choose(kPosesZh, given, 2);
    wish.added.emplace_back(words);
    if (place && words.starts_with("在")) words.remove_prefix(std::string_view("在").size());  // one 在 is enough
    wish.prompt += words;
  }
}

void complete_english(Wish& wish) {
  const std::string given = wish.prompt;
  const auto words = words_of(given);
  const auto has = [&](const auto& any) {
    return std::ranges::any_of(words, [&](std::string_view w) { return std::ranges::find(any, w) != any.end(); });
  };
  const bool pose = std::ranges::none_of(words, [](std::string_view w) { return w.ends_with("ing") || w == "with"; });
  if (!has(kHasAdjectiveEn)) {
    wish.added.emplace_back(choose(kAdjectivesEn, given, 0));
    const std::string& adjective = wish.added.back();
    if (words.size() == 1) {
      wish.prompt = adjective + " " + given;
    } else if (words[0] == "a" || words[0] == "an") {
      wish.prompt = (adjective[0] == 'a' ? "an " : "a ") + adjective + given.substr(words[0].size());
    } else if (words[0] == "the" || words[0] == "two" || words[0] == "three" || words[0] == "my") {
      wish.prompt.insert(words[0].size() + 1, adjective + " ");
    } else {
      wish.prompt = adjective + " " + given;
    }
  }
  if (pose) {
    wish.added.emplace_back(choose(kPosesEn, given, 2));
    wish.prompt += " " + wish.added.back();
  }
  if (!has(kHasPlaceEn)) {
    wish.added.emplace_back(choose(kPlacesEn, given, 1));
    wish.prompt += " " + wish.added.back();
  }
}

}  // namespace

Wish complete_wish(std::string_view prompt) {
  Wish wish{std::string(prompt), "kids_cute_v2", {}};
  const std::string_view text = trim(prompt);
  const std::u32string letters = to_utf32(text);
  const auto han = static_cast<size_t>(std::ranges::count_if(letters, is_han));
  const auto words = words_of(text);
  const bool letter = han > 0 || std::ranges::any_of(text, [](char c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; });
  if (!letter || han > kShortHan || words.size() > kShortWords || letters.size() > 60) return wish;
  if (text.find_first_of(",;:\n") != std::string_view::npos || text.find("，") != std::string_view::npos)
    return wish;  // more than one clause: it says enough
  wish.prompt = text;
  if (han > 0)
    complete_chinese(wish);
  else
    complete_english(wish);
  return wish;
}

}  // namespace inkling
