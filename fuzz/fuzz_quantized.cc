// Any safetensors file whose tensors look like quantized weights is unpacked, or refused with Error.
#include <cstddef>
#include <cstdint>

#include "base/error.h"
#include "formats/tensor_file.h"
#include "models/quantized_layouts.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace inkling;
  try {
    const auto file = parse_safetensors({reinterpret_cast<const std::byte*>(data), size}, "file");
    const QuantizedLayouts layouts(*file, "file");
    for (const TensorEntry& entry : file->entries()) {
      layouts.load(entry);
      layouts.load_low_bit(entry);
      const Shape& shape = layouts.shape(entry);
      if (shape.rank() > 0 && shape[0] > 1) layouts.load_rows(entry, shape[0] / 2, shape[0]);
    }
  } catch (const Error&) {
  }
  return 0;
}
