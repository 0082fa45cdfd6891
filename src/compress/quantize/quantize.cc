#include "compress/quantize/quantize.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "compress/quantize/converter.h"
#include "models/registry.h"

namespace inkling {

namespace fs = std::filesystem;

namespace {

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

// What diffusers and transformers need to know to load bitsandbytes' NF4.
nlohmann::ordered_json bitsandbytes_config(const Converter& converter) {
  return {{"quant_method", "bitsandbytes"},
          {"load_in_4bit", true},
          {"load_in_8bit", false},
          {"bnb_4bit_quant_type", "nf4"},
          {"bnb_4bit_use_double_quant", true},
          {"bnb_4bit_compute_dtype", "bfloat16"},
          {"bnb_4bit_quant_storage", "uint8"},
          {"llm_int8_skip_modules", converter.skipped_modules()}};
}

// A configuration that says how the weights were quantized does not hold for the new ones.
void copy_config(const fs::path& from, const fs::path& to, const nlohmann::ordered_json& quantization) {
  std::ifstream in(from);
  nlohmann::ordered_json config = nlohmann::ordered_json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) throw ModelError("{}: is not a JSON object", from.string());
  config.erase("quantization_config");
  if (!quantization.is_null()) config["quantization_config"] = quantization;
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

// A part of a diffusers folder that is quantized.
struct Part {
  const char *folder, *file;
  Converter converter;
};

// All of a diffusers folder but the tensors of the parts that are quantized.
void copy_rest(const fs::path& in, const fs::path& out, std::span<const Part> parts, bool bitsandbytes) {
  for (const auto& entry : fs::recursive_directory_iterator(in, fs::directory_options::follow_directory_symlink)) {
    if (!entry.is_regular_file()) continue;
    const fs::path name = entry.path().lexically_relative(in);
    if (name.begin()->string().starts_with('.')) continue;  // .git, .cache
    const auto part = std::ranges::find_if(parts, [&](const Part& p) { return *name.begin() == p.folder; });
    if (part != parts.end() && is_tensor_file(name)) continue;
    if (part != parts.end() && name.filename() == "config.json") {
      fs::create_directories((out / name).parent_path());
      copy_config(entry.path(), out / name, bitsandbytes ? bitsandbytes_config(part->converter) : nullptr);
    } else {
      copy_one(entry.path(), out / name);
    }
  }
}

const char* extension_of(const QuantizeTarget& target) {
  return target.format == TensorFormat::gguf ? ".gguf" : ".safetensors";
}

QuantizeReport quantize_folder(const fs::path& in, const fs::path& out, const QuantizeOptions& options) {
  const ModelFiles files = find_model(in);
  QuantizeReport report;
  std::unique_ptr<Calibration> calibration;
  if (!options.calibrate.empty()) {
    CalibrationOptions wanted{.prompts = read_calibration_prompts(options.calibrate),
                              .form = options.target.low_bit,
                              .bits = options.bits,
                              .progress = options.progress,
                              .cancel = options.cancel};
    report.prompts = std::ssize(wanted.prompts);
    calibration = std::make_unique<Calibration>(in, wanted);
  }
  Part parts[] = {{"transformer", "diffusion_pytorch_model", Converter(files.dit, options, calibration.get())},
                  {"text_encoder", "model", Converter(files.text_encoder, options)}};
  OutputFolder folder(out);
  copy_rest(in, folder.path(), parts, options.target.low_bit == LowBit::nf4);
  int done = 0, total = 0;
  for (const Part& part : parts) total += part.converter.tensors();
  for (Part& part : parts) {
    fs::create_directories(folder.path() / part.folder);
    const std::string file = std::string(part.file) + extension_of(options.target);
    part.converter.write(folder.path() / part.folder / file, done, total, report);
  }
  folder.commit();
  return report;
}

}  // namespace

QuantizeReport quantize_model(const fs::path& in, const fs::path& out, const QuantizeOptions& options) {
  if (!fs::exists(in)) throw ArgumentError("{}: no such file or folder", in.string());
  const LowBit form = options.target.low_bit;
  if (!options.calibrate.empty() && form != LowBit::w4a8 && form != LowBit::w8a8)
    throw ArgumentError("calibrate: got {}, expected w4a8 or w8a8", options.target.name);
  if (options.bits > 0 && (options.calibrate.empty() || form != LowBit::w4a8))
    throw ArgumentError("bits: only for w4a8 with prompts to calibrate by");
  if (!options.calibrate.empty() && !fs::exists(in / "model_index.json"))
    throw ArgumentError("{}: calibration draws pictures, so it needs a whole model's folder", in.string());
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
  const char* expected = extension_of(options.target);
  if (extension != expected)
    throw ArgumentError("{}: {} is written as a file whose name ends in {}", out.string(), options.target.name,
                        expected);
  Converter converter(fs::is_directory(in) ? tensor_file_in(in) : in, options);
  QuantizeReport report;
  int done = 0;
  converter.write(target, done, converter.tensors(), report);
  return report;
}

}  // namespace inkling
