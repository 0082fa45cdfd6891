#include "compress/quantize/converter.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <span>

#include "base/error.h"
#include "base/threads.h"
#include "compress/quantize/convert.h"
#include "compress/quantize/scale_search.h"
#include "formats/block_quant.h"
#include "formats/float8.h"
#include "formats/int_quant.h"
#include "formats/low_bit.h"
#include "formats/nf4.h"
#include "formats/tensor_file.h"

namespace inkling {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kPanelElements = int64_t{4} << 20;  // 16 MiB in float32
constexpr int64_t kScaleGroup = 16;  // columns of one weight_s_rel, the only width that all readers know
constexpr int kStateBytes = 256;     // of bitsandbytes' JSON: padded, since the offset is known last
constexpr const char* kZeroCondMarker = "__index_timestep_zero__";

std::vector<std::string> names(const TensorFile& file) {
  std::vector<std::string> result;
  for (const TensorEntry& e : file.entries()) result.push_back(e.name);
  return result;
}

std::string module_of(const std::string& tensor) { return tensor.substr(0, tensor.rfind(".weight")); }

// ComfyUI's description of a layer. `rotation` of the columns; 0: none.
std::string comfy_format(const TensorForm& form, int64_t rotation) {
  if (form.low_bit == LowBit::w4a8)
    return fmt::format(R"({{"format": "asym_w4a8_int8", "group_size": {}, "convrot_groupsize": {}}})", kScaleGroup,
                       rotation);
  if (form.low_bit == LowBit::none) return R"({"format": "float8_e4m3fn"})";
  if (rotation == 0) return R"({"format": "int8_tensorwise"})";
  return fmt::format(R"({{"format": "int8_tensorwise", "convrot": true, "convrot_groupsize": {}}})", rotation);
}

template <typename T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}
std::span<const std::byte> bytes_of(const Tensor& t) { return {t.raw(), static_cast<size_t>(t.bytes())}; }
std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

}  // namespace

// Calls `body` with the first row and the rows of each panel. Panels begin at a multiple of 64 rows, so that blocks of
// 64 values that run over rows stay whole.
class Converter::Panels {
 public:
  Panels(const Converter& converter, const Job& job) : converter_(converter), job_(job) {}

  template <typename Body>
  void each(const Body& body) const {
    const TensorEntry& e = *job_.source;
    const int64_t rows = job_.shape.rank() == 0 ? 1 : job_.shape[0];
    const int64_t columns = job_.shape.elements() / std::max<int64_t>(rows, 1);
    const int64_t step = std::max<int64_t>(64, kPanelElements / std::max<int64_t>(columns, 1) / 64 * 64);
    for (int64_t begin = 0; begin < rows; begin += step) {
      if (converter_.options_.cancel != nullptr) converter_.options_.cancel->throw_if_cancelled();
      body(begin, converter_.layouts_.load_rows(e, begin, std::min(rows, begin + step)));
      converter_.in_->release(e);
    }
  }
  // The same in float32.
  template <typename Body>
  void each_f32(const Body& body) const {
    each([&](int64_t begin, const Tensor& rows) { body(begin, dequantize(rows)); });
  }

 private:
  const Converter& converter_;
  const Job& job_;
};

Converter::Converter(const fs::path& in, const QuantizeOptions& options, Calibration* calibration)
    : options_(options),
      in_(open_tensor_file(in)),
      layouts_(*in_, in.string()),
      rules_(names(*in_), options.target, in.string()),
      calibration_(calibration) {
  for (const TensorEntry& e : in_->entries())
    if (!layouts_.is_auxiliary(e)) add(e);
  if (needs_marker(in)) add_file(kZeroCondMarker, DType::f32, Shape{0});
}

// A single file has no config.json beside it, so other programs and we ourselves learn from this tensor that the model
// is of Edit-2511's kind. ComfyUI keeps it as an empty buffer and refuses any other shape. bitsandbytes' files stay
// diffusers', which knows the config only.
bool Converter::needs_marker(const fs::path& in) const {
  if (rules_.target().low_bit == LowBit::nf4 || in_->find("txt_norm.weight") == nullptr ||
      in_->find(kZeroCondMarker) != nullptr)
    return false;
  std::ifstream file((fs::is_directory(in) ? in : in.parent_path()) / "config.json");
  const auto config = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  return config.is_object() && config.value("_class_name", nlohmann::json()) == "QwenImageTransformer2DModel" &&
         config.value("zero_cond_t", nlohmann::json()) == true;
}

void Converter::add(const TensorEntry& e) {
  Job job{&e, layouts_.shape(e), {}, false, files_.size()};
  job.form = rules_.form(e.name, job.shape, layouts_.dtype(e));
  if (calibration_ != nullptr) {
    const std::string name = rules_.transformer_name(e.name);
    const bool matrix = name.ends_with(".weight"), bias = name.ends_with(".bias");
    const auto form = calibration_->forms().find(name.substr(0, name.rfind('.')));
    if ((matrix || bias) && form != calibration_->forms().end()) {
      if (matrix) job.form = {form->second == LowBit::w8a8 ? DType::i8 : DType::u8, form->second};
      calibrated_[name] = jobs_.size();
    }
  }
  const TensorRole role = rules_.role(e.name, job.shape);
  const int64_t rows = job.shape.rank() > 0 ? job.shape[0] : 1, elements = job.shape.elements();
  job.scaled = job.form.type == DType::f8_e4m3 && (role == TensorRole::matrix || role == TensorRole::modulation);
  if (job.form.low_bit == LowBit::nf4) {
    const int64_t blocks = (elements + kNf4Block - 1) / kNf4Block;
    add_file(e.name, DType::u8, {elements / 2, 1});
    add_file(e.name + ".absmax", DType::u8, {blocks});
    add_file(e.name + ".quant_map", DType::f32, {16});
    add_file(e.name + ".nested_absmax", DType::f32, {(blocks + kNf4NestedBlock - 1) / kNf4NestedBlock});
    add_file(e.name + ".nested_quant_map", DType::f32, {256});
    add_file(e.name + ".quant_state.bitsandbytes__nf4", DType::u8, {kStateBytes});
  } else if (job.form.low_bit == LowBit::none && !job.scaled) {
    add_file(e.name, job.form.type, job.shape);
  } else {
    const std::string module = module_of(e.name);
    if (job.form.low_bit == LowBit::w4a8) {
      add_file(e.name, DType::i8, {rows, job.shape[1] / 2});
      add_file(module + ".weight_s_rel", DType::f8_e4m3, {rows, job.shape[1] / kScaleGroup});
      add_file(module + ".weight_s_channel", DType::f32, {rows});
      add_file(module + ".weight_codebook", DType::f32, {16});
    } else {
      add_file(e.name, job.scaled ? DType::f8_e4m3 : DType::i8, job.shape);
      add_file(module + ".weight_scale", DType::f32, job.scaled ? Shape{} : Shape{rows, 1});
    }
    const std::string format = comfy_format(job.form, job.scaled ? 0 : default_rotation(job.shape[1]));
    add_file(module + ".comfy_quant", DType::u8, {static_cast<int64_t>(format.size())});
  }
  jobs_.push_back(job);
}

void Converter::run(const Job& job, TensorFileWriter& out) {
  if (job.scaled) return run_fp8(job, out);
  switch (job.form.low_bit) {
    case LowBit::w8a8:
    case LowBit::w4a8: return run_integers(job, out);
    case LowBit::nf4: return run_nf4(job, out);
    case LowBit::none: return run_plain(job, out);
  }
}

void Converter::run_plain(const Job& job, TensorFileWriter& out) {
  if (job.shape.elements() == 0) return;  // a marker: it counts by being there
  int64_t at = 0;
  Panels(*this, job).each([&](int64_t, const Tensor& rows) {
    const Tensor made = rows.dtype() == job.form.type ? rows : convert(rows, job.form.type, job.source->name);
    out.write(job.first, at, bytes_of(made));
    at += made.bytes();
  });
}

// The tensor is passed through twice, because all of it has one scale.
void Converter::run_fp8(const Job& job, TensorFileWriter& out) {
  const std::string& name = job.source->name;
  float largest = 0;
  const Panels panels(*this, job);
  panels.each([&](int64_t, const Tensor& rows) { largest = std::max(largest, largest_magnitude(rows, name)); });
  const float scale = largest > 0 ? largest / kLargestE4m3 : 1.f;
  int64_t at = 0;
  panels.each([&](int64_t, const Tensor& rows) {
    const Tensor made = convert(rows, DType::f8_e4m3, name, scale);
    out.write(job.first, at, bytes_of(made));
    at += made.bytes();
  });
  out.write(job.first + 1, 0, bytes_of(std::vector<float>{scale}));
  out.write(job.first + 2, 0, bytes_of(comfy_format(job.form, 0)));
}

void Converter::run_integers(const Job& job, TensorFileWriter& out) {
  Panels(*this, job).each_f32([&](int64_t begin, const Tensor& rows) {
    const int64_t rotation = default_rotation(job.shape[1]);
    write_integers(job, begin, quantize_low_bit(rows, job.form.low_bit, rotation, job.source->name), out);
  });
  write_description(job, out);
}

// Rows from `begin` on. Whole numbers up to 16 are exact in e4m3, and 64 columns are four of the layout's groups.
void Converter::write_integers(const Job& job, int64_t begin, const LowBitMatrix& rows, TensorFileWriter& out) {
  const int64_t columns = job.shape[1];
  if (job.form.low_bit == LowBit::w8a8) {
    out.write(job.first, begin * columns, bytes_of(rows.value));
    out.write(job.first + 1, begin * 4, bytes_of(rows.parts.scale));
    return;
  }
  constexpr int64_t kRepeats = kInt4Group / kScaleGroup;
  std::vector<uint8_t> relative;
  for (const uint8_t s : rows.parts.group_scale.span<uint8_t>())
    relative.insert(relative.end(), kRepeats, to_f8_e4m3(static_cast<float>(s)));
  out.write(job.first, begin * columns / 2, bytes_of(rows.value));
  out.write(job.first + 1, begin * columns / kScaleGroup, bytes_of(relative));
  out.write(job.first + 2, begin * 4, bytes_of(rows.parts.scale));
}

// What is the same for every row of an integer matrix.
void Converter::write_description(const Job& job, TensorFileWriter& out) {
  const std::string format = comfy_format(job.form, default_rotation(job.shape[1]));
  if (job.form.low_bit == LowBit::w8a8) return out.write(job.first + 2, 0, bytes_of(format));
  std::vector<float> codebook(16);
  for (int i = 0; i < 16; ++i) codebook[static_cast<size_t>(i)] = static_cast<float>(i - 8);
  out.write(job.first + 3, 0, bytes_of(codebook));
  out.write(job.first + 4, 0, bytes_of(format));
}

void Converter::run_nf4(const Job& job, TensorFileWriter& out) {
  const int64_t columns = job.shape[1];
  std::vector<float> absmax;
  Panels(*this, job).each_f32([&](int64_t begin, const Tensor& rows) {
    largest_magnitude(rows, job.source->name);  // refuses what is not finite
    const int64_t elements = rows.elements(), blocks = (elements + kNf4Block - 1) / kNf4Block;
    std::vector<uint8_t> codes(static_cast<size_t>(elements / 2));
    std::vector<float> scales(static_cast<size_t>(blocks));
    parallel_for(blocks, 1024, [&](int64_t from, int64_t to) {
      const int64_t first = from * kNf4Block, last = std::min(elements, to * kNf4Block);
      search_nf4({rows.data<float>() + first, static_cast<size_t>(last - first)}, codes.data() + first / 2,
                 scales.data() + from);
    });
    out.write(job.first, begin * columns / 2, bytes_of(codes));
    absmax.insert(absmax.end(), scales.begin(), scales.end());
  });
  const Nf4Nested nested = nest_nf4(absmax);
  out.write(job.first + 1, 0, bytes_of(nested.codes));
  out.write(job.first + 2, 0, std::as_bytes(std::span(kNf4)));
  out.write(job.first + 3, 0, bytes_of(nested.scale));
  out.write(job.first + 4, 0, std::as_bytes(std::span(nf4_nested_map())));
  std::string state = fmt::format(
      R"({{"quant_type": "nf4", "blocksize": {}, "dtype": "bfloat16", "shape": [{}, {}], "nested_blocksize": {}, )"
      R"("nested_dtype": "float32", "nested_offset": {}}})",
      kNf4Block, job.shape[0], columns, kNf4NestedBlock, static_cast<double>(nested.offset));
  state.resize(kStateBytes, ' ');
  out.write(job.first + 5, 0, bytes_of(state));
}

std::vector<std::string> Converter::skipped_modules() const {
  std::set<std::string> result;
  if (rules_.has(Component::text_encoder)) result.insert("lm_head");  // may be tied, and so in no file
  for (const Job& job : jobs_)
    if (job.shape.rank() == 2 && job.form.low_bit != rules_.target().low_bit && job.source->name.ends_with(".weight"))
      result.insert(module_of(job.source->name));
  return {result.begin(), result.end()};
}

std::map<std::string, std::string> Converter::metadata() const {
  std::map<std::string, std::string> result;
  if (const auto at = in_->metadata().find("config"); at != in_->metadata().end()) result.insert(*at);
  if (rules_.target().format == TensorFormat::gguf) {
    result.emplace("general.architecture", rules_.has(Component::dit) ? "qwen_image" : "qwen2vl");
    result.emplace("general.quantization_version", "2");
    result.emplace("general.file_type", rules_.target().gguf_type);
    return result;
  }
  result.emplace("format", "pt");
  nlohmann::json layers = nlohmann::json::object();
  for (const Job& job : jobs_) {
    const LowBit kind = job.form.low_bit;
    if (!job.scaled && kind != LowBit::w8a8 && kind != LowBit::w4a8) continue;
    const std::string format = comfy_format(job.form, job.scaled ? 0 : default_rotation(job.shape[1]));
    layers[module_of(job.source->name)] = nlohmann::json::parse(format);
  }
  if (!layers.empty())
    result["_quantization_metadata"] = nlohmann::json{{"format_version", "1.0"}, {"layers", layers}}.dump();
  return result;
}

// In the order in which calibration comes to them.
void Converter::write_calibrated(TensorFileWriter& out, QuantizeReport& report) {
  calibration_->run([&](const CalibratedMatrix& m) {
    const auto job_of = [&](const char* suffix) {
      const auto at = calibrated_.find(m.name + suffix);
      return at == calibrated_.end() ? nullptr : &jobs_[at->second];
    };
    Job *matrix = job_of(".weight"), *bias = job_of(".bias");
    if (matrix == nullptr) throw ModelError("{}.weight: is no tensor of its own in the file", m.name);
    write_integers(*matrix, 0, m.matrix, out);
    write_description(*matrix, out);
    matrix->written = true;
    if (bias != nullptr) {
      out.write(bias->first, 0, bytes_of(convert(m.bias, bias->form.type, m.name + ".bias")));
      bias->written = true;
    }
    auto& kind = report.calibration[m.name.substr(m.name.find('.', m.name.find('.') + 1) + 1)];
    ++kind.matrices;
    kind.eight_bits += m.matrix.parts.kind == LowBit::w8a8 ? 1 : 0;
    kind.nearest += m.nearest, kind.calibrated += m.calibrated;
  });
}

void Converter::write(const fs::path& out, int& done, int total, QuantizeReport& report) {
  TensorFileWriter writer(out, rules_.target().format, files_, metadata());
  if (calibration_ != nullptr) write_calibrated(writer, report);
  for (size_t i = 0; i < jobs_.size(); ++i) {
    const Job& job = jobs_[i];
    if (!job.written) run(job, writer);
    in_->release(*job.source);
    const bool coded = job.form.low_bit != LowBit::none;
    auto& count = report.types[std::string(coded ? name(job.form.low_bit) : name(job.form.type))];
    ++count.tensors;
    const size_t end = i + 1 < jobs_.size() ? jobs_[i + 1].first : files_.size();
    for (size_t f = job.first; f < end; ++f) count.bytes += Tensor(files_[f].shape, files_[f].dtype, nullptr).bytes();
    if (options_.progress) options_.progress({"quantize", ++done, total});
  }
  writer.commit();
  for (const TensorEntry& e : in_->entries()) report.bytes_read += e.bytes;
  report.bytes_written += static_cast<int64_t>(fs::file_size(out));
}

}  // namespace inkling
