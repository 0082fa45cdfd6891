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
  static constexpr int max(int a, int b) { return a > b ? a : b; }
  static constexpr int kWarpsM = warps_m, kWarpsN = warps_n, kMt = mt, kNt = nt;
  static constexpr int kStages = stages, kMinBlocks = min_blocks;
  static constexpr int kThreads = 32 * warps_m * warps_n;
  static constexpr int kRows = warps_m * mt;                     // of a tile
  static constexpr int kOutputs = warps_n * nt * 8;              // of a tile
  static constexpr int kWeights = kOutputs / 16 * kWeightBlock;  // bytes of a step
  static constexpr int kPatchPixels = kPatchW * (kRows + 2);     // halo_kernel
  static constexpr int kPixels = kTileW * kRows * kPixel;        // bytes of a step, gather_kernel
  // The end turns the tile in shared memory, in two halves of each warp's rows; 16 bytes more per pixel, so that the 8
  // pixels and 4 words that a warp writes at once lie in distinct banks.
  static constexpr int kEndPixel = nt * 16 + 16;                    // bytes
  static constexpr int kEndWarp = max(mt / 2, 2) * 16 * kEndPixel;  // bytes of a warp's half
  static constexpr int kEndHalf = warps_m * warps_n * kEndWarp;
  static constexpr int kPatch = max(kPatchPixels * kPixel, kEndHalf);
  static constexpr int kHaloShared = 2 * kPatch + stages * kWeights + kPatchPixels * 4;
  static constexpr int kGatherShared = max(stages * (kPixels + kWeights), 2 * kEndHalf);
  static_assert(nt % 2 == 0 && mt % 2 == 0);
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

// Sums start from the bias.
template <class T>
__device__ __forceinline__ void start(const Problem& p, const Place& place, float (&acc)[T::kMt][T::kNt][4]) {
  const int n0 = place.n * T::kOutputs + threadIdx.x / 32 / T::kWarpsM * (T::kNt * 8) + threadIdx.x % 4 * 2;
#pragma unroll
  for (int n = 0; n < T::kNt; ++n) {
    float b[2];
#pragma unroll
    for (int e = 0; e < 2; ++e) b[e] = p.bias && n0 + n * 8 + e < p.cout ? __ldg(p.bias + n0 + n * 8 + e) : 0.f;
#pragma unroll
    for (int m = 0; m < T::kMt; ++m)
#pragma unroll
      for (int e = 0; e < 4; ++e) acc[m][n][e] = b[e % 2];
  }
}

// The part of the output that a warp makes, in halves of its rows.
template <class T>
struct End {
  const Problem& p;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int first_y, first_x, n0;
  // Whole groups of 8 channels in bf16 are read and written as 16 bytes, by way of shared memory.
  const bool whole;

  __device__ End(const Problem& problem, const Place& place)
      : p(problem),
        first_y((place.tile_y * T::kRows + warp % T::kWarpsM * T::kMt) * p.phases + place.phase_y),
        first_x(place.tile_x * kTileW * p.phases + place.phase_x),
        n0(place.n * T::kOutputs + warp / T::kWarpsM * (T::kNt * 8)),
        whole(p.cout % 8 == 0 && !p.y_f32) {}

  // Index of an output; -1 outside.
  __device__ int64_t at(int m, int pixel, int n) const {
    const int y = first_y + m * p.phases, x = first_x + pixel * p.phases;
    return y < p.out_h && x < p.out_w && n < p.cout ? (static_cast<int64_t>(y) * p.out_w + x) * p.cout + n : -1;
  }
  // Calls f(byte in the warp's half, index of 8 outputs) for this lane's share of a half.
  template <class F>
  __device__ __forceinline__ void each8(int half, const F& f) const {
#pragma unroll 4
    for (int c = lane; c < T::kMt / 2 * 16 * T::kNt; c += 32) {
      const int pixel = c / T::kNt, k = c % T::kNt;
      const int64_t index = at(half * (T::kMt / 2) + pixel / 16, pixel % 16, n0 + k * 8);
      if (index >= 0) f(warp * T::kEndWarp + pixel * T::kEndPixel + k * 16, index);
    }
  }
  __device__ __forceinline__ void load_residual(int half, uint32_t to) const {
    if (!whole || !p.residual) return;
    const auto* residual = static_cast<const __nv_bfloat16*>(p.residual);
    each8(half, [&](int byte, int64_t index) { copy16(to + byte, residual + index, true); });
  }
  __device__ __forceinline__ void prefetch_residual(int half) const {
    if (!whole || !p.residual) return;
    const auto* residual = static_cast<const __nv_bfloat16*>(p.residual);
    each8(half, [&](int, int64_t index) { asm volatile("prefetch.global.L2 [%0];" ::"l"(residual + index)); });
  }
  // `half` is a constant once unrolled: sums are registers.
  template <int half>
  __device__ __forceinline__ void store(const float (&acc)[T::kMt][T::kNt][4], uint8_t* shared) const {
    if (!whole) return store_each<half>(acc, shared);
    __syncwarp();
#pragma unroll
    for (int m = 0; m < T::kMt / 2; ++m)
#pragma unroll
      for (int n = 0; n < T::kNt; ++n)
#pragma unroll
        for (int e = 0; e < 4; e += 2) {
          const float* v = acc[half * (T::kMt / 2) + m][n] + e;
          auto* pair = reinterpret_cast<uint32_t*>(shared + warp * T::kEndWarp +
                                                   (m * 16 + lane / 4 + e * 4) * T::kEndPixel + n * 16 + lane % 4 * 4);
          const uint32_t r = p.residual ? *pair : 0;
          const __nv_bfloat162 sum =
              __floats2bfloat162_rn(v[0] + __uint_as_float(r << 16), v[1] + __uint_as_float(r & 0xffff0000u));
          *pair = *reinterpret_cast<const uint32_t*>(&sum);
        }
    __syncwarp();
    auto* y = static_cast<__nv_bfloat16*>(p.y);
    each8(half, [&](int byte, int64_t index) {
      *reinterpret_cast<uint4*>(y + index) = *reinterpret_cast<const uint4*>(shared + byte);
    });
  }
  // The general way: 16 pixels at a time as f32, element by element.
  template <int half>
  __device__ __forceinline__ void store_each(const float (&acc)[T::kMt][T::kNt][4], uint8_t* shared) const {
    constexpr int kPitch = T::kNt * 8 + 8;
    static_assert(16 * kPitch * 4 <= T::kEndWarp);
    float* rows = reinterpret_cast<float*>(shared + warp * T::kEndWarp);
    const int width = min(T::kNt * 8, p.cout - n0);
#pragma unroll
    for (int m = half * (T::kMt / 2); m < (half + 1) * (T::kMt / 2); ++m) {
      __syncwarp();
#pragma unroll
      for (int n = 0; n < T::kNt; ++n)
#pragma unroll
        for (int e = 0; e < 4; e += 2)
          *reinterpret_cast<float2*>(rows + (lane / 4 + e * 4) * kPitch + n * 8 + lane % 4 * 2) =
              make_float2(acc[m][n][e], acc[m][n][e + 1]);
      __syncwarp();
      for (int c = lane; c < 16 * width; c += 32) {
        const int pixel = c / width, k = c % width;
        const int64_t index = at(m, pixel, n0 + k);
        if (index < 0) continue;
        float v = rows[pixel * kPitch + k];
        if (p.residual) v += __bfloat162float(static_cast<const __nv_bfloat16*>(p.residual)[index]);
        if (p.y_f32)
          static_cast<float*>(p.y)[index] = v;
        else
          static_cast<__nv_bfloat16*>(p.y)[index] = __float2bfloat16(v);
      }
    }
  }
};

// --- 3x3, stride 1 --------------------------------------------------------------------------------------------

// Where the pixels of a patch lie in the map, -1 outside of it and where no tap reads.
template <class T>
__device__ __forceinline__ void make_table(const Problem& p, int y0, int x0, int* table) {
  for (int pixel = threadIdx.x; pixel < T::kPatchPixels; pixel += T::kThreads) {
    const int py = pixel / kPatchW, px = pixel % kPatchW;
    const bool read = py < T::kRows + p.taps_h - 1 && px < kTileW + p.taps_w - 1;
    const bool inside = static_cast<unsigned>(y0 + py) < static_cast<unsigned>(p.h) &&
                        static_cast<unsigned>(x0 + px) < static_cast<unsigned>(p.w);
    table[pixel] = read && inside ? (y0 + py) * p.w + x0 + px : -1;
  }
}

// Starts copies [first, last) of this thread's share of a patch: 32 channels from `channel` on.
template <class T>
__device__ __forceinline__ void load_patch(const Problem& p, const int* table, int channel, int first, int last,
                                           uint32_t to) {
  const int q = threadIdx.x % 4;
  const auto* map = static_cast<const __nv_bfloat16*>(p.x) + channel + q * 8;
  const bool channels = channel + q * 8 < p.cin;
#pragma unroll 2
  for (int i = first; i < last; ++i) {
    const int pixel = threadIdx.x / 4 + i * (T::kThreads / 4);
    if (pixel >= T::kPatchPixels) break;
    const int index = table[pixel];
    const bool valid = channels && index >= 0;
    copy16(to + pixel * kPixel + q * 16, valid ? map + static_cast<int64_t>(index) * p.cin : p.x, valid);
  }
}

template <class T>
__global__ __launch_bounds__(T::kThreads, T::kMinBlocks) void halo_kernel(const __grid_constant__ Problem p) {
  static_assert(T::kHaloShared <= kMaxShared);
  extern __shared__ __align__(128) uint8_t shared[];
  const uint32_t patches = shared_address(shared), ring = patches + 2 * T::kPatch;
  int* table = reinterpret_cast<int*>(shared + 2 * T::kPatch + T::kStages * T::kWeights);
  const Place place(p);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int first16 = place.n * T::kOutputs / 16, outputs16 = p.output16 - first16;
  const int64_t phase_step = static_cast<int64_t>(place.phase_y * p.phases + place.phase_x) * p.steps;
  const uint8_t* weights = p.packed + (phase_step * p.output16 + first16) * kWeightBlock;
  const int taps = p.taps_h * p.taps_w;
  // The next patch is started with this one's first taps: early enough to be complete when its turn comes.
  constexpr int kCopies = (T::kPatchPixels * 4 + T::kThreads - 1) / T::kThreads;
  const int parts = taps - T::kStages + 2, copies = (kCopies + parts - 1) / parts;

  make_table<T>(p, place.tile_y * T::kRows + (place.phase_y ? p.origin_y[1] : p.origin_y[0]),
                place.tile_x * kTileW + (place.phase_x ? p.origin_x[1] : p.origin_x[0]), table);
  __syncthreads();
  load_patch<T>(p, table, 0, 0, kCopies, patches);
#pragma unroll
  for (int s = 0; s < T::kStages - 1; ++s) {
    if (s < p.steps) load_weights<T>(p, weights, outputs16, s, ring + s * T::kWeights);
    copies_commit();
  }

  float acc[T::kMt][T::kNt][4];
  start<T>(p, place, acc);
  const End<T> end(p, place);
  const uint32_t lane_pixels = patches + (warp % T::kWarpsM * T::kMt * kPatchW + lane % 16) * kPixel + lane / 16 * 16;
  const uint32_t lane_weights = ring + warp / T::kWarpsM * (T::kNt / 2) * kWeightBlock + lane * 16;
  int tap = 0, tap_x = 0, slice = 0, shift = 0, stage = 0;
  for (int step = 0; step < p.steps; ++step) {
    copies_wait<T::kStages - 2>();
    __syncthreads();
    const int ahead = step + T::kStages - 1, free = stage == 0 ? T::kStages - 1 : stage - 1;
    if (ahead < p.steps) load_weights<T>(p, weights, outputs16, ahead, ring + free * T::kWeights);
    const int channel = (slice + 1) * kSlice;
    const uint32_t other = patches + (slice + 1) % 2 * T::kPatch;
    if (channel < p.cin) {
      if (tap < parts) load_patch<T>(p, table, channel, tap * copies, min((tap + 1) * copies, kCopies), other);
    } else if (tap == 0) {  // the last slice leaves a buffer to the residual
      end.load_residual(0, other);
      end.prefetch_residual(1);
    }
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
  __syncthreads();
  end.load_residual(1, patches + (slice + 1) % 2 * T::kPatch);
  copies_commit();
  copies_wait<1>();
  end.template store<0>(acc, shared + slice % 2 * T::kPatch);
  copies_wait<0>();
  end.template store<1>(acc, shared + (slice + 1) % 2 * T::kPatch);
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

  float acc[T::kMt][T::kNt][4];
  start<T>(p, place, acc);
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
  const End<T> end(p, place);
  end.load_residual(0, pixels);
  end.load_residual(1, pixels + T::kEndHalf);
  copies_commit();
  copies_wait<0>();
  end.template store<0>(acc, shared);
  end.template store<1>(acc, shared + T::kEndHalf);
}

}  // namespace inkling::cuda::conv
