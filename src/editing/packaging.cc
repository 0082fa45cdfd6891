#include "editing/packaging.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/utf8.h"

namespace inkling {

namespace {

constexpr std::string_view kJpegXmp{"http://ns.adobe.com/xap/1.0/\0", 29};
constexpr size_t kJpegSegment = 65533 - kJpegXmp.size();  // of one APP1, after its length

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default:
        // XML 1.0 has no other control characters.
        if (static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t') out += c;
    }
  }
  return out;
}

Image with_channels(const Image& image, int channels) {
  if (image.channels == channels) return image;
  Image out = Image::blank(image.width, image.height, channels, 255);
  const size_t pixels = static_cast<size_t>(image.width) * static_cast<size_t>(image.height);
  for (size_t i = 0; i < pixels; ++i) {
    const uint8_t* p = &image.pixels[i * static_cast<size_t>(image.channels)];
    for (int c = 0; c < std::min(channels, 3); ++c) {
      const int value = p[image.channels < 3 ? 0 : c];
      const int alpha = image.channels == 4 && channels < 4 ? p[3] : 255;
      out.pixels[i * static_cast<size_t>(channels) + static_cast<size_t>(c)] =
          static_cast<uint8_t>((value * alpha + 255 * (255 - alpha) + 127) / 255);
    }
    if (channels == 4 && image.channels == 4) out.pixels[i * 4 + 3] = p[3];
  }
  return out;
}

void append(std::vector<std::byte>& out, std::string_view bytes) {
  const auto* p = reinterpret_cast<const std::byte*>(bytes.data());
  out.insert(out.end(), p, p + bytes.size());
}

std::string little_endian(uint32_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i));
  return out;
}

std::vector<std::byte> jpeg_with_xmp(const std::vector<std::byte>& jpeg, const std::string& xmp) {
  std::vector<std::byte> out(jpeg.begin(), jpeg.begin() + 2);  // SOI
  const size_t length = 2 + kJpegXmp.size() + xmp.size();
  append(out, "\xff\xe1");
  append(out, std::string{static_cast<char>(length >> 8), static_cast<char>(length)});
  append(out, kJpegXmp);
  append(out, xmp);
  out.insert(out.end(), jpeg.begin() + 2, jpeg.end());
  return out;
}

// The extended container: VP8X says what follows, the picture's chunk as it was, then XMP.
std::vector<std::byte> webp_with_xmp(const std::vector<std::byte>& webp, const Image& image, const std::string& xmp) {
  constexpr size_t kRiff = 12, kVp8x = 18;
  const std::string_view bytes(reinterpret_cast<const char*>(webp.data()), webp.size());
  constexpr uint32_t kXmpFlag = 4, kAlphaFlag = 16;
  uint32_t flags = kXmpFlag | (image.channels == 4 ? kAlphaFlag : 0);
  std::string_view chunks = bytes.substr(kRiff);
  if (chunks.starts_with("VP8X")) {
    flags |= static_cast<uint8_t>(chunks[8]);
    chunks.remove_prefix(kVp8x);
  }
  std::string body = "WEBPVP8X" + little_endian(10, 4) + little_endian(flags, 4) +
                     little_endian(static_cast<uint32_t>(image.width - 1), 3) +
                     little_endian(static_cast<uint32_t>(image.height - 1), 3);
  body += chunks;
  body += "XMP " + little_endian(static_cast<uint32_t>(xmp.size()), 4) + xmp;
  if (xmp.size() % 2 != 0) body += '\0';
  std::vector<std::byte> out;
  append(out, "RIFF" + little_endian(static_cast<uint32_t>(body.size()), 4));
  append(out, body);
  return out;
}

}  // namespace

std::string aigc_label(const Packaging& p) {
  // Label 1: certainly made by AI.
  return nlohmann::ordered_json{{"Label", "1"},        {"ContentProducer", p.producer}, {"ProduceID", p.content_id},
                                {"ReservedCode1", ""}, {"ContentPropagator", ""},       {"PropagateID", ""},
                                {"ReservedCode2", ""}}
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string xmp_packet(const Packaging& p) {
  std::string xmp =
      "<?xpacket begin=\"\xef\xbb\xbf\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?><x:xmpmeta "
      "xmlns:x=\"adobe:ns:meta/\"><rdf:RDF "
      "xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\"><rdf:Description rdf:about=\"\" "
      "xmlns:TC260=\"http://www.tc260.org.cn/ns/AIGC/1.0/\" xmlns:inkling=\"urn:inkling:1.0\">";
  if (p.hidden_label) xmp += "<TC260:AIGC>" + escaped(aigc_label(p)) + "</TC260:AIGC>";
  if (!p.text.empty()) {
    xmp += "<inkling:text><rdf:Bag>";
    for (const auto& [keyword, value] : p.text)
      xmp += "<rdf:li>" + escaped(keyword) + ": " + escaped(value) + "</rdf:li>";
    xmp += "</rdf:Bag></inkling:text>";
  }
  return xmp + "</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end=\"w\"?>";
}

std::vector<std::byte> package_picture(const Image& given, const Packaging& p) {
  for (const auto& [keyword, value] : p.text)
    if (!is_utf8(keyword) || !is_utf8(value)) throw ArgumentError("metadata: '{}' is not valid UTF-8", keyword);
  const bool png = p.format == "png", jpeg = p.format == "jpeg";
  if (!png && !jpeg && p.format != "webp")
    throw ArgumentError("output_format: got '{}', expected png, jpeg or webp", p.format);
  Image image = jpeg ? with_channels(given, 3) : png || given.channels >= 3 ? given : with_channels(given, 3);
  if (p.visible_label) draw_ai_label(image, p.chinese);
  if (png) {
    std::map<std::string, std::string> text = p.text;
    if (p.hidden_label) text["AIGC"] = aigc_label(p);
    return encode_png(image, text);
  }
  const std::vector<std::byte> encoded = jpeg ? encode_jpeg(image, p.quality) : encode_webp(image, p.quality);
  if (!p.hidden_label && p.text.empty()) return encoded;
  std::string xmp = xmp_packet(p);
  if (jpeg && xmp.size() > kJpegSegment) {  // one segment holds 64 KiB: the label stays, the texts go
    Packaging label = p;
    label.text.clear();
    xmp = xmp_packet(label);
  }
  return jpeg ? jpeg_with_xmp(encoded, xmp) : webp_with_xmp(encoded, image, xmp);
}

}  // namespace inkling
