// One tensor file on its way into another. Tensors pass through in panels of rows, so that memory stays small however
// large they are.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compress/quantize/calibrate.h"
#include "compress/quantize/quantize.h"
#include "compress/quantize/rules.h"
#include "formats/tensor_file.h"
#include "models/quantized_layouts.h"

namespace inkling {

class Converter {
 public:
  // `calibration`: null, or what rounds the matrices of this transformer's blocks.
  Converter(const std::filesystem::path& in, const QuantizeOptions& options, Calibration* calibration = nullptr);

  int tensors() const { return static_cast<int>(jobs_.size()); }
  // `done` of `total` tensors of the whole run are counted for the progress.
  void write(const std::filesystem::path& out, int& done, int total, QuantizeReport& report);
  // Modules whose matrices are not of the target's form, as bitsandbytes' configuration lists them.
  std::vector<std::string> skipped_modules() const;

 private:
  // A tensor of the old file and what it becomes: one tensor of the new file, or several that follow each other.
  struct Job {
    const TensorEntry* source = nullptr;
    Shape shape;
    TensorForm form;
    bool scaled = false;  // float8 with a scale
    size_t first = 0;     // of files_
    bool written = false;
  };
  class Panels;

  void add(const TensorEntry& entry);
  void write_calibrated(TensorFileWriter& out, QuantizeReport& report);
  bool needs_marker(const std::filesystem::path& in) const;
  void add_file(std::string name, DType type, const Shape& shape) { files_.push_back({std::move(name), type, shape}); }
  void run(const Job& job, TensorFileWriter& out);
  void run_plain(const Job& job, TensorFileWriter& out);
  void run_fp8(const Job& job, TensorFileWriter& out);
  void run_integers(const Job& job, TensorFileWriter& out);
  void write_integers(const Job& job, int64_t begin, const LowBitMatrix& rows, TensorFileWriter& out);
  void write_description(const Job& job, TensorFileWriter& out);
  void run_nf4(const Job& job, TensorFileWriter& out);
  std::map<std::string, std::string> metadata() const;

  const QuantizeOptions& options_;
  std::unique_ptr<TensorFile> in_;
  QuantizedLayouts layouts_;
  TypeRules rules_;
  Calibration* calibration_;
  std::vector<Job> jobs_;
  std::map<std::string, size_t> calibrated_;  // jobs of the matrices that calibration rounds, and of their biases
  std::vector<TensorToWrite> files_;
};

}  // namespace inkling
