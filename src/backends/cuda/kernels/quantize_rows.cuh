// Rotation and rounding of rows that lie in registers.
//
// The rotation R of a block of 256 columns is the Kronecker power of H4 = 1/2 [[1,1,1,-1],[1,1,-1,1],[1,-1,1,1],
// [-1,1,1,1]] (formats/int_quant.h): one H4 for each base-4 digit of the column. Half a warp holds a block, 16 values a
// lane, in an order in which a warp's loads are consecutive: the lane is digits 1 and 2, its values are digits 0 and 3.
// A 16 x 16 transposition through shared memory brings digits 1 and 2 into the lane. The factors 1/2 are left to the
// end.
#pragma once

#include <cuda_fp8.h>

#include "backends/cuda/kernels/rows_device.cuh"

namespace inkling::cuda {

// Floats of shared memory per warp: two blocks as 16 rows of 16, 20 apart (16-byte stores of 8 lanes meet 32 banks),
// the second 16 banks after the first.
constexpr int kTransposePitch = 20, kTransposeHalf = 16 * kTransposePitch + 16,
              kTransposeFloats = kTransposeHalf + 16 * kTransposePitch;

// 2 H4, as two levels of sums: 8 operations instead of 12.
__device__ inline void rotate4(float& a, float& b, float& c, float& d) {
  const float ab = a + b, a_b = a - b, cd = c + d, c_d = c - d;
  a = ab + c_d;
  b = ab - c_d;
  c = cd + a_b;
  d = cd - a_b;
}
// What rotate() leaves out.
__device__ inline float rotation_factor(int rotation) {
  return rotation == 256 ? 0.0625f : rotation == 64 ? 0.125f : 0.25f;
}
// Of the 256 columns of its half warp, lane c has columns 64 i + 4 c + j as x[4 i + j] before, and columns
// 64 (c / 4) + 4 k + c % 4 as x[k] after.
__device__ inline void rotate(float (&x)[16], int rotation, float* buffer) {
#pragma unroll
  for (int i = 0; i < 16; i += 4) rotate4(x[i], x[i + 1], x[i + 2], x[i + 3]);
  if (rotation == 256) {
#pragma unroll
    for (int j = 0; j < 4; ++j) rotate4(x[j], x[j + 4], x[j + 8], x[j + 12]);
  }
  const int lane = threadIdx.x % 32;
  float* tile = buffer + lane / 16 * kTransposeHalf;
  float* row = tile + lane % 16 * kTransposePitch;
  __syncwarp();  // the buffer may still be read for the columns before
#pragma unroll
  for (int i = 0; i < 16; i += 4) store<4>(row + i, x + i);
  __syncwarp();
#pragma unroll
  for (int k = 0; k < 16; ++k) x[k] = tile[k * kTransposePitch + lane % 16];
#pragma unroll
  for (int i = 0; i < 16; i += 4) rotate4(x[i], x[i + 1], x[i + 2], x[i + 3]);
  if (rotation >= 64) {
#pragma unroll
    for (int i = 0; i < 4; ++i) rotate4(x[i], x[i + 4], x[i + 8], x[i + 12]);
  }
}

// code = rint(x * inverse). amax: of a row's values, which are 1 / factor times too large, as rotate() leaves them.
// Rows below 2^-119 count as zero: the inverse of their scale is no float. A row with an infinity or a NaN gets the
// scale NaN, so that it cannot be taken for a number later.
__device__ inline float rounding_inverse(float amax, float factor, float limit) {
  return amax <= 3.4028235e38f && amax * factor >= 0x1p-119f ? limit * reciprocal(amax) : 0.f;
}
__device__ inline float rounding_scale(float amax, float factor, float limit) {
  if (!(amax <= 3.4028235e38f)) return __int_as_float(0x7fffffff);
  return amax * factor >= 0x1p-119f ? amax * factor / limit : 1.f;
}

// Adding 1.5 * 2^23 rounds to the nearest integer, halves to even, and leaves it in the low bits: |x inverse| <= 127.
__device__ inline uint32_t pack_i8(float x0, float x1, float x2, float x3, float inverse) {
  const float x[4] = {x0, x1, x2, x3};
  uint32_t c[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) c[i] = __float_as_uint(fmaf(x[i], inverse, 12582912.f));
  return __byte_perm(__byte_perm(c[0], c[1], 0x0040), __byte_perm(c[2], c[3], 0x0040), 0x5410);
}

// Without hardware for it: |x| <= 448 (a hair more after scaling); 3 bits of mantissa from 2^-6 on, steps of 2^-9
// below.
__device__ inline uint32_t to_e4m3_in_software(float x) {
  const uint32_t bits = __float_as_uint(x), sign = bits >> 24 & 0x80, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7f;
  if (magnitude < 0x3c800000)  // below 2^-6
    return sign | (__float_as_uint(fmaf(fabsf(x), 512.f, 12582912.f)) & 15);
  const uint32_t rounded = (magnitude + 0x7ffff + (magnitude >> 20 & 1)) >> 20;
  return sign | min(rounded - (120 << 3), 0x7eu);
}
__device__ inline uint32_t pack_e4m3(float x0, float x1, float x2, float x3, float inverse) {
#if __CUDA_ARCH__ >= 890
  const auto pair = [&](float low, float high) {
    return uint32_t{__nv_cvt_float2_to_fp8x2(make_float2(low * inverse, high * inverse), __NV_SATFINITE, __NV_E4M3)};
  };
  return pair(x0, x1) | pair(x2, x3) << 16;
#else
  return to_e4m3_in_software(x0 * inverse) | to_e4m3_in_software(x1 * inverse) << 8 |
         to_e4m3_in_software(x2 * inverse) << 16 | to_e4m3_in_software(x3 * inverse) << 24;
#endif
}
// 4 x 4 bytes of four lanes, transposed: byte r of lane i goes to byte i of lane r.
__device__ inline uint32_t transpose_bytes(uint32_t w) {
  const bool odd = threadIdx.x & 1, upper = threadIdx.x & 2;
  w = __byte_perm(w, __shfl_xor_sync(kFullWarp, w, 1), odd ? 0x3715 : 0x6240);
  return __byte_perm(w, __shfl_xor_sync(kFullWarp, w, 2), upper ? 0x3276 : 0x5410);
}

template <Elem type>
__device__ uint32_t pack_codes(float x0, float x1, float x2, float x3, float inverse) {
  return type == Elem::i8 ? pack_i8(x0, x1, x2, x3, inverse) : pack_e4m3(x0, x1, x2, x3, inverse);
}

}  // namespace inkling::cuda
