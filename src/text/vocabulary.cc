#include "text/vocabulary.h"

#include <charconv>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "text/pretokenizer.h"

namespace inkling {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxIds = int64_t{1} << 22;          // 27 times the real vocabulary
constexpr uint64_t kMaxFileBytes = uint64_t{1} << 28;  // 23 times the real tokenizer.json

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) throw ModelError("{}: cannot be read", path.string());
  const auto bytes = static_cast<uint64_t>(file.tellg());
  if (bytes > kMaxFileBytes) throw ModelError("{}: {} bytes are too many for a tokenizer file", path.string(), bytes);
  std::string text(bytes, '\0');
  file.seekg(0);
  if (!file.read(text.data(), static_cast<std::streamsize>(bytes))) {
    throw ModelError("{}: cannot be read", path.string());
  }
  return text;
}

std::pair<std::string, std::string> split_merge(std::string_view merge) {
  const size_t space = merge.find(' ');
  if (space == std::string_view::npos || space == 0 || space + 1 == merge.size() ||
      merge.find(' ', space + 1) != std::string_view::npos) {
    throw ModelError("merge '{}' is not two tokens with a space between", merge);
  }
  return {std::string(merge.substr(0, space)), std::string(merge.substr(space + 1))};
}

// Where in a file the parser stands. Everything unknown is skipped.
enum class Place {
  tokenizer_json,
  model,
  vocab,
  merges,
  merge_pair,
  added_list,
  added_token,
  pretokenizer,  // tokenizer.json
  tokenizer_config,
  added_decoder,  // tokenizer_config.json
  added_map,      // added_tokens.json
  skipped,
};

Place enter(Place parent, std::string_view key, bool array) {
  if (parent == Place::tokenizer_json && key == "model") return Place::model;
  if (parent == Place::tokenizer_json && key == "added_tokens") return Place::added_list;
  if (parent == Place::tokenizer_json && key == "pre_tokenizer") return Place::pretokenizer;
  if (parent == Place::pretokenizer) return Place::pretokenizer;
  if (parent == Place::model && key == "vocab") return Place::vocab;
  if (parent == Place::model && key == "merges") return Place::merges;
  if (parent == Place::merges && array) return Place::merge_pair;
  if ((parent == Place::added_list || parent == Place::added_decoder) && !array) return Place::added_token;
  if (parent == Place::tokenizer_config && key == "added_tokens_decoder") return Place::added_decoder;
  return Place::skipped;
}

// Event parser: a document tree of 300,000 nodes would cost most of the loading time.
class Reader : public nlohmann::json_sax<nlohmann::json> {
 public:
  Reader(Vocabulary& out, Place root) : out_(out), root_(root) {}

  bool key(string_t& value) override {
    key_ = std::move(value);
    return true;
  }
  bool start_object(size_t) override { return open(false); }
  bool start_array(size_t) override { return open(true); }
  bool end_object() override {
    if (place() == Place::added_token) finish_added();
    return close();
  }
  bool end_array() override {
    if (place() == Place::merge_pair) {
      if (pair_.size() != 2) throw ModelError("merge {} has {} parts instead of 2", out_.merges.size(), pair_.size());
      out_.merges.emplace_back(std::move(pair_[0]), std::move(pair_[1]));
    }
    return close();
  }
  bool string(string_t& value) override {
    if (place() == Place::merges) out_.merges.push_back(split_merge(value));
    if (place() == Place::merge_pair) pair_.push_back(value);
    if (place() == Place::added_token && key_ == "content") added_content_ = value;
    if (place() == Place::model && key_ == "type" && value != "BPE")
      throw ModelError("model type {} is not BPE", value);
    if (place() == Place::pretokenizer && key_ == "Regex" && value != kPretokenizerPattern) {
      throw ModelError("pre-tokenizer pattern {} is not that of Qwen2", value);
    }
    return true;
  }
  bool number_unsigned(number_unsigned_t value) override {
    const bool used =
        place() == Place::vocab || place() == Place::added_map || (place() == Place::added_token && key_ == "id");
    if (!used) return true;
    if (value >= static_cast<uint64_t>(kMaxIds)) throw ModelError("token id {} is out of range", value);
    if (place() == Place::vocab) add_token(static_cast<size_t>(value));
    if (place() == Place::added_map) out_.added.emplace_back(std::move(key_), static_cast<int32_t>(value));
    if (place() == Place::added_token) added_id_ = static_cast<int32_t>(value);
    return true;
  }
  bool number_integer(number_integer_t value) override {  // negative
    if (place() == Place::vocab || place() == Place::added_map) throw ModelError("token id {} is negative", value);
    return true;
  }
  bool number_float(number_float_t, const string_t& text) override {
    if (place() == Place::vocab || place() == Place::added_map) throw ModelError("token id {} is no integer", text);
    return true;
  }
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) override {
    throw ModelError("{}", error.what());
  }

 private:
  Place place() const { return places_.empty() ? Place::skipped : places_.back(); }
  bool open(bool array) {
    const Place child = places_.empty() ? root_ : enter(place(), key_, array);
    if (child == Place::merge_pair) pair_.clear();
    if (child == Place::added_token) {
      added_content_.clear();
      added_id_.reset();
      if (place() == Place::added_decoder) added_id_ = parse_id(key_);
    }
    places_.push_back(child);
    return true;
  }
  bool close() {
    places_.pop_back();
    return true;
  }
  static int32_t parse_id(std::string_view text) {
    int32_t id = -1;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
    if (error != std::errc() || end != text.data() + text.size() || id < 0 || id >= kMaxIds) {
      throw ModelError("'{}' is no token id", text);
    }
    return id;
  }
  void add_token(size_t id) {
    if (key_.empty()) throw ModelError("token {} is an empty string", id);
    if (id >= out_.tokens.size()) out_.tokens.resize(id + 1);
    if (!out_.tokens[id].empty()) throw ModelError("tokens '{}' and '{}' share id {}", out_.tokens[id], key_, id);
    out_.tokens[id] = std::move(key_);
  }
  void finish_added() {
    if (added_content_.empty() || !added_id_) throw ModelError("an added token lacks its content or id");
    out_.added.emplace_back(std::move(added_content_), *added_id_);
  }

  Vocabulary& out_;
  Place root_;
  std::vector<Place> places_;
  std::string key_;
  std::vector<std::string> pair_;
  std::string added_content_;
  std::optional<int32_t> added_id_;
};

void read_json(const fs::path& path, Place root, Vocabulary& out) {
  const std::string text = read_text(path);
  try {
    Reader reader(out, root);
    nlohmann::json::sax_parse(text, &reader);
  } catch (const ModelError& error) {
    throw ModelError("{}: {}", path.string(), error.what());
  }
}

void read_merges(const fs::path& path, Vocabulary& out) {
  const std::string text = read_text(path);
  try {
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      std::string_view line(text.data() + begin, end - begin);
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (!line.empty() && !line.starts_with("#version")) out.merges.push_back(split_merge(line));
      begin = end + 1;
    }
  } catch (const ModelError& error) {
    throw ModelError("{}: {}", path.string(), error.what());
  }
}

}  // namespace

Vocabulary read_vocabulary(const fs::path& dir) {
  Vocabulary result;
  const bool two_files = fs::exists(dir / "vocab.json") && fs::exists(dir / "merges.txt");
  if (two_files) {
    read_json(dir / "vocab.json", Place::vocab, result);
    read_merges(dir / "merges.txt", result);
    if (fs::exists(dir / "added_tokens.json")) read_json(dir / "added_tokens.json", Place::added_map, result);
  } else if (fs::exists(dir / "tokenizer.json")) {
    read_json(dir / "tokenizer.json", Place::tokenizer_json, result);
  } else {
    throw ModelError("{}: neither vocab.json with merges.txt nor tokenizer.json", dir.string());
  }
  if (fs::exists(dir / "tokenizer_config.json")) {
    read_json(dir / "tokenizer_config.json", Place::tokenizer_config, result);
  }
  return result;
}

}  // namespace inkling
