// Uploaded pictures are decoded by a process of their own, made for one picture: limited in memory and processor time,
// with no way to open a file or a connection (seccomp). A decoder that crashes or is taken over costs one request; the
// worker with its models, and the server, are out of its reach.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "formats/image.h"

namespace inkling::server {

class DecoderProcess {
 public:
  // `command`: this program as the decoder; the link is descriptor 3.
  explicit DecoderProcess(std::vector<std::string> command = {"/proc/self/exe", "decode"})
      : command_(std::move(command)) {}

  // As decode_image and decode_mask of formats/image.h: the same pictures, the same errors. A process that dies or
  // takes longer than `kSeconds` is an ArgumentError too: whatever was sent, it is no picture that can be used.
  Image image(std::span<const std::byte> bytes, const std::string& name, const ImageLimits& limits) const;
  Image mask(std::span<const std::byte> bytes, const std::string& name, const ImageLimits& limits,
             bool* from_alpha) const;

  static constexpr double kSeconds = 15;

 private:
  Image ask(bool mask, std::span<const std::byte> bytes, const std::string& name, const ImageLimits& limits,
            bool* from_alpha) const;
  const std::vector<std::string> command_;
};

// What that process runs: gives up its rights, reads one picture from the link, answers, ends.
int run_decoder(int socket);

}  // namespace inkling::server
