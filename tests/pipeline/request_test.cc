// What a caller may ask: the option table, the request, the style, the picture's way in and out.

#include "pipeline/request.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "pipeline/options.h"
#include "pipeline/picture.h"
#include "pipeline/style.h"

namespace inkling {
namespace {

OptionValues values(std::initializer_list<std::pair<const char*, const char*>> list) {
  OptionValues v;
  for (const auto& [name, value] : list) v.set(name, value);
  return v;
}

TEST(Options, NamesDeriveFromTheTable) {
  const Option& o = find_option("cfg-scale");
  EXPECT_EQ(o.json_name(), "cfg_scale");
  EXPECT_EQ(o.environment_name(), "INKLING_CFG_SCALE");
}

TEST(Options, RefuseValuesOutsideTheirRangeByName) {
  for (const char* bad : {"0", "-1", "1e9", "1.5", "\"512\"", "nan", "9223372036854775808", "", " 512"}) {
    try {
      values({{"width", bad}});
      FAIL() << bad;
    } catch (const ArgumentError& e) {
      EXPECT_EQ(e.exit_code(), 2);
      EXPECT_NE(std::string(e.what()).find("width"), std::string::npos);
    }
  }
  EXPECT_THROW(values({{"cfg-scale", "inf"}}), ArgumentError);
  EXPECT_THROW(values({{"seed", "1e300"}}), ArgumentError);
  EXPECT_THROW(values({{"style", "gothic"}}), ArgumentError);
  EXPECT_EQ(values({{"seed", "-9007199254740992"}}).integer("seed"), -9007199254740992);
}

TEST(Options, SizesHaveUnits) {
  EXPECT_EQ(parse_bytes("6GiB"), int64_t{6} << 30);
  EXPECT_EQ(parse_bytes("1.5 MiB"), 1572864);
  EXPECT_EQ(parse_bytes("8GB"), 8'000'000'000);
  EXPECT_EQ(parse_bytes("123"), 123);
  for (const char* bad : {"", "GiB", "6XB", "1e3", "99999999999TiB", "-1"})
    EXPECT_THROW(parse_bytes(bad), ArgumentError) << bad;
}

TEST(Request, NeedsAPromptInUtf8OfBoundedLength) {
  EXPECT_THROW(make_request(values({}), false), ArgumentError);
  EXPECT_THROW(make_request(values({{"prompt", " \t\n"}}), false), ArgumentError);
  for (const char* bad : {"\xff", "a\xc0\x80", "\xed\xa0\x80", "\xf5\x80\x80\x80", "\xe4\xb8"})
    EXPECT_THROW(make_request(values({{"prompt", bad}}), false), ArgumentError);
  OptionValues long_prompt;
  long_prompt.set("prompt", std::string(65 * 1024, 'a'));
  EXPECT_THROW(make_request(long_prompt, false), ArgumentError);
  EXPECT_EQ(make_request(values({{"prompt", "🐼 熊猫"}}), false).prompt, "🐼 熊猫");
}

TEST(Request, SizesAreMultiplesOf16) {
  EXPECT_THROW(make_request(values({{"prompt", "x"}, {"width", "513"}}), false), ArgumentError);
  EXPECT_EQ(make_request(values({{"prompt", "x"}, {"width", "512"}}), false).width, 512);
  EXPECT_THROW(make_request(values({{"prompt", "x"}}), true), ArgumentError);  // an edit needs a picture
}

TEST(Style, CompletesAWishInItsLanguageOnce) {
  const std::string chinese = apply_style("小鸭子", "kids_cute_v2");
  EXPECT_NE(chinese.find("卡通"), std::string::npos);
  EXPECT_EQ(apply_style(chinese, "kids_cute_v2"), chinese);
  const std::string english = apply_style("a duck", "kids_cute_v2");
  for (const char* word : {"cartoon", "colorful", "friendly"}) EXPECT_NE(english.find(word), std::string::npos);
  EXPECT_EQ(apply_style("a duck", "none"), "a duck");
}

TEST(Picture, PaddingMovesNoPixelAndCropUndoesIt) {
  Image image = Image::blank(19, 33, 3);
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(i * 7);
  const Image padded = pad_to_multiple(image, 16);
  EXPECT_EQ(padded.width, 32);
  EXPECT_EQ(padded.height, 48);
  EXPECT_EQ(crop(padded, 19, 33).pixels, image.pixels);
  EXPECT_EQ(to_image(to_tensor(image)).pixels, image.pixels);
}

TEST(Picture, AMaskLeavesTheRestUntouched) {
  const Image original = Image::blank(4, 1, 3, 10), edited = Image::blank(4, 1, 3, 200);
  Image mask = Image::blank(4, 1, 1, 0);
  mask.pixels = {0, 255, 128, 0};
  const Image mixed = composite(original, edited, mask);
  EXPECT_EQ(mixed.at(0, 0)[0], 10);
  EXPECT_EQ(mixed.at(1, 0)[0], 200);
  EXPECT_EQ(mixed.at(2, 0)[0], 105);
  EXPECT_EQ(mixed.at(3, 0)[2], 10);
}

TEST(Picture, NotANumberIsNeverAPicture) {
  for (const float bad : {std::nanf(""), INFINITY, -INFINITY}) {
    Tensor t = host_tensor(Shape{1, 1, 3}, std::vector<float>{0.f, bad, 0.f});
    EXPECT_THROW(to_image(t), NumericError);
  }
}

}  // namespace
}  // namespace inkling
