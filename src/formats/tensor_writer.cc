#include "formats/tensor_writer.h"

#include "base/error.h"
#include "formats/mapped_file.h"
#include "formats/output_file.h"

namespace inkling {

namespace {

FileLayout layout(TensorFormat format, const std::filesystem::path& path, const std::vector<TensorToWrite>& tensors,
                  const std::map<std::string, std::string>& metadata) {
  return format == TensorFormat::gguf ? layout_gguf(tensors, metadata)
                                      : layout_safetensors(tensors, metadata, path.string());
}

// In the order of the file, without seeking, so that the file may be a pipe.
void write_in_order(const std::filesystem::path& path, const FileLayout& layout,
                    const std::vector<TensorToWrite>& tensors, const TensorProducer& produce) {
  OutputFile file(path);
  int64_t at = static_cast<int64_t>(layout.header.size());
  file.write(std::as_bytes(std::span(layout.header)));
  for (const size_t i : layout.order) {
    const TensorToWrite& t = tensors[i];
    const Tensor made = produce(i);
    if (!(made.shape() == t.shape) || made.dtype() != t.dtype)
      throw RuntimeError("tensor {}: announced as {} {}, made as {} {}", show(t.name), name(t.dtype), t.shape.str(),
                         name(made.dtype()), made.shape().str());
    if (made.bytes() > 0 && made.raw() == nullptr)
      throw RuntimeError("tensor {}: has no data on the host", show(t.name));
    file.write_zeros(static_cast<size_t>(layout.offsets[i] - at));
    file.write({made.raw(), static_cast<size_t>(made.bytes())});
    at = layout.offsets[i] + made.bytes();
  }
  file.write_zeros(static_cast<size_t>(layout.end - at));
  file.commit();
}

}  // namespace

int64_t tensor_bytes(const TensorToWrite& tensor) { return Tensor(tensor.shape, tensor.dtype, nullptr).bytes(); }

void write_safetensors(const std::filesystem::path& path, const std::vector<TensorToWrite>& tensors,
                       const TensorProducer& produce, const std::map<std::string, std::string>& metadata) {
  write_in_order(path, layout(TensorFormat::safetensors, path, tensors, metadata), tensors, produce);
}

void write_gguf(const std::filesystem::path& path, const std::vector<TensorToWrite>& tensors,
                const TensorProducer& produce, const std::map<std::string, std::string>& metadata) {
  write_in_order(path, layout(TensorFormat::gguf, path, tensors, metadata), tensors, produce);
}

struct TensorFileWriter::Impl {
  Impl(const std::filesystem::path& path, FileLayout made, const std::vector<TensorToWrite>& list)
      : layout(std::move(made)), tensors(list), written(list.size()), file(path) {}

  FileLayout layout;
  std::vector<TensorToWrite> tensors;
  std::vector<int64_t> written;  // bytes of each tensor so far
  OutputFile file;
};

TensorFileWriter::TensorFileWriter(const std::filesystem::path& path, TensorFormat format,
                                   const std::vector<TensorToWrite>& tensors,
                                   const std::map<std::string, std::string>& metadata)
    : impl_(std::make_unique<Impl>(path, layout(format, path, tensors, metadata), tensors)) {
  impl_->file.write_at(0, std::as_bytes(std::span(impl_->layout.header)));
}

TensorFileWriter::~TensorFileWriter() = default;

void TensorFileWriter::write(size_t tensor, int64_t offset, std::span<const std::byte> bytes) {
  const TensorToWrite& t = impl_->tensors.at(tensor);
  const auto size = static_cast<int64_t>(bytes.size());
  if (offset < 0 || offset + size > tensor_bytes(t))
    throw RuntimeError("tensor {}: {} bytes written at {} of {}", show(t.name), size, offset, tensor_bytes(t));
  impl_->file.write_at(impl_->layout.offsets[tensor] + offset, bytes);
  impl_->written[tensor] += size;
}

void TensorFileWriter::commit() {
  for (size_t i = 0; i < impl_->tensors.size(); ++i)
    if (const TensorToWrite& t = impl_->tensors[i]; impl_->written[i] != tensor_bytes(t))
      throw RuntimeError("tensor {}: {} of {} bytes were written", show(t.name), impl_->written[i], tensor_bytes(t));
  impl_->file.resize(impl_->layout.end);
  impl_->file.commit();
}

}  // namespace inkling
