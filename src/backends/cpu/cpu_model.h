// How the CPU backend stores weights and how much workspace its operations take: asked by the operations
// themselves and by plans.
#pragma once

#include <cstdint>
#include <memory>

#include "backends/cpu/dnnl_cache.h"
#include "backends/cpu/int8_kernels.h"
#include "backends/cpu/low_bit.h"
#include "ops/backend_model.h"

namespace inkling {

// bf16: plain weights are held and multiplied in bfloat16 with float accumulation; activations between
// operations stay float, and so do convolutions.
// w8a8, w4a8: weights that are not sensitive are rounded to 8 or 4 bits by prepare(), whatever they are stored as, and
// multiplied as integers; the others as in bf16.
// Weights that are stored as w8a8 or w4a8 are multiplied as integers too, except in f32, which unpacks them: the value
// that the file states, exactly.
enum class Precision : uint8_t { f32, bf16, w8a8, w4a8 };

struct CpuOptions {
  Precision precision = Precision::f32;
  kernels::Int8Isa int8_isa = kernels::Int8Isa::amx;   // the best that integer kernels may use
  bool stored_integers = precision != Precision::f32;  // multiply stored integers as such
};

// What prepare() makes of a weight.
enum class WeightForm : uint8_t {
  f32,   // row-major float [out, in], in place if stored so
  bf16,  // row-major bfloat16, in place if stored so
  w8,
  w4,           // integers in panels (low_bit.h)
  panels,       // stored form in place; unpacked to the compute type a few rows at a time, for each call
  dots,         // the same of a sensitive weight: in float, and without oneDNN, which is slow for the one or few rows
                // of x that most sensitive weights are multiplied with
  convolution,  // float, in oneDNN's layout
  table,        // embedding: stored form in place
};

// Workspace of one linear layer, in the order in which it lies there; each part is aligned.
struct LinearPlan {
  WeightForm form;
  bool bf16 = false;          // operands of the multiplication
  int64_t panel_rows = 0;     // of the weight, per multiplication
  int64_t rows = 0;           // of x, per multiplication: oneDNN sums a single row of bfloat16 in another order than
                              // the rows of a larger x, so it is given a second one
  int64_t x_bytes = 0;        // the activation in bfloat16 or int8
  int64_t panel_bytes = 0;    // unpacked panel; integers: scratch of all threads
  int64_t y_bytes = 0;        // result with the second row
  int64_t scratch_bytes = 0;  // oneDNN's
  int64_t total() const { return x_bytes + panel_bytes + y_bytes + scratch_bytes; }
};

class CpuModel : public BackendModel {
 public:
  explicit CpuModel(CpuOptions options = {});
  ~CpuModel() override;

  bool fuses(OpKind op) const override;
  DType output_type(OpKind op, DType operand) const override;
  int64_t workspace_bytes(const OpCall& call) const override;
  ProductFormats formats(const OpCall& call) const override;
  int64_t prepared_bytes(const Weight& weight) const override;
  int64_t prepare_workspace_bytes(const Weight& weight) const override;

  WeightForm form(const Weight& weight) const;
  LinearPlan linear_plan(const Weight& weight, int64_t rows, int activation = kNoActivation) const;
  // Columns of the Hadamard block that activations are rotated by before they are rounded; forms w8 and w4 only.
  int64_t rotation(const Weight& weight) const;
  RoundedRows rounded_rows(const Weight& weight, int64_t rows) const;
  kernels::Int8Isa int8_isa() const { return int8_isa_; }
  DnnlCache& dnnl() const { return *dnnl_; }

 private:
  CpuOptions options_;
  bool bf16_compute_;  // wanted, and the processor multiplies bfloat16
  kernels::Int8Isa int8_isa_;
  std::unique_ptr<DnnlCache> dnnl_;
};

}  // namespace inkling
