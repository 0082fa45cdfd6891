// A model parameter as an operand: how it is stored is its own affair. Models pass Weights to Ops and never
// ask for the type; a backend's prepare() turns the stored form into the one that its kernels want.
#pragma once

#include <memory>
#include <string>

#include "tensor/low_bit.h"
#include "tensor/tensor.h"

namespace inkling {

// A backend's private form of a weight (packed, converted, on the device).
class PreparedWeight {
 public:
  virtual ~PreparedWeight() = default;
  virtual int64_t bytes() const = 0;  // device memory it holds
};

struct Weight {
  std::string name;  // full path in the checkpoint without ".weight", for error messages and plans
  Shape shape;       // logical shape: [out, in] for linear, [out, in, kh, kw] for conv2d, [rows, dim] for embedding
  DType stored = DType::f32;  // element type in the file (or the one to plan with)
  bool has_bias = false;
  bool embedding = false;  // a table for Ops::embedding: prepare() keeps the stored form, rows are converted on demand
  Tensor value;            // stored form on the host (may point into a mapped file); undefined until loaded, and
                           // released by prepare() where the prepared form replaces it
  Tensor bias;             // f32 [out]; undefined without bias
  LowBitParts low_bit;     // kind none: `value` is the matrix itself, of type `stored`; else its codes are
  bool doubled_input = false;  // convolution: always of a map that is doubled first (upsample_conv2d)
  bool sensitive = false;      // small and hurt by rounding (embedders, modulation, output): never computed in low bits
  std::shared_ptr<const PreparedWeight> prepared;

  int64_t out_features() const { return shape[0]; }
  int64_t in_features() const { return shape[1]; }
};

}  // namespace inkling
