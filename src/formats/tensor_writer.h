// Inside formats/: what the two writers of tensor files share.
#pragma once

#include <filesystem>

#include "formats/output_file.h"
#include "formats/tensor_file.h"

namespace inkling {

// Bytes that the tensor takes in a file.
int64_t tensor_bytes(const TensorToWrite& tensor);
// Writes what the producer made; throws RuntimeError when it is not what was announced.
void write_tensor(OutputFile& file, const TensorToWrite& announced, const Tensor& made);

}  // namespace inkling
