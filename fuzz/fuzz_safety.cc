// Any bytes as a prompt and as a small picture: judged, never thrown, never an internal error for text; a verdict that
// does not depend on anything but the bytes.
#include <cstdlib>
#include <string_view>

#include "safety/safety.h"

namespace {
void require(bool condition) {
  if (!condition) std::abort();
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace inkling;
  static const SafetyFilter filter;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const SafetyVerdict verdict = filter.check_text(text);
  require(verdict.layer != SafetyLayer::error);
  require(verdict.blocked == (verdict.layer != SafetyLayer::none));
  require(filter.check_text(text).blocked == verdict.blocked);
  complete_wish(text);
  if (size > 3) {
    Image picture;
    picture.width = data[0];
    picture.height = data[1];
    picture.channels = data[2] % 5;
    picture.pixels.assign(data + 3, data + size);
    filter.check_picture(picture);
  }
  return 0;
}
