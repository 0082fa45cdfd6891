// Writes a model with smaller numbers: q8_0 and q4_0 as GGUF, bf16, f16 and scaled fp8 as safetensors, in the layouts
// that other programs read (reference/qwen-image.md, 1.5 and 10.2). Tensors pass through one at a time, so memory stays
// small however large the model. Names stay as they are. What is sensitive stays in 16 bits or f32: see rules.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/progress.h"
#include "tensor/dtype.h"

namespace inkling {

struct QuantizeOptions {
  DType target = DType::q8_0;  // q8_0, q4_0, bf16, f16 or f8_e4m3
  ProgressFn progress;
  const CancelToken* cancel = nullptr;
};

struct QuantizeReport {
  struct Count {
    int64_t tensors = 0, bytes = 0;
  };
  std::map<std::string, Count> types;  // of what was written
  int64_t bytes_read = 0, bytes_written = 0;
};

// `in` and `out` are both files (in: a safetensors file, an index of shards, GGUF, or a component's folder), or both
// diffusers folders: then the transformer and the text encoder are written in the new type and all else is copied.
// Nothing is left at `out` on failure. Throws ArgumentError when `out` exists or does not suit `in` and the type.
QuantizeReport quantize_model(const std::filesystem::path& in, const std::filesystem::path& out,
                              const QuantizeOptions& options);

}  // namespace inkling
