#include "safety/aho_corasick.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <tuple>

namespace inkling {
namespace {

using Found = std::vector<std::pair<uint32_t, uint32_t>>;

Found sorted(std::vector<AhoCorasick::Hit> hits) {
  Found f;
  for (const auto& h : hits) f.emplace_back(h.end, h.pattern);
  std::ranges::sort(f);
  return f;
}

TEST(AhoCorasick, FindsWhatNaiveSearchFinds) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    const char32_t letters = 1 + random() % 4;  // few letters: many overlaps
    const auto word = [&](size_t most) {
      std::u32string w;
      for (size_t n = random() % (most + 1); n > 0; --n) w.push_back(U'一' + random() % letters);
      return w;
    };
    std::vector<std::u32string> patterns;
    for (size_t n = random() % 20; n > 0; --n) patterns.push_back(word(6));
    const std::u32string text = word(200);
    Found expected;
    for (uint32_t p = 0; p < patterns.size(); ++p)
      for (size_t at = 0; !patterns[p].empty() && at + patterns[p].size() <= text.size(); ++at)
        if (text.compare(at, patterns[p].size(), patterns[p]) == 0) expected.emplace_back(at + patterns[p].size(), p);
    std::ranges::sort(expected);
    EXPECT_EQ(sorted(AhoCorasick({patterns.begin(), patterns.end()}).find(text)), expected) << "round " << round;
  }
}

TEST(AhoCorasick, ReportsSuffixesAndEqualPatterns) {
  const AhoCorasick automaton({U"she", U"he", U"hers", U"he"});
  EXPECT_EQ(sorted(automaton.find(U"ushers")), (Found{{4, 0}, {4, 1}, {4, 3}, {6, 2}}));
  EXPECT_TRUE(AhoCorasick().find(U"anything").empty());
}

}  // namespace
}  // namespace inkling
