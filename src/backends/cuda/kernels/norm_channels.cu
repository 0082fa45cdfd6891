// Norms of short rows, many to a block: the VAE's pixels, and guidance.
#include "backends/cuda/kernels/rows.h"
#include "backends/cuda/kernels/rows_device.cuh"

namespace inkling::cuda {

namespace {

constexpr int kThreads = 256;

// --- channel_norm ---------------------------------------------------------------------------------------------------

// 2^lane_bits lanes a pixel, up to 3 pieces of 16 bytes a lane: 96 channels of bf16 take 4 lanes, 384 take 16.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    channel_norm_kernel(const T* x, int64_t m, int c, int lane_bits, const float* gamma, bool silu, T* y) {
  constexpr int kPiece = 16 / sizeof(T), kPieces = 3;
  const int64_t thread = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int lanes = 1 << lane_bits, lane = static_cast<int>(threadIdx.x) & (lanes - 1);
  const int64_t pixel = thread >> lane_bits;
  const bool inside = pixel < m;
  Raw<T, kPiece> raw[kPieces];
#pragma unroll
  for (int p = 0; p < kPieces; ++p) {
    const int column = (p * lanes + lane) * kPiece;
    raw[p] = {};
    if (inside && column < c) raw[p] = load_piece<kPiece>(x + pixel * c + column);
  }
  float squares = 0.f;
#pragma unroll
  for (int p = 0; p < kPieces; ++p) {
    float v[kPiece];
    raw[p].get(v);
#pragma unroll
    for (float e : v) squares = fmaf(e, e, squares);
  }
  squares = over_lanes<Sum>(squares, lanes);
  const float factor = sqrtf(static_cast<float>(c)) / fmaxf(sqrtf(squares), 1e-12f);
#pragma unroll
  for (int p = 0; p < kPieces; ++p) {
    const int column = (p * lanes + lane) * kPiece;
    if (!inside || column >= c) continue;
    float v[kPiece];
    raw[p].get(v);
#pragma unroll
    for (int i = 0; i < kPiece; i += 4) {
      float g[4];
      load<float, 4>(gamma + column + i).get(g);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const float n = v[i + k] * factor * g[k];
        v[i + k] = silu ? activated<Act::silu>(n) : n;
      }
    }
    store<kPiece>(y + pixel * c + column, v);
  }
}

// A warp a row, one element at a time, read twice.
__global__ void __launch_bounds__(kThreads)
    channel_norm_any(const void* x, Elem type, int64_t m, int64_t c, const float* gamma, bool silu, void* y) {
  const int64_t row = int64_t{blockIdx.x} * (kThreads / 32) + threadIdx.x / 32;
  if (row >= m) return;
  float squares = 0.f;
  for (int64_t i = threadIdx.x % 32; i < c; i += 32) {
    const float v = load_any(x, type, row * c + i);
    squares = fmaf(v, v, squares);
  }
  const float factor = sqrtf(static_cast<float>(c)) / fmaxf(sqrtf(over_lanes<Sum>(squares)), 1e-12f);
  for (int64_t i = threadIdx.x % 32; i < c; i += 32) {
    const float n = load_any(x, type, row * c + i) * factor * gamma[i];
    store_any(y, type, row * c + i, silu ? activated<Act::silu>(n) : n);
  }
}

// --- guide ----------------------------------------------------------------------------------------------------------

__global__ void __launch_bounds__(kThreads)
    guide_kernel(const float* positive, const float* negative, float scale, int64_t m, int64_t d, float* y) {
  const int64_t row = int64_t{blockIdx.x} * (kThreads / 32) + threadIdx.x / 32;
  if (row >= m) return;
  const float *p = positive + row * d, *n = negative + row * d;
  float wanted = 0.f, norm = 0.f;
  for (int64_t i = threadIdx.x % 32; i < d; i += 32) {
    const float c = fmaf(scale, p[i] - n[i], n[i]);
    wanted = fmaf(p[i], p[i], wanted);
    norm = fmaf(c, c, norm);
  }
  wanted = sqrtf(over_lanes<Sum>(wanted));
  norm = sqrtf(over_lanes<Sum>(norm));
  // norm != norm: a NaN row stays one, so that the finite check of the sampler sees it.
  const float factor = norm > 0.f || norm != norm ? wanted / norm : 0.f;
  for (int64_t i = threadIdx.x % 32; i < d; i += 32) y[row * d + i] = fmaf(scale, p[i] - n[i], n[i]) * factor;
}

unsigned blocks_of(int64_t threads) { return static_cast<unsigned>((threads + kThreads - 1) / kThreads); }

}  // namespace

void channel_norm(const void* x, Elem type, int64_t m, int64_t d, const float* gamma, bool silu, void* y,
                  cudaStream_t stream) {
  if (m == 0) return;
  const int64_t piece = 16 / size_of(type), pieces = d / piece;
  const bool vectors = d % piece == 0 && pieces <= 96 && aligned(x, 16) && aligned(y, 16) && aligned(gamma, 16);
  if (vectors) {
    int lane_bits = 0;
    while ((3 << lane_bits) < pieces) ++lane_bits;
    const unsigned blocks = blocks_of(m << lane_bits);
    const int c = static_cast<int>(d);
    if (type == Elem::f32)
      channel_norm_kernel<<<blocks, kThreads, 0, stream>>>(static_cast<const float*>(x), m, c, lane_bits, gamma, silu,
                                                           static_cast<float*>(y));
    else
      channel_norm_kernel<<<blocks, kThreads, 0, stream>>>(static_cast<const bf16*>(x), m, c, lane_bits, gamma, silu,
                                                           static_cast<bf16*>(y));
  } else {
    channel_norm_any<<<blocks_of(m * 32), kThreads, 0, stream>>>(x, type, m, d, gamma, silu, y);
  }
  check_launch("channel_norm");
}

void guide(const float* positive, const float* negative, float scale, int64_t m, int64_t d, float* y,
           cudaStream_t stream) {
  if (m == 0) return;
  guide_kernel<<<blocks_of(m * 32), kThreads, 0, stream>>>(positive, negative, scale, m, d, y);
  check_launch("guide");
}

}  // namespace inkling::cuda
