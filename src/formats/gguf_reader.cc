// GGUF version 2 and 3, little endian. One strict reader: whatever is not exactly right is refused, and every
// length is compared with the bytes that are left before anything is allocated for it.
#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_set>

#include "base/error.h"
#include "formats/gguf_types.h"
#include "formats/mapped_file.h"
#include "formats/tensor_parsers.h"

namespace inkling {

namespace {

constexpr uint64_t kMaxTensors = 65'536;
constexpr uint64_t kMaxPairs = 65'536;
constexpr uint64_t kMaxStringBytes = 1 << 20;
constexpr uint64_t kMaxArrayBytes = 64 << 20;
constexpr uint64_t kMaxKeyBytes = 65'535;
constexpr uint64_t kMaxNameBytes = 255;
constexpr uint32_t kMaxDims = 4;
constexpr uint32_t kMaxAlignment = 4096;
// Bytes of a scalar by GgufValue; 0 for strings and arrays.
constexpr int64_t kBytesOf[kGgufValueKinds] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

// Reads from front to back; every read past the end throws.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, const std::string& file) : bytes_(bytes), file_(file) {}
  const std::string& file() const { return file_; }
  uint64_t position() const { return position_; }
  uint64_t left() const { return bytes_.size() - position_; }

  std::span<const std::byte> take(uint64_t count) {
    if (count > left())
      throw ModelError("{}: cut short: {} bytes wanted at byte {}, {} are left", file_, count, position_, left());
    const auto result = bytes_.subspan(position_, count);
    position_ += count;
    return result;
  }
  template <typename T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::string_view string(uint64_t max_bytes, std::string_view what) {
    const auto length = number<uint64_t>();
    if (length > max_bytes)
      throw ModelError("{}: {} of {} bytes, at most {} are allowed", file_, what, length, max_bytes);
    const auto bytes = take(length);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string& file_;
  uint64_t position_ = 0;
};

GgufValue read_kind(Cursor& in, std::string_view key) {
  const auto kind = in.number<uint32_t>();
  if (kind >= kGgufValueKinds) throw ModelError("{}: key {}: unknown value type {}", in.file(), show(key), kind);
  return static_cast<GgufValue>(kind);
}

std::string read_scalar(Cursor& in, GgufValue kind, std::string_view key) {
  switch (kind) {
    case GgufValue::u8: return fmt::to_string(in.number<uint8_t>());
    case GgufValue::i8: return fmt::to_string(in.number<int8_t>());
    case GgufValue::u16: return fmt::to_string(in.number<uint16_t>());
    case GgufValue::i16: return fmt::to_string(in.number<int16_t>());
    case GgufValue::u32: return fmt::to_string(in.number<uint32_t>());
    case GgufValue::i32: return fmt::to_string(in.number<int32_t>());
    case GgufValue::u64: return fmt::to_string(in.number<uint64_t>());
    case GgufValue::i64: return fmt::to_string(in.number<int64_t>());
    case GgufValue::f32: return fmt::to_string(in.number<float>());
    case GgufValue::f64: return fmt::to_string(in.number<double>());
    case GgufValue::string: return std::string(in.string(kMaxStringBytes, "a value"));
    case GgufValue::boolean: {
      const auto value = in.number<uint8_t>();
      if (value > 1) throw ModelError("{}: key {}: {} is no boolean", in.file(), show(key), value);
      return value != 0 ? "true" : "false";
    }
    case GgufValue::array: break;
  }
  throw ModelError("{}: key {}: arrays inside arrays are not supported", in.file(), show(key));
}

using OrigShapes = std::map<std::string, Shape, std::less<>>;

// Arrays are checked and skipped; only ComfyUI's original shapes are kept.
void read_array(Cursor& in, std::string_view key, OrigShapes& shapes) {
  const GgufValue kind = read_kind(in, key);
  const auto count = in.number<uint64_t>();
  if (kind == GgufValue::array)
    throw ModelError("{}: key {}: arrays inside arrays are not supported", in.file(), show(key));
  // A string takes at least the 8 bytes of its length.
  const uint64_t least = kind == GgufValue::string ? 8 : static_cast<uint64_t>(kBytesOf[static_cast<size_t>(kind)]);
  if (count > kMaxArrayBytes / least || count > in.left() / least)
    throw ModelError("{}: key {}: an array of {} values, {} bytes are left and at most {} are allowed", in.file(),
                     show(key), count, in.left(), kMaxArrayBytes);
  if (kind == GgufValue::string) {
    const uint64_t begin = in.position();
    for (uint64_t i = 0; i < count; ++i) {
      in.string(kMaxStringBytes, "an array element");
      if (in.position() - begin > kMaxArrayBytes)
        throw ModelError("{}: key {}: the array takes more than {} bytes", in.file(), show(key), kMaxArrayBytes);
    }
    return;
  }
  if (!key.starts_with(kGgufOrigShapePrefix)) {
    in.take(count * least);
    return;
  }
  if (kind != GgufValue::i32 || count > static_cast<uint64_t>(Shape::kMaxRank))
    throw ModelError("{}: key {}: expected at most {} values of type int32", in.file(), show(key), Shape::kMaxRank);
  std::vector<int64_t> dims;
  for (uint64_t i = 0; i < count; ++i) {
    dims.push_back(in.number<int32_t>());
    if (dims.back() < 0) throw ModelError("{}: key {}: negative dimension {}", in.file(), show(key), dims.back());
  }
  shapes.emplace(key.substr(kGgufOrigShapePrefix.size()), Shape(dims));
}

// Returns the alignment of the data.
int64_t read_metadata(Cursor& in, uint64_t count, std::map<std::string, std::string>& metadata, OrigShapes& shapes) {
  int64_t alignment = kGgufDefaultAlignment;
  std::unordered_set<std::string_view> keys;
  for (uint64_t i = 0; i < count; ++i) {
    const std::string_view key = in.string(kMaxKeyBytes, "a key");
    if (key.empty()) throw ModelError("{}: metadata pair {} has an empty key", in.file(), i);
    if (!keys.insert(key).second) throw ModelError("{}: key {} stands twice", in.file(), show(key));
    const GgufValue kind = read_kind(in, key);
    if (key == "general.alignment") {
      const uint32_t value = kind == GgufValue::u32 ? in.number<uint32_t>() : 0;
      if (!std::has_single_bit(value) || value > kMaxAlignment)
        throw ModelError("{}: general.alignment must be a power of two of type uint32, at most {}", in.file(),
                         kMaxAlignment);
      alignment = value;
      metadata.emplace(key, fmt::to_string(value));
    } else if (kind == GgufValue::array) {
      read_array(in, key, shapes);
    } else {
      metadata.emplace(key, read_scalar(in, kind, key));
    }
  }
  return alignment;
}

// Gives the entry its original shape, see TensorEntry::stored.
void apply_original_shape(TensorEntry& entry, const Shape& original, const std::string& file) {
  if (original.elements() != entry.shape.elements())
    throw ModelError("{}: tensor {}: original shape {} does not fit the stored {}", file, show(entry.name),
                     original.str(), entry.shape.str());
  entry.shape = original;
  const int64_t block = info(entry.stored).block_elements;
  if (original.rank() == 0 || original[-1] % block != 0) entry.dtype = block > 1 ? DType::f32 : entry.dtype;
}

// Reads one tensor's description. `expected_offset` is where its data must start, and is moved behind it.
TensorEntry read_tensor_info(Cursor& in, int64_t alignment, int64_t& expected_offset) {
  TensorEntry entry;
  entry.name = in.string(kMaxNameBytes, "a tensor name");
  const std::string shown = show(entry.name);
  if (entry.name.empty()) throw ModelError("{}: a tensor has an empty name", in.file());
  const auto rank = in.number<uint32_t>();
  if (rank > kMaxDims)
    throw ModelError("{}: tensor {}: {} dimensions, at most {} are allowed", in.file(), shown, rank, kMaxDims);
  std::vector<int64_t> dims(rank);
  int64_t elements = 1;
  for (uint32_t i = 0; i < rank; ++i) {
    const auto d = in.number<int64_t>();
    if (d < 0)
      throw ModelError("{}: tensor {}: dimension {} is out of range", in.file(), shown, static_cast<uint64_t>(d));
    if (__builtin_mul_overflow(elements, d, &elements))
      throw ModelError("{}: tensor {}: the element count overflows", in.file(), shown);
    dims[rank - 1 - i] = d;  // GGUF counts from the innermost dimension
  }
  entry.shape = Shape(dims);
  // The product of all but the innermost dimension, wanted by Tensor, must fit too when that dimension is 0.
  for (int64_t rows = 1; const int64_t d : std::span(dims).first(rank == 0 ? 0 : rank - 1))
    if (__builtin_mul_overflow(rows, d, &rows))
      throw ModelError("{}: tensor {}: the row count overflows", in.file(), shown);

  const auto type = in.number<uint32_t>();
  const auto dtype = dtype_of_ggml(type);
  if (!dtype) throw ModelError("{}: tensor {}: element {} is not supported", in.file(), shown, ggml_type_name(type));
  entry.dtype = entry.stored = *dtype;
  const DTypeInfo& block = info(*dtype);
  if ((rank == 0 ? 1 : dims[rank - 1]) % block.block_elements != 0)
    throw ModelError("{}: tensor {}: rows of {} {} are no whole number of {}-element blocks", in.file(), shown,
                     rank == 0 ? 1 : dims[rank - 1], block.name, block.block_elements);
  int64_t padded = 0;
  if (__builtin_mul_overflow(elements / block.block_elements, block.block_bytes, &entry.bytes) ||
      __builtin_add_overflow(entry.bytes, alignment - 1, &padded))
    throw ModelError("{}: tensor {}: the size of {} overflows", in.file(), shown, entry.shape.str());
  padded &= ~(alignment - 1);

  const auto offset = in.number<uint64_t>();
  if (offset != static_cast<uint64_t>(expected_offset))
    throw ModelError("{}: tensor {}: data at offset {}, expected {}", in.file(), shown, offset, expected_offset);
  entry.offset = expected_offset;
  if (__builtin_add_overflow(expected_offset, padded, &expected_offset))
    throw ModelError("{}: tensor {}: the end of the data overflows", in.file(), shown);
  return entry;
}

}  // namespace

ParsedHeader parse_gguf_header(std::span<const std::byte> bytes, const std::string& name) {
  Cursor in(bytes, name);
  const auto magic = in.take(kGgufMagicBytes.size());
  if (std::memcmp(magic.data(), kGgufMagicBytes.data(), magic.size()) != 0)
    throw ModelError("{}: not a GGUF file", name);
  const auto version = in.number<uint32_t>();
  if (version == 0x03000000u || version == 0x02000000u) throw ModelError("{}: big-endian GGUF is not supported", name);
  if (version != 2 && version != kGgufVersion)
    throw ModelError("{}: GGUF version {} is not supported (2 and 3 are)", name, version);
  const auto tensors = in.number<uint64_t>();
  const auto pairs = in.number<uint64_t>();
  if (tensors > kMaxTensors) throw ModelError("{}: {} tensors, at most {} are allowed", name, tensors, kMaxTensors);
  if (pairs > kMaxPairs) throw ModelError("{}: {} metadata pairs, at most {} are allowed", name, pairs, kMaxPairs);

  ParsedHeader result;
  OrigShapes shapes;
  const int64_t alignment = read_metadata(in, pairs, result.metadata, shapes);
  std::unordered_set<std::string> names;
  int64_t data_bytes = 0;
  for (uint64_t i = 0; i < tensors; ++i) {
    TensorEntry entry = read_tensor_info(in, alignment, data_bytes);
    if (!names.insert(entry.name).second) throw ModelError("{}: tensor {} stands twice", name, show(entry.name));
    if (const auto shape = shapes.find(entry.name); shape != shapes.end())
      apply_original_shape(entry, shape->second, name);
    result.entries.push_back(std::move(entry));
  }

  const auto header_bytes = static_cast<int64_t>(in.position());
  const int64_t data_start = (header_bytes + alignment - 1) & ~(alignment - 1);
  const auto file_bytes = static_cast<int64_t>(bytes.size());
  for (TensorEntry& e : result.entries) {
    // Neither sum nor difference can overflow: offset and bytes are not negative, data_start is near the header.
    if (e.bytes > file_bytes - data_start || e.offset > file_bytes - data_start - e.bytes)
      throw ModelError("{}: tensor {}: {} bytes at offset {} do not lie in the file, which holds {} bytes of data",
                       name, show(e.name), e.bytes, e.offset, std::max<int64_t>(0, file_bytes - data_start));
    e.offset += data_start;
  }
  return result;
}

}  // namespace inkling
