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

}  // namespace inkling
