// inkling inspect PATH: what is in a tensor file, a model folder or a picture.

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/commands.h"
#include "formats/image.h"
#include "formats/tensor_file.h"

namespace inkling::cli {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

namespace {

json describe_tensors(const fs::path& path) {
  const auto file = open_tensor_file(path);
  json j;
  j["path"] = path.string();
  j["tensors"] = file->entries().size();
  int64_t bytes = 0, elements = 0;
  std::map<std::string, int64_t> by_type;
  for (const TensorEntry& e : file->entries()) {
    bytes += e.bytes;
    elements += e.shape.elements();
    ++by_type[std::string(name(e.dtype))];
  }
  j["parameters"] = elements;
  j["bytes"] = bytes;
  j["types"] = by_type;
  j["metadata"] = file->metadata();
  json list = json::array();
  for (const TensorEntry& e : file->entries())
    list.push_back({{"name", e.name},
                    {"type", name(e.dtype)},
                    {"shape", std::vector<int64_t>(e.shape.dims().begin(), e.shape.dims().end())}});
  j["entries"] = std::move(list);
  return j;
}

void print_tensors(const json& j) {
  fmt::print("{}\n  {} tensors, {:.3f} M parameters, {:.1f} MB\n", j["path"].get<std::string>(),
             j["tensors"].get<size_t>(), j["parameters"].get<double>() / 1e6, j["bytes"].get<double>() / 1e6);
  for (const auto& [type, count] : j["types"].items()) fmt::print("  {:>8} x {}\n", type, count.get<int64_t>());
  for (const auto& [key, value] : j["metadata"].items()) {
    const std::string text = value.get<std::string>();
    fmt::print("  {} = {}\n", key, text.size() > 200 ? text.substr(0, 197) + "..." : text);
  }
  for (const json& e : j["entries"])
    fmt::print("    {:<60} {:<6} {}\n", e["name"].get<std::string>(), e["type"].get<std::string>(), e["shape"].dump());
}

bool is_picture(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  char magic[12] = {};
  file.read(magic, sizeof magic);
  const std::string_view head(magic, static_cast<size_t>(file.gcount()));
  return head.starts_with("\x89PNG") || head.starts_with("\xff\xd8\xff") ||
         (head.starts_with("RIFF") && head.ends_with("WEBP"));
}

int inspect_picture(const fs::path& path, bool as_json) {
  const Image image = read_image(path);
  const auto text = path.extension() == ".png" ? read_png_text(path) : std::map<std::string, std::string>{};
  if (as_json) {
    fmt::print("{}\n",
               json{{"path", path.string()}, {"width", image.width}, {"height", image.height}, {"text", text}}.dump());
    return 0;
  }
  fmt::print("{}: {} x {}\n", path.string(), image.width, image.height);
  for (const auto& [key, value] : text) fmt::print("{}: {}\n", key, value);
  return 0;
}

// The tensor files of a model folder: an index stands for its shards.
std::vector<fs::path> tensor_files(const fs::path& folder) {
  std::vector<fs::path> indexes, singles;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string file = entry.path().filename().string();
    if (file.ends_with(".safetensors.index.json")) indexes.push_back(entry.path());
    if (file.ends_with(".safetensors") || file.ends_with(".gguf")) singles.push_back(entry.path());
  }
  std::erase_if(singles, [&](const fs::path& p) {
    return std::ranges::any_of(indexes, [&](const fs::path& i) { return i.parent_path() == p.parent_path(); });
  });
  indexes.insert(indexes.end(), singles.begin(), singles.end());
  std::ranges::sort(indexes);
  return indexes;
}

}  // namespace

int run_inspect(const CommandLine& line) {
  const fs::path path = line.argument;
  if (!fs::exists(path)) throw ArgumentError("{}: no such file or folder", path.string());
  const bool as_json = line.options.flag("json");
  if (fs::is_regular_file(path) && is_picture(path)) return inspect_picture(path, as_json);
  const std::vector<fs::path> files = fs::is_directory(path) ? tensor_files(path) : std::vector<fs::path>{path};
  if (files.empty()) throw ModelError("{}: holds no .safetensors and no .gguf file", path.string());
  json all = json::array();
  for (const fs::path& f : files) {
    const json j = describe_tensors(f);
    if (!as_json) print_tensors(j);
    all.push_back(j);
  }
  if (as_json) fmt::print("{}\n", all.dump());
  return 0;
}

}  // namespace inkling::cli
