// Errors of the whole program: one exception type per cause, so that each border (command line, HTTP,
// C API) can turn a cause into its own code. Asserts are for our own bugs; input gets one of these.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace inkling {

enum class ErrorKind {
  runtime,    // something failed while running (I/O, backend); exit code 1
  argument,   // bad flag, request field or input picture; exit code 2
  model,      // bad, missing or mismatched model file; exit code 3
  memory,     // the budget or the machine is too small; exit code 4
  blocked,    // refused by the safety filter; exit code 5
  numeric,    // a non-finite value reached the latents or the picture; exit code 6
  cancelled,  // stopped by the user; exit code 130
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }
  int exit_code() const;

 private:
  ErrorKind kind_;
};

template <ErrorKind K>
class ErrorOf : public Error {
 public:
  explicit ErrorOf(const std::string& message) : Error(K, message) {}
  template <typename... Args>
  explicit ErrorOf(fmt::format_string<Args...> format, Args&&... args)
      : Error(K, fmt::format(format, std::forward<Args>(args)...)) {}
};

using RuntimeError = ErrorOf<ErrorKind::runtime>;
using ArgumentError = ErrorOf<ErrorKind::argument>;
using ModelError = ErrorOf<ErrorKind::model>;
using MemoryError = ErrorOf<ErrorKind::memory>;
using BlockedError = ErrorOf<ErrorKind::blocked>;
using NumericError = ErrorOf<ErrorKind::numeric>;
using CancelledError = ErrorOf<ErrorKind::cancelled>;

// What an error code of CUDA means for a program: 2 (out of memory) is a MemoryError, after which the device is as good
// as before; after anything else (700 illegal address, 719 launch failure, 999 unknown) its context is lost for the
// process.
[[noreturn]] void throw_device_error(int code, const char* what, const char* text);

}  // namespace inkling
