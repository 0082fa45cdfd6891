#include "formats/png_chunks.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "base/error.h"
#include "formats/utf8.h"

namespace inkling {

namespace {

constexpr size_t kMaxTextChunks = 1000;
constexpr size_t kMaxTextBytes = 16 << 20;  // of all texts, inflated; a ComfyUI workflow takes up to 1 MB

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Cuts `rest` behind the first NUL and returns what stood before it.
std::optional<std::string_view> take_until_nul(std::string_view& rest) {
  const size_t end = rest.find('\0');
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view result = rest.substr(0, end);
  rest.remove_prefix(end + 1);
  return result;
}

// A zlib stream of at most max_bytes inflated; empty when damaged or longer.
std::optional<std::string> inflate_text(std::string_view packed, size_t max_bytes) {
  z_stream stream{};
  if (inflateInit(&stream) != Z_OK) return std::nullopt;
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  std::string result;
  std::array<char, 16384> buffer;
  int status = Z_OK;
  while (status == Z_OK && result.size() <= max_bytes) {
    stream.next_out = reinterpret_cast<Bytef*>(buffer.data());
    stream.avail_out = buffer.size();
    status = inflate(&stream, Z_NO_FLUSH);
    result.append(buffer.data(), buffer.size() - stream.avail_out);
  }
  inflateEnd(&stream);
  if (status != Z_STREAM_END || result.size() > max_bytes) return std::nullopt;
  return result;
}

struct TextEntry {
  std::string keyword, text;
};

std::optional<TextEntry> parse_text_chunk(const PngChunk& chunk, size_t max_bytes) {
  std::string_view rest = as_text(chunk.data);
  const auto keyword = take_until_nul(rest);
  if (!keyword || keyword->empty() || keyword->size() > 79) return std::nullopt;
  TextEntry entry{latin1_to_utf8(*keyword), {}};
  bool packed = chunk.type == "zTXt";
  if (chunk.type == "iTXt") {  // flag, method, language, translated keyword, text
    if (rest.size() < 2 || (rest[0] != 0 && rest[0] != 1)) return std::nullopt;
    packed = rest[0] == 1;
    if (packed && rest[1] != 0) return std::nullopt;
    rest.remove_prefix(2);
    if (!take_until_nul(rest) || !take_until_nul(rest)) return std::nullopt;
  } else if (packed) {  // method
    if (rest.empty() || rest[0] != 0) return std::nullopt;
    rest.remove_prefix(1);
  }
  if (packed) {
    auto text = inflate_text(rest, max_bytes);
    if (!text) return std::nullopt;
    entry.text = std::move(*text);
  } else {
    entry.text = rest;
  }
  if (chunk.type != "iTXt") entry.text = latin1_to_utf8(entry.text);
  if (!is_utf8(entry.text)) return std::nullopt;
  return entry;
}

}  // namespace

uint32_t big_endian_u32(const std::byte* p) {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8 | static_cast<uint32_t>(p[i]);
  return value;
}

bool PngChunk::intact() const {
  uLong value = crc32(0, reinterpret_cast<const Bytef*>(type.data()), 4);
  value = crc32(value, reinterpret_cast<const Bytef*>(data.data()), static_cast<uInt>(data.size()));
  return value == crc;
}

bool is_png(std::span<const std::byte> bytes) {
  return bytes.size() >= 8 && std::memcmp(bytes.data(), "\x89PNG\r\n\x1a\n", 8) == 0;
}

void walk_png(std::span<const std::byte> bytes, const std::function<bool(const PngChunk&)>& visit) {
  if (!is_png(bytes)) return;
  bytes = bytes.subspan(8);
  while (bytes.size() >= 12) {
    const size_t length = big_endian_u32(bytes.data());
    if (length > bytes.size() - 12) return;
    const PngChunk chunk{as_text(bytes.subspan(4, 4)), bytes.subspan(8, length),
                         big_endian_u32(bytes.data() + 8 + length)};
    if (!visit(chunk) || chunk.type == "IEND") return;
    bytes = bytes.subspan(12 + length);
  }
}

std::map<std::string, std::string> parse_png_text(std::span<const std::byte> bytes, const std::string& name) {
  if (!is_png(bytes)) throw ArgumentError("{}: not a PNG file", name);
  std::map<std::string, std::string> result;
  size_t chunks = 0, total = 0;
  walk_png(bytes, [&](const PngChunk& chunk) {
    if ((chunk.type != "tEXt" && chunk.type != "zTXt" && chunk.type != "iTXt") || !chunk.intact()) return true;
    if (++chunks > kMaxTextChunks) throw ArgumentError("{}: more than {} texts", name, kMaxTextChunks);
    auto entry = parse_text_chunk(chunk, kMaxTextBytes - total);
    if (!entry) return true;
    total += entry->text.size();
    if (total > kMaxTextBytes) throw ArgumentError("{}: the texts take more than {} bytes", name, kMaxTextBytes);
    result.emplace(std::move(entry->keyword), std::move(entry->text));
    return true;
  });
  return result;
}

}  // namespace inkling
