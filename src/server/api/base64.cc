#include "server/api/base64.h"

#include <openssl/evp.h>

namespace inkling::server {

std::string base64_encode(std::string_view bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int n = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  out.resize(static_cast<size_t>(n));
  return out;
}

std::optional<std::string> base64_decode(std::string_view text) {
  std::string padded(text);
  while (padded.ends_with('=')) padded.pop_back();
  const size_t missing = (4 - padded.size() % 4) % 4;
  if (padded.empty() || missing == 3) return std::nullopt;
  padded.append(missing, '=');
  std::string bytes(padded.size() / 4 * 3, '\0');
  const int n = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                                reinterpret_cast<const unsigned char*>(padded.data()), static_cast<int>(padded.size()));
  if (n < 0) return std::nullopt;
  bytes.resize(static_cast<size_t>(n) - missing);
  return bytes;
}

}  // namespace inkling::server
