// Any bytes given to the GGUF reader are read and dequantized, or refused with Error.
#include <cstddef>
#include <cstdint>

#include "base/error.h"
#include "formats/block_quant.h"
#include "formats/tensor_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace inkling;
  try {
    const auto file = parse_gguf({reinterpret_cast<const std::byte*>(data), size}, "file");
    for (const TensorEntry& entry : file->entries()) dequantize(file->load(entry));
  } catch (const Error&) {
  }
  return 0;
}
