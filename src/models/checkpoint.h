// The tensors of one component of a model under the names of its module tree, wherever and in whatever
// naming they are stored.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "formats/tensor_file.h"
#include "models/names.h"
#include "models/quantized_layouts.h"
#include "models/qwen_image/config.h"

namespace inkling {

// One tensor as a module sees it: usually one entry of a file, sometimes several joined.
struct CheckpointTensor {
  Shape shape;                    // as stored, after joining and, for layouts of several tensors, unpacking
  DType dtype = DType::f32;       // of what load() gives
  LowBit low_bit = LowBit::none;  // what load_low_bit() gives, and the rotation of the codes
  int64_t rotation = 0;
  int64_t bytes = 0;
  CanonicalName::Join join = CanonicalName::Join::none;
  std::vector<const TensorEntry*> parts;
};

class Checkpoint {
 public:
  // Throws ModelError when the file does not hold the component or holds it in a layout that is not readable.
  Checkpoint(std::shared_ptr<const TensorFile> file, Component component);
  static Checkpoint open(const std::filesystem::path& path, Component component);

  const std::map<std::string, CheckpointTensor>& tensors() const { return tensors_; }
  const CheckpointTensor* find(const std::string& name) const;  // null when absent
  Tensor load(const CheckpointTensor& tensor) const;
  // Codes and scales of a weight whose low_bit is not none; nothing where the scales turn out to be of another form.
  std::optional<LowBitMatrix> load_low_bit(const CheckpointTensor& tensor) const;
  // Marker tensors carry a switch by their presence ("__index_timestep_zero__").
  bool has_marker(const std::string& name) const { return find(name) != nullptr; }
  const std::map<std::string, std::string>& metadata() const { return file_->metadata(); }
  const std::string& file() const { return name_; }  // for messages
  const TensorFile& tensor_file() const { return *file_; }
  Component component() const { return component_; }

 private:
  void refuse_unreadable_layouts() const;

  std::shared_ptr<const TensorFile> file_;
  Component component_;
  std::string name_;
  QuantizedLayouts layouts_;
  std::map<std::string, CheckpointTensor> tensors_;
};

// Sizes from tensor shapes, for files without a config.json. What shapes do not tell is that of the published
// models, or of a "config" entry (JSON) in the file's metadata.
DitConfig infer_dit_config(const Checkpoint& checkpoint);
TextConfig infer_text_config(const Checkpoint& checkpoint);
VisionConfig infer_vision_config(const Checkpoint& checkpoint);
VaeConfig infer_vae_config(const Checkpoint& checkpoint);
// Sets the switches that marker tensors carry; for configurations read from a config.json too.
void apply_markers(DitConfig& config, const Checkpoint& checkpoint);

}  // namespace inkling
