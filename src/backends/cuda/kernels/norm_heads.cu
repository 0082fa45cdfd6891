// RMS norm of each head and rotary position embedding, in one pass.
#include "backends/cuda/kernels/rows.h"
#include "backends/cuda/kernels/rows_device.cuh"
#include "backends/cuda/kernels/rows_error.h"

namespace inkling::cuda {

namespace {

constexpr int kThreads = 256;

struct HeadArguments {
  const void* x;
  int64_t m;
  int heads, dim;
  int lane_bits;  // 2^lane_bits lanes hold a head
  int groups;     // lane groups a row: group g takes heads g, g + groups, ...
  const float *gamma, *cos, *sin;
  float eps;
  void* y;
};

// Rows of a head are held as two halves: a lane has 8 elements from column 8 l of the first half and the 8 elements
// half a head further on. So both ways to pair elements stay within a lane.
template <typename T, bool kInterleaved, int kHeads>
__global__ void __launch_bounds__(kThreads) head_norm_rope_kernel(const __grid_constant__ HeadArguments a) {
  constexpr int kPiece = 16 / sizeof(T);
  const int lanes = 1 << a.lane_bits, half = a.dim / 2;
  // 32 bits: there are at least 32 bytes a group.
  const uint32_t group = static_cast<uint32_t>((int64_t{blockIdx.x} * kThreads + threadIdx.x) >> a.lane_bits);
  const int64_t row = group / static_cast<uint32_t>(a.groups);
  const int first_head = static_cast<int>(group - row * a.groups);
  const int lane = static_cast<int>(threadIdx.x) & (lanes - 1);
  const int column = lane * 8;
  const bool inside = row < a.m && column < half;
  const T* x = static_cast<const T*>(a.x) + row * a.heads * a.dim + column;
  bf16* y = static_cast<bf16*>(a.y) + row * a.heads * a.dim + column;

  Raw<T, kPiece> raw[kHeads][2][8 / kPiece];
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    const int head = first_head + h * a.groups;
#pragma unroll
    for (int side = 0; side < 2; ++side) {
#pragma unroll
      for (int p = 0; p < 8 / kPiece; ++p) {
        raw[h][side][p] = {};
        if (inside && head < a.heads) raw[h][side][p] = load_piece<kPiece>(x + head * a.dim + side * half + p * kPiece);
      }
    }
  }
  float gamma[2][8], cos[8], sin[8];
  if (inside && a.gamma != nullptr) {
#pragma unroll
    for (int i = 0; i < 16; i += 4) load<float, 4>(a.gamma + i / 8 * half + column + i % 8).get(&gamma[i / 8][i % 8]);
  }
  if (inside && a.cos != nullptr) {
    // Interleaved: the pairs of the lane's first 8 elements, then of its second 8.
#pragma unroll
    for (int i = 0; i < 8; i += 4) {
      const int64_t pair = row * half + (kInterleaved ? column / 2 + i / 4 * (half / 2) : column + i);
      load<float, 4>(a.cos + pair).get(cos + i);
      load<float, 4>(a.sin + pair).get(sin + i);
    }
  }
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    const int head = first_head + h * a.groups;
    float v[2][8];
#pragma unroll
    for (int side = 0; side < 2; ++side)
#pragma unroll
      for (int p = 0; p < 8 / kPiece; ++p) raw[h][side][p].get(&v[side][p * kPiece]);
    if (a.gamma != nullptr) {
      float squares = 0.f;
#pragma unroll
      for (int i = 0; i < 16; ++i) squares = fmaf(v[i / 8][i % 8], v[i / 8][i % 8], squares);
      const float factor = rsqrtf(over_lanes<Sum>(squares, lanes) / static_cast<float>(a.dim) + a.eps);
#pragma unroll
      for (int i = 0; i < 16; ++i) v[i / 8][i % 8] *= factor * gamma[i / 8][i % 8];
    }
    if (!inside || head >= a.heads) continue;
    if (a.cos != nullptr) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        float& u = kInterleaved ? v[i / 4][i % 4 * 2] : v[0][i];
        float& w = kInterleaved ? v[i / 4][i % 4 * 2 + 1] : v[1][i];
        const float rotated = u * cos[i] - w * sin[i];
        w = u * sin[i] + w * cos[i];
        u = rotated;
      }
    }
    store<8>(y + head * a.dim, v[0]);
    store<8>(y + head * a.dim + half, v[1]);
  }
}

// A warp a head, one pair at a time.
__global__ void __launch_bounds__(kThreads)
    head_norm_rope_any(const __grid_constant__ HeadArguments a, Elem type, bool interleaved) {
  const int64_t index = int64_t{blockIdx.x} * (kThreads / 32) + threadIdx.x / 32;
  const int64_t row = index / a.heads;
  if (row >= a.m) return;
  const int64_t base = index * a.dim;
  const int lane = threadIdx.x % 32;
  float factor = 1.f;
  if (a.gamma != nullptr) {
    float squares = 0.f;
    for (int i = lane; i < a.dim; i += 32) {
      const float v = load_any(a.x, type, base + i);
      squares = fmaf(v, v, squares);
    }
    factor = rsqrtf(over_lanes<Sum>(squares) / static_cast<float>(a.dim) + a.eps);
  }
  const auto value = [&](int i) {
    const float v = load_any(a.x, type, base + i);
    return a.gamma != nullptr ? v * (factor * a.gamma[i]) : v;
  };
  const int half = a.dim / 2;
  for (int p = lane; p < half; p += 32) {
    const int i = interleaved ? 2 * p : p, j = interleaved ? 2 * p + 1 : p + half;
    float u = value(i), w = value(j);
    if (a.cos != nullptr) {
      const float c = a.cos[row * half + p], s = a.sin[row * half + p], rotated = u * c - w * s;
      w = u * s + w * c;
      u = rotated;
    }
    store_any(a.y, Elem::bf16, base + i, u);
    store_any(a.y, Elem::bf16, base + j, w);
  }
  if (a.dim % 2 != 0 && lane == 0) store_any(a.y, Elem::bf16, base + a.dim - 1, value(a.dim - 1));
}

unsigned blocks_of(int64_t threads) { return static_cast<unsigned>((threads + kThreads - 1) / kThreads); }

template <typename T, bool kInterleaved>
void launch_heads(HeadArguments a, cudaStream_t stream) {
  // Up to 3 heads a lane: loads in flight, and cos and sin are read once for them.
  const int per_lane = std::min(a.heads, 3);
  a.groups = (a.heads + per_lane - 1) / per_lane;
  const unsigned blocks = blocks_of(a.m * a.groups << a.lane_bits);
  if (per_lane == 1)
    head_norm_rope_kernel<T, kInterleaved, 1><<<blocks, kThreads, 0, stream>>>(a);
  else
    head_norm_rope_kernel<T, kInterleaved, 3><<<blocks, kThreads, 0, stream>>>(a);
}

}  // namespace

void head_norm_rope(const void* x, Elem type, int64_t m, int64_t heads, int64_t head_dim, const float* gamma, float eps,
                    const float* cos, const float* sin, bool interleaved, void* y, cudaStream_t stream) {
  if (cos != nullptr && head_dim % 2 != 0)
    reject("head_norm_rope", "got heads of " + std::to_string(head_dim) + " channels, expected an even number");
  if (m == 0 || heads == 0) return;
  HeadArguments a{x, m, static_cast<int>(heads), static_cast<int>(head_dim), 0, 1, gamma, cos, sin, eps, y};
  const bool vectors = head_dim % 16 == 0 && head_dim <= 512 && aligned(x, 16) && aligned(y, 16) &&
                       aligned(gamma, 16) && aligned(cos, 16) && aligned(sin, 16);
  if (!vectors) {
    head_norm_rope_any<<<blocks_of(m * heads * 32), kThreads, 0, stream>>>(a, type, interleaved);
  } else {
    while ((16 << a.lane_bits) < head_dim) ++a.lane_bits;
    if (type == Elem::f32)
      interleaved ? launch_heads<float, true>(a, stream) : launch_heads<float, false>(a, stream);
    else
      interleaved ? launch_heads<bf16, true>(a, stream) : launch_heads<bf16, false>(a, stream);
  }
  check_launch("head_norm_rope");
}

}  // namespace inkling::cuda
