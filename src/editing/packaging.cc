#include "editing/packaging.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/utf8.h"

namespace inkling {

namespace {

// Of one JPEG segment (65,533 bytes), less its own name.
constexpr std::string_view kXmpName{"http://ns.adobe.com/xap/1.0/\0", 29};
constexpr size_t kMaxJpegXmp = 65'533 - kXmpName.size();
constexpr size_t kMaxTextBytes = 4 << 20;  // of all texts

std::string xml_escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '&')
      result += "&amp;";
    else if (c == '<')
      result += "&lt;";
    else if (c == '>')
      result += "&gt;";
    else if (c == '"')
      result += "&quot;";
    else if (byte < 32 && c != '\t' && c != '\n')
      result += ' ';  // XML 1.0 has no other control characters
    else
      result += c;
  }
  return result;
}

// U+FFFE and U+FFFF are no characters of XML.
bool is_xml_text(std::string_view text) {
  return is_utf8(text) && text.find('\0') == std::string_view::npos &&
         text.find("\xEF\xBF\xBE") == std::string_view::npos && text.find("\xEF\xBF\xBF") == std::string_view::npos;
}

std::string packet(const Packaging& packaging, bool with_texts, size_t limit) {
  std::string body;
  if (packaging.hidden_label)
    body += "<rdf:Description rdf:about=\"\" xmlns:TC260=\"http://www.tc260.org.cn/ns/AIGC/1.0/\"><TC260:AIGC>" +
            xml_escaped(aigc_label(packaging)) + "</TC260:AIGC></rdf:Description>\n";
  std::string items;
  if (with_texts)
    for (const auto& [key, value] : packaging.text) {
      std::string item = "<rdf:li rdf:parseType=\"Resource\"><inkling:key>" + xml_escaped(key) +
                         "</inkling:key><inkling:value>" + xml_escaped(value) + "</inkling:value></rdf:li>\n";
      if (body.size() + items.size() + item.size() + 1024 <= limit) items += item;  // what does not fit is left out
    }
  if (!items.empty())
    body += "<rdf:Description rdf:about=\"\" xmlns:inkling=\"urn:inkling:text:1\"><inkling:texts><rdf:Bag>\n" + items +
            "</rdf:Bag></inkling:texts></rdf:Description>\n";
  if (body.empty()) return {};
  return "<?xpacket begin=\"\xEF\xBB\xBF\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>\n<x:xmpmeta xmlns:x=\"adobe:ns:meta/\">"
         "<rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">\n" +
         body + "</rdf:RDF></x:xmpmeta>\n<?xpacket end=\"w\"?>";
}

void append(std::vector<std::byte>& out, std::string_view text) {
  const auto* begin = reinterpret_cast<const std::byte*>(text.data());
  out.insert(out.end(), begin, begin + text.size());
}

// After SOI and the JFIF segment, as a segment APP1.
std::vector<std::byte> with_xmp_jpeg(const std::vector<std::byte>& jpeg, const std::string& xmp) {
  size_t at = 2;
  if (jpeg.size() > 6 && jpeg[2] == std::byte{0xFF} && jpeg[3] == std::byte{0xE0})
    at += 2 + (static_cast<size_t>(jpeg[4]) << 8 | static_cast<size_t>(jpeg[5]));
  std::vector<std::byte> result(jpeg.begin(), jpeg.begin() + static_cast<std::ptrdiff_t>(at));
  const size_t length = 2 + kXmpName.size() + xmp.size();
  for (const size_t byte : {size_t{0xFF}, size_t{0xE1}, length >> 8, length & 0xFF})
    result.push_back(static_cast<std::byte>(byte));
  append(result, kXmpName);
  append(result, xmp);
  result.insert(result.end(), jpeg.begin() + static_cast<std::ptrdiff_t>(at), jpeg.end());
  return result;
}

void append_u32(std::vector<std::byte>& out, size_t value, int bytes = 4) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<std::byte>(value >> (8 * i) & 0xFF));
}

// The extended container: VP8X, the chunks that were there, XMP.
std::vector<std::byte> with_xmp_webp(const std::vector<std::byte>& webp, const std::string& xmp, const Image& image) {
  constexpr size_t kRiffHeader = 12, kChunkHeader = 8, kExtended = 18;
  constexpr std::byte kHasXmp{0x04}, kHasAlpha{0x10};
  std::vector<std::byte> result;
  result.reserve(webp.size() + xmp.size() + 64);
  append(result, "RIFF");
  append_u32(result, 0);  // length, below
  append(result, "WEBP");
  size_t from = kRiffHeader;
  if (std::memcmp(webp.data() + kRiffHeader, "VP8X", 4) == 0) {
    result.insert(result.end(), webp.begin() + kRiffHeader, webp.begin() + kRiffHeader + kExtended);
    result[kRiffHeader + kChunkHeader] |= kHasXmp;
    from += kExtended;
  } else {
    append(result, "VP8X");
    append_u32(result, 10);
    result.push_back(image.channels == 4 ? kHasXmp | kHasAlpha : kHasXmp);
    append_u32(result, 0, 3);
    append_u32(result, static_cast<size_t>(image.width - 1), 3);
    append_u32(result, static_cast<size_t>(image.height - 1), 3);
  }
  result.insert(result.end(), webp.begin() + static_cast<std::ptrdiff_t>(from), webp.end());
  append(result, "XMP ");
  append_u32(result, xmp.size());
  append(result, xmp);
  if (xmp.size() % 2 == 1) result.push_back(std::byte{0});
  const size_t riff = result.size() - 8;
  for (size_t i = 0; i < 4; ++i) result[4 + i] = static_cast<std::byte>(riff >> (8 * i) & 0xFF);
  return result;
}

Image as_rgb(const Image& image) {
  Image rgb = Image::blank(image.width, image.height, 3);
  const auto channels = static_cast<size_t>(image.channels);
  for (size_t i = 0; i < rgb.pixels.size() / 3; ++i) {
    const uint8_t* in = &image.pixels[i * channels];
    const int alpha = channels == 4 ? in[3] : 255;
    for (size_t c = 0; c < 3; ++c)
      rgb.pixels[i * 3 + c] =
          static_cast<uint8_t>((in[channels == 1 ? 0 : c] * alpha + 255 * (255 - alpha) + 127) / 255);
  }
  return rgb;
}

}  // namespace

std::string aigc_label(const Packaging& packaging) {
  const nlohmann::ordered_json label = {{"Label", "1"},  // "certainly generated"
                                        {"ContentProducer", packaging.producer},
                                        {"ProduceID", packaging.content_id},
                                        {"ReservedCode1", ""},
                                        {"ContentPropagator", ""},
                                        {"PropagateID", ""},
                                        {"ReservedCode2", ""}};
  return label.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string xmp_packet(const Packaging& packaging) { return packet(packaging, true, kMaxTextBytes + (64 << 10)); }

std::vector<std::byte> package_picture(const Image& image, const Packaging& packaging) {
  if (image.width < 1 || image.height < 1 || (image.channels != 1 && image.channels != 3 && image.channels != 4) ||
      image.pixels.size() != image.row_bytes() * static_cast<size_t>(image.height))
    throw ArgumentError("package: cannot write {}x{} with {} channels", image.width, image.height, image.channels);
  if (packaging.quality < 1 || packaging.quality > 100)
    throw ArgumentError("package.quality: {} is not within 1..100", packaging.quality);
  size_t bytes = 0;
  for (const auto& [key, value] : packaging.text) {
    bytes += key.size() + value.size();
    if (key.empty() || !is_xml_text(key) || !is_xml_text(value))
      throw ArgumentError("package.text: \"{}\" is not UTF-8 text", key.substr(0, 40));
  }
  if (bytes > kMaxTextBytes)
    throw ArgumentError("package.text: {} bytes, at most {} are allowed", bytes, kMaxTextBytes);
  const bool png = packaging.format == "png", jpeg = packaging.format == "jpeg", webp = packaging.format == "webp";
  if (!png && !jpeg && !webp)
    throw ArgumentError("package.format: \"{}\" is none of png, jpeg, webp", packaging.format.substr(0, 40));
  Image picture = (jpeg && image.channels == 4) || (webp && image.channels == 1) ? as_rgb(image) : image;
  if (packaging.visible_label) draw_ai_label(picture, packaging.chinese);
  if (png) {
    auto text = packaging.text;
    if (packaging.hidden_label) {
      text["AIGC"] = aigc_label(packaging);
      text["XML:com.adobe.xmp"] = packet(packaging, false, kMaxTextBytes);  // the texts have chunks of their own
    }
    return encode_png(picture, text);
  }
  if (jpeg) {
    const std::string xmp = packet(packaging, true, kMaxJpegXmp);
    auto encoded = encode_jpeg(picture, packaging.quality);
    return xmp.empty() ? encoded : with_xmp_jpeg(encoded, xmp);
  }
  const std::string xmp = xmp_packet(packaging);
  auto encoded = encode_webp(picture, packaging.quality);
  return xmp.empty() ? encoded : with_xmp_webp(encoded, xmp, picture);
}

}  // namespace inkling
