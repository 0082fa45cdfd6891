// The implementations behind attention(), and what they share. For the tests and benchmarks too: `int8` with a choice
// of how values are summed.
#pragma once

#include "backends/cuda/kernels/attention.h"

namespace inkling::cuda::attn {

// small_shared: as on devices whose multiprocessors have 100 KB of shared memory.
bool small_shared();
void flash(const AttentionShape& shape, const AttentionPart& first, const AttentionPart& second, bool small_shared,
           cudaStream_t stream);

// bf16: values in place, f32 sums. f16: values scaled to [-1, 1] per channel, f16 sums of 64 keys, added up in f32.
enum class Values : uint8_t { bf16, f16 };
// f32 sums cost nothing on data centre GPUs (sm_80, sm_90); GeForce has half the rate for them.
Values device_values();
int64_t int8_workspace(const AttentionShape& shape, Values values);
void int8(const AttentionShape& shape, const AttentionPart& first, const AttentionPart& second, Values values,
          void* workspace, cudaStream_t stream);

bool cudnn_available(const AttentionShape& shape);
int64_t cudnn_workspace(const AttentionShape& shape);
void cudnn(const AttentionShape& shape, const AttentionPart& first, const AttentionPart& second, void* workspace,
           cudaStream_t stream);

// A sequence's rows of both parts and the same rows without gaps, `columns` elements each.
struct PartCopy {
  void* part[2] = {nullptr, nullptr};
  int64_t stride[2] = {0, 0}, rows[2] = {0, 0};
  void* whole = nullptr;
  int columns = 0;
};
void join_parts(const PartCopy* copies, int count, cudaStream_t stream);  // at most 4, in one launch
void split_parts(const PartCopy& copy, cudaStream_t stream);

// Rows of the longest part `part` of a sequence.
int64_t longest(const AttentionShape& shape, int part);
// Most tiles of `rows` rows that any sequence has, its two parts cut separately.
int most_tiles(const AttentionShape& shape, int rows);

}  // namespace inkling::cuda::attn
