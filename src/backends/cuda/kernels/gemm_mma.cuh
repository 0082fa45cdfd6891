// The instructions that the matrix products are made of: cp.async, ldmatrix, mma.sync. Nothing newer than sm_80.
//
// There is no e4m3 product: on sm_90, where FP8 would pay, ptxas makes mma.sync e4m3 out of conversions and f16 products.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "backends/cuda/kernels/gemm_args.h"

namespace inkling::cuda::gemm {

template <Kind kKind>
struct Product {
  using Acc = float;
};
template <>
struct Product<Kind::w8a8> {
  using Acc = int;
};
template <>
struct Product<Kind::w4a8> {
  using Acc = int;
};

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// Copies kBytes (4, 8 or 16) to shared memory if `when`; zeros where !valid. 16 bytes go round L1. The condition is in
// the instruction: a branch would cut the block that ptxas schedules.
template <int kBytes>
__device__ __forceinline__ void copy_async(uint32_t shared, const void* global, bool when = true, bool valid = true) {
  const int bytes = valid ? kBytes : 0;
  if constexpr (kBytes == 16) {
    asm volatile(
        "{\n .reg .pred when;\n setp.ne.b32 when, %3, 0;\n @when cp.async.cg.shared.global [%0], [%1], 16, %2;\n}" ::"r"(
            shared),
        "l"(global), "r"(bytes), "r"(static_cast<int>(when))
        : "memory");
  } else {
    asm volatile(
        "{\n .reg .pred when;\n setp.ne.b32 when, %4, 0;\n @when cp.async.ca.shared.global [%0], [%1], %2, %3;\n}" ::"r"(
            shared),
        "l"(global), "n"(kBytes), "r"(bytes), "r"(static_cast<int>(when))
        : "memory");
  }
}
__device__ __forceinline__ void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kPending>
__device__ __forceinline__ void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

__device__ __forceinline__ void load_matrix(uint32_t (&r)[4], uint32_t shared) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared)
               : "memory");
}
__device__ __forceinline__ void load_shared(uint32_t (&r)[4], uint32_t shared) {
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared)
               : "memory");
}
__device__ __forceinline__ void load_shared(uint32_t (&r)[2], uint32_t shared) {
  asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(shared) : "memory");
}
__device__ __forceinline__ uint32_t load_shared_u8(uint32_t shared) {
  uint32_t r;
  asm volatile("ld.shared.u8 %0, [%1];" : "=r"(r) : "r"(shared) : "memory");
  return r;
}

// d += a b. a: 16 rows x 32 bytes, b: 32 bytes x 8 columns.
template <Kind kKind>
__device__ __forceinline__ void multiply_add(typename Product<kKind>::Acc (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1) {
  if constexpr (kKind == Kind::w8a8) {
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else if constexpr (kKind == Kind::w4a8) {
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

// Eight 4-bit codes -> eight bytes code * s + (128 - 8 s) in 0..240, which is the weight plus 128. No byte carries into
// its neighbour, so that one multiplication serves four. offset: 128 - 8 s in every byte.
__device__ __forceinline__ void unpack_codes(uint32_t codes, uint32_t s, uint32_t offset, uint32_t& b0, uint32_t& b1) {
  b0 = (codes & 0x0f0f0f0fu) * s + offset;
  b1 = ((codes >> 4) & 0x0f0f0f0fu) * s + offset;
}

}  // namespace inkling::cuda::gemm
