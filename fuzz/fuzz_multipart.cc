// Any form is read or refused with ArgumentError. The first line of the input is the content type, the rest the body.
// A body is also fed to the chunk decoder and the head scanner in pieces: they must not depend on where it is cut.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "server/http/wire.h"

namespace {

using namespace inkling::server;

// The outcome of the decoder and what it decoded, given `step` bytes at a time.
std::pair<int, std::string> decode(std::string_view text, size_t step) {
  ChunkDecoder decoder(1 << 16, 100);
  std::string body;
  auto state = ChunkDecoder::State::more;
  while (!text.empty() && state == ChunkDecoder::State::more) {
    std::string_view piece = text.substr(0, step);
    text.remove_prefix(piece.size());
    state = decoder.feed(piece, body);
  }
  if (body.size() > (1 << 16)) std::abort();
  if (state == ChunkDecoder::State::refused) body.clear();
  return {static_cast<int>(state), body};
}

int scan(std::string_view text, size_t step) {
  HttpLimits limits;
  limits.header_bytes = 1024;
  HeadScanner scanner(limits);
  for (size_t size = std::min(step, text.size());; size = std::min(size + step, text.size())) {
    const auto state = scanner.scan(text.substr(0, size));
    if (state == HeadScanner::State::complete) return static_cast<int>(scanner.end());
    if (state == HeadScanner::State::refused) return -scanner.error().status;
    if (size == text.size()) return 0;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t line = std::min(text.find('\n'), text.size());
  const std::string_view body = text.substr(std::min(line + 1, text.size()));
  try {
    for (const FormPart& part : parse_multipart(text.substr(0, line), body)) {
      const bool inside =
          part.data.data() >= body.data() && part.data.data() + part.data.size() <= body.data() + body.size();
      if (!inside) std::abort();
    }
  } catch (const inkling::ArgumentError&) {
  }
  if (decode(body, 1) != decode(body, body.size() + 1)) std::abort();
  if (scan(body, 1) != scan(body, body.size() + 1)) std::abort();
  HttpRequest request;
  if (!decode_target(text.substr(0, line), request) && request.path.find("..") != std::string::npos &&
      (request.path + "/").find("/../") != std::string::npos)
    std::abort();
  return 0;
}
