#include "formats/tensor_writer.h"

#include "base/error.h"
#include "formats/mapped_file.h"

namespace inkling {

int64_t tensor_bytes(const TensorToWrite& tensor) { return Tensor(tensor.shape, tensor.dtype, nullptr).bytes(); }

void write_tensor(OutputFile& file, const TensorToWrite& announced, const Tensor& made) {
  if (!(made.shape() == announced.shape) || made.dtype() != announced.dtype)
    throw RuntimeError("tensor {}: announced as {} {}, made as {} {}", show(announced.name), name(announced.dtype),
                       announced.shape.str(), name(made.dtype()), made.shape().str());
  if (made.bytes() == 0) return;
  if (made.raw() == nullptr) throw RuntimeError("tensor {}: has no data on the host", show(announced.name));
  file.write({made.raw(), static_cast<size_t>(made.bytes())});
}

}  // namespace inkling
