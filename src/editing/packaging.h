// A finished picture as a file: encoded, with its texts and the labels that generated pictures carry in China
// (GB 45438-2025: a visible mark, and a metadata field whose name contains "AIGC").
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/image.h"

namespace inkling {

struct Packaging {
  std::string format = "png";               // "png", "jpeg" or "webp"
  int quality = 92;                         // 1..100, of JPEG and WebP
  bool visible_label = false;               // "AI生成" or "AI" in the bottom right corner
  bool hidden_label = true;                 // AIGC metadata
  bool chinese = true;                      // language of the visible label
  std::string producer = "inkling";         // of the hidden label: ContentProducer
  std::string content_id;                   // of the hidden label: ProduceID; the job's id
  std::map<std::string, std::string> text;  // keyword -> UTF-8: PNG iTXt, XMP in the others
};

// 1, 3 or 4 channels; what the format cannot hold is converted (alpha over white in JPEG, grey as RGB in WebP).
std::vector<std::byte> package_picture(const Image& image, const Packaging& packaging);

// The JSON of the hidden label, and the XMP packet that holds it and the texts.
std::string aigc_label(const Packaging& packaging);
std::string xmp_packet(const Packaging& packaging);

// Draws the visible label: glyphs of at least 5 % of the short side, light on a dark plate. Pictures whose short
// side is below 32 pixels stay as they are. Own bitmaps, no font.
void draw_ai_label(Image& image, bool chinese);

}  // namespace inkling
