// Inside formats/: what the header of one tensor file says, checked, before data is touched.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/tensor_file.h"

namespace inkling {

struct ParsedHeader {
  std::vector<TensorEntry> entries;  // in the order of the data; file = 0
  std::map<std::string, std::string> metadata;
};

constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;  // bytes, as the reference reader

ParsedHeader parse_safetensors_header(std::span<const std::byte> bytes, const std::string& name);
ParsedHeader parse_gguf_header(std::span<const std::byte> bytes, const std::string& name);

// "BF16" and so on. The first is empty for types that we cannot hold; the second throws ArgumentError for types
// that the format lacks.
std::optional<DType> safetensors_dtype(std::string_view name);
std::string_view safetensors_name(DType type);

// Tensor name -> shard file name, from the text of a *.safetensors.index.json.
using WeightMap = std::map<std::string, std::string>;
WeightMap parse_shard_index(std::span<const std::byte> bytes, const std::string& name);
// The file of a shard named by the index at `index`; throws ModelError when it lies outside the model's folder
// (or, in a Hugging Face cache, outside the models--* folder, whose snapshots are links into blobs/).
std::filesystem::path resolve_shard(const std::filesystem::path& index, const std::string& shard);

// Files whose first bytes say that they are something else: pickle, Git LFS pointer, web page. Throws ModelError.
void refuse_foreign_file(std::span<const std::byte> bytes, const std::string& name);

}  // namespace inkling
