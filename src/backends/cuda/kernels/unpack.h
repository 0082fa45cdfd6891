// Stored weights of any type to bf16 or f32 rows on the device: every type that formats/block_quant.h reads, 8-bit
// floats, and bitsandbytes' 4-bit codes. All pointers are device memory.
#pragma once

#include "backends/cuda/kernels/launch.h"
#include "tensor/dtype.h"

namespace inkling::cuda {

// rows x columns, rows row_bytes(type, columns) apart and dense. The values equal the CPU's to the bit in f32; bf16 is
// rounded from that to nearest even. out: Elem::f32 or Elem::bf16.
void unpack_rows(DType type, const void* stored, int64_t rows, int64_t columns, void* y, Elem out, cudaStream_t stream);
// NF4: codes two a byte, the first in the high nibble; blocks of 64 along the flat matrix; absmax f32 a block.
void unpack_nf4(const uint8_t* codes, const float* absmax, int64_t elements, void* y, Elem out, cudaStream_t stream);
// The same with double quantization: absmax = map[q] * nested[block / 256] + offset. map: f32 [256].
void unpack_nf4_nested(const uint8_t* codes, const uint8_t* absmax_codes, const float* map, const float* nested,
                       float offset, int64_t elements, void* y, Elem out, cudaStream_t stream);
// Normal random rows for benchmarks: N(0, std), counter-based, the same for the same seed. y f32 or bf16.
void random_rows(uint64_t seed, float std, int64_t elements, void* y, Elem out, cudaStream_t stream);

}  // namespace inkling::cuda
