// Errors of launchers in .cu files: fmt's compile-time checks, and so base/error.h, do not pass nvcc.
#pragma once

#include <string>

namespace inkling::cuda {

[[noreturn]] void reject(const char* name, const std::string& complaint);

}  // namespace inkling::cuda
