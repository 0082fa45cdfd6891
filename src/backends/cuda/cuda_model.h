// How the CUDA backend stores weights and how much workspace its operations take: asked by the operations themselves
// and by plans. Needs no device but for the properties given.
#pragma once

#include <cstdint>
#include <span>

#include "backends/cuda/kernels/attention.h"
#include "backends/cuda/kernels/conv.h"
#include "ops/backend_model.h"

namespace inkling {

// What large matrices are stored and multiplied in. Sensitive ones (Weight::sensitive) stay in bf16.
enum class CudaPrecision : uint8_t {
  stored,  // block-quantized and NF4 weights as they are, unpacked to bf16 for each product (W4A16); others in bf16
  bf16,
  fp8,   // e4m3, one scale a row of weights and of activations; needs cublasLt on sm_90
  w8a8,  // int8, one scale a row of weights and of activations, rotated
  w4a8,  // 4-bit weights, 8-bit activations, rotated
};

struct CudaOptions {
  CudaPrecision precision = CudaPrecision::stored;
  bool libraries = true;        // cublasLt and cuDNN, where the build has them; without, our own kernels alone
  bool int8_attention = false;  // q and k rounded to int8 where sequences are long
};

// What prepare() makes of a weight.
enum class CudaForm : uint8_t { bf16, e4m3, w8, w4, stored, nf4, convolution, table };

// Where the parts of a prepared weight lie in its memory; absent ones have no bytes.
struct WeightParts {
  struct Part {
    int64_t offset = 0, bytes = 0;
  };
  Part codes, group_scale, scale, bias, bias16;
  int64_t total = 0;
};

// What a product wants its activation to be.
struct OperandKey {
  cuda::Elem type = cuda::Elem::bf16;  // bf16, i8 or e4m3
  int64_t rotation = 0;                // i8
  bool operator==(const OperandKey&) const = default;
};

// Parts of a workspace, one after another, aligned.
class Layout {
 public:
  static constexpr int64_t kAlignment = 256;
  // Returns the offset of a new part.
  int64_t add(int64_t bytes) {
    const int64_t offset = total_;
    total_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return offset;
  }
  int64_t total() const { return total_; }

 private:
  int64_t total_ = 0;
};

class CudaModel : public BackendModel {
 public:
  explicit CudaModel(CudaOptions options, const cuda::Device& device);

  bool fuses(OpKind op) const override;
  DType output_type(OpKind op, DType operand) const override;
  int64_t workspace_bytes(const OpCall& call) const override;
  ProductFormats formats(const OpCall& call) const override;
  int64_t prepared_bytes(const Weight& weight) const override;
  int64_t prepare_workspace_bytes(const Weight& weight) const override;

  const CudaOptions& options() const { return options_; }
  CudaForm form(const Weight& weight) const;
  WeightParts parts(const Weight& weight) const;
  // Columns of the Hadamard block that the prepared weight is rotated by.
  int64_t rotation(const Weight& weight) const;
  OperandKey operand(const Weight& weight) const;
  bool uses_cublas(CudaForm form) const;

  // Kernels want rows and columns in multiples of 8; other matrices (the vision tower's 3420) are kept padded with
  // zeros, in bf16.
  static int64_t padded(int64_t side) { return (side + 7) / 8 * 8; }

  // The activation of `rows` x `columns` as an operand; 0 where x itself serves.
  int64_t operand_bytes(const OperandKey& key, DType x, int64_t rows, int64_t columns) const;
  // Beside operands: a dense copy of the weight, the result before it is gated or activated.
  enum class End { plain, activated, gelu, added };
  int64_t product_bytes(const Weight& weight, int64_t rows, End end) const;
  static End end_of(Activation f) { return f == Activation::gelu_tanh ? End::gelu : End::activated; }
  cuda::AttentionKernel attention_kernel(const cuda::AttentionShape& shape) const;
  // Rows that the MLP of joint_finish takes at a time, so that its hidden activation stays small.
  static constexpr int64_t kMlpRows = 4224;
  // Rows of a weight that prepare() brings to the device at a time.
  static int64_t prepare_rows(const Weight& weight);

 private:
  int64_t attention_bytes(const OpCall& call) const;
  int64_t joint_qkv_bytes(const OpCall& call) const;
  int64_t joint_finish_bytes(const OpCall& call) const;

  CudaOptions options_;
  cuda::Device device_;
};

// The shape as the attention kernels see it; `offsets` gets the host's row borders and must outlive the result.
cuda::AttentionShape attention_shape(int64_t heads, int64_t kv_heads, int64_t head_dim, float scale, bool causal,
                                     const Segments& first, const Segments* second, std::vector<int32_t>& offsets);
// The shape that a convolution's weight is packed for; map and pads do not matter to that.
cuda::ConvShape packing_shape(const Weight& weight);
// Operands of the weights that are given, each once.
std::vector<OperandKey> distinct_operands(const CudaModel& model, std::span<const Weight* const> weights);

}  // namespace inkling
