// Writes a model with smaller numbers, in the layouts that other programs read (reference/qwen-image.md, 1.5 and 10):
//
//   q8_0, q6_k, q5_k, q4_k, q4_0   GGUF
//   w8a8   ComfyUI's int8_tensorwise with convrot: a scale for each row
//   w4a8   ComfyUI's asym_w4a8_int8 holding the int4 of formats/int_quant.h: codebook code - 8, weight_s_rel the whole
//          numbers of its groups of 64
//   nf4    bitsandbytes' NF4 with double quantization
//   fp8    ComfyUI's float8_e4m3fn with one scale
//   bf16, f16
//
// Tensors pass through in panels of rows, so memory stays small however large the model (with calibration: a block of
// the transformer in float32 and what calibrate.h says). Names stay as they are. What is sensitive stays in 8 or 16
// bits or f32: see rules.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/progress.h"
#include "compress/quantize/rules.h"

namespace inkling {

struct QuantizeOptions {
  QuantizeTarget target = quantize_target("q8_0");
  // w4a8 and w8a8 of a whole model: prompts to round its transformer by (calibrate.h). Empty: to the nearest.
  std::filesystem::path calibrate;
  double bits = 0;  // with calibrate and w4a8, as CalibrationOptions::bits
  ProgressFn progress;
  const CancelToken* cancel = nullptr;
};

struct QuantizeReport {
  struct Count {
    int64_t tensors = 0, bytes = 0;
  };
  std::map<std::string, Count> types;  // of what was written, scales included
  // By kind of matrix ("attn.to_q"); nearest and calibrated are sums of CalibratedMatrix'.
  struct Calibrated {
    int64_t matrices = 0, eight_bits = 0;
    double nearest = 0, calibrated = 0;
  };
  std::map<std::string, Calibrated> calibration;
  int64_t prompts = 0;  // that were drawn for it
  int64_t bytes_read = 0, bytes_written = 0;
};

// `in` and `out` are both files (in: a safetensors file, an index of shards, GGUF, or a component's folder), or both
// diffusers folders: then the transformer and the text encoder are written in the new type and all else is copied.
// Nothing is left at `out` on failure. Throws ArgumentError when `out` exists or does not suit `in` and the type.
QuantizeReport quantize_model(const std::filesystem::path& in, const std::filesystem::path& out,
                              const QuantizeOptions& options);

}  // namespace inkling
