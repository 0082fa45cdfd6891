// Files that were built into the program (cmake/embed.cmake).
#pragma once

#include <span>
#include <string_view>

namespace inkling {

struct EmbeddedFile {
  std::string_view path;   // within its folder, with '/'
  std::string_view bytes;  // a zero byte follows, so text may be used as a C string
};

std::span<const EmbeddedFile> embedded_safety();  // data/safety: word lists, classifier
std::span<const EmbeddedFile> embedded_web();     // web: the pages
std::span<const EmbeddedFile> embedded_server();  // data/server: default configuration, animals of the latent pool

// The bytes of a file that is known to be there. Throws std::out_of_range: our own bug.
std::string_view embedded_bytes(std::span<const EmbeddedFile> files, std::string_view path);

}  // namespace inkling
