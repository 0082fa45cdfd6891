#include "editing/packaging.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "editing/lab.h"
#include "formats/png_chunks.h"

namespace inkling {
namespace {

Image gradient(int w, int h, int channels) {
  Image image = Image::blank(w, h, channels);
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x)
      for (int c = 0; c < channels; ++c) image.at(x, y)[c] = static_cast<uint8_t>((x * 2 + y * (c + 1)) % 256);
  return image;
}

size_t number(const std::vector<std::byte>& bytes, size_t at, int count, bool big) {
  size_t value = 0;
  for (int i = 0; i < count; ++i)
    value |= static_cast<size_t>(bytes[at + static_cast<size_t>(i)]) << 8 * (big ? count - 1 - i : i);
  return value;
}
std::string text_at(const std::vector<std::byte>& bytes, size_t at, size_t count) {
  return {reinterpret_cast<const char*>(bytes.data()) + at, count};
}

// The XMP packet of a JPEG, read from its segments.
std::string jpeg_xmp(const std::vector<std::byte>& bytes) {
  const std::string name("http://ns.adobe.com/xap/1.0/\0", 29);
  for (size_t at = 2; at + 4 <= bytes.size() && bytes[at] == std::byte{0xFF} && bytes[at + 1] != std::byte{0xDA};) {
    const size_t length = number(bytes, at + 2, 2, true);
    if (bytes[at + 1] == std::byte{0xE1} && text_at(bytes, at + 4, name.size()) == name)
      return text_at(bytes, at + 4 + name.size(), length - 2 - name.size());
    at += 2 + length;
  }
  return {};
}

// The same of a WebP; checks that the chunks fill the file.
std::string webp_xmp(const std::vector<std::byte>& bytes) {
  EXPECT_EQ(number(bytes, 4, 4, false) + 8, bytes.size());
  EXPECT_EQ(text_at(bytes, 12, 4), "VP8X");
  EXPECT_NE(bytes[20] & std::byte{0x04}, std::byte{0});
  std::string found;
  size_t at = 12;
  while (at + 8 <= bytes.size()) {
    const size_t length = number(bytes, at + 4, 4, false);
    if (text_at(bytes, at, 4) == "XMP ") found = text_at(bytes, at + 8, length);
    at += 8 + length + length % 2;
  }
  EXPECT_EQ(at, bytes.size());
  return found;
}

std::string unescaped(std::string text) {
  for (const auto& [from, to] :
       {std::pair{"&quot;", "\""}, std::pair{"&lt;", "<"}, std::pair{"&gt;", ">"}, std::pair{"&amp;", "&"}})
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; ++at) text.replace(at, std::strlen(from), to);
  return text;
}

std::string between(const std::string& text, const std::string& open, const std::string& close) {
  const size_t begin = text.find(open);
  if (begin == std::string::npos) return {};
  const size_t end = text.find(close, begin);
  return text.substr(begin + open.size(), end - begin - open.size());
}

void check_label(const std::string& json) {
  const auto label = nlohmann::json::parse(json);
  EXPECT_EQ(label.at("Label"), "1");
  EXPECT_EQ(label.at("ContentProducer"), "inkling");
  EXPECT_EQ(label.at("ProduceID"), "job_<1>&\"");
}

Packaging sample(const std::string& format) {
  Packaging packaging;
  packaging.format = format;
  packaging.content_id = "job_<1>&\"";
  packaging.text = {{"prompt", "一只戴红色围巾的小猫 <b>&\""}, {"seed", "7"}};
  return packaging;
}

// Set INKLING_KEEP_PICTURES to a folder to read the files back with other programs.
void keep(const std::string& name, const std::vector<std::byte>& bytes) {
  if (const char* folder = std::getenv("INKLING_KEEP_PICTURES"))
    std::ofstream(std::string(folder) + "/" + name, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

TEST(Packaging, PngCarriesTextsAndLabel) {
  const Image image = gradient(65, 43, 3);
  const auto bytes = package_picture(image, sample("png"));
  keep("a.png", bytes);
  EXPECT_EQ(decode_image(bytes, "a.png").pixels, image.pixels);
  const auto text = parse_png_text(bytes, "a.png");
  EXPECT_EQ(text.at("prompt"), "一只戴红色围巾的小猫 <b>&\"");
  EXPECT_EQ(text.at("seed"), "7");
  check_label(text.at("AIGC"));
  check_label(unescaped(between(text.at("XML:com.adobe.xmp"), "<TC260:AIGC>", "</TC260:AIGC>")));
  EXPECT_NE(text.at("XML:com.adobe.xmp").find("xmlns:TC260=\"http://www.tc260.org.cn/ns/AIGC/1.0/\""),
            std::string::npos);
}

TEST(Packaging, JpegAndWebpCarryThemInXmp) {
  for (const int channels : {1, 3, 4})
    for (const std::string format : {"jpeg", "webp"}) {
      const Image image = gradient(65, 43, channels);
      const auto bytes = package_picture(image, sample(format));
      keep(std::to_string(channels) + "." + format, bytes);
      Packaging bare = sample(format);
      bare.hidden_label = false;
      bare.text.clear();
      // Metadata changes no pixel.
      const Image with = decode_image(bytes, format), without = decode_image(package_picture(image, bare), format);
      EXPECT_EQ(with.pixels, without.pixels);
      EXPECT_EQ(with.width, 65);
      const std::string xmp = format == "jpeg" ? jpeg_xmp(bytes) : webp_xmp(bytes);
      check_label(unescaped(between(xmp, "<TC260:AIGC>", "</TC260:AIGC>")));
      EXPECT_NE(xmp.find("<inkling:key>prompt</inkling:key><inkling:value>一只戴红色围巾的小猫 "
                         "&lt;b&gt;&amp;&quot;</inkling:value>"),
                std::string::npos);
    }
}

TEST(Packaging, HiddenLabelIsASwitch) {
  Packaging packaging = sample("png");
  packaging.hidden_label = false;
  const auto text = parse_png_text(package_picture(gradient(32, 32, 3), packaging), "x");
  EXPECT_EQ(text.size(), 2U);
  packaging.text.clear();
  packaging.format = "jpeg";
  EXPECT_EQ(jpeg_xmp(package_picture(gradient(32, 32, 3), packaging)), "");
}

TEST(Packaging, LongTextsStayOutOfAJpegSegmentAndTheLabelStaysIn) {
  Packaging packaging = sample("jpeg");
  packaging.text["workflow"] = std::string(70'000, 'x');
  const auto bytes = package_picture(gradient(32, 32, 3), packaging);
  EXPECT_EQ(decode_image(bytes, "x").width, 32);
  const std::string xmp = jpeg_xmp(bytes);
  EXPECT_NE(xmp.find("TC260:AIGC"), std::string::npos);
  EXPECT_NE(xmp.find("prompt"), std::string::npos);
  EXPECT_EQ(xmp.find("workflow"), std::string::npos);
  packaging.format = "webp";
  EXPECT_NE(webp_xmp(package_picture(gradient(32, 32, 3), packaging)).find("workflow"), std::string::npos);
}

TEST(Packaging, RefusesBadFields) {
  const Image image = gradient(8, 8, 3);
  for (const auto& change : std::vector<void (*)(Packaging&)>{
           [](Packaging& p) { p.format = "gif"; }, [](Packaging& p) { p.quality = 0; },
           [](Packaging& p) { p.text["a"] = "\xff"; }, [](Packaging& p) { p.text["a"] = std::string("a\0b", 3); },
           [](Packaging& p) { p.text[""] = "a"; }, [](Packaging& p) { p.text["a"] = std::string(5 << 20, 'x'); }}) {
    Packaging packaging;
    change(packaging);
    EXPECT_THROW(package_picture(image, packaging), ArgumentError);
  }
  EXPECT_THROW(package_picture(Image{}, {}), ArgumentError);
}

double luminance(const uint8_t* p) {
  return 0.2126 * linear_of(p[0]) + 0.7152 * linear_of(p[1]) + 0.0722 * linear_of(p[2]);
}

// WCAG contrast of the letters with what is next to them, on any background; height of the letters; place.
TEST(Packaging, VisibleLabelCanBeReadOnAnyBackground) {
  for (const int side : {96, 256, 1024})
    for (const std::array<uint8_t, 3> color :
         {std::array<uint8_t, 3>{0, 0, 0}, {255, 255, 255}, {128, 128, 128}, {255, 230, 0}, {20, 60, 200}}) {
      Image image = Image::blank(side, side * 3 / 2, 3);
      for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = color[i % 3];
      const Image before = image;
      draw_ai_label(image, true);
      int top = image.height, bottom = -1, left = image.width;
      for (int y = 0; y < image.height; ++y)
        for (int x = 0; x < image.width; ++x) {
          const bool ink = image.at(x, y)[0] >= 225 && image.at(x, y)[1] >= 225 && image.at(x, y)[2] >= 225;
          if (ink && color[2] != 255) top = std::min(top, y), bottom = std::max(bottom, y), left = std::min(left, x);
        }
      if (color[2] != 255) {
        EXPECT_GE(bottom - top + 1, 0.05 * side);
        EXPECT_GT(left, side / 3);  // in the right part
        EXPECT_GT(top, image.height * 8 / 10);
        EXPECT_LE(bottom, image.height - 1);
      }
      // The plate: the darkest pixel of the corner.
      double dark = 1;
      for (int y = image.height - side / 5; y < image.height; ++y)
        for (int x = image.width / 2; x < image.width; ++x) dark = std::min(dark, luminance(image.at(x, y)));
      EXPECT_GE(1.05 / (dark + 0.05), 7.0);
      // Nothing else changes.
      for (int y = 0; y < image.height * 8 / 10; ++y)
        EXPECT_EQ(std::memcmp(image.at(0, y), before.at(0, y), image.row_bytes()), 0);
    }
  Image tiny = Image::blank(20, 20, 3, 9);
  draw_ai_label(tiny, true);
  EXPECT_EQ(tiny.pixels, Image::blank(20, 20, 3, 9).pixels);
  for (const int channels : {1, 4}) {
    Packaging packaging;
    packaging.visible_label = true;
    const Image image = gradient(200, 120, channels);
    EXPECT_NE(package_picture(image, packaging), package_picture(image, {}));
  }
  Image shown = gradient(512, 384, 3);
  draw_ai_label(shown, true);
  keep("label_zh.png", encode_png(shown));
  shown = gradient(256, 256, 3);
  draw_ai_label(shown, false);
  keep("label_en.png", encode_png(shown));
  shown = Image::blank(256, 256, 3, 255);
  draw_ai_label(shown, true);
  keep("label_small.png", encode_png(shown));
}

}  // namespace
}  // namespace inkling
