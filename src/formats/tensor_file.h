// Files of named tensors: safetensors (single or sharded by an index) and GGUF, read through one interface.
// Data is mapped: a Tensor from load() points into the mapping and keeps it alive (it is a copy only where the
// file leaves elements misaligned). Every length, offset and shape is checked before use; a bad file throws
// ModelError naming file, tensor, got and expected. Pickle files are refused with a sentence that says what to do.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace inkling {

struct TensorEntry {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;         // PyTorch order, also for GGUF
  int64_t offset = 0;  // of the data, from the start of its file
  int64_t bytes = 0;
  int file = 0;  // index into TensorFile::files()
  // As stored. Differs from dtype only for a block-quantized GGUF tensor whose original shape (ComfyUI's
  // comfy.gguf.orig_shape.*) has rows of partial blocks: dtype is then f32, and load() dequantizes.
  DType stored = DType::f32;
};

class TensorFile {
 public:
  virtual ~TensorFile() = default;
  const std::vector<TensorEntry>& entries() const { return entries_; }
  const std::vector<std::filesystem::path>& files() const { return files_; }
  // String metadata: safetensors "__metadata__", or the scalar and string keys of GGUF printed as text.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const TensorEntry* find(const std::string& name) const;  // null when absent
  virtual Tensor load(const TensorEntry& entry) const = 0;
  // Gives back the memory that reading the entry took, for programs that pass through a file larger than memory.
  // Tensors from load() stay valid; touching them reads the file again.
  virtual void release(const TensorEntry&) const {}

 protected:
  std::vector<TensorEntry> entries_;
  std::vector<std::filesystem::path> files_;
  std::map<std::string, std::string> metadata_;
  std::map<std::string, size_t> by_name_;
};

// `path`: a .safetensors file, a .safetensors.index.json, or a .gguf file, told apart by content.
std::unique_ptr<TensorFile> open_tensor_file(const std::filesystem::path& path);
// The same over bytes in memory, for tests and fuzzing. The bytes must outlive the result.
std::unique_ptr<TensorFile> parse_safetensors(std::span<const std::byte> bytes, const std::string& file_name);
std::unique_ptr<TensorFile> parse_gguf(std::span<const std::byte> bytes, const std::string& file_name);

// Writing. Files get a temporary name beside `path` and are renamed when complete.
struct TensorToWrite {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
};
enum class TensorFormat { safetensors, gguf };

// Tensor by tensor, so that a file larger than memory can be written. `produce` is called once for each index, in the
// order of the data in the file, which for safetensors is by falling element size (so that all stay aligned) and else
// as given.
using TensorProducer = std::function<Tensor(size_t index)>;
void write_safetensors(const std::filesystem::path& path, const std::vector<TensorToWrite>& tensors,
                       const TensorProducer& produce, const std::map<std::string, std::string>& metadata = {});
// GGUF version 3; metadata values are written as strings except general.file_type and *_version (u32). More than 4
// dimensions are kept as ComfyUI does, in comfy.gguf.orig_shape.<tensor>.
void write_gguf(const std::filesystem::path& path, const std::vector<TensorToWrite>& tensors,
                const TensorProducer& produce, const std::map<std::string, std::string>& metadata = {});

// In any order and in parts, for tensors that are made together or are larger than memory. Without commit() nothing is
// left.
class TensorFileWriter {
 public:
  TensorFileWriter(const std::filesystem::path& path, TensorFormat format, const std::vector<TensorToWrite>& tensors,
                   const std::map<std::string, std::string>& metadata = {});
  ~TensorFileWriter();
  TensorFileWriter(const TensorFileWriter&) = delete;
  TensorFileWriter& operator=(const TensorFileWriter&) = delete;

  // Bytes of tensor number `tensor`, from `offset` of its data. No part is written twice.
  void write(size_t tensor, int64_t offset, std::span<const std::byte> bytes);
  void commit();  // throws RuntimeError when a part is missing

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace inkling
