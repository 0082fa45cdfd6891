// One test for each folding, and that the innocent stays innocent.
#include "safety/normalize.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/embedded.h"
#include "base/error.h"
#include "safety/word_lists.h"

namespace inkling {
namespace {

Normalizer make() {
  const auto data = embedded_safety();
  return Normalizer(embedded_bytes(data, "homoglyphs.txt"), embedded_bytes(data, "split.txt"));
}
const Normalizer& normalizer() {
  static const Normalizer n = make();
  return n;
}
std::string folded(std::string_view text) { return to_utf8(normalizer().fold(text)); }
std::string read(std::string_view text) { return to_utf8(plain_text(read_letters(normalizer().fold(text)))); }
bool has_variant(std::string_view text, std::u32string_view want) {
  const auto all = normalizer().variants(normalizer().fold(text));
  return std::ranges::find(all, want) != all.end();
}

TEST(Normalize, FoldsWidthCaseAndCompatibility) {
  EXPECT_EQ(folded("ＮＡＫＥＤ ｷ"), "naked キ");
  EXPECT_EQ(folded("𝓷𝓪𝓴𝓮𝓭 ⓢⓔⓧ"), "naked sex");
}

TEST(Normalize, DropsInvisibleAndCombiningMarks) {
  EXPECT_EQ(folded("s\u200be\u200dx\ufe0f"), "sex");
  EXPECT_EQ(folded("s\u0336é\u0301x\u00ad"), "sex");
  EXPECT_EQ(folded("色\u2060情"), "色情");
}

TEST(Normalize, SimplifiesTraditional) { EXPECT_EQ(folded("殺人與槍"), "杀人与枪"); }

TEST(Normalize, ReadsHomoglyphsAsLatin) {
  EXPECT_EQ(folded("nаkеd рοrn"), "naked porn");  // Cyrillic а е р, Greek ο
  EXPECT_EQ(folded("🇸🇪🇽"), "sex");
}

TEST(Normalize, LeetIsASecondReading) {
  EXPECT_TRUE(has_variant("n4k3d", U"naked"));
  EXPECT_TRUE(has_variant("k1ll", U"kill"));
  EXPECT_TRUE(has_variant("f*ck", U"fuck"));
  EXPECT_TRUE(has_variant("s 3 x", U"s e x"));
  EXPECT_EQ(normalizer().variants(U"3 birds and 12 cats!").size(), 1u);
  EXPECT_EQ(normalizer().variants(U"3 birds")[0], U"3 birds");
}

TEST(Normalize, JoinsSplitCharacters) {
  EXPECT_TRUE(has_variant("木仓", U"枪"));
  EXPECT_TRUE(has_variant("衤果亻本", U"裸体"));
}

TEST(Normalize, CountsRepeatedLetters) {
  const Reading reading = read_letters(U"seexxx");
  ASSERT_EQ(reading.size(), 3u);
  EXPECT_EQ(reading[1].run, 2);
  EXPECT_EQ(reading[2].run, 3);
  EXPECT_EQ(read("killll"), "kil");
  EXPECT_EQ(read("book"), "book");
}

TEST(Normalize, KeepsGapsApart) {
  const Reading reading = read_letters(U"a-b c  d, e");
  ASSERT_EQ(reading.size(), 5u);
  EXPECT_EQ(reading[1].before, Gap::joiner);
  EXPECT_EQ(reading[2].before, Gap::space);
  EXPECT_EQ(reading[3].before, Gap::wide);
  EXPECT_EQ(reading[4].before, Gap::stop);
}

TEST(Normalize, JoinsSpelledOutLetters) {
  EXPECT_EQ(read("s o m e   o n e"), "some one");
  EXPECT_EQ(read("色 情-图"), "色情图");
  EXPECT_EQ(read("a cat"), "a cat");
}

TEST(Normalize, DropsToneDigits) { EXPECT_TRUE(has_variant("se4 qing2", U"se qing")); }

TEST(Normalize, SpellsPinyin) {
  EXPECT_EQ(pinyin_of(U"色情"), (std::vector<std::u32string>{U"se", U"qing"}));
  EXPECT_TRUE(pinyin_of(U"a").empty() || pinyin_of(U"a")[0] == U"a");
}

TEST(Normalize, TakesAnyBytes) {
  EXPECT_EQ(folded("a\xff\xed\xa0\x80"
                   "b"),
            "ab");
  EXPECT_EQ(folded(std::string_view("a\0b", 3)), "ab");
  EXPECT_EQ(folded(""), "");
}

TEST(Normalize, RefusesDamagedTables) {
  EXPECT_THROW(Normalizer("ab", "木仓=枪"), ModelError);
  EXPECT_THROW(Normalizer("а=1", "木仓=枪"), ModelError);
  EXPECT_THROW(Normalizer("а=a", "木=枪"), ModelError);
  EXPECT_THROW(Normalizer("\xff=a", "木仓=枪"), ModelError);
}

}  // namespace
}  // namespace inkling
