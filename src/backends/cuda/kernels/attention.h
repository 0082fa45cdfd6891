// softmax(q k^T * scale) v over packed sequences. q, k, v and the result are bf16.
//
//   flash   mma.sync bf16, f32 accumulation: the exact path of every device
//   int8    q and k rounded to int8 (k minus its mean per sequence and head, which softmax does not see), v in f16
//           scaled per channel to [-1, 1]; partial sums of 64 keys in f16, flushed to f32, so that nothing overflows
//   cudnn   Hopper's fastest exact path, where the build found cuDNN (attention_cudnn.cc)
//
// A sequence is one or two parts: [text_i, image_i] are read and written in place, without concatenating them.
// The result is the same on every run and does not depend on the other sequences.
#pragma once

#include "backends/cuda/kernels/launch.h"

namespace inkling::cuda {

// Rows of q/k/v that one part of the sequences lives in. Rows are `heads * head_dim` elements, `*_stride` apart.
struct AttentionPart {
  const void *q = nullptr, *k = nullptr, *v = nullptr;  // bf16, 16-byte aligned rows
  void* y = nullptr;                                    // bf16
  int64_t q_stride = 0, kv_stride = 0, y_stride = 0;    // elements
};

struct AttentionShape {
  int heads = 1, kv_heads = 1, head_dim = 128;  // head_dim: 32, 64, 80, 96, 128 or 384
  float scale = 1.f;
  bool causal = false;  // one part only
  int sequences = 1;
  // Device, i32 [2][sequences + 1]: row offsets of the sequences in part 0, then in part 1 (all 0 where there is none).
  const int32_t* offsets = nullptr;
  // The same on the host, for launch geometry and the libraries.
  const int32_t* host_offsets = nullptr;
  int64_t total_rows(int part) const { return host_offsets[part * (sequences + 1) + sequences]; }
  int64_t length(int s) const {
    const int32_t *a = host_offsets, *b = host_offsets + sequences + 1;
    return a[s + 1] - a[s] + b[s + 1] - b[s];
  }
};

enum class AttentionKernel : uint8_t { flash, int8, cudnn };

// Bytes of device workspace that attention() takes.
int64_t attention_workspace(AttentionKernel kernel, const AttentionShape& shape);
// Whether this build and device have it for this shape.
bool attention_available(AttentionKernel kernel, const AttentionShape& shape);
void attention(AttentionKernel kernel, const AttentionShape& shape, const AttentionPart& first,
               const AttentionPart& second, void* workspace, cudaStream_t stream);

}  // namespace inkling::cuda
