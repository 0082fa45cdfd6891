#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "base/error.h"
#include "formats/mapped_file.h"
#include "formats/tensor_parsers.h"
#include "formats/tensor_writer.h"
#include "formats/utf8.h"

namespace inkling {

namespace {

std::string json_string(const std::string& text) {
  if (!is_utf8(text)) throw ArgumentError("safetensors: {} is not UTF-8", show(text));
  return nlohmann::json(text).dump();
}

}  // namespace

FileLayout layout_safetensors(const std::vector<TensorToWrite>& tensors,
                              const std::map<std::string, std::string>& metadata, const std::string& path) {
  FileLayout layout;
  layout.order.resize(tensors.size());
  std::iota(layout.order.begin(), layout.order.end(), size_t{0});
  std::ranges::stable_sort(layout.order, std::greater{}, [&](size_t i) { return info(tensors[i].dtype).block_bytes; });

  std::vector<std::string> items;
  if (!metadata.empty()) {
    std::vector<std::string> pairs;
    for (const auto& [key, value] : metadata) pairs.push_back(json_string(key) + ":" + json_string(value));
    items.push_back(fmt::format("\"__metadata__\":{{{}}}", fmt::join(pairs, ",")));
  }
  std::set<std::string> names;
  layout.offsets.resize(tensors.size());
  int64_t offset = 0;
  for (const size_t i : layout.order) {
    const TensorToWrite& t = tensors[i];
    if (t.name == "__metadata__" || !names.insert(t.name).second)
      throw ArgumentError("{}: tensor {} cannot be written: the name is taken", path, show(t.name));
    const int64_t end = offset + tensor_bytes(t);
    items.push_back(fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", json_string(t.name),
                                safetensors_name(t.dtype), fmt::join(t.shape.dims(), ","), offset, end));
    layout.offsets[i] = std::exchange(offset, end);
  }
  std::string text = fmt::format("{{{}}}", fmt::join(items, ","));
  text.resize((text.size() + 7) / 8 * 8, ' ');  // data starts at a multiple of 8
  const uint64_t length = text.size();
  layout.header.assign(reinterpret_cast<const char*>(&length), sizeof(length));
  layout.header += text;
  for (int64_t& at : layout.offsets) at += static_cast<int64_t>(layout.header.size());
  layout.end = offset + static_cast<int64_t>(layout.header.size());
  return layout;
}

}  // namespace inkling
