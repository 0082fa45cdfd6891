#include "formats/image.h"
#include "formats/png_chunks.h"
#include "helpers.h"

namespace inkling::testing {
namespace {

TEST(PngText, ReadsEveryKindThatPillowWrites) {
  const auto text = read_png_text(data_path("images/text.png"));
  EXPECT_EQ(text.at("prompt"), "一只戴帽子的小猫");
  EXPECT_EQ(text.at("Comment"), "café");
  EXPECT_EQ(text.at("workflow"), R"({"猫": 1})");
  EXPECT_EQ(text.at("parameters").size(), 360u);
}

TEST(PngText, RoundTripKeepsChineseAndLongTexts) {
  const TemporaryFolder folder;
  std::string workflow;
  for (int i = 0; i < 5000; ++i) workflow += "节点" + std::to_string(i);
  const std::map<std::string, std::string> text = {
      {"prompt", "小猫 🐱"}, {"workflow", workflow}, {"empty", ""}, {"Léa", "é"}};
  write_image(folder / "a.png", Image::blank(2, 2, 3), text);
  EXPECT_EQ(read_png_text(folder / "a.png"), text);
  EXPECT_LT(read_bytes(folder / "a.png").size(), workflow.size());  // long ones are compressed
}

TEST(PngText, BadKeywordsAndValuesAreRefused) {
  const auto attempt = [](const std::string& keyword, const std::string& value) {
    return [=] { encode_png(Image::blank(1, 1, 3), {{keyword, value}}); };
  };
  for (const std::string& keyword : {std::string(), std::string(80, 'k'), std::string(" a"), std::string("a "),
                                     std::string("a  b"), std::string("a\nb"), std::string("键")})
    expect_error<ArgumentError>(attempt(keyword, "x"), "keyword");
  expect_error<ArgumentError>(attempt("a", "\xff\xfe"), "UTF-8");
  expect_error<ArgumentError>(attempt("a", std::string("a\0b", 3)), "UTF-8");
}

TEST(PngText, ACompressedBombIsNotInflated) {
  const std::string bomb(30 << 20, 'a');
  const auto bytes = encode_png(Image::blank(1, 1, 3), {{"bomb", bomb}, {"small", "x"}});
  EXPECT_LT(bytes.size(), 1u << 20);
  const auto text = parse_png_text(bytes, "file");
  EXPECT_EQ(text.count("bomb"), 0u);
  EXPECT_EQ(text.at("small"), "x");
}

TEST(PngText, FilesThatAreNoPngAreRefused) {
  expect_error<ArgumentError>([] { read_png_text(data_path("images/rgb.jpg")); }, "not a PNG");
}

TEST(PngText, EveryChangedByteAndEveryPrefixIsReadOrRefused) {
  survive_damage(read_bytes(data_path("images/text.png")), [](const Bytes& bytes) { parse_png_text(bytes, "file"); });
}

}  // namespace
}  // namespace inkling::testing
