#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "base/error.h"
#include "formats/mapped_file.h"
#include "formats/output_file.h"
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

void write_safetensors(const std::filesystem::path& path, const std::vector<TensorToWrite>& tensors,
                       const TensorProducer& produce, const std::map<std::string, std::string>& metadata) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, std::greater{}, [&](size_t i) { return info(tensors[i].dtype).block_bytes; });

  std::vector<std::string> items;
  if (!metadata.empty()) {
    std::vector<std::string> pairs;
    for (const auto& [key, value] : metadata) pairs.push_back(json_string(key) + ":" + json_string(value));
    items.push_back(fmt::format("\"__metadata__\":{{{}}}", fmt::join(pairs, ",")));
  }
  std::set<std::string> names;
  int64_t offset = 0;
  for (const size_t i : order) {
    const TensorToWrite& t = tensors[i];
    if (t.name == "__metadata__" || !names.insert(t.name).second)
      throw ArgumentError("{}: tensor {} cannot be written: the name is taken", path.string(), show(t.name));
    const int64_t end = offset + tensor_bytes(t);
    items.push_back(fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", json_string(t.name),
                                safetensors_name(t.dtype), fmt::join(t.shape.dims(), ","), offset, end));
    offset = end;
  }
  std::string header = fmt::format("{{{}}}", fmt::join(items, ","));
  header.resize((header.size() + 7) / 8 * 8, ' ');  // data starts at a multiple of 8

  OutputFile file(path);
  const uint64_t length = header.size();
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(std::as_bytes(std::span(header)));
  for (const size_t i : order) write_tensor(file, tensors[i], produce(i));
  file.commit();
}

}  // namespace inkling
