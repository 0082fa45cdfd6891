#include "base/error.h"

namespace inkling {

int Error::exit_code() const {
  switch (kind_) {
    case ErrorKind::runtime: return 1;
    case ErrorKind::argument: return 2;
    case ErrorKind::model: return 3;
    case ErrorKind::memory: return 4;
    case ErrorKind::blocked: return 5;
    case ErrorKind::numeric: return 6;
    case ErrorKind::cancelled: return 130;
  }
  return 1;
}

void throw_device_error(int code, const char* what, const char* text) {
  constexpr int kOutOfMemory = 2;  // cudaErrorMemoryAllocation
  if (code == kOutOfMemory) throw MemoryError("{}: the GPU is out of memory", what);
  throw RuntimeError("{}: {} (error {})", what, text, code);
}

}  // namespace inkling
