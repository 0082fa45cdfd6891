// Weights that other programs store quantized, as several tensors of a safetensors file: found by the names of those
// tensors, checked, and turned into float32 (reference/qwen-image.md, section 10).
//
//   ComfyUI       <m>.weight f8 or i8, <m>.scale_weight or <m>.weight_scale (one number or one a row), perhaps
//                 <m>.comfy_quant or an entry of the metadata's _quantization_metadata (JSON, both the same);
//                 int8 with "convrot" holds W R, R symmetric, orthogonal and made of Hadamard blocks
//   bitsandbytes  <m>.weight u8 with <m>.weight.{absmax, quant_map, nested_absmax, nested_quant_map,
//                 quant_state.bitsandbytes__nf4 or __fp4}: 4-bit codes of blocks; <m>.weight i8 with <m>.SCB
#pragma once

#include <map>
#include <set>
#include <string>

#include "formats/tensor_file.h"

namespace inkling {

struct QuantizedWeight {
  enum class Layout { scaled, four_bit };
  Layout layout = Layout::scaled;
  Shape shape;                          // of the weight, logical
  const TensorEntry* weight = nullptr;  // codes
  const TensorEntry* scale = nullptr;   // scaled: [], [1], [rows] or [rows, 1]; four_bit: absmax of every block
  float divisor = 1;                    // of the scale: 127 for bitsandbytes int8
  int64_t rotation = 0;                 // columns of a Hadamard block; 0: not rotated
  // four_bit only
  const TensorEntry *code = nullptr, *nested_scale = nullptr, *nested_code = nullptr;
  int64_t block = 0, nested_block = 0;
  float nested_offset = 0;
};

class QuantizedLayouts {
 public:
  // Throws ModelError naming the tensor, what it is and what is expected. The file must outlive the result.
  explicit QuantizedLayouts(const TensorFile& file, std::string file_name);

  // Null: stored as it is.
  const QuantizedWeight* find(const TensorEntry& entry) const;
  // Scales, codebooks and markers: part of a weight or of no use by themselves.
  bool is_auxiliary(const TensorEntry& entry) const { return auxiliary_.contains(entry.name); }
  // What `load` gives.
  const Shape& shape(const TensorEntry& entry) const;
  DType dtype(const TensorEntry& entry) const;
  // The weight in float32 where it is quantized by one of the layouts above, else the tensor of the file.
  Tensor load(const TensorEntry& entry) const;

 private:
  void add_scaled(const std::string& module, const TensorEntry& scale, float divisor);
  void add_four_bit(const std::string& module, const TensorEntry& state);
  void read_comfy(const std::string& module, const std::string& json);
  void read_comfy_metadata();
  const TensorEntry& need(const std::string& name, const std::string& because) const;
  const TensorEntry& need_sized(const std::string& name, DType dtype, int64_t elements) const;

  const TensorFile& file_;
  std::string file_name_;
  std::map<std::string, QuantizedWeight> weights_;  // by name of the tensor with the codes
  std::set<std::string> auxiliary_;
};

}  // namespace inkling
