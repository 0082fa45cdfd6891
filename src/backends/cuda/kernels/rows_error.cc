#include "backends/cuda/kernels/rows_error.h"

#include "base/error.h"

namespace inkling::cuda {

void reject(const char* name, const std::string& complaint) { throw RuntimeError("{}: {}", name, complaint); }

}  // namespace inkling::cuda
