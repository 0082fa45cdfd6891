// The convolution kernels of conv.h: implicit matrix products, M = pixels, N = output channels, K = taps x channels.
//
// halo_kernel (3x3, stride 1): a block makes a tile of 16 x kRows pixels. It keeps the map's patch under that tile,
// with its border, in shared memory for 32 channels at a time, and multiplies it by the weights of every tap in turn: a
// tap only shifts the addresses that ldmatrix reads. A pixel is thus fetched once for nine taps (border: 1.27x), where
// a plain implicit product fetches it nine times and waits for L2. gather_kernel (all the rest): one tile of pixels is
// fetched per step.
//
// Doubling the map before a 3x3 convolution gives four pixels that see the same 2x2 source pixels, through different
// sums of the nine weights: four 2x2 convolutions ("phases") of the small map, 4/9 of the work. The weights are summed
// once, when packed.
#pragma once

#include <cuda_bf16.h>

#include "backends/cuda/kernels/conv_problem.h"

namespace inkling::cuda::conv {

constexpr int kPixel = 80;             // bytes of a pixel in shared memory: 32 bf16 and 16 more, so that any 8
                                       // consecutive pixels lie in distinct banks
constexpr int kTileW = 16;             // pixels of a tile row: one m16
constexpr int kPatchW = kTileW + 2;    // pixels of a patch row
constexpr int kWeightBlock = 1024;     // bytes of 16 outputs x 32 inputs
constexpr int kMaxShared = 99 * 1024;  // of a block, on sm_86, 89 and 120

// Where an input of a step lies: `tap` >= taps or `channel` >= cin where the step is padded.
struct Location {
  int tap, channel;
};
__host__ __device__ inline Location locate(const Problem& p, int step, int input) {
  if (p.flat) {
    const int k = step * kSlice + input;
    return {k / p.cin, k % p.cin};
  }
  const int taps = p.taps_h * p.taps_w;
  return {step % taps, step / taps * kSlice + input};
}

// Byte of (output, input) in the packed weights of a step: 8x8 matrices in the order that ldmatrix.x4 reads them.
__host__ __device__ inline int64_t packed_offset(const Problem& p, int64_t step, int output, int input) {
  const int matrix = output % 16 / 8 * 2 + input % 16 / 8;
  return (step * p.output16 + output / 16) * kWeightBlock + input / 16 * 512 + matrix * 128 + output % 8 * 16 +
         input % 8 * 2;
}

// kWarpsM x kWarpsN warps, each kMt rows of 16 pixels by kNt groups of 8 outputs.
template <int warps_m, int warps_n, int mt, int nt, int stages, int min_blocks>
struct Tile {
  static constexpr int kWarpsM = warps_m, kWarpsN = warps_n, kMt = mt, kNt = nt;
  static constexpr int kStages = stages, kMinBlocks = min_blocks;
  static constexpr int kThreads = 32 * warps_m * warps_n;
  static constexpr int kRows = warps_m * mt;                     // of a tile
  static constexpr int kOutputs = warps_n * nt * 8;              // of a tile
  static constexpr int kWeights = kOutputs / 16 * kWeightBlock;  // bytes of a step
  static constexpr int kPatch = kPatchW * (kRows + 2) * kPixel;  // bytes, halo_kernel
  static constexpr int kPixels = kTileW * kRows * kPixel;        // bytes of a step, gather_kernel
  static constexpr int kStaging = warps_m * warps_n * 16 * (nt + 1) * 8 * 4;
  static constexpr int max(int a, int b) { return a > b ? a : b; }
  static constexpr int kHaloShared = max(2 * kPatch + stages * kWeights, kStaging);
  static constexpr int kGatherShared = max(stages * (kPixels + kWeights), kStaging);
  static_assert(nt % 2 == 0);
};

// --- instructions ---------------------------------------------------------------------------------------------

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
// 16 bytes, zeros instead of them where !valid.
__device__ __forceinline__ void copy16(uint32_t to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(valid ? 16 : 0));
}
__device__ __forceinline__ void copies_commit() { asm volatile("cp.async.commit_group;"); }
template <int pending>
__device__ __forceinline__ void copies_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}
__device__ __forceinline__ void ldmatrix(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
}
__device__ __forceinline__ void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// --- parts of both kernels ------------------------------------------------------------------------------------

// Which tile a block makes. Blocks that read the same pixels follow each other.
struct Place {
  int n, phase_y, phase_x, tile_y, tile_x;
  __device__ explicit Place(const Problem& p) {
    int b = blockIdx.x;
    n = b % p.blocks_n;
    b /= p.blocks_n;
    phase_x = b % p.phases;
    b /= p.phases;
    phase_y = b % p.phases;
    b /= p.phases;
    tile_x = b % p.tiles_x;
    tile_y = b / p.tiles_x;
  }
};

// Starts the copy of a step's weights; one contiguous piece.
template <class T>
__device__ __forceinline__ void load_weights(const Problem& p, const uint8_t* weights, int outputs16, int step,
                                             uint32_t to) {
  const uint8_t* from = weights + static_cast<int64_t>(step) * p.output16 * kWeightBlock;
  constexpr int kChunks = T::kWeights / 16;
#pragma unroll
  for (int i = 0; i < (kChunks + T::kThreads - 1) / T::kThreads; ++i) {
    const int c = threadIdx.x + i * T::kThreads;
    if (kChunks % T::kThreads != 0 && c >= kChunks) break;
    const bool valid = c * 16 / kWeightBlock < outputs16;
    copy16(to + c * 16, valid ? from + c * 16 : weights, valid);
  }
}

// acc += pixels x weights over one step. `pixels`: this lane's row of the warp's first m16; rows of 16 lie kPitch
// apart.
template <class T, int kPitch>
__device__ __forceinline__ void multiply(float (&acc)[T::kMt][T::kNt][4], uint32_t pixels, uint32_t weights) {
#pragma unroll
  for (int k16 = 0; k16 < 2; ++k16) {
    uint32_t a[T::kMt][4];
#pragma unroll
    for (int m = 0; m < T::kMt; ++m) ldmatrix(a[m], pixels + m * kPitch + k16 * 32);
#pragma unroll
    for (int n = 0; n < T::kNt; n += 2) {
      uint32_t b[4];
      ldmatrix(b, weights + n / 2 * kWeightBlock + k16 * 512);
#pragma unroll
      for (int m = 0; m < T::kMt; ++m) {
        mma(acc[m][n], a[m], b[0], b[1]);
        mma(acc[m][n + 1], a[m], b[2], b[3]);
      }
    }
  }
}

// Bias, residual and store, 16 pixels at a time, turned in shared memory so that a pixel's outputs are written
// together.
template <class T>
__device__ __forceinline__ void finish(const Problem& p, const Place& place, const float (&acc)[T::kMt][T::kNt][4],
                                       uint8_t* shared) {
  constexpr int kWidth = T::kNt * 8, kPitch = kWidth + 8;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float* staging = reinterpret_cast<float*>(shared) + warp * 16 * kPitch;
  const int n0 = place.n * T::kOutputs + warp / T::kWarpsM * kWidth;
  const bool whole = p.cout % 8 == 0;
#pragma unroll
  for (int m = 0; m < T::kMt; ++m) {
#pragma unroll
    for (int n = 0; n < T::kNt; ++n)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        *reinterpret_cast<float2*>(staging + (lane / 4 + half * 8) * kPitch + n * 8 + lane % 4 * 2) =
            make_float2(acc[m][n][2 * half], acc[m][n][2 * half + 1]);
    __syncwarp();
    const int y = (place.tile_y * T::kRows + warp % T::kWarpsM * T::kMt + m) * p.phases + place.phase_y;
    const int x0 = place.tile_x * kTileW;
    if (y < p.out_h && whole) {
#pragma unroll
      for (int c = lane; c < 16 * T::kNt; c += 32) {
        const int pixel = c / T::kNt, n = n0 + c % T::kNt * 8;
        const int x = (x0 + pixel) * p.phases + place.phase_x;
        if (x >= p.out_w || n >= p.cout) continue;
        float v[8];
        *reinterpret_cast<float4*>(v) = *reinterpret_cast<const float4*>(staging + pixel * kPitch + n - n0);
        *reinterpret_cast<float4*>(v + 4) = *reinterpret_cast<const float4*>(staging + pixel * kPitch + n - n0 + 4);
        if (p.bias) {
#pragma unroll
          for (int e = 0; e < 8; ++e) v[e] += __ldg(p.bias + n + e);
        }
        const int64_t at = (static_cast<int64_t>(y) * p.out_w + x) * p.cout + n;
        if (p.residual) {
          const uint4 r = *reinterpret_cast<const uint4*>(static_cast<const __nv_bfloat16*>(p.residual) + at);
          const uint32_t words[4] = {r.x, r.y, r.z, r.w};
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            v[2 * e] += __uint_as_float(words[e] << 16);
            v[2 * e + 1] += __uint_as_float(words[e] & 0xffff0000u);
          }
        }
        if (p.y_f32) {
          float4* to = reinterpret_cast<float4*>(static_cast<float*>(p.y) + at);
          to[0] = make_float4(v[0], v[1], v[2], v[3]);
          to[1] = make_float4(v[4], v[5], v[6], v[7]);
        } else {
          __nv_bfloat162 o[4];
#pragma unroll
          for (int e = 0; e < 4; ++e) o[e] = __floats2bfloat162_rn(v[2 * e], v[2 * e + 1]);
          *reinterpret_cast<uint4*>(static_cast<__nv_bfloat16*>(p.y) + at) = *reinterpret_cast<const uint4*>(o);
        }
      }
    } else if (y < p.out_h) {
      const int width = min(kWidth, p.cout - n0);
      for (int c = lane; c < 16 * width; c += 32) {
        const int pixel = c / width, n = n0 + c % width;
        const int x = (x0 + pixel) * p.phases + place.phase_x;
        if (x >= p.out_w) continue;
        float v = staging[pixel * kPitch + n - n0];
        if (p.bias) v += p.bias[n];
        const int64_t at = (static_cast<int64_t>(y) * p.out_w + x) * p.cout + n;
        if (p.residual) v += __bfloat162float(static_cast<const __nv_bfloat16*>(p.residual)[at]);
        if (p.y_f32)
          static_cast<float*>(p.y)[at] = v;
        else
          static_cast<__nv_bfloat16*>(p.y)[at] = __float2bfloat16(v);
      }
    }
    __syncwarp();
  }
}

// --- 3x3, stride 1 --------------------------------------------------------------------------------------------

// Starts the copies of part `part` of `parts` of a patch: 32 channels from `channel` on.
template <class T>
__device__ __forceinline__ void load_patch(const Problem& p, int y0, int x0, int channel, int part, int parts,
                                           uint32_t to) {
  constexpr int kChunks = kPatchW * (T::kRows + 2) * 4, kRounds = (kChunks + T::kThreads - 1) / T::kThreads;
  const int per_part = (kRounds + parts - 1) / parts;
  const int q = threadIdx.x % 4;
  const bool channels = channel + q * 8 < p.cin;
#pragma unroll 1
  for (int i = part * per_part; i < min((part + 1) * per_part, kRounds); ++i) {
    const int pixel = (threadIdx.x + i * T::kThreads) / 4;
    const int py = pixel / kPatchW, px = pixel % kPatchW;
    if (py >= T::kRows + p.taps_h - 1 || px >= kTileW + p.taps_w - 1) continue;  // no tap reads it
    const int y = y0 + py, x = x0 + px;
    const bool valid = channels && static_cast<unsigned>(y) < static_cast<unsigned>(p.h) &&
                       static_cast<unsigned>(x) < static_cast<unsigned>(p.w);
    const auto* map = static_cast<const __nv_bfloat16*>(p.x);
    copy16(to + pixel * kPixel + q * 16,
           valid ? map + (static_cast<int64_t>(y) * p.w + x) * p.cin + channel + q * 8 : map, valid);
  }
}

template <class T>
__global__ __launch_bounds__(T::kThreads, T::kMinBlocks) void halo_kernel(const __grid_constant__ Problem p) {
  static_assert(T::kHaloShared <= kMaxShared);
  extern __shared__ __align__(128) uint8_t shared[];
  const uint32_t patches = shared_address(shared), ring = patches + 2 * T::kPatch;
  const Place place(p);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int y0 = place.tile_y * T::kRows + (place.phase_y ? p.origin_y[1] : p.origin_y[0]);
  const int x0 = place.tile_x * kTileW + (place.phase_x ? p.origin_x[1] : p.origin_x[0]);
  const int first16 = place.n * T::kOutputs / 16, outputs16 = p.output16 - first16;
  const int64_t phase_step = static_cast<int64_t>(place.phase_y * p.phases + place.phase_x) * p.steps;
  const uint8_t* weights = p.packed + (phase_step * p.output16 + first16) * kWeightBlock;
  const int taps = p.taps_h * p.taps_w;
  // Parts of the next patch that are started with this one's first taps; the last must be complete when its turn comes.
  const int parts = taps - T::kStages + 2;

  load_patch<T>(p, y0, x0, 0, 0, 1, patches);
#pragma unroll
  for (int s = 0; s < T::kStages - 1; ++s) {
    if (s < p.steps) load_weights<T>(p, weights, outputs16, s, ring + s * T::kWeights);
    copies_commit();
  }

  float acc[T::kMt][T::kNt][4] = {};
  const uint32_t lane_pixels = patches + (warp % T::kWarpsM * T::kMt * kPatchW + lane % 16) * kPixel + lane / 16 * 16;
  const uint32_t lane_weights = ring + warp / T::kWarpsM * (T::kNt / 2) * kWeightBlock + lane * 16;
  int tap = 0, tap_x = 0, slice = 0, shift = 0, stage = 0;
  for (int step = 0; step < p.steps; ++step) {
    copies_wait<T::kStages - 2>();
    __syncthreads();
    const int ahead = step + T::kStages - 1, free = stage == 0 ? T::kStages - 1 : stage - 1;
    if (ahead < p.steps) load_weights<T>(p, weights, outputs16, ahead, ring + free * T::kWeights);
    const int channel = (slice + 1) * kSlice;
    if (tap < parts && channel < p.cin)
      load_patch<T>(p, y0, x0, channel, tap, parts, patches + (slice + 1) % 2 * T::kPatch);
    copies_commit();
    multiply<T, kPatchW * kPixel>(acc, lane_pixels + slice % 2 * T::kPatch + shift, lane_weights + stage * T::kWeights);
    stage = stage + 1 == T::kStages ? 0 : stage + 1;
    shift += kPixel;
    if (++tap_x == p.taps_w) {
      tap_x = 0;
      shift += (kPatchW - p.taps_w) * kPixel;
    }
    if (++tap == taps) {
      tap = shift = 0;
      ++slice;
    }
  }
  copies_wait<0>();
  __syncthreads();
  finish<T>(p, place, acc, shared);
}

// --- any convolution ------------------------------------------------------------------------------------------

// Fetches the pixels of one step. kVector: bf16 and channels in multiples of 8, copied asynchronously; else element by
// element.
template <class T, bool kVector>
__device__ __forceinline__ void load_pixels(const Problem& p, int y0, int x0, int step, uint8_t* to) {
  constexpr int kChunks = kTileW * T::kRows * 4;
  static_assert(kChunks % T::kThreads == 0);
  const int q = threadIdx.x % 4, taps = p.taps_h * p.taps_w;
  const Location first = locate(p, step, q * 8);
#pragma unroll 1
  for (int c = threadIdx.x; c < kChunks; c += T::kThreads) {
    const int pixel = c / 4;
    const int top = y0 + pixel / kTileW * p.stride, left = x0 + pixel % kTileW * p.stride;
    uint8_t* chunk = to + pixel * kPixel + q * 16;
    if constexpr (kVector) {
      const int y = top + first.tap / p.taps_w, x = left + first.tap % p.taps_w;
      const bool valid = first.tap < taps && first.channel < p.cin &&
                         static_cast<unsigned>(y) < static_cast<unsigned>(p.h) &&
                         static_cast<unsigned>(x) < static_cast<unsigned>(p.w);
      const auto* map = static_cast<const __nv_bfloat16*>(p.x);
      copy16(shared_address(chunk), valid ? map + (static_cast<int64_t>(y) * p.w + x) * p.cin + first.channel : map,
             valid);
    } else {
      Location at = first;
      __align__(16) __nv_bfloat16 v[8];
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        const int y = top + at.tap / p.taps_w, x = left + at.tap % p.taps_w;
        const bool valid = at.tap < taps && at.channel < p.cin &&
                           static_cast<unsigned>(y) < static_cast<unsigned>(p.h) &&
                           static_cast<unsigned>(x) < static_cast<unsigned>(p.w);
        const int64_t index = (static_cast<int64_t>(y) * p.w + x) * p.cin + at.channel;
        v[e] = !valid    ? __float2bfloat16(0.f)
               : p.x_f32 ? __float2bfloat16(static_cast<const float*>(p.x)[index])
                         : static_cast<const __nv_bfloat16*>(p.x)[index];
        if (++at.channel == p.cin && p.flat) at = {at.tap + 1, 0};
      }
      *reinterpret_cast<uint4*>(chunk) = *reinterpret_cast<const uint4*>(v);
    }
  }
}

template <class T, bool kVector>
__global__ __launch_bounds__(T::kThreads, T::kMinBlocks) void gather_kernel(const __grid_constant__ Problem p) {
  static_assert(T::kGatherShared <= kMaxShared);
  extern __shared__ __align__(128) uint8_t shared[];
  const uint32_t pixels = shared_address(shared), ring = pixels + T::kStages * T::kPixels;
  const Place place(p);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int y0 = place.tile_y * T::kRows * p.stride + (place.phase_y ? p.origin_y[1] : p.origin_y[0]);
  const int x0 = place.tile_x * kTileW * p.stride + (place.phase_x ? p.origin_x[1] : p.origin_x[0]);
  const int first16 = place.n * T::kOutputs / 16, outputs16 = p.output16 - first16;
  const int64_t phase_step = static_cast<int64_t>(place.phase_y * p.phases + place.phase_x) * p.steps;
  const uint8_t* weights = p.packed + (phase_step * p.output16 + first16) * kWeightBlock;
  const auto load = [&](int step, int stage) {
    if (step < p.steps) {
      load_pixels<T, kVector>(p, y0, x0, step, shared + stage * T::kPixels);
      load_weights<T>(p, weights, outputs16, step, ring + stage * T::kWeights);
    }
    copies_commit();
  };
  for (int s = 0; s < T::kStages - 1; ++s) load(s, s);

  float acc[T::kMt][T::kNt][4] = {};
  const uint32_t lane_pixels = pixels + (warp % T::kWarpsM * T::kMt * kTileW + lane % 16) * kPixel + lane / 16 * 16;
  const uint32_t lane_weights = ring + warp / T::kWarpsM * (T::kNt / 2) * kWeightBlock + lane * 16;
  int stage = 0;
  for (int step = 0; step < p.steps; ++step) {
    copies_wait<T::kStages - 2>();
    __syncthreads();
    load(step + T::kStages - 1, stage == 0 ? T::kStages - 1 : stage - 1);
    multiply<T, kTileW * kPixel>(acc, lane_pixels + stage * T::kPixels, lane_weights + stage * T::kWeights);
    stage = stage + 1 == T::kStages ? 0 : stage + 1;
  }
  copies_wait<0>();
  __syncthreads();
  finish<T>(p, place, acc, shared);
}

}  // namespace inkling::cuda::conv
