// The index of a sharded safetensors model: {"metadata": {...}, "weight_map": {tensor: shard file}}.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/mapped_file.h"
#include "formats/tensor_parsers.h"

namespace inkling {

namespace fs = std::filesystem;

namespace {

constexpr size_t kMaxIndexBytes = 100'000'000;
constexpr size_t kMaxTensors = 1 << 18;
constexpr int kMaxDepth = 16;

// Keeps the string values of the top-level object "weight_map" and skips everything else.
class IndexHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  IndexHandler(const std::string& file, WeightMap& result) : file_(file), result_(result) {}

  bool null() override { return other(); }
  bool boolean(bool) override { return other(); }
  bool number_integer(number_integer_t) override { return other(); }
  bool number_unsigned(number_unsigned_t) override { return other(); }
  bool number_float(number_float_t, const string_t&) override { return other(); }
  bool binary(binary_t&) override { return other(); }
  bool string(string_t& value) override {
    if (!in_map_) return other();
    if (result_.size() >= kMaxTensors) throw ModelError("{}: more than {} tensors", file_, kMaxTensors);
    if (!result_.emplace(key_, std::move(value)).second)
      throw ModelError("{}: tensor {} stands twice", file_, show(key_));
    return true;
  }
  bool start_object(size_t) override {
    if (depth_ == 1 && key_ == "weight_map") {
      if (found_) throw ModelError("{}: weight_map stands twice", file_);
      found_ = in_map_ = true;
    } else if (in_map_) {
      return other();
    }
    return enter();
  }
  bool key(string_t& value) override {
    key_ = std::move(value);
    return true;
  }
  bool end_object() override {
    --depth_;
    in_map_ = false;
    return true;
  }
  bool start_array(size_t) override {
    if (in_map_) return other();
    return enter();
  }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    throw ModelError("{}: the index is not valid JSON (byte {})", file_, position);
  }
  bool found() const { return found_; }

 private:
  bool enter() {
    if (++depth_ > kMaxDepth) throw ModelError("{}: the index is nested deeper than {} levels", file_, kMaxDepth);
    return true;
  }
  bool other() const {
    if (in_map_) throw ModelError("{}: tensor {}: the shard is not a file name", file_, show(key_));
    if (depth_ == 0) throw ModelError("{}: the index is not a JSON object", file_);
    return true;
  }

  const std::string& file_;
  WeightMap& result_;
  std::string key_;
  int depth_ = 0;
  bool in_map_ = false, found_ = false;
};

bool is_inside(const fs::path& path, const fs::path& folder) {
  return std::ranges::mismatch(folder, path).in1 == folder.end();
}

// The folder that links may lead to: that of the model, or its models--* folder when it lies in such a cache.
fs::path link_root(const fs::path& folder) {
  for (fs::path p = folder; p.has_relative_path(); p = p.parent_path())
    if (p.filename().string().starts_with("models--")) return p;
  return folder;
}

}  // namespace

WeightMap parse_shard_index(std::span<const std::byte> bytes, const std::string& name) {
  if (bytes.size() > kMaxIndexBytes) throw ModelError("{}: an index of {} bytes is too large", name, bytes.size());
  WeightMap result;
  IndexHandler handler(name, result);
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  nlohmann::json::sax_parse(text, text + bytes.size(), &handler);
  if (!handler.found()) throw ModelError("{}: has no weight_map", name);
  return result;
}

fs::path resolve_shard(const fs::path& index, const std::string& shard) {
  const fs::path relative(shard);
  const bool climbs = std::ranges::any_of(relative, [](const fs::path& part) { return part == ".."; });
  if (shard.empty() || shard.find('\0') != std::string::npos || relative.is_absolute() || climbs)
    throw ModelError("{}: shard {} is not a file name inside the model's folder", index.string(), show(shard));
  std::error_code error;
  // The folder of the path as given: in a cache the index itself is a link into blobs/, where no shards lie.
  const fs::path folder = fs::canonical(fs::absolute(index).parent_path(), error);
  if (error) throw ModelError("{}: {}", index.string(), error.message());
  const fs::path file = fs::canonical(folder / relative, error);
  if (error) throw ModelError("{}: shard {} is missing: {}", index.string(), show(shard), error.message());
  if (!is_inside(file, link_root(folder)))
    throw ModelError("{}: shard {} is a link that leaves the model's folder", index.string(), show(shard));
  return folder / relative;
}

}  // namespace inkling
