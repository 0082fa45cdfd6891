#include "text/vocabulary.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "text/pretokenizer.h"
#include "text/support.h"

namespace inkling {
namespace {

using nlohmann::json;
using testing::read_file;
using testing::small_tokenizer_dir;
using testing::TemporaryDir;

enum class MergeStyle { pairs, strings };

// The small tokenizer as one tokenizer.json.
json as_tokenizer_json(MergeStyle style) {
  const Vocabulary vocabulary = read_vocabulary(small_tokenizer_dir());
  json result = {{"version", "1.0"}, {"truncation", nullptr}};
  for (const auto& [content, id] : vocabulary.added) {
    result["added_tokens"].push_back({{"id", id}, {"content", content}, {"special", true}});
  }
  result["pre_tokenizer"]["pretokenizers"] = {{{"type", "Split"}, {"pattern", {{"Regex", kPretokenizerPattern}}}}};
  json& model = result["model"];
  model["type"] = "BPE";
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) model["vocab"][vocabulary.tokens[id]] = id;
  for (const auto& [left, right] : vocabulary.merges) {
    if (style == MergeStyle::pairs) model["merges"].push_back({left, right});
    if (style == MergeStyle::strings) model["merges"].push_back(left + " " + right);
  }
  return result;
}

TEST(Vocabulary, ReadsTokenizerJsonOfBothMergeStyles) {
  const Tokenizer two_files = Tokenizer::load(small_tokenizer_dir());
  for (const MergeStyle style : {MergeStyle::pairs, MergeStyle::strings}) {
    const TemporaryDir dir;
    dir.write("tokenizer.json", as_tokenizer_json(style).dump());
    const Tokenizer one_file = Tokenizer::load(dir.path());
    EXPECT_EQ(one_file.vocab_size(), two_files.vocab_size());
    for (const auto& v : testing::vectors()) ASSERT_EQ(one_file.encode(v.text), two_files.encode(v.text));
  }
}

TEST(Vocabulary, ReadsAddedTokensJson) {
  const TemporaryDir dir;
  dir.write("vocab.json", read_file(small_tokenizer_dir() / "vocab.json"));
  dir.write("merges.txt", read_file(small_tokenizer_dir() / "merges.txt"));
  dir.write("added_tokens.json", R"({"<|im_end|>": 1600, "<|im_end|>|": 1601})");
  const Tokenizer tokenizer = Tokenizer::load(dir.path());
  EXPECT_EQ(tokenizer.vocab_size(), 1602);
  EXPECT_EQ(tokenizer.encode("<|im_end|>"), std::vector<int32_t>{1600});
  EXPECT_EQ(tokenizer.encode("<|im_end|>|"), std::vector<int32_t>{1601}) << "the longest match wins";
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{1550}), "") << "a gap in the ids";
}

TEST(Vocabulary, AcceptsWindowsLineEndings) {
  const TemporaryDir dir;
  std::string merges;
  for (const char c : read_file(small_tokenizer_dir() / "merges.txt")) merges += c == '\n' ? "\r\n" : std::string(1, c);
  dir.write("vocab.json", read_file(small_tokenizer_dir() / "vocab.json"));
  dir.write("merges.txt", merges);
  EXPECT_EQ(Tokenizer::load(dir.path()).encode_plain("art"),
            Tokenizer::load(small_tokenizer_dir()).encode_plain("art"));
}

// Every change makes a model file that must be refused with a ModelError.
class BrokenTokenizerJson : public ::testing::TestWithParam<std::pair<const char*, void (*)(json&)>> {};

TEST_P(BrokenTokenizerJson, IsRefused) {
  json file = as_tokenizer_json(MergeStyle::pairs);
  GetParam().second(file);
  const TemporaryDir dir;
  dir.write("tokenizer.json", file.dump());
  EXPECT_THROW(Tokenizer::load(dir.path()), ModelError);
}

INSTANTIATE_TEST_SUITE_P(
    All, BrokenTokenizerJson,
    ::testing::Values(
        std::pair{"ByteMissing", +[](json& j) { j["model"]["vocab"].erase("!"); }},
        std::pair{"IdNegative", +[](json& j) { j["model"]["vocab"]["zzzz"] = -1; }},
        std::pair{"IdHuge", +[](json& j) { j["model"]["vocab"]["zzzz"] = 1ull << 40; }},
        std::pair{"IdFraction", +[](json& j) { j["model"]["vocab"]["zzzz"] = 0.5; }},
        std::pair{"IdShared", +[](json& j) { j["model"]["vocab"]["zzzz"] = 3; }},
        std::pair{"MergeUnknown",
                  +[](json& j) {
                    j["model"]["merges"].push_back({"zz", "zz"});
                  }},
        std::pair{"MergeOfThree",
                  +[](json& j) {
                    j["model"]["merges"].push_back({"a", "b", "c"});
                  }},
        std::pair{"MergeWithoutSpace", +[](json& j) { j["model"]["merges"].push_back("ab"); }},
        std::pair{"OtherModel", +[](json& j) { j["model"]["type"] = "WordPiece"; }},
        std::pair{"OtherPattern",
                  +[](json& j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "\\w+"; }},
        std::pair{"AddedWithoutId",
                  +[](json& j) {
                    j["added_tokens"].push_back({{"content", "<x>"}});
                  }},
        std::pair{
            "AddedEmpty",
            +[](json& j) {
              j["added_tokens"].push_back({{"content", ""}, {"id", 9}});
            }},
        std::pair{"AddedTwiceOneId", +[](json& j) { j["added_tokens"].push_back({{"content", "<x>"}, {"id", 1500}}); }},
        std::pair{"AddedOverVocabulary",
                  +[](json& j) { j["added_tokens"].push_back({{"content", "<x>"}, {"id", 7}}); }},
        std::pair{"NoModel", +[](json& j) { j.erase("model"); }},
        std::
            pair{
                "Array",
                +[](json& j) {
                  j = {1, 2};
                }}),
    [](const auto& info) { return std::string(info.param.first); });

TEST(Vocabulary, RefusesMissingAndTruncatedFiles) {
  EXPECT_THROW(Tokenizer::load("/no/such/folder"), ModelError);
  const std::string whole = as_tokenizer_json(MergeStyle::pairs).dump();
  for (const size_t size : {size_t{0}, size_t{1}, whole.size() / 3, whole.size() - 1}) {
    const TemporaryDir dir;
    dir.write("tokenizer.json", whole.substr(0, size));
    EXPECT_THROW(Tokenizer::load(dir.path()), ModelError) << size;
  }
}

TEST(Vocabulary, SurvivesDeepNesting) {
  const TemporaryDir dir;
  dir.write("tokenizer.json", std::string(1 << 20, '['));
  EXPECT_THROW(Tokenizer::load(dir.path()), ModelError);
}

}  // namespace
}  // namespace inkling
