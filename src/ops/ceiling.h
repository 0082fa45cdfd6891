// What a device can do at most, measured by loops that do nothing else: what a kernel's speed is judged by.
#pragma once

#include <array>
#include <string>

#include "ops/backend_model.h"

namespace inkling {

struct Ceiling {
  double per_second = 0;  // operations, 2 a multiply-add; 0: the device does not multiply such numbers
  std::string how;        // "mma.sync alone"
};

struct Ceilings {
  std::array<Ceiling, kNumberFormats> products;  // by NumberFormat
  Ceiling copy;                                  // bytes, those read and those written

  Ceiling& of(NumberFormat format) { return products[static_cast<size_t>(format)]; }
  const Ceiling& of(NumberFormat format) const { return products[static_cast<size_t>(format)]; }
};

}  // namespace inkling
