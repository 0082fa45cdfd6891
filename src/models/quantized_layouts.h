// Weights that other programs store quantized, as several tensors of a safetensors file: found by the names of those
// tensors, checked, and handed out as float32 or, where backends can compute with them, as codes and scales
// (reference/qwen-image.md, section 10).
//
//   ComfyUI       <m>.weight f8 or i8, <m>.scale_weight or <m>.weight_scale (one number or one a row), perhaps
//                 <m>.comfy_quant or an entry of the metadata's _quantization_metadata (JSON, both the same);
//                 int8 with "convrot" holds W R, R symmetric, orthogonal and made of Hadamard blocks
//                 asym_w4a8_int8: <m>.weight i8 [out, in / 2], codes of 4 bits, even column in the low nibble;
//                 <m>.weight_s_rel [out, in / group]; <m>.weight_s_channel [out]; perhaps <m>.weight_codebook [16],
//                 else code - 8; the integer round(codebook * s_rel) times s_channel is W R
//   bitsandbytes  <m>.weight u8 with <m>.weight.{absmax, quant_map, nested_absmax, nested_quant_map,
//                 quant_state.bitsandbytes__nf4 or __fp4}: 4-bit codes of blocks; <m>.weight i8 with <m>.SCB
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "formats/tensor_file.h"
#include "tensor/low_bit.h"

namespace inkling {

struct QuantizedWeight {
  enum class Layout { scaled, four_bit, grouped };
  Layout layout = Layout::scaled;
  LowBit low_bit = LowBit::none;        // the form that load_low_bit() gives
  Shape shape;                          // of the weight, logical
  const TensorEntry* weight = nullptr;  // codes
  // scaled: [], [1], [rows] or [rows, 1]; four_bit: absmax of every block; grouped: [rows]
  const TensorEntry* scale = nullptr;
  float divisor = 1;     // of the scale: 127 for bitsandbytes int8
  int64_t rotation = 0;  // columns of a Hadamard block; 0: not rotated
  // The 16 values of the codes; four_bit and, not always, grouped.
  const TensorEntry* code = nullptr;
  int64_t block = 0;  // values that share a scale: four_bit, along the flat matrix; grouped, along a row
  // four_bit only
  const TensorEntry *nested_scale = nullptr, *nested_code = nullptr;
  int64_t nested_block = 0;
  float nested_offset = 0;
  const TensorEntry* group_scale = nullptr;  // grouped only
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
  // The same of rows [begin, end) only, for passing through a large tensor.
  Tensor load_rows(const TensorEntry& entry, int64_t begin, int64_t end) const;
  // Codes and scales, the codes still in the file: for weights whose low_bit is not none. Nothing where group scales
  // turn out to be others than tensor/low_bit.h allows.
  std::optional<LowBitMatrix> load_low_bit(const TensorEntry& entry) const;

 private:
  void add_scaled(const std::string& module, const TensorEntry& scale, float divisor);
  void add_four_bit(const std::string& module, const TensorEntry& state);
  void add_grouped(const std::string& module, const TensorEntry& group_scale);
  void read_comfy(const std::string& module, const std::string& json);
  void read_comfy_metadata();
  void set_low_bit(QuantizedWeight& weight) const;
  const TensorEntry& need(const std::string& name, const std::string& because) const;
  const TensorEntry& need_sized(const std::string& name, DType dtype, int64_t elements) const;

  const TensorFile& file_;
  std::string file_name_;
  std::map<std::string, QuantizedWeight> weights_;  // by name of the tensor with the codes
  std::set<std::string> auxiliary_;
};

}  // namespace inkling
