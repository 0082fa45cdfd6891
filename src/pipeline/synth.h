// Models of random weights in full size, for benchmarks: right shapes, names, types and statistics, no meaning.
#pragma once

#include <filesystem>
#include <string_view>

#include "base/progress.h"
#include "tensor/dtype.h"

namespace inkling {

// Writes a diffusers folder: configurations, tokenizer, and the weights of every network. Matrices get `dtype`;
// norms and biases stay f32 (GGUF) or bf16 (safetensors); the VAE is bf16. Quantized types are stored as GGUF
// beside config.json, bf16 as safetensors. Tensors are made one at a time, so memory stays small; the same preset
// and type give the same bytes. Refuses a folder that is not empty.
void write_synthetic_model(std::string_view preset, DType dtype, const std::filesystem::path& folder,
                           const ProgressFn& progress, const CancelToken* cancel);

}  // namespace inkling
