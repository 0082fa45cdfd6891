// Weights as they are stored to bf16 or f32 on the device: GGUF blocks, plain types, 4-bit codes of bitsandbytes.
#include "backends/cuda/kernels/rows_device.cuh"
#include "backends/cuda/kernels/rows_error.h"
#include "backends/cuda/kernels/unpack.h"
#include "backends/cuda/kernels/unpack_blocks.cuh"

namespace inkling::cuda {

namespace {

constexpr int kThreads = 256;

unsigned blocks_of(int64_t threads) { return static_cast<unsigned>((threads + kThreads - 1) / kThreads); }

template <DType type, typename Y>
__global__ void __launch_bounds__(kThreads) unpack_blocks_kernel(const uint8_t* stored, int64_t units, Y* y) {
  using B = Block<type>;
  constexpr bool kTable = type == DType::iq4_nl || type == DType::iq4_xs;
  __shared__ float table[16];
  if constexpr (kTable) {
    if (threadIdx.x < 16) table[threadIdx.x] = kNonLinear[threadIdx.x];
    __syncthreads();
  }
  const int64_t unit = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (unit >= units) return;
  constexpr int kUnits = B::kElements / 16;
  const int64_t block = unit / kUnits;
  Run low, high;
  B::unpack(stored + block * B::kBytes, static_cast<int>(unit % kUnits), table, low, high);
  y += block * B::kElements;
  store<8>(y + low.begin, low.v);
  store<8>(y + high.begin, high.v);
}

template <DType type>
void unpack_blocks(const void* stored, int64_t elements, void* y, Elem out, cudaStream_t stream) {
  using B = Block<type>;
  if (!aligned(stored, B::kAlign) || !aligned(y, 16)) reject("unpack_rows", "got blocks or a result at an odd address");
  const int64_t units = elements / 16;
  const auto* bytes = static_cast<const uint8_t*>(stored);
  if (out == Elem::f32)
    unpack_blocks_kernel<type><<<blocks_of(units), kThreads, 0, stream>>>(bytes, units, static_cast<float*>(y));
  else
    unpack_blocks_kernel<type><<<blocks_of(units), kThreads, 0, stream>>>(bytes, units, static_cast<bf16*>(y));
}

// --- plain types ----------------------------------------------------------------------------------------------------

__device__ inline float from_e4m3(uint32_t v) {
  const uint32_t sign = v << 24 & 0x80000000u, magnitude = v & 127;
  if (magnitude == 127) return __uint_as_float(0x7fc00000u);
  if (magnitude < 8) return __uint_as_float(sign | __float_as_uint(static_cast<float>(magnitude) * 0x1p-9f));
  return __uint_as_float(sign | ((magnitude << 20) + (120u << 23)));
}
__device__ inline float from_half(uint32_t bits) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
}

template <DType type>
__device__ float plain(const void* p, int64_t i) {
  if constexpr (type == DType::f32) return static_cast<const float*>(p)[i];
  if constexpr (type == DType::bf16) return __bfloat162float(static_cast<const bf16*>(p)[i]);
  if constexpr (type == DType::f16) return from_half(static_cast<const uint16_t*>(p)[i]);
  if constexpr (type == DType::f8_e4m3) return from_e4m3(static_cast<const uint8_t*>(p)[i]);
  return from_half(static_cast<const uint8_t*>(p)[i] << 8);  // e5m2 is the upper byte of a half
}
// Eight elements from an address that is a multiple of theirs.
template <DType type>
__device__ void plain8(const void* p, int64_t i, float* v) {
  if constexpr (type == DType::f32) {
    load<float, 4>(static_cast<const float*>(p) + i).get(v);
    load<float, 4>(static_cast<const float*>(p) + i + 4).get(v + 4);
  } else if constexpr (type == DType::bf16) {
    load<bf16, 8>(static_cast<const bf16*>(p) + i).get(v);
  } else if constexpr (type == DType::f16) {
    const uint4 q = *reinterpret_cast<const uint4*>(static_cast<const uint16_t*>(p) + i);
    const uint32_t w[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
    for (int k = 0; k < 8; ++k) v[k] = from_half(w[k / 2] >> (k % 2 * 16) & 0xffff);
  } else {
    const uint2 q = *reinterpret_cast<const uint2*>(static_cast<const uint8_t*>(p) + i);
#pragma unroll
    for (int k = 0; k < 8; ++k)
      v[k] = type == DType::f8_e4m3 ? from_e4m3(byte_of(q, k)) : from_half(byte_of(q, k) << 8);
  }
}

// From element `first` on, one by one: what is no multiple of 8, or lies at an odd address.
template <DType type>
__global__ void __launch_bounds__(kThreads)
    unpack_plain_any(const void* x, int64_t first, int64_t n, void* y, Elem out) {
  const int64_t i = first + int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < n) store_any(y, out, i, plain<type>(x, i));
}
template <DType type, typename Y>
__global__ void __launch_bounds__(kThreads) unpack_plain_kernel(const void* x, int64_t n, Y* y) {
#pragma unroll
  for (int u = 0; u < 2; ++u) {
    const int64_t i = ((int64_t{blockIdx.x} * 2 + u) * kThreads + threadIdx.x) * 8;
    if (i >= n) return;
    float v[8];
    plain8<type>(x, i, v);
    store<8>(y + i, v);
  }
}

template <DType type>
void unpack_plain(const void* x, int64_t n, void* y, Elem out, cudaStream_t stream) {
  const int64_t vectors = aligned(x, 16) && aligned(y, 16) ? n / 8 * 8 : 0;
  if (vectors > 0) {
    const unsigned blocks = blocks_of((vectors / 8 + 1) / 2);
    if (out == Elem::f32)
      unpack_plain_kernel<type><<<blocks, kThreads, 0, stream>>>(x, vectors, static_cast<float*>(y));
    else
      unpack_plain_kernel<type><<<blocks, kThreads, 0, stream>>>(x, vectors, static_cast<bf16*>(y));
  }
  if (vectors < n) unpack_plain_any<type><<<blocks_of(n - vectors), kThreads, 0, stream>>>(x, vectors, n, y, out);
}

// --- NF4 ------------------------------------------------------------------------------------------------------------

constexpr int kNf4Block = 64, kNestedBlock = 256;
__device__ constexpr float kNf4[16] = {-1.f,
                                       -0.6961928009986877f,
                                       -0.5250730514526367f,
                                       -0.39491748809814453f,
                                       -0.28444138169288635f,
                                       -0.18477343022823334f,
                                       -0.09105003625154495f,
                                       0.f,
                                       0.07958029955625534f,
                                       0.16093020141124725f,
                                       0.24611230194568634f,
                                       0.33791524171829224f,
                                       0.44070982933044434f,
                                       0.5626170039176941f,
                                       0.7229568362236023f,
                                       1.f};

struct Absmax {
  const float* plain;
  const uint8_t* codes;
  const float *map, *nested;
  float offset;
  __device__ float operator()(int64_t block) const {
    if (plain != nullptr) return plain[block];
    return __fadd_rn(__fmul_rn(map[codes[block]], nested[block / kNestedBlock]), offset);
  }
};

// Two times 8 elements a thread.
template <typename Y>
__global__ void __launch_bounds__(kThreads)
    unpack_nf4_kernel(const uint8_t* codes, const Absmax absmax, int64_t n, Y* y) {
  __shared__ float table[16];
  if (threadIdx.x < 16) table[threadIdx.x] = kNf4[threadIdx.x];
  __syncthreads();
#pragma unroll
  for (int u = 0; u < 2; ++u) {
    const int64_t i = ((int64_t{blockIdx.x} * 2 + u) * kThreads + threadIdx.x) * 8;
    if (i >= n) return;
    const uint32_t q = *reinterpret_cast<const uint32_t*>(codes + i / 2);
    const float scale = absmax(i / kNf4Block);
    float v[8];
#pragma unroll
    for (int k = 0; k < 8; ++k) v[k] = __fmul_rn(table[q >> (k / 2 * 8 + (k % 2 ? 0 : 4)) & 15], scale);
    store<8>(y + i, v);
  }
}
__global__ void __launch_bounds__(kThreads)
    unpack_nf4_any(const uint8_t* codes, const Absmax absmax, int64_t first, int64_t n, void* y, Elem out) {
  const int64_t i = first + int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= n) return;
  const int q = i % 2 == 0 ? codes[i / 2] >> 4 : codes[i / 2] & 15;
  store_any(y, out, i, __fmul_rn(kNf4[q], absmax(i / kNf4Block)));
}

void launch_nf4(const uint8_t* codes, const Absmax& absmax, int64_t n, void* y, Elem out, cudaStream_t stream) {
  const int64_t vectors = aligned(codes, 4) && aligned(y, 16) ? n / 8 * 8 : 0;
  if (vectors > 0) {
    const unsigned blocks = blocks_of((vectors / 8 + 1) / 2);
    if (out == Elem::f32)
      unpack_nf4_kernel<<<blocks, kThreads, 0, stream>>>(codes, absmax, vectors, static_cast<float*>(y));
    else
      unpack_nf4_kernel<<<blocks, kThreads, 0, stream>>>(codes, absmax, vectors, static_cast<bf16*>(y));
  }
  if (vectors < n) unpack_nf4_any<<<blocks_of(n - vectors), kThreads, 0, stream>>>(codes, absmax, vectors, n, y, out);
  check_launch("unpack_nf4");
}

void check_out(const char* name, Elem out) {
  if (out != Elem::f32 && out != Elem::bf16) reject(name, "got 8-bit results, expected f32 or bf16");
}

}  // namespace

void unpack_rows(DType type, const void* stored, int64_t rows, int64_t columns, void* y, Elem out,
                 cudaStream_t stream) {
  check_out("unpack_rows", out);
  row_bytes(type, columns);  // throws unless a row is a whole number of blocks
  const int64_t n = rows * columns;
  if (n == 0) return;
  switch (type) {
    case DType::f32: unpack_plain<DType::f32>(stored, n, y, out, stream); break;
    case DType::bf16: unpack_plain<DType::bf16>(stored, n, y, out, stream); break;
    case DType::f16: unpack_plain<DType::f16>(stored, n, y, out, stream); break;
    case DType::f8_e4m3: unpack_plain<DType::f8_e4m3>(stored, n, y, out, stream); break;
    case DType::f8_e5m2: unpack_plain<DType::f8_e5m2>(stored, n, y, out, stream); break;
    case DType::q4_0: unpack_blocks<DType::q4_0>(stored, n, y, out, stream); break;
    case DType::q4_1: unpack_blocks<DType::q4_1>(stored, n, y, out, stream); break;
    case DType::q5_0: unpack_blocks<DType::q5_0>(stored, n, y, out, stream); break;
    case DType::q5_1: unpack_blocks<DType::q5_1>(stored, n, y, out, stream); break;
    case DType::q8_0: unpack_blocks<DType::q8_0>(stored, n, y, out, stream); break;
    case DType::q2_k: unpack_blocks<DType::q2_k>(stored, n, y, out, stream); break;
    case DType::q3_k: unpack_blocks<DType::q3_k>(stored, n, y, out, stream); break;
    case DType::q4_k: unpack_blocks<DType::q4_k>(stored, n, y, out, stream); break;
    case DType::q5_k: unpack_blocks<DType::q5_k>(stored, n, y, out, stream); break;
    case DType::q6_k: unpack_blocks<DType::q6_k>(stored, n, y, out, stream); break;
    case DType::iq4_nl: unpack_blocks<DType::iq4_nl>(stored, n, y, out, stream); break;
    case DType::iq4_xs: unpack_blocks<DType::iq4_xs>(stored, n, y, out, stream); break;
    default: reject("unpack_rows", "got " + std::string(name(type)) + ", expected a type of weights");
  }
  check_launch("unpack_rows");
}

void unpack_nf4(const uint8_t* codes, const float* absmax, int64_t elements, void* y, Elem out, cudaStream_t stream) {
  check_out("unpack_nf4", out);
  if (elements > 0) launch_nf4(codes, {absmax, nullptr, nullptr, nullptr, 0.f}, elements, y, out, stream);
}

void unpack_nf4_nested(const uint8_t* codes, const uint8_t* absmax_codes, const float* map, const float* nested,
                       float offset, int64_t elements, void* y, Elem out, cudaStream_t stream) {
  check_out("unpack_nf4_nested", out);
  if (elements > 0) launch_nf4(codes, {nullptr, absmax_codes, map, nested, offset}, elements, y, out, stream);
}

}  // namespace inkling::cuda
