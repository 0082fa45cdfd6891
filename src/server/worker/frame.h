// What the server and a worker say to each other over their private socket: a JSON object and byte blobs (pictures).
//
//   "INK1" | u32 json bytes | u32 number of blobs | u32 bytes of each blob | json | blobs          little-endian
//
// Both ends check every length before they allocate; a frame that is wrong ends the connection (a worker is replaced).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace inkling::server {

using Blob = std::shared_ptr<const std::string>;

struct Frame {
  nlohmann::json message;  // an object with "type"
  std::vector<Blob> blobs;
};

constexpr size_t kMaxFrameJson = 4 << 20;
constexpr size_t kMaxFrameBlobs = 64;
constexpr size_t kMaxFrameBytes = 512 << 20;  // of all blobs

std::string encode_frame(const Frame& frame);

// Takes bytes as they come, gives whole frames.
class FrameReader {
 public:
  void feed(const char* data, size_t bytes) { buffer_.append(data, bytes); }
  // Throws RuntimeError when what came cannot be a frame.
  std::optional<Frame> next();

 private:
  std::string buffer_;
};

}  // namespace inkling::server
