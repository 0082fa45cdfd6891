// Inside formats/: what the two formats of tensor files say about a file before its data is written.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "formats/tensor_file.h"

namespace inkling {

struct FileLayout {
  std::string header;
  std::vector<int64_t> offsets;  // of each tensor's data, from the start of the file
  std::vector<size_t> order;     // of the data
  int64_t end = 0;               // of the file, padding included
};

// Throw ArgumentError at names, shapes or types that the format cannot hold.
FileLayout layout_safetensors(const std::vector<TensorToWrite>& tensors,
                              const std::map<std::string, std::string>& metadata, const std::string& path);
FileLayout layout_gguf(const std::vector<TensorToWrite>& tensors, const std::map<std::string, std::string>& metadata);

// Bytes that the tensor takes in a file.
int64_t tensor_bytes(const TensorToWrite& tensor);

}  // namespace inkling
