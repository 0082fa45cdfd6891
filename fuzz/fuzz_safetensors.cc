// Any bytes given to the safetensors reader are read or refused with Error. The first byte chooses between the
// reader of one file and that of a shard index.
#include <cstddef>
#include <cstdint>

#include "base/error.h"
#include "formats/tensor_file.h"
#include "formats/tensor_parsers.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace inkling;
  std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  if (bytes.empty()) return 0;
  const bool index = bytes[0] == std::byte{'i'};
  bytes = bytes.subspan(1);
  try {
    if (index) {
      parse_shard_index(bytes, "index");
      return 0;
    }
    const auto file = parse_safetensors(bytes, "file");
    volatile unsigned sum = 0;  // reads every byte of every tensor
    for (const TensorEntry& entry : file->entries()) {
      const Tensor tensor = file->load(entry);
      for (int64_t i = 0; i < tensor.bytes(); ++i) sum = sum + static_cast<unsigned>(tensor.raw()[i]);
    }
  } catch (const Error&) {
  }
  return 0;
}
