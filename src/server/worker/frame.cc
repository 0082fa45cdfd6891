#include "server/worker/frame.h"

#include <cstring>

#include "base/error.h"

namespace inkling::server {

namespace {

constexpr char kMagic[] = {'I', 'N', 'K', '1'};
constexpr size_t kHead = sizeof(kMagic) + 8;

void append(std::string& out, uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8) out += static_cast<char>(value >> shift);
}

size_t number_at(const std::string& bytes, size_t at) {
  uint32_t value = 0;
  for (int i = 3; i >= 0; --i) value = value << 8 | static_cast<uint8_t>(bytes[at + static_cast<size_t>(i)]);
  return value;
}

}  // namespace

std::string encode_frame(const Frame& frame) {
  // Text from outside (prompts) was checked when it came in; what is not UTF-8 here is replaced, never fatal.
  const std::string json = frame.message.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::string out(kMagic, sizeof(kMagic));
  append(out, static_cast<uint32_t>(json.size()));
  append(out, static_cast<uint32_t>(frame.blobs.size()));
  for (const Blob& blob : frame.blobs) append(out, static_cast<uint32_t>(blob->size()));
  out += json;
  for (const Blob& blob : frame.blobs) out += *blob;
  return out;
}

std::optional<Frame> FrameReader::next() {
  if (buffer_.size() < kHead) return std::nullopt;
  if (std::memcmp(buffer_.data(), kMagic, sizeof(kMagic)) != 0)
    throw RuntimeError("worker link: got bytes that are no frame");
  const size_t json_bytes = number_at(buffer_, 4), count = number_at(buffer_, 8);
  if (json_bytes > kMaxFrameJson || count > kMaxFrameBlobs)
    throw RuntimeError("worker link: a frame claims {} bytes of JSON and {} blobs, at most {} and {} are taken",
                       json_bytes, count, kMaxFrameJson, kMaxFrameBlobs);
  if (buffer_.size() < kHead + count * 4) return std::nullopt;
  size_t total = 0;
  for (size_t i = 0; i < count; ++i) total += number_at(buffer_, kHead + i * 4);
  if (total > kMaxFrameBytes)
    throw RuntimeError("worker link: a frame claims {} bytes of blobs, at most {} are taken", total, kMaxFrameBytes);
  size_t at = kHead + count * 4;
  if (buffer_.size() < at + json_bytes + total) return std::nullopt;
  Frame frame;
  frame.message = nlohmann::json::parse(buffer_.begin() + static_cast<ptrdiff_t>(at),
                                        buffer_.begin() + static_cast<ptrdiff_t>(at + json_bytes), nullptr, false);
  if (!frame.message.is_object() || !frame.message.contains("type") || !frame.message["type"].is_string())
    throw RuntimeError("worker link: a frame holds no message");
  at += json_bytes;
  for (size_t i = 0; i < count; ++i) {
    const size_t bytes = number_at(buffer_, kHead + i * 4);
    frame.blobs.push_back(std::make_shared<const std::string>(buffer_, at, bytes));
    at += bytes;
  }
  buffer_.erase(0, at);
  return frame;
}

}  // namespace inkling::server
