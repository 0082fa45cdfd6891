// One row a block, read once and kept in registers: norm or activation, modulation, rotation, rounding.
#pragma once

#include <algorithm>

#include "backends/cuda/kernels/quantize_rows.cuh"
#include "backends/cuda/kernels/rows.h"

namespace inkling::cuda {

enum class RowOp { layer_norm, rms_norm, convert };

struct RowArguments {
  const void* x = nullptr;
  int64_t x_stride = 0;  // elements
  int d = 0;
  Elem type = Elem::f32;
  float eps = 0.f;
  const float *scale = nullptr, *shift = nullptr;  // layer_norm: [G, d], may be null; rms_norm: scale is gamma
  RowTable groups;
  Act act = Act::none;  // convert
  RowsOut out;
};

// Where the pieces (16-byte loads) of a lane's 16 values lie in the 512 columns that a warp takes at a time: in a
// rotated row they are consecutive; else a warp's loads and stores are.
template <typename T, bool kRotated>
struct RowLayout {
  static constexpr int kPiece = 16 / sizeof(T), kPieces = 16 / kPiece;
  static __device__ int column(int p) {
    const int lane = threadIdx.x % 32;
    return kRotated ? lane * 16 + p * kPiece : (p * 32 + lane) * kPiece;
  }
};

// Columns of slot s of this warp.
__device__ inline int slot_base(int s) {
  return (s * static_cast<int>(blockDim.x / 32) + static_cast<int>(threadIdx.x / 32)) * 512;
}

// Statistics of the row, then the affine part, in place on the lane's values.
template <RowOp op, typename T, bool kRotated, int kSlots>
__device__ void normalize_row(const RowArguments& a, float (&x)[kSlots][16], float (*part)[32]) {
  using Layout = RowLayout<T, kRotated>;
  constexpr int kPiece = Layout::kPiece;
  const float count = static_cast<float>(a.d);
  float mean = 0.f;
  if constexpr (op == RowOp::layer_norm) {
    float sum = 0.f;
#pragma unroll
    for (int s = 0; s < kSlots; ++s)
#pragma unroll
      for (int i = 0; i < 16; ++i) sum += x[s][i];
    mean = over_block<Sum>(sum, part[0]) / count;
  }
  float squares = 0.f;
#pragma unroll
  for (int s = 0; s < kSlots; ++s) {
#pragma unroll
    for (int p = 0; p < Layout::kPieces; ++p) {
      if (slot_base(s) + Layout::column(p) >= a.d) continue;  // zeros there are no values: their deviation counts not
#pragma unroll
      for (int i = p * kPiece; i < (p + 1) * kPiece; ++i) squares = fmaf(x[s][i] - mean, x[s][i] - mean, squares);
    }
  }
  const float factor = rsqrtf(over_block<Sum>(squares, part[1]) / count + a.eps);

  const int64_t offset = op == RowOp::layer_norm ? int64_t{table_row(a.groups, blockIdx.x)} * a.d : 0;
#pragma unroll
  for (int s = 0; s < kSlots; ++s) {
#pragma unroll
    for (int p = 0; p < Layout::kPieces; ++p) {
      const int column = slot_base(s) + Layout::column(p);
      float* v = &x[s][p * kPiece];
      if (column >= a.d) continue;  // stays zero
#pragma unroll
      for (int i = 0; i < kPiece; i += 4) {
        float scale[4], shift[4];
        if (a.scale != nullptr) {
          load<float, 4>(a.scale + offset + column + i).get(scale);
          if (op == RowOp::layer_norm) load<float, 4>(a.shift + offset + column + i).get(shift);
        }
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          const float n = (v[i + k] - mean) * factor;
          if (a.scale == nullptr)
            v[i + k] = n;
          else
            v[i + k] = op == RowOp::layer_norm ? fmaf(n, scale[k], n) + shift[k] : n * scale[k];
        }
      }
    }
  }
}

template <typename Y, typename T, int kSlots>
__device__ void store_plain(const RowArguments& a, const float (&x)[kSlots][16]) {
  using Layout = RowLayout<T, false>;
  Y* y = static_cast<Y*>(a.out.y) + int64_t{blockIdx.x} * a.d;
#pragma unroll
  for (int s = 0; s < kSlots; ++s)
#pragma unroll
    for (int p = 0; p < Layout::kPieces; ++p)
      if (const int column = slot_base(s) + Layout::column(p); column < a.d)
        store<Layout::kPiece>(y + column, &x[s][p * Layout::kPiece]);
}

// Values as rotate() leaves them, columns 16 apart: whole sectors, but two or four bytes at a time. Rare.
template <typename Y, int kSlots>
__device__ void store_rotated(const RowArguments& a, const float (&x)[kSlots][16], float factor) {
  Y* y = static_cast<Y*>(a.out.y) + int64_t{blockIdx.x} * a.d;
  const int lane = threadIdx.x % 32;
  const bool transposed = a.out.rotation > 16;
#pragma unroll
  for (int s = 0; s < kSlots; ++s) {
#pragma unroll
    for (int k = 0; k < 16; ++k) {
      const int column = slot_base(s) + (transposed ? lane / 16 * 256 + k * 16 + lane % 16 : lane * 16 + k);
      if (column < a.d) y[column] = static_cast<Y>(x[s][k] * factor);
    }
  }
}

template <Elem type, typename T, bool kRotated, int kSlots>
__device__ void round_row(const RowArguments& a, const float (&x)[kSlots][16], float factor, float (*part)[32]) {
  float amax = 0.f;
#pragma unroll
  for (int s = 0; s < kSlots; ++s)
#pragma unroll
    for (int i = 0; i < 16; ++i) amax = max_or_nan(amax, fabsf(x[s][i]));
  const Rounding r = rounding(over_block<Max>(amax, part[2]), factor, type == Elem::i8 ? 127.f : 448.f);
  const int lane = threadIdx.x % 32;
  uint8_t* y = static_cast<uint8_t*>(a.out.y) + int64_t{blockIdx.x} * a.d;
  int sum = 0;
#pragma unroll
  for (int s = 0; s < kSlots; ++s) {
    uint32_t w[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      w[j] = type == Elem::i8 ? pack_i8(&x[s][4 * j], r.inverse) : pack_e4m3(&x[s][4 * j], r.inverse);
      if (type == Elem::i8) sum = __dp4a(static_cast<int>(w[j]), 0x01010101, sum);
    }
    const int base = slot_base(s);
    if constexpr (kRotated) {
      if (a.out.rotation > 16) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const int column = base + lane / 16 * 256 + (4 * j + lane % 4) * 16 + lane % 16 / 4 * 4;
          const uint32_t bytes = transpose_bytes(w[j]);
          if (column < a.d) *reinterpret_cast<uint32_t*>(y + column) = bytes;
        }
      } else if (base + lane * 16 < a.d) {
        *reinterpret_cast<uint4*>(y + base + lane * 16) = make_uint4(w[0], w[1], w[2], w[3]);
      }
    } else {
      using Layout = RowLayout<T, false>;
#pragma unroll
      for (int p = 0; p < Layout::kPieces; ++p) {
        const int column = base + Layout::column(p);
        if (column >= a.d) continue;
        if constexpr (Layout::kPiece == 8)
          *reinterpret_cast<uint2*>(y + column) = make_uint2(w[2 * p], w[2 * p + 1]);
        else
          *reinterpret_cast<uint32_t*>(y + column) = w[p];
      }
    }
  }
  if (type == Elem::i8 && a.out.sum != nullptr) {
    sum = over_block<Sum>(sum, reinterpret_cast<int*>(part[3]));
    if (threadIdx.x == 0) a.out.sum[blockIdx.x] = sum;
  }
  if (threadIdx.x == 0) a.out.scale[blockIdx.x] = r.scale;
}

constexpr int row_threads(int slots) { return slots >= 3 ? 576 : 512; }

template <RowOp op, typename T, bool kRotated, int kSlots>
__global__ void __launch_bounds__(row_threads(kSlots)) rows_kernel(const __grid_constant__ RowArguments a) {
  using Layout = RowLayout<T, kRotated>;
  constexpr int kPiece = Layout::kPiece;
  extern __shared__ __align__(16) float buffers[];
  __shared__ float part[4][32];
  const T* row = static_cast<const T*>(a.x) + int64_t{blockIdx.x} * a.x_stride;

  float x[kSlots][16];
  {
    Raw<T, kPiece> raw[kSlots][Layout::kPieces];
#pragma unroll
    for (int s = 0; s < kSlots; ++s) {
#pragma unroll
      for (int p = 0; p < Layout::kPieces; ++p) {
        const int column = slot_base(s) + Layout::column(p);
        raw[s][p] = {};
        if (column < a.d) raw[s][p] = load_once(row + column);
      }
    }
#pragma unroll
    for (int s = 0; s < kSlots; ++s)
#pragma unroll
      for (int p = 0; p < Layout::kPieces; ++p) raw[s][p].get(&x[s][p * kPiece]);
  }
  if constexpr (op == RowOp::convert) {
#pragma unroll
    for (int s = 0; s < kSlots; ++s) activate_all(a.act, x[s]);
  } else {
    normalize_row<op, T, kRotated>(a, x, part);
  }
  if constexpr (kRotated) {
    float* buffer = buffers + threadIdx.x / 32 * kTransposeFloats;
    const int rotation = static_cast<int>(a.out.rotation);
#pragma unroll
    for (int s = 0; s < kSlots; ++s) rotate(x[s], rotation, buffer);
    const float factor = rotation_factor(rotation);
    switch (a.out.type) {
      case Elem::f32: store_rotated<float>(a, x, factor); return;
      case Elem::bf16: store_rotated<bf16>(a, x, factor); return;
      case Elem::i8: round_row<Elem::i8, T, true>(a, x, factor, part); return;
      case Elem::e4m3: round_row<Elem::e4m3, T, true>(a, x, factor, part); return;
    }
  } else {
    switch (a.out.type) {
      case Elem::f32: store_plain<float, T>(a, x); return;
      case Elem::bf16: store_plain<bf16, T>(a, x); return;
      case Elem::i8: round_row<Elem::i8, T, false>(a, x, 1.f, part); return;
      case Elem::e4m3: round_row<Elem::e4m3, T, false>(a, x, 1.f, part); return;
    }
  }
}

// Any d, any alignment: rows_any.cu.
void rows_any(RowOp op, const RowArguments& a, int64_t m, cudaStream_t stream);
// Throws for what no kernel serves.
void check_rows(const char* name, const RowArguments& a, int64_t m);
bool rows_are_vectors(const RowArguments& a);

template <RowOp op, typename T, bool kRotated, int kSlots>
void launch_row_kernel(const RowArguments& a, int64_t m, cudaStream_t stream) {
  const int64_t warps = (a.d + kSlots * 512 - 1) / (kSlots * 512);
  const size_t shared = kRotated ? warps * kTransposeFloats * sizeof(float) : 0;
  rows_kernel<op, T, kRotated, kSlots>
      <<<static_cast<unsigned>(m), static_cast<unsigned>(warps * 32), shared, stream>>>(a);
}

// INKLING_ROW_SLOTS: for measurements.
inline int row_slots = 0;
template <RowOp op, typename T, bool kRotated>
void launch_by_slots(const RowArguments& a, int64_t m, cudaStream_t stream) {
  const int slots = row_slots != 0 ? row_slots : a.d <= 512 ? 1 : a.d <= 1024 ? 2 : 3;
  if (slots == 1)
    launch_row_kernel<op, T, kRotated, 1>(a, m, stream);
  else if (slots == 2)
    launch_row_kernel<op, T, kRotated, 2>(a, m, stream);
  else
    launch_row_kernel<op, T, kRotated, 3>(a, m, stream);
}

template <RowOp op>
void launch_rows(const char* name, const RowArguments& a, int64_t m, cudaStream_t stream) {
  check_rows(name, a, m);
  if (m == 0) return;
  if (!rows_are_vectors(a)) {
    rows_any(op, a, m, stream);
  } else if (a.type == Elem::f32) {
    a.out.rotation != 0 ? launch_by_slots<op, float, true>(a, m, stream)
                        : launch_by_slots<op, float, false>(a, m, stream);
  } else {
    a.out.rotation != 0 ? launch_by_slots<op, bf16, true>(a, m, stream)
                        : launch_by_slots<op, bf16, false>(a, m, stream);
  }
  check_launch(name);
}

}  // namespace inkling::cuda
