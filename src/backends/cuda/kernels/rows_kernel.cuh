// One row a block, read once and kept in registers: norm or activation, modulation, rotation, rounding.
#pragma once

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

// A lane's part of a row. A warp takes kSlots times 512 consecutive columns, a lane 16 of each 512, in pieces of one
// load each that lie so that a warp's loads and stores are consecutive; for a rotation, as rotate() wants them.
// kFull: the warps' columns are the row's; else what lies beyond the row is zero and is not stored.
template <typename T, bool kRotated, int kSlots, bool kFull>
struct RowPart {
  static constexpr int kPiece = kRotated ? 4 : 16 / sizeof(T), kPieces = 16 / kPiece;
  static constexpr int kStep = kRotated ? 64 : 32 * kPiece;  // columns from piece to piece
  float x[kSlots][16];
  int base, first, d;  // column of the warp, and of the lane's first piece

  __device__ explicit RowPart(int columns) : d(columns) {
    const int lane = threadIdx.x % 32;
    base = static_cast<int>(threadIdx.x / 32) * kSlots * 512;
    first = base + (kRotated ? lane / 16 * 256 + lane % 16 * 4 : lane * kPiece);
  }
  // From `first` on.
  static __device__ constexpr int offset(int s, int p) { return s * 512 + p * kStep; }
  __device__ bool inside(int s, int p) const { return kFull || first + offset(s, p) < d; }

  __device__ void load_row(const T* row) {
    Raw<T, kPiece> raw[kSlots][kPieces];
#pragma unroll
    for (int s = 0; s < kSlots; ++s) {
#pragma unroll
      for (int p = 0; p < kPieces; ++p) {
        if (!kFull) raw[s][p] = {};
        if (inside(s, p)) raw[s][p] = load_stream<kPiece>(row + first + offset(s, p));
      }
    }
#pragma unroll
    for (int s = 0; s < kSlots; ++s)
#pragma unroll
      for (int p = 0; p < kPieces; ++p) raw[s][p].get(&x[s][p * kPiece]);
  }
};

// Statistics of the row, then the affine part.
template <RowOp op, class Part>
__device__ void normalize_row(const RowArguments& a, Part& row, float (*part)[32]) {
  constexpr int kSlots = sizeof(row.x) / sizeof(row.x[0]), kPiece = Part::kPiece, kPieces = Part::kPieces;
  const float per_column = __fdividef(1.f, static_cast<float>(a.d));
  float mean = 0.f;
  if constexpr (op == RowOp::layer_norm) {
    float sum = 0.f;
#pragma unroll
    for (int s = 0; s < kSlots; ++s)
#pragma unroll
      for (int i = 0; i < 16; ++i) sum += row.x[s][i];
    mean = over_block<Sum>(sum, part[0]) * per_column;
  }
  float squares = 0.f;
#pragma unroll
  for (int s = 0; s < kSlots; ++s) {
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
      if (!row.inside(s, p)) continue;  // zeros there are no values: their deviation does not count
#pragma unroll
      for (int i = p * kPiece; i < (p + 1) * kPiece; ++i) {
        if (op == RowOp::layer_norm) row.x[s][i] -= mean;
        squares = fmaf(row.x[s][i], row.x[s][i], squares);
      }
    }
  }
  const float factor = rsqrtf(over_block<Sum>(squares, part[1]) * per_column + a.eps);

  if (a.scale == nullptr) {
#pragma unroll
    for (int s = 0; s < kSlots; ++s)
#pragma unroll
      for (int i = 0; i < 16; ++i) row.x[s][i] *= factor;
    return;
  }
  const int64_t table = op == RowOp::layer_norm ? int64_t{table_row(a.groups, blockIdx.x)} * a.d : 0;
  const float *scales = a.scale + table + row.first, *shifts = a.shift + table + row.first;
#pragma unroll
  for (int s = 0; s < kSlots; ++s) {
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
      if (!row.inside(s, p)) continue;  // stays zero
#pragma unroll
      for (int i = 0; i < kPiece; i += 4) {
        float scale[4], shift[4];
        load<float, 4>(scales + Part::offset(s, p) + i).get(scale);
        if (op == RowOp::layer_norm) load<float, 4>(shifts + Part::offset(s, p) + i).get(shift);
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          float& v = row.x[s][p * kPiece + i + k];
          v = op == RowOp::layer_norm ? fmaf(v, fmaf(scale[k], factor, factor), shift[k]) : v * factor * scale[k];
        }
      }
    }
  }
}

template <typename Y, class Part>
__device__ void store_plain(Y* y, const Part& row) {
  constexpr int kSlots = sizeof(row.x) / sizeof(row.x[0]);
#pragma unroll
  for (int s = 0; s < kSlots; ++s)
#pragma unroll
    for (int p = 0; p < Part::kPieces; ++p)
      if (row.inside(s, p)) store<Part::kPiece>(y + row.first + Part::offset(s, p), &row.x[s][p * Part::kPiece]);
}

// Values where rotate() leaves them, one at a time. Rare: rotated rows are made to be rounded.
template <typename Y, class Part>
__device__ void store_rotated(Y* y, const Part& row, float factor) {
  constexpr int kSlots = sizeof(row.x) / sizeof(row.x[0]);
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int s = 0; s < kSlots; ++s) {
#pragma unroll
    for (int k = 0; k < 16; ++k) {
      const int column = row.base + s * 512 + lane / 4 * 64 + 4 * k + lane % 4;
      if (column < row.d) y[column] = static_cast<Y>(row.x[s][k] * factor);
    }
  }
}

template <Elem type, bool kRotated, class Part>
__device__ void round_row(const RowArguments& a, const Part& row, float factor, float (*part)[32]) {
  constexpr int kSlots = sizeof(row.x) / sizeof(row.x[0]);
  constexpr float kLimit = type == Elem::i8 ? 127.f : 448.f;
  float amax = 0.f;
#pragma unroll
  for (int s = 0; s < kSlots; ++s)
#pragma unroll
    for (int i = 0; i < 16; ++i) amax = max_or_nan(amax, fabsf(row.x[s][i]));
  // As bits: in order for magnitudes, and NaN is the largest.
  amax = __uint_as_float(over_block<Max>(__float_as_uint(amax), reinterpret_cast<uint32_t*>(part[2])));
  const float inverse = rounding_inverse(amax, factor, kLimit);
  uint8_t* y = static_cast<uint8_t*>(a.out.y) + int64_t{blockIdx.x} * a.d;
  int sum = 0;
#pragma unroll
  for (int s = 0; s < kSlots; ++s) {
    const float(&x)[16] = row.x[s];
    uint32_t w[4];
    if constexpr (kRotated) {
      // Lane c has, of 64 columns, those that are c % 4 modulo 4. It packs values 4 apart, so that four lanes that
      // transpose their words have 16 consecutive columns each.
#pragma unroll
      for (int j = 0; j < 4; ++j) w[j] = pack_codes<type>(x[j], x[j + 4], x[j + 8], x[j + 12], inverse);
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j) w[j] = pack_codes<type>(x[4 * j], x[4 * j + 1], x[4 * j + 2], x[4 * j + 3], inverse);
    }
    if (type == Elem::i8) {
#pragma unroll
      for (uint32_t word : w) sum = __dp4a(static_cast<int>(word), 0x01010101, sum);
    }
    if constexpr (kRotated) {
      const uint4 codes =
          make_uint4(transpose_bytes(w[0]), transpose_bytes(w[1]), transpose_bytes(w[2]), transpose_bytes(w[3]));
      const int column = row.base + s * 512 + static_cast<int>(threadIdx.x % 32) * 16;
      if (column < row.d) *reinterpret_cast<uint4*>(y + column) = codes;
    } else {
#pragma unroll
      for (int p = 0; p < Part::kPieces; ++p) {
        if (!row.inside(s, p)) continue;
        uint8_t* to = y + row.first + Part::offset(s, p);
        if constexpr (Part::kPiece == 8)
          *reinterpret_cast<uint2*>(to) = make_uint2(w[2 * p], w[2 * p + 1]);
        else
          *reinterpret_cast<uint32_t*>(to) = w[p];
      }
    }
  }
  if (type == Elem::i8 && a.out.sum != nullptr) {
    sum = over_block<Sum>(sum, reinterpret_cast<int*>(part[3]));
    if (threadIdx.x == 0) a.out.sum[blockIdx.x] = sum;
  }
  if (threadIdx.x == 0) a.out.scale[blockIdx.x] = rounding_scale(amax, factor, kLimit);
}

constexpr int kMaxRowThreads = 512;

template <RowOp op, typename T, bool kRotated, int kSlots, bool kFull>
__global__ void __launch_bounds__(kMaxRowThreads) rows_kernel(const __grid_constant__ RowArguments a) {
  extern __shared__ __align__(16) float buffers[];
  __shared__ float part[4][32];
  RowPart<T, kRotated, kSlots, kFull> row(a.d);
  row.load_row(static_cast<const T*>(a.x) + int64_t{blockIdx.x} * a.x_stride);
  if constexpr (op == RowOp::convert) {
#pragma unroll
    for (int s = 0; s < kSlots; ++s) activate_all(a.act, row.x[s]);
  } else {
    normalize_row<op>(a, row, part);
  }
  float factor = 1.f;
  if constexpr (kRotated) {
    float* buffer = buffers + threadIdx.x / 32 * kTransposeFloats;
    const int rotation = static_cast<int>(a.out.rotation);
    factor = rotation_factor(rotation);
#pragma unroll
    for (int s = 0; s < kSlots; ++s) rotate(row.x[s], rotation, buffer);
  }
  const int64_t start = int64_t{blockIdx.x} * a.d;
  if (a.out.type == Elem::i8) {
    round_row<Elem::i8, kRotated>(a, row, factor, part);
  } else if (a.out.type == Elem::e4m3) {
    round_row<Elem::e4m3, kRotated>(a, row, factor, part);
  } else if (a.out.type == Elem::bf16) {
    bf16* y = static_cast<bf16*>(a.out.y) + start;
    if constexpr (kRotated)
      store_rotated(y, row, factor);
    else
      store_plain(y, row);
  } else {
    float* y = static_cast<float*>(a.out.y) + start;
    if constexpr (kRotated)
      store_rotated(y, row, factor);
    else
      store_plain(y, row);
  }
}

// Any d, any alignment: rows_any.cu.
void rows_any(RowOp op, const RowArguments& a, int64_t m, cudaStream_t stream);
// Throws for what no kernel serves.
void check_rows(const char* name, const RowArguments& a, int64_t m);
bool rows_are_vectors(const RowArguments& a);

template <RowOp op, typename T, bool kRotated, int kSlots, bool kFull>
void launch_row_kernel(const RowArguments& a, int64_t m, cudaStream_t stream) {
  const int64_t warps = (a.d + kSlots * 512 - 1) / (kSlots * 512);
  const size_t shared = kRotated ? warps * kTransposeFloats * sizeof(float) : 0;
  rows_kernel<op, T, kRotated, kSlots, kFull>
      <<<static_cast<unsigned>(m), static_cast<unsigned>(warps * 32), shared, stream>>>(a);
}

// Slots by measurement on an H100 (rows of 3072 and 12288 columns). They depend on the row's length alone, never on the
// number of rows: a row's sums must not change with its company.
template <RowOp op, typename T, bool kRotated>
void launch_by_slots(const RowArguments& a, int64_t m, cudaStream_t stream) {
  const auto fits = [&](int slots) { return a.d % (slots * 512) == 0 && a.d <= slots * kMaxRowThreads * 16; };
  if constexpr (op != RowOp::rms_norm && kRotated) {
    if (a.d <= 4096 && fits(1)) return launch_row_kernel<op, T, kRotated, 1, true>(a, m, stream);
    if constexpr (op == RowOp::convert)
      if (fits(3)) return launch_row_kernel<op, T, kRotated, 3, true>(a, m, stream);
  } else if constexpr (op != RowOp::rms_norm) {
    if (fits(2)) return launch_row_kernel<op, T, kRotated, 2, true>(a, m, stream);
  }
  launch_row_kernel<op, T, kRotated, 3, false>(a, m, stream);
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
