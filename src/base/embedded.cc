#include "base/embedded.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace inkling {

std::string_view embedded_bytes(std::span<const EmbeddedFile> files, std::string_view path) {
  const auto found = std::ranges::find(files, path, &EmbeddedFile::path);
  if (found == files.end()) throw std::out_of_range("no embedded file " + std::string(path));
  return found->bytes;
}

}  // namespace inkling
