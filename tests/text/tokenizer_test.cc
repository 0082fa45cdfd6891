#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <chrono>

#include "base/error.h"
#include "text/pretokenizer.h"
#include "text/support.h"
#include "text/unicode.h"

namespace inkling {
namespace {

using testing::tokenizer;
using testing::vectors;
using Ids = std::vector<int32_t>;

std::vector<std::string> pieces(std::string_view text) {
  std::vector<std::string> result;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = piece_end(text, begin);
    result.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
  return result;
}

// Reports the first few differences only.
void expect_ids(Ids (Tokenizer::*encode)(std::string_view) const, Ids testing::Vector::*expected) {
  ASSERT_FALSE(vectors().empty());
  int wrong = 0;
  for (const auto& v : vectors()) {
    const Ids ids = (tokenizer().*encode)(v.text);
    if (ids == v.*expected || ++wrong > 5) continue;
    EXPECT_EQ(ids, v.*expected) << nlohmann::json(v.text).dump(-1, ' ', true);
  }
  EXPECT_EQ(wrong, 0) << "of " << vectors().size();
}

TEST(Tokenizer, GivesTheIdsOfTheReference) { expect_ids(&Tokenizer::encode, &testing::Vector::ids); }

TEST(Tokenizer, GivesTheReferencesIdsOfPlainText) { expect_ids(&Tokenizer::encode_plain, &testing::Vector::plain); }

TEST(Tokenizer, DecodesToTheNormalFormOfWhatWasEncoded) {
  for (const auto& v : vectors()) ASSERT_EQ(tokenizer().decode(v.plain), to_nfc(v.text));
}

TEST(Tokenizer, GivesTheGoldenIdsOfTheRealVocabulary) {
  if (tokenizer().vocab_size() < 151643) GTEST_SKIP() << "set INKLING_TOKENIZER_DIR to the real vocabulary";
  const std::vector<std::pair<std::string, Ids>> golden = {
      {"Picture 1: <|vision_start|><|image_pad|><|vision_end|>", {24669, 220, 16, 25, 220, 151652, 151655, 151653}},
      {"a cute panda", {64, 18838, 88222}},
      {"黄色的小鸭子戴着红色帽子", {106140, 104006, 105397, 44729, 111077, 104165, 109183}},
      {"Hello, world! It's 2026.", {9707, 11, 1879, 0, 1084, 594, 220, 17, 15, 17, 21, 13}},
      {"  leading spaces\n\n\ttabs", {220, 6388, 12621, 271, 3244, 3435}},
      {"“小熊”、3.14 RGB", {2073, 30709, 101330, 854, 5373, 18, 13, 16, 19, 20978}},
      {" ", {220}},
  };
  for (const auto& [text, ids] : golden) EXPECT_EQ(tokenizer().encode(text), ids) << text;
}

TEST(Tokenizer, TreatsAddedTokensAsTextInPlainEncoding) {
  const std::string text = "<|im_end|>\n<|im_start|>system";
  const Ids cut = tokenizer().encode(text), plain = tokenizer().encode_plain(text);
  EXPECT_EQ(cut.front(), tokenizer().token_id("<|im_end|>"));
  EXPECT_EQ(std::count(plain.begin(), plain.end(), tokenizer().token_id("<|im_end|>")), 0);
  EXPECT_EQ(std::count(plain.begin(), plain.end(), tokenizer().token_id("<|im_start|>")), 0);
  EXPECT_EQ(tokenizer().decode(plain), text);
  EXPECT_EQ(tokenizer().decode(cut), text);
}

TEST(Tokenizer, EncodesNothingToNothing) {
  EXPECT_TRUE(tokenizer().encode("").empty());
  EXPECT_TRUE(tokenizer().encode_plain("").empty());
  EXPECT_EQ(tokenizer().decode({}), "");
}

TEST(Tokenizer, KeepsControlCharactersAndNul) {
  const std::string text("a\0b\x1b[0m\x7f", 8);
  EXPECT_EQ(tokenizer().decode(tokenizer().encode(text)), text);
}

TEST(Tokenizer, RefusesInvalidUtf8) {
  for (const std::string bad :
       {"\x80", "a\xFF", "\xC3", "\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82", "\xF8\x88\x80\x80\x80"}) {
    EXPECT_THROW(tokenizer().encode(bad), ArgumentError);
    EXPECT_THROW(tokenizer().encode_plain(bad), ArgumentError);
  }
}

TEST(Tokenizer, DecodesPartialCharactersAsReplacements) {
  const Ids lead = {tokenizer().token_id("ð"), tokenizer().token_id("Ł")};  // F0 9F
  EXPECT_EQ(tokenizer().decode(lead), "\xEF\xBF\xBD");
  EXPECT_THROW(tokenizer().decode(Ids{-1}), ArgumentError);
  EXPECT_THROW(tokenizer().decode(Ids{tokenizer().vocab_size()}), ArgumentError);
}

TEST(Tokenizer, KnowsItsTokens) {
  EXPECT_EQ(tokenizer().token_id("no such token"), -1);
  EXPECT_GE(tokenizer().token_id("a"), 0);
  EXPECT_EQ(tokenizer().encode("<|image_pad|>"), Ids{tokenizer().token_id("<|image_pad|>")});
}

std::string repeat(std::string_view unit, size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += unit;
  return text;
}

TEST(Tokenizer, TakesTimeLinearInTheText) {
  constexpr size_t kBytes = 1 << 20;
  const auto start = std::chrono::steady_clock::now();
  for (const auto* unit : {"a", " ", "\n", " \n", "!", "1", "'s", "<", "<|im_", "é", "\u0301", "a cute panda ",
                           "\u0301\u0316", "\u0F73", "小熊猫", "\u3000", "\r\n\t", "ſ"}) {
    EXPECT_FALSE(tokenizer().encode(repeat(unit, kBytes)).empty());
  }
  const auto taken = std::chrono::steady_clock::now() - start;
  EXPECT_LT(taken, std::chrono::seconds(60)) << "a quadratic step would take minutes, even unsanitized";
}

TEST(Pretokenizer, FollowsThePattern) {
  using List = std::vector<std::string>;
  EXPECT_EQ(pieces("it's IT'LL we'Re"), (List{"it", "'s", " IT", "'LL", " we", "'Re"}));
  EXPECT_EQ(pieces("'ſx"), (List{"'ſ", "x"}));
  EXPECT_EQ(pieces("a   b"), (List{"a", "  ", " b"}));
  EXPECT_EQ(pieces("a \n  \n b  "), (List{"a", " \n  \n", " b", "  "}));
  EXPECT_EQ(pieces("\t1"), (List{"\t", "1"}));
  EXPECT_EQ(pieces("\t\tx"), (List{"\t", "\tx"}));
  EXPECT_EQ(pieces(" !!\r\n\n."), (List{" !!\r\n\n", "."}));
  EXPECT_EQ(pieces("\t!"), (List{"\t", "!"}));
  EXPECT_EQ(pieces("(a)12"), (List{"(a", ")", "1", "2"}));
  EXPECT_EQ(pieces("\u3000小"), (List{"\u3000小"}));
  EXPECT_EQ(pieces("\na"), (List{"\n", "a"}));
}

TEST(Unicode, NormalizesLongRunsOfMarksLikeShortOnes) {
  std::string mixed = "e", sorted = "e";
  for (int i = 0; i < 100; ++i) mixed += "\u0301\u0316";
  for (int i = 0; i < 100; ++i) sorted += "\u0316";
  for (int i = 0; i < 100; ++i) sorted += "\u0301";
  EXPECT_EQ(to_nfc(mixed), to_nfc(sorted));
  EXPECT_EQ(to_nfc(sorted).substr(0, 2), "é");
}

TEST(Unicode, FindsHan) {
  EXPECT_TRUE(has_han("a 鸭 b"));
  EXPECT_TRUE(has_han("𠮷"));
  EXPECT_FALSE(has_han("ducks, かな, éàü 🐤"));
  EXPECT_FALSE(has_han("\xE9\xB8 cut \xFF"));
}

TEST(Unicode, KnowsLettersNewerThanTheLibrary) {
  EXPECT_EQ(char_class(0x2EBF0), CharClass::letter);  // CJK extension I, Unicode 15.1
  EXPECT_EQ(char_class(0x10D40), CharClass::number);
  EXPECT_EQ(char_class(0x85), CharClass::space);
  EXPECT_EQ(char_class(0x200B), CharClass::other);
  EXPECT_EQ(char_class(0x10FFFF), CharClass::other);
}

}  // namespace
}  // namespace inkling
