#include <charconv>
#include <set>

#include "base/error.h"
#include "formats/gguf_types.h"
#include "formats/mapped_file.h"
#include "formats/tensor_writer.h"

namespace inkling {

namespace {

constexpr size_t kMaxNameBytes = 255;
constexpr size_t kMaxDims = 4;

// The header as bytes, little endian.
class Buffer {
 public:
  template <typename T>
  void number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  void kind(GgufValue value) { number(static_cast<uint32_t>(value)); }
  void raw(std::string_view text) { bytes_.append(text); }
  void string(std::string_view text) {
    number<uint64_t>(text.size());
    raw(text);
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

bool is_number_key(std::string_view key) { return key == "general.file_type" || key.ends_with("_version"); }

void put_pair(Buffer& out, const std::string& key, const std::string& value) {
  out.string(key);
  if (!is_number_key(key)) {
    out.kind(GgufValue::string);
    out.string(value);
    return;
  }
  uint32_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc{} || end != value.data() + value.size())
    throw ArgumentError("GGUF: key {} takes a number, got {}", key, show(value));
  out.kind(GgufValue::u32);
  out.number(number);
}

void put_original_shape(Buffer& out, const TensorToWrite& tensor) {
  out.string(std::string(kGgufOrigShapePrefix) + tensor.name);
  out.kind(GgufValue::array);
  out.kind(GgufValue::i32);
  out.number<uint64_t>(tensor.shape.dims().size());
  for (const int64_t d : tensor.shape.dims()) {
    if (d > INT32_MAX) throw ArgumentError("GGUF: tensor {}: dimension {} is too large", show(tensor.name), d);
    out.number(static_cast<int32_t>(d));
  }
}

// At most 4 dimensions, the leading ones merged, so that rows and their blocks stay whole.
std::vector<int64_t> stored_dims(const Shape& shape) {
  std::vector<int64_t> dims(shape.dims().begin(), shape.dims().end());
  while (dims.size() > kMaxDims) {
    dims[1] *= dims[0];
    dims.erase(dims.begin());
  }
  return dims;
}

int64_t padding(int64_t bytes) { return -bytes & (kGgufDefaultAlignment - 1); }

}  // namespace

FileLayout layout_gguf(const std::vector<TensorToWrite>& tensors, const std::map<std::string, std::string>& metadata) {
  // general.alignment of a file that was read does not hold for the one that is written.
  std::map<std::string, std::string> pairs = metadata;
  pairs.erase("general.alignment");
  std::set<std::string> names;
  uint64_t shapes = 0;
  for (const TensorToWrite& t : tensors) {
    if (t.name.empty() || t.name.size() > kMaxNameBytes || !names.insert(t.name).second)
      throw ArgumentError("GGUF: tensor name {} is empty, longer than {} bytes or taken", show(t.name), kMaxNameBytes);
    if (t.shape.rank() > static_cast<int>(kMaxDims)) ++shapes;
  }

  Buffer out;
  out.raw(kGgufMagicBytes);
  out.number(kGgufVersion);
  out.number<uint64_t>(tensors.size());
  out.number<uint64_t>(pairs.size() + shapes);
  // Readers look at the architecture first.
  if (const auto architecture = pairs.extract("general.architecture"))
    put_pair(out, architecture.key(), architecture.mapped());
  for (const auto& [key, value] : pairs) put_pair(out, key, value);
  for (const TensorToWrite& t : tensors)
    if (t.shape.rank() > static_cast<int>(kMaxDims)) put_original_shape(out, t);
  FileLayout layout;
  int64_t offset = 0;
  for (const TensorToWrite& t : tensors) {
    const std::vector<int64_t> dims = stored_dims(t.shape);
    out.string(t.name);
    out.number(static_cast<uint32_t>(dims.size()));
    for (size_t i = dims.size(); i-- > 0;) out.number(dims[i]);  // innermost first
    out.number(ggml_of_dtype(t.dtype));
    out.number(offset);
    layout.order.push_back(layout.order.size());
    layout.offsets.push_back(offset);
    const int64_t bytes = tensor_bytes(t);
    offset += bytes + padding(bytes);
  }
  layout.header = out.bytes();
  layout.header.resize(layout.header.size() + static_cast<size_t>(padding(static_cast<int64_t>(layout.header.size()))));
  for (int64_t& at : layout.offsets) at += static_cast<int64_t>(layout.header.size());
  layout.end = offset + static_cast<int64_t>(layout.header.size());
  return layout;
}

}  // namespace inkling
