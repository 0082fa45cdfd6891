// safetensors: 8 bytes header length N (little endian), N bytes of JSON, then the data of all tensors without
// holes. https://github.com/huggingface/safetensors
#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>

#include "base/error.h"
#include "formats/mapped_file.h"
#include "formats/tensor_parsers.h"

namespace inkling {

namespace {

constexpr size_t kMaxTensors = 1 << 18;  // 100 times the largest model seen; bounds memory to ~100 MB
constexpr size_t kMaxNameBytes = 4096;
constexpr std::string_view kMetadataKey = "__metadata__";

// A tensor's description while its JSON object is read.
struct RawTensor {
  std::string name;
  std::optional<std::string> dtype;
  std::optional<std::vector<int64_t>> shape;
  std::optional<std::vector<int64_t>> offsets;
};

// Fills ParsedHeader from the stream of JSON events, so that memory is bounded by what is kept and a deeply
// nested document is refused at depth 4. Every unexpected event is an error.
class HeaderHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  HeaderHandler(const std::string& file, ParsedHeader& result) : file_(file), result_(result) {}

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { return unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { return unexpected("a fraction or too large a number"); }
  bool binary(binary_t&) override { return unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (state_ != State::shape && state_ != State::offsets) return unexpected("a number");
    if (value > static_cast<uint64_t>(INT64_MAX)) return unexpected("too large a number");
    std::vector<int64_t>& list = state_ == State::shape ? *tensor_.shape : *tensor_.offsets;
    if (list.size() >= (state_ == State::shape ? size_t{Shape::kMaxRank} : size_t{2}))
      return unexpected("too long a list");
    list.push_back(static_cast<int64_t>(value));
    return true;
  }

  bool string(string_t& value) override {
    if (state_ == State::metadata) {
      if (!result_.metadata.emplace(key_, std::move(value)).second)
        throw ModelError("{}: metadata key {} stands twice", file_, show(key_));
      return true;
    }
    if (state_ != State::tensor || key_ != "dtype") return unexpected("a string");
    if (tensor_.dtype) return duplicate();
    tensor_.dtype = std::move(value);
    return true;
  }

  bool start_object(size_t) override {
    if (state_ == State::start) {
      state_ = State::root;
    } else if (state_ == State::root && key_ == kMetadataKey) {
      if (seen_metadata_) throw ModelError("{}: __metadata__ stands twice", file_);
      seen_metadata_ = true;
      state_ = State::metadata;
    } else if (state_ == State::root) {
      tensor_ = RawTensor{.name = key_, .dtype = {}, .shape = {}, .offsets = {}};
      state_ = State::tensor;
    } else {
      return unexpected("an object");
    }
    return true;
  }

  bool key(string_t& value) override {
    key_ = std::move(value);
    return true;
  }

  bool end_object() override {
    if (state_ == State::tensor) finish_tensor();
    state_ = state_ == State::root ? State::start : State::root;
    return true;
  }

  bool start_array(size_t) override {
    if (state_ != State::tensor) return unexpected("a list");
    if (key_ == "shape") {
      if (tensor_.shape) return duplicate();
      tensor_.shape.emplace();
      state_ = State::shape;
    } else if (key_ == "data_offsets") {
      if (tensor_.offsets) return duplicate();
      tensor_.offsets.emplace();
      state_ = State::offsets;
    } else {
      return unexpected("a list");
    }
    return true;
  }

  bool end_array() override {
    state_ = State::tensor;
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    throw ModelError("{}: the header is not valid JSON (byte {})", file_, position);
  }

 private:
  enum class State { start, root, metadata, tensor, shape, offsets };

  bool unexpected(std::string_view what) const {
    throw ModelError("{}: the header holds {} at key {}, where it does not belong", file_, what, show(key_));
  }
  bool duplicate() const { throw ModelError("{}: tensor {}: {} stands twice", file_, show(tensor_.name), key_); }

  void finish_tensor() {
    const std::string shown = show(tensor_.name);
    if (tensor_.name.size() > kMaxNameBytes) throw ModelError("{}: tensor name {} is too long", file_, shown);
    if (!tensor_.dtype || !tensor_.shape || !tensor_.offsets || tensor_.offsets->size() != 2)
      throw ModelError("{}: tensor {}: dtype, shape or data_offsets is missing", file_, shown);
    if (result_.entries.size() >= kMaxTensors) throw ModelError("{}: more than {} tensors", file_, kMaxTensors);
    if (!names_.insert(tensor_.name).second) throw ModelError("{}: tensor {} stands twice", file_, shown);

    TensorEntry entry;
    const auto known = safetensors_dtype(*tensor_.dtype);
    if (!known) throw ModelError("{}: tensor {}: element type {} is not supported", file_, shown, show(*tensor_.dtype));
    entry.dtype = entry.stored = *known;
    entry.shape = Shape(*tensor_.shape);
    int64_t bytes = 0;
    if (__builtin_mul_overflow(checked_elements(shown), info(entry.dtype).block_bytes, &bytes))
      throw ModelError("{}: tensor {}: the size of shape {} overflows", file_, shown, entry.shape.str());
    const int64_t begin = (*tensor_.offsets)[0], end = (*tensor_.offsets)[1];
    if (begin > end) throw ModelError("{}: tensor {}: data ends at {}, before its start {}", file_, shown, end, begin);
    if (end - begin != bytes)
      throw ModelError("{}: tensor {}: {} {} takes {} bytes, got {}", file_, shown, *tensor_.dtype, entry.shape.str(),
                       bytes, end - begin);
    entry.name = std::move(tensor_.name);
    entry.offset = begin;
    entry.bytes = bytes;
    result_.entries.push_back(std::move(entry));
  }

  int64_t checked_elements(const std::string& shown) const {
    int64_t product = 1;
    for (const int64_t d : *tensor_.shape)
      if (__builtin_mul_overflow(product, d, &product))
        throw ModelError("{}: tensor {}: the shape's element count overflows", file_, shown);
    return product;
  }

  const std::string& file_;
  ParsedHeader& result_;
  std::unordered_set<std::string> names_;
  State state_ = State::start;
  std::string key_;
  RawTensor tensor_;
  bool seen_metadata_ = false;
};

// Sorts by position and demands that the tensors fill [0, data_bytes) without hole, overlap or rest.
void check_layout(std::vector<TensorEntry>& entries, int64_t data_bytes, const std::string& file) {
  std::ranges::stable_sort(entries, {}, [](const TensorEntry& e) { return std::pair(e.offset, e.bytes); });
  int64_t position = 0;
  for (const TensorEntry& e : entries) {
    if (e.offset != position)
      throw ModelError("{}: tensor {}: data starts at {}, expected {} ({})", file, show(e.name), e.offset, position,
                       e.offset < position ? "overlaps another tensor" : "leaves a hole");
    position += e.bytes;  // cannot overflow: offset + bytes was read as an int64
  }
  if (position != data_bytes)
    throw ModelError("{}: the tensors take {} bytes, but the file holds {} bytes of data ({})", file, position,
                     data_bytes, position > data_bytes ? "the file is cut short" : "something trails the last tensor");
}

struct NamedDType {
  std::string_view name;
  DType dtype;
};
constexpr NamedDType kDTypes[] = {
    {"F64", DType::f64},         {"F32", DType::f32},         {"F16", DType::f16}, {"BF16", DType::bf16},
    {"F8_E4M3", DType::f8_e4m3}, {"F8_E5M2", DType::f8_e5m2}, {"I64", DType::i64}, {"I32", DType::i32},
    {"I16", DType::i16},         {"I8", DType::i8},           {"U8", DType::u8},   {"BOOL", DType::boolean},
};

}  // namespace

std::optional<DType> safetensors_dtype(std::string_view name) {
  const auto* known = std::ranges::find(kDTypes, name, &NamedDType::name);
  return known == std::end(kDTypes) ? std::nullopt : std::optional(known->dtype);
}

std::string_view safetensors_name(DType type) {
  const auto* known = std::ranges::find(kDTypes, type, &NamedDType::dtype);
  if (known == std::end(kDTypes)) throw ArgumentError("safetensors has no element type for {}", name(type));
  return known->name;
}

ParsedHeader parse_safetensors_header(std::span<const std::byte> bytes, const std::string& name) {
  if (bytes.size() < 8) throw ModelError("{}: {} bytes are too few for a safetensors file", name, bytes.size());
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), 8);  // little endian, as every machine we build for
  if (header_bytes > kMaxSafetensorsHeader)
    throw ModelError("{}: the safetensors header claims {} bytes, at most {} are allowed", name, header_bytes,
                     kMaxSafetensorsHeader);
  if (header_bytes > bytes.size() - 8)
    throw ModelError("{}: the safetensors header claims {} bytes, the file holds {}", name, header_bytes,
                     bytes.size() - 8);
  const auto* text = reinterpret_cast<const char*>(bytes.data()) + 8;
  if (header_bytes == 0 || text[0] != '{')
    throw ModelError("{}: the safetensors header does not start with '{{'", name);

  ParsedHeader result;
  HeaderHandler handler(name, result);
  nlohmann::json::sax_parse(text, text + header_bytes, &handler);
  const auto data_start = static_cast<int64_t>(8 + header_bytes);
  check_layout(result.entries, static_cast<int64_t>(bytes.size()) - data_start, name);
  for (TensorEntry& e : result.entries) e.offset += data_start;
  return result;
}

}  // namespace inkling
