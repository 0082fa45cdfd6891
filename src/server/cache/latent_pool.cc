#include "server/cache/latent_pool.h"

#include <fmt/format.h>

#include <fstream>
#include <iterator>

#include "base/error.h"
#include "server/cache/cache_key.h"
#include "server/cache/sha256.h"

namespace inkling::server {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {
constexpr const char* kIndex = "index.json";
constexpr int kVersion = 2;

std::string hash_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return sha256_hex(std::string(std::istreambuf_iterator<char>(in), {}));
}
}  // namespace

LatentPool::LatentPool(const fs::path& folder) {
  std::ifstream in(folder / kIndex, std::ios::binary);
  if (!in) return;
  const json index = json::parse(std::string(std::istreambuf_iterator<char>(in), {}), nullptr, false);
  const auto version = index.is_object() ? index.find("version") : index.end();
  if (!index.is_object() || version == index.end() || *version != kVersion || !index.contains("entries") ||
      !index["entries"].is_array()) {
    warnings_.push_back(fmt::format("{}: is no index of version {}", kIndex, kVersion));
    return;
  }
  size_t number = 0;
  for (const json& entry : index["entries"]) {
    try {
      add(folder, entry);
    } catch (const json::exception&) {
      warnings_.push_back(fmt::format("entries[{}]: a field is missing or of the wrong type", number));
    } catch (const ArgumentError& e) {
      warnings_.push_back(fmt::format("entries[{}]: {}", number, e.what()));
    }
    ++number;
  }
}

void LatentPool::add(const fs::path& folder, const json& json) {
  Entry e;
  const std::string file = json.at("file").get<std::string>();
  // A plain name: an index must not point to files elsewhere.
  if (file.empty() || file.find_first_of("/\\") != std::string::npos || file.front() == '.' ||
      file.find('\0') != std::string::npos || !file.ends_with(".latent"))
    throw ArgumentError("{} is no name of a *.latent file in the folder", json.at("file").dump());
  e.path = folder / file;
  std::error_code error;
  if (!fs::is_regular_file(fs::symlink_status(e.path, error))) throw ArgumentError("{} is not there", file);
  if (fs::file_size(e.path, error) == 0 || error) throw ArgumentError("{} is empty", file);
  if (!json.at("prompts").is_array()) throw ArgumentError("prompts of {} are no list", file);
  for (const auto& prompt : json.at("prompts")) e.prompts.push_back(canonical_prompt(prompt.get<std::string>()));
  if (e.prompts.empty()) throw ArgumentError("{} answers no prompt", file);
  e.prompt = json.at("prompt").get<std::string>();
  e.style = json.at("style").get<std::string>();
  e.seed = json.at("seed").get<int64_t>();
  e.width = json.at("width").get<int>();
  e.height = json.at("height").get<int>();
  e.steps = json.at("steps").get<int>();
  e.fingerprint = json.at("fingerprint").get<std::string>();
  e.safety_version = json.at("safety_version").get<std::string>();
  e.sha256 = json.at("sha256").get<std::string>();
  if (e.width < 16 || e.height < 16 || e.steps < 1) throw ArgumentError("{} has an impossible shape", file);
  for (const std::string& prompt : e.prompts) by_prompt_[prompt].push_back(entries_.size());
  entries_.push_back(std::move(e));
}

std::optional<LatentPool::Entry> LatentPool::find(const std::string& canonical_prompt, const std::string& fingerprint,
                                                  const std::string& safety_version, uint64_t variant) const {
  const auto found = by_prompt_.find(canonical_prompt);
  if (found == by_prompt_.end()) return std::nullopt;
  std::vector<const Entry*> fitting;
  for (const size_t i : found->second)
    if (entries_[i].fingerprint == fingerprint && entries_[i].safety_version == safety_version)
      fitting.push_back(&entries_[i]);
  for (size_t i = 0; i < fitting.size(); ++i) {
    const Entry& e = *fitting[(variant + i) % fitting.size()];
    if (hash_of(e.path) == e.sha256) return e;
  }
  return std::nullopt;
}

void LatentPool::write_index(const fs::path& folder, const std::vector<Entry>& entries) {
  json rows = json::array();
  for (const Entry& e : entries)
    rows.push_back({{"file", e.path.filename().string()},
                    {"sha256", hash_of(folder / e.path.filename())},
                    {"prompts", e.prompts},
                    {"prompt", e.prompt},
                    {"style", e.style},
                    {"seed", e.seed},
                    {"width", e.width},
                    {"height", e.height},
                    {"steps", e.steps},
                    {"fingerprint", e.fingerprint},
                    {"safety_version", e.safety_version}});
  const fs::path file = folder / kIndex, temporary = folder / "index.json.tmp";
  std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
  out << json{{"version", kVersion}, {"entries", rows}}.dump(1) << '\n';
  out.close();
  std::error_code error;
  if (out) fs::rename(temporary, file, error);
  if (!out || error) throw RuntimeError("{}: cannot be written", file.string());
}

std::vector<PoolAnimal> pool_animals() {
  std::vector<PoolAnimal> animals;
  for (const json& row : json::parse(embedded_bytes(embedded_server(), "animals.json"))) {
    PoolAnimal a{row.at("id").get<std::string>(), "", {}};
    for (const auto& name : row.at("en")) {
      const auto text = name.get<std::string>();
      const std::string with_article =
          (std::string_view("aeiou").find(text.front()) != std::string_view::npos ? "an " : "a ") + text;
      if (a.prompt.empty()) a.prompt = with_article;
      for (const std::string& wish : {text, with_article}) a.prompts.push_back(canonical_prompt(wish));
    }
    for (const auto& name : row.at("zh")) {
      const auto text = name.get<std::string>();
      for (const std::string& wish : {text, "一只" + text}) a.prompts.push_back(canonical_prompt(wish));
    }
    animals.push_back(std::move(a));
  }
  return animals;
}

}  // namespace inkling::server
