#include "backends/cuda/kernels/attention.h"

#include <algorithm>

#include "backends/cuda/kernels/attention_kernels.h"
#include "base/error.h"

namespace inkling::cuda {

namespace attn {

int64_t longest(const AttentionShape& shape, int part) {
  const int32_t* offsets = shape.host_offsets + part * (shape.sequences + 1);
  int64_t most = 0;
  for (int s = 0; s < shape.sequences; ++s) most = std::max<int64_t>(most, offsets[s + 1] - offsets[s]);
  return most;
}

int most_tiles(const AttentionShape& shape, int rows) {
  const int32_t *a = shape.host_offsets, *b = a + shape.sequences + 1;
  int most = 0;
  for (int s = 0; s < shape.sequences; ++s)
    most = std::max(most, (a[s + 1] - a[s] + rows - 1) / rows + (b[s + 1] - b[s] + rows - 1) / rows);
  return most;
}

namespace {

void check_shape(const AttentionShape& s) {
  if (s.heads < 1 || s.kv_heads < 1 || s.heads % s.kv_heads != 0 || s.heads > 65535)
    throw RuntimeError("attention: got {} heads over {} key heads", s.heads, s.kv_heads);
  if (s.sequences < 0 || s.sequences > 32767) throw RuntimeError("attention: got {} sequences", s.sequences);
  if (!s.host_offsets) throw RuntimeError("attention: offsets are missing");
  if (!(s.scale > 0.f)) throw RuntimeError("attention: got scale {}, expected a positive one", s.scale);
  if (s.causal && s.total_rows(1) > 0) throw RuntimeError("attention: causal sequences have one part only");
}

bool known(int head_dim, std::initializer_list<int> dims) {
  return std::find(dims.begin(), dims.end(), head_dim) != dims.end();
}

}  // namespace

}  // namespace attn

bool attention_available(AttentionKernel kernel, const AttentionShape& shape) {
  switch (kernel) {
    case AttentionKernel::flash: return attn::known(shape.head_dim, {32, 64, 80, 96, 128, 384});
    case AttentionKernel::int8: return attn::known(shape.head_dim, {64, 128});
    case AttentionKernel::cudnn: return attn::cudnn_available(shape);
  }
  return false;
}

int64_t attention_workspace(AttentionKernel kernel, const AttentionShape& shape) {
  attn::check_shape(shape);
  switch (kernel) {
    case AttentionKernel::flash: return 0;
    case AttentionKernel::int8: return attn::int8_workspace(shape, attn::device_values());
    case AttentionKernel::cudnn: return attn::cudnn_workspace(shape);
  }
  return 0;
}

void attention(AttentionKernel kernel, const AttentionShape& shape, const AttentionPart& first,
               const AttentionPart& second, void* workspace, cudaStream_t stream) {
  attn::check_shape(shape);
  if (!attention_available(kernel, shape))
    throw RuntimeError("attention: no kernel {} for head_dim {}", static_cast<int>(kernel), shape.head_dim);
  if (shape.total_rows(0) + shape.total_rows(1) == 0) return;
  switch (kernel) {
    case AttentionKernel::flash: return attn::flash(shape, first, second, attn::small_shared(), stream);
    case AttentionKernel::int8: return attn::int8(shape, first, second, attn::device_values(), workspace, stream);
    case AttentionKernel::cudnn: return attn::cudnn(shape, first, second, workspace, stream);
  }
}

}  // namespace inkling::cuda
