#include "compress/quantize/quantize.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "compress/quantize/convert.h"
#include "compress/quantize/rules.h"
#include "formats/tensor_file.h"
#include "models/quantized_layouts.h"
#include "models/registry.h"

namespace inkling {

namespace fs = std::filesystem;

namespace {

constexpr float kLargestF8 = 448.f;
constexpr std::string_view kFp8Format = R"({"format": "float8_e4m3fn"})";

// One tensor of the new file and what it is made from.
struct Item {
  enum class Content { values, fp8_scale, fp8_format };
  TensorToWrite file;
  const TensorEntry* source = nullptr;
  Content content = Content::values;
};

// One tensor file on its way into another.
class Converter {
 public:
  Converter(const fs::path& in, const QuantizeOptions& options)
      : options_(options),
        in_(open_tensor_file(in)),
        layouts_(*in_, in.string()),
        rules_(names(*in_), options.target, in.string()) {
    for (const TensorEntry& e : in_->entries())
      if (!layouts_.is_auxiliary(e)) add(e);
  }

  int size() const { return static_cast<int>(items_.size()); }
  void write(const fs::path& out, int& done, int total, QuantizeReport& report);

 private:
  static std::vector<std::string> names(const TensorFile& file) {
    std::vector<std::string> result;
    for (const TensorEntry& e : file.entries()) result.push_back(e.name);
    return result;
  }
  void add(const TensorEntry& entry);
  Tensor make(const Item& item);
  float fp8_scale(const TensorEntry& entry);
  std::map<std::string, std::string> metadata() const;

  const QuantizeOptions& options_;
  std::unique_ptr<TensorFile> in_;
  QuantizedLayouts layouts_;
  TypeRules rules_;
  std::vector<Item> items_;
  std::map<std::string, float> scales_;  // of fp8, by tensor
};

void Converter::add(const TensorEntry& e) {
  const Shape shape = layouts_.shape(e);
  const DType type = rules_.type(e.name, shape, layouts_.dtype(e));
  if (rules_.writes_gguf() && shape.elements() == 0) {  // GGUF has no empty tensors; a marker counts by being there
    items_.push_back({{e.name, DType::f32, Shape{1}}, &e, Item::Content::values});
    return;
  }
  items_.push_back({{e.name, type, shape}, &e, Item::Content::values});
  if (type != DType::f8_e4m3 || rules_.role(e.name, shape) != TensorRole::matrix) return;  // else f8 is copied
  const std::string module = e.name.substr(0, e.name.size() - std::strlen(".weight"));
  items_.push_back({{fmt::format("{}.weight_scale", module), DType::f32, Shape{}}, &e, Item::Content::fp8_scale});
  items_.push_back({{fmt::format("{}.comfy_quant", module), DType::u8, Shape{static_cast<int64_t>(kFp8Format.size())}},
                    &e,
                    Item::Content::fp8_format});
}

// The writer asks for the scales before the codes, because it orders by element size: the weight is read twice.
float Converter::fp8_scale(const TensorEntry& e) {
  const auto [at, fresh] = scales_.try_emplace(e.name, 1.f);
  if (fresh) {
    const float largest = largest_magnitude(layouts_.load(e), e.name);
    in_->release(e);
    if (largest > 0) at->second = largest / kLargestF8;
  }
  return at->second;
}

Tensor Converter::make(const Item& item) {
  if (options_.cancel != nullptr) options_.cancel->throw_if_cancelled();
  const TensorEntry& e = *item.source;
  const TensorToWrite& t = item.file;
  if (item.content == Item::Content::fp8_scale) {
    Tensor scale = host_tensor(t.shape);
    scale.data<float>()[0] = fp8_scale(e);
    return scale;
  }
  if (item.content == Item::Content::fp8_format) {
    Tensor text = host_tensor(t.shape, DType::u8);
    std::ranges::copy(kFp8Format, reinterpret_cast<char*>(text.raw()));
    return text;
  }
  const Tensor source = layouts_.load(e);
  if (source.elements() == 0 && t.shape.elements() > 0) return host_tensor(t.shape, std::vector<float>(1, 0.f));
  const bool scaled = t.dtype == DType::f8_e4m3 && rules_.role(e.name, t.shape) == TensorRole::matrix;
  if (source.dtype() == t.dtype && !scaled) return source;
  return convert(source, t.dtype, e.name, scaled ? fp8_scale(e) : 1.f);
}

std::map<std::string, std::string> Converter::metadata() const {
  std::map<std::string, std::string> result;
  if (const auto at = in_->metadata().find("config"); at != in_->metadata().end()) result.insert(*at);
  if (rules_.writes_gguf()) {
    const bool dit = rules_.has(Component::dit), q4 = options_.target == DType::q4_0;
    result.emplace("general.architecture", dit ? "qwen_image" : "qwen2vl");
    result.emplace("general.quantization_version", "2");
    result.emplace("general.file_type", q4 ? "2" : "7");  // ggml's "mostly Q4_0", "mostly Q8_0"
    return result;
  }
  result.emplace("format", "pt");
  nlohmann::json layers = nlohmann::json::object();
  for (const Item& item : items_)
    if (item.content == Item::Content::fp8_format)
      layers[item.file.name.substr(0, item.file.name.size() - std::strlen(".comfy_quant"))] =
          nlohmann::json::parse(kFp8Format);
  if (!layers.empty())
    result["_quantization_metadata"] = nlohmann::json{{"format_version", "1.0"}, {"layers", layers}}.dump();
  return result;
}

void Converter::write(const fs::path& out, int& done, int total, QuantizeReport& report) {
  std::vector<TensorToWrite> list;
  for (const Item& item : items_) list.push_back(item.file);
  const TensorEntry* last = nullptr;
  const TensorProducer produce = [&](size_t i) {
    if (last != nullptr) in_->release(*last);
    last = items_[i].source;
    Tensor made = make(items_[i]);
    auto& count = report.types[std::string(name(made.dtype()))];
    ++count.tensors;
    count.bytes += made.bytes();
    if (options_.progress) options_.progress({"quantize", ++done, total});
    return made;
  };
  if (rules_.writes_gguf())
    write_gguf(out, list, produce, metadata());
  else
    write_safetensors(out, list, produce, metadata());
  for (const TensorEntry& e : in_->entries()) report.bytes_read += e.bytes;
  report.bytes_written += static_cast<int64_t>(fs::file_size(out));
}

// --- folders ----------------------------------------------------------------------------------------------------

// A folder under a temporary name beside `path`: complete or not at all.
class OutputFolder {
 public:
  explicit OutputFolder(const fs::path& path) : path_(path), written_(path) {
    written_ += fmt::format(".{}.tmp", ::getpid());
    std::error_code error;
    if (!fs::create_directory(written_, error))
      throw RuntimeError("{}: cannot be made: {}", path.string(), error ? error.message() : "it is being written");
  }
  ~OutputFolder() {
    std::error_code ignored;
    if (!committed_) fs::remove_all(written_, ignored);
  }
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;
  const fs::path& path() const { return written_; }
  void commit() {
    std::error_code error;
    fs::rename(written_, path_, error);
    if (error) throw RuntimeError("{}: cannot be written: {}", path_.string(), error.message());
    committed_ = true;
  }

 private:
  fs::path path_, written_;
  bool committed_ = false;
};

bool is_tensor_file(const fs::path& path) {
  const std::string name = path.filename().string();
  return std::ranges::any_of(
      std::initializer_list<const char*>{".safetensors", ".safetensors.index.json", ".gguf", ".bin", ".pt", ".ckpt"},
      [&](const char* end) { return name.ends_with(end); });
}

// A configuration that says how the weights were quantized does not hold for the new ones.
void copy_config(const fs::path& from, const fs::path& to) {
  std::ifstream in(from);
  nlohmann::ordered_json config = nlohmann::ordered_json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) throw ModelError("{}: is not a JSON object", from.string());
  config.erase("quantization_config");
  std::ofstream out(to);
  out << config.dump(2) << '\n';
  if (!out.flush()) throw RuntimeError("{}: cannot be written", to.string());
}

void copy_one(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::create_directories(to.parent_path(), error);
  if (!error) fs::copy_file(from, to, error);
  if (error) throw RuntimeError("{}: cannot be copied to {}: {}", from.string(), to.string(), error.message());
}

// All of a diffusers folder but the tensors of the parts that are quantized.
void copy_rest(const fs::path& in, const fs::path& out) {
  for (const auto& entry : fs::recursive_directory_iterator(in, fs::directory_options::follow_directory_symlink)) {
    if (!entry.is_regular_file()) continue;
    const fs::path name = entry.path().lexically_relative(in);
    if (name.begin()->string().starts_with('.')) continue;  // .git, .cache
    const bool quantized = *name.begin() == "transformer" || *name.begin() == "text_encoder";
    if (quantized && is_tensor_file(name)) continue;
    if (quantized && name.filename() == "config.json") {
      fs::create_directories((out / name).parent_path());
      copy_config(entry.path(), out / name);
    } else {
      copy_one(entry.path(), out / name);
    }
  }
}

QuantizeReport quantize_folder(const fs::path& in, const fs::path& out, const QuantizeOptions& options) {
  const ModelFiles files = find_model(in);
  Converter dit(files.dit, options), text(files.text_encoder, options);
  const char* extension = is_block_quantized(options.target) ? ".gguf" : ".safetensors";
  OutputFolder folder(out);
  copy_rest(in, folder.path());
  QuantizeReport report;
  int done = 0;
  const int total = dit.size() + text.size();
  fs::create_directories(folder.path() / "transformer");
  fs::create_directories(folder.path() / "text_encoder");
  dit.write(folder.path() / "transformer" / fmt::format("diffusion_pytorch_model{}", extension), done, total, report);
  text.write(folder.path() / "text_encoder" / fmt::format("model{}", extension), done, total, report);
  folder.commit();
  return report;
}

}  // namespace

QuantizeReport quantize_model(const fs::path& in, const fs::path& out, const QuantizeOptions& options) {
  if (!fs::exists(in)) throw ArgumentError("{}: no such file or folder", in.string());
  fs::path target = out.has_filename() ? out : out.parent_path();  // "folder/" means "folder"
  if (target.empty() || fs::exists(fs::symlink_status(target)))
    throw ArgumentError("{}: exists already; name a new {}", out.string(), fs::is_directory(in) ? "folder" : "file");
  const fs::path parent = fs::absolute(target).parent_path();
  const fs::path inside = fs::weakly_canonical(parent / target.filename()).lexically_relative(fs::weakly_canonical(in));
  if (fs::is_directory(in) && !inside.empty() && *inside.begin() != "..")
    throw ArgumentError("{}: lies inside {}; name a place outside", out.string(), in.string());
  if (!fs::is_directory(parent)) throw ArgumentError("{}: the folder {} does not exist", out.string(), parent.string());
  const std::string extension = target.extension().string();
  const bool names_file = extension == ".gguf" || extension == ".safetensors";
  if (fs::is_directory(in) && fs::exists(in / "model_index.json")) {
    if (names_file)
      throw ArgumentError("{}: is a whole model: name a folder to write, or one of its parts to read ({})", in.string(),
                          (in / "transformer").string());
    return quantize_folder(in, target, options);
  }
  const char* expected = is_block_quantized(options.target) ? ".gguf" : ".safetensors";
  if (extension != expected)
    throw ArgumentError("{}: {} is written as a file whose name ends in {}", out.string(), name(options.target),
                        expected);
  Converter converter(fs::is_directory(in) ? tensor_file_in(in) : in, options);
  QuantizeReport report;
  int done = 0;
  converter.write(target, done, converter.size(), report);
  return report;
}

}  // namespace inkling
