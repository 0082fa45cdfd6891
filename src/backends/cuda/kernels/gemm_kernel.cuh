// The one matrix-product kernel: y = x W^T for every Kind and tile shape.
//
// A CTA makes a kBM x kBN tile of y after another (persistent). Rows of x (and of bf16 weights) lie in shared memory
// with their 16-byte chunks swizzled, so that ldmatrix has no bank conflicts; packed weights lie there in fragment
// order (pack.h) and are read straight. kStages slices of kBK bytes are in flight; while the tensor cores work on one
// 64-byte step, the fragments of the next come out of shared memory. The first slices of the next tile are fetched
// while the end of this one (gemm_end.cuh) is computed from registers.
//
// Columns: W's rows are taken in groups of 16, ordered so that the two n8 fragments of a group give a thread four
// neighbouring columns of y: column c of fragment j is row 4 (c / 2) + 2 j + c % 2 of the group.
#pragma once

#include "backends/cuda/kernels/gemm_end.cuh"
#include "backends/cuda/kernels/gemm_mma.cuh"

namespace inkling::cuda::gemm {

// kBK: bytes of k a stage, 64, 128 or 256. kMinBlocks: CTAs an SM that registers must allow.
template <int kBM_, int kBN_, int kWarpsM_, int kWarpsN_, int kBK_, int kStages_, int kMinBlocks_, int kOpt_ = 3>
struct Tile {
  static constexpr bool kRing = kOpt_ & 1, kSplit = kOpt_ & 2, kBatch = kOpt_ & 4, kHoist = kOpt_ & 8, kWhole = kOpt_ & 16;
  static constexpr int kBM = kBM_, kBN = kBN_, kWarpsM = kWarpsM_, kWarpsN = kWarpsN_, kBK = kBK_, kStages = kStages_,
                       kMinBlocks = kMinBlocks_;
  static constexpr int kThreads = 32 * kWarpsM * kWarpsN;
  static constexpr int kWM = kBM / kWarpsM, kWN = kBN / kWarpsN;
  static constexpr int kMI = kWM / 16, kNU = kWN / 16;  // fragments of 16 rows and of 16 columns of a warp
  static constexpr int kSteps = kBK / 32;
  static_assert(kWM % 16 == 0 && kWN % 16 == 0 && kBK % 64 == 0 && kStages >= 3);
};

template <Kind kKind, class T>
struct Stage {  // bytes
  static constexpr int kA = T::kBM * T::kBK;
  static constexpr int kB = kKind == Kind::w4a8 ? T::kBN * T::kBK / 2 : T::kBN * T::kBK;
  static constexpr int kS = kKind == Kind::w4a8 ? T::kBN * T::kBK / 64 : 0;  // group scales
  static constexpr int kBytes = kA + kB + kS;
  static constexpr int kAtom = kKind == Kind::w4a8 ? 256 : 512;  // 16 rows of W x 32 bytes of a row of x
  static constexpr int kShared = kBytes * T::kStages + EndShared<kKind, T>::kBytes;
};

// Where chunk c (16 bytes) of row r lies.
template <int kBK>
__device__ __forceinline__ uint32_t swizzle(uint32_t r, uint32_t c) {
  if constexpr (kBK == 64) {
    return (r >> 1) * 128 + (((r & 1) * 4 + (c ^ ((r >> 1) & 3))) << 4);
  } else {
    return r * kBK + ((c ^ (r & 7)) << 4);
  }
}

// From the place of a chunk of step 0 to that of step s; low bits of `at` count from a multiple of 128.
template <int kBK>
__device__ __forceinline__ uint32_t step_address(uint32_t at, int s) {
  return (at ^ (s % (kBK == 64 ? 2 : 4) * 32)) + s / (kBK == 64 ? 2 : 4) * 128;
}

// Fetches slices of x and W: what a thread must know to copy its chunks.
template <Kind kKind, class T>
struct Fetch {
  using S = Stage<kKind, T>;
  static constexpr unsigned kT = T::kThreads;
  static constexpr unsigned kRowChunks = T::kBK / 16;
  static constexpr unsigned kChunksA = S::kA / 16, kChunksB = S::kB / 16, kChunksS = S::kS / 16;
  static constexpr int kNA = (kChunksA + kT - 1) / kT, kNB = (kChunksB + kT - 1) / kT, kNS = (kChunksS + kT - 1) / kT;
  static constexpr int kCount = kNA + kNB + kNS;
  // A slice may reach beyond k: only with long slices or with k a multiple of 16 bytes alone.
  static constexpr bool kTail = T::kBK > 64 || kKind == Kind::bf16;
  static constexpr bool kRows = kKind == Kind::bf16;                  // W as rows, not packed
  static constexpr unsigned kGroupChunks = S::kAtom / 16 * T::kSteps;  // of 16 packed rows
  static constexpr unsigned kBytesB = kRows ? 1 : S::kAtom / 32;       // bytes of W in a group a byte of k
  static_assert(kT % kRowChunks == 0);

  const char *x, *w, *s;  // at the slice to be fetched next
  uint32_t x_off[kNA], w_off[kNB], s_off[kNS > 0 ? kNS : 1];

  __device__ __forceinline__ void set_tile(const Args& args, int m0, int n0) {
    const unsigned tid = threadIdx.x, kb = args.k_bytes;
    x = static_cast<const char*>(args.x) + static_cast<int64_t>(m0) * kb;
    const unsigned last_row = args.m - 1 - m0;
#pragma unroll
    for (int i = 0; i < kNA; ++i) {
      const unsigned q = tid + i * kT;
      x_off[i] = min(q / kRowChunks, last_row) * kb + q % kRowChunks * 16;
    }
    const unsigned last_group = args.n / 16 - 1 - n0 / 16, last_column = args.n - 1 - n0;
    w = static_cast<const char*>(args.w) + static_cast<int64_t>(n0 / 16) * kb * (kRows ? 16 : kBytesB);
    s = reinterpret_cast<const char*>(args.group_scale) + static_cast<int64_t>(n0 / 16) * (kb / 4);
#pragma unroll
    for (int i = 0; i < kNB; ++i) {
      const unsigned q = tid + i * kT;
      if constexpr (kRows) {
        w_off[i] = min(q / kRowChunks, last_column) * kb + q % kRowChunks * 16;
      } else {
        w_off[i] = min(q / kGroupChunks, last_group) * kb * kBytesB + q % kGroupChunks * 16;
      }
    }
#pragma unroll
    for (int i = 0; i < kNS; ++i) {
      const unsigned q = tid + i * kT;
      s_off[i] = min(q / (T::kSteps / 2), last_group) * (kb / 4) + q % (T::kSteps / 2) * 16;
    }
  }
  __device__ __forceinline__ void advance() {
    x += T::kBK;
    w += T::kBK * kBytesB;
    s += T::kBK / 4;
  }

  // Chunk c of the thread's kCount. left: bytes of k from the slice's begin.
  __device__ __forceinline__ void copy(int c, uint32_t stage, unsigned left, bool when = true) const {
    const unsigned tid = threadIdx.x;
    if (c < kNA) {
      const unsigned q = tid + c * kT;
      const bool valid = !kTail || q % kRowChunks * 16 < left;
      copy_async<16>(stage + place(tid / kRowChunks, c * (kT / kRowChunks)), valid ? x + x_off[c] : x,
                     when && (kChunksA % kT == 0 || q < kChunksA), valid);
    } else if (c < kNA + kNB) {
      const unsigned i = c - kNA, q = tid + i * kT;
      uint32_t to = q * 16;
      unsigned k = q % kGroupChunks / (S::kAtom / 16) * 32;
      if constexpr (kRows) {
        const unsigned r = q / kRowChunks;  // W's row within the tile -> its place in fragment order
        to = swizzle<T::kBK>((r & ~15u) | ((r >> 1 & 1) << 3) | ((r >> 2 & 3) << 1) | (r & 1), q % kRowChunks);
        k = q % kRowChunks * 16;
      }
      const bool valid = !kTail || k < left;
      copy_async<16>(stage + S::kA + to, valid ? w + w_off[i] : w, when && (kChunksB % kT == 0 || q < kChunksB), valid);
    } else {
      const unsigned i = c - kNA - kNB, q = tid + i * kT;
      const bool valid = !kTail || q % (T::kSteps / 2) * 64 < left;
      copy_async<16>(stage + S::kA + S::kB + q * 16, valid ? s + s_off[i] : s,
                     when && (kChunksS % kT == 0 || q < kChunksS), valid);
    }
  }

 private:
  // Place of the thread's chunk `rows` rows below row r.
  __device__ __forceinline__ static uint32_t place(unsigned r, unsigned rows) {
    const unsigned c = threadIdx.x % kRowChunks;
    if constexpr (kT / kRowChunks % 8 == 0) {
      return swizzle<T::kBK>(r, c) + rows * T::kBK;  // the same swizzle 8 rows further
    } else {
      return swizzle<T::kBK>(r + rows, c);
    }
  }
};

// The fragments of a warp's part of W: 16 columns (u) of a 32-byte step.
template <Kind kKind, class T>
struct Weights {
  using S = Stage<kKind, T>;
  static constexpr bool kCodes = kKind == Kind::w4a8;
  static constexpr int kRing = T::kRing ? (kCodes ? T::kNU : T::kNU) : 2;
  static constexpr int kB = kCodes ? (T::kWhole ? 2 * T::kNU : 2) : kRing;
  uint32_t b[kB][4];       // as the tensor cores take them: two n8 fragments
  uint32_t raw[kRing][2];  // 4-bit codes on their way
  uint32_t scale[kRing];
  uint32_t hs[T::kNU][2], ho[T::kNU][2];

  __device__ __forceinline__ static uint32_t lane_offset(int warp_n, int lane) {
    const int first = warp_n * T::kWN;
    if constexpr (kKind == Kind::bf16) {
      return S::kA + swizzle<T::kBK>(first + (lane & 7) + (lane >> 4) * 8, lane >> 3 & 1);
    } else {
      return S::kA + first / 16 * T::kSteps * S::kAtom + lane * (S::kAtom / 32);
    }
  }
  __device__ __forceinline__ static uint32_t scale_offset(int warp_n, int lane) {
    return S::kA + S::kB + warp_n * (T::kWN / 16) * (T::kSteps / 2) * 16 + lane / 4 * 2;
  }
  // Column group u of step s; at = s kNU + u, counted through the slices.
  __device__ __forceinline__ void load(int at, uint32_t from, uint32_t scale_from, int u, int s) {
    if constexpr (kKind == Kind::bf16) {
      load_matrix(b[at % kB], step_address<T::kBK>(from + u * 16 * T::kBK, s));
    } else if constexpr (kKind == Kind::w4a8) {
      load_shared(raw[at % kRing], from + (u * T::kSteps + s) * S::kAtom);
      if (!T::kHoist || s % 2 == 0) scale[at % kRing] = load_shared_u16(scale_from + (u * (T::kSteps / 2) + s / 2) * 16);
    } else {
      load_shared(b[at % kB], from + (u * T::kSteps + s) * S::kAtom);
    }
  }
  __device__ __forceinline__ void unpack(int at) {
    if constexpr (kKind == Kind::w4a8) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const uint32_t v = scale[at % kRing], s = j == 0 ? v & 0xff : v >> 8;
        const int u = at % T::kNU;
        if (!T::kHoist || at / T::kNU % 2 == 0) { hs[u][j] = s; ho[u][j] = 0x80808080u - s * 0x08080808u; }
        unpack_codes(raw[at % kRing][j], hs[u][j], ho[u][j], b[at % kB][2 * j], b[at % kB][2 * j + 1]);
      }
    }
  }
};

template <class T>
__device__ __forceinline__ void tile_origin(const Args& args, int tile, int& m0, int& n0) {
  const int m_tiles = (args.m + T::kBM - 1) / T::kBM, n_tiles = (args.n + T::kBN - 1) / T::kBN;
  // Groups of group_m tile rows, walked down first: the CTAs that run together share rows of x and of W in L2.
  const int group = tile / (args.group_m * n_tiles), first = group * args.group_m;
  const int rows = min(args.group_m, m_tiles - first), at = tile - first * n_tiles;
  m0 = (first + at % rows) * T::kBM;
  n0 = at / rows * T::kBN;
}

template <Kind kKind, class T>
__global__ void __launch_bounds__(T::kThreads, T::kMinBlocks) gemm_kernel(const __grid_constant__ Args args) {
  using S = Stage<kKind, T>;
  using F = Fetch<kKind, T>;
  using W = Weights<kKind, T>;
  using Acc = typename Product<kKind>::Acc;
  constexpr int kMI = T::kMI, kNU = T::kNU, kSteps = T::kSteps, kStages = T::kStages, kAll = kSteps * kNU;
  // Groups of columns of W that are loaded ahead; 4-bit ones are unpacked one ahead.
  constexpr int kAhead = T::kRing ? (W::kCodes && !T::kWhole ? kNU + 1 : kNU) : (W::kCodes ? 2 : 1);
  static_assert(!T::kRing || kAll % kNU == 0);

  extern __shared__ __align__(128) char shared[];
  const uint32_t shared0 = shared_address(shared);
  const uint32_t shared_end = shared0 + kStages * S::kBytes;
  const uint32_t barrier = shared_end;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int warp_m = warp % T::kWarpsM, warp_n = warp / T::kWarpsM;
  const uint32_t a_off = swizzle<T::kBK>(warp_m * T::kWM + lane % 16, lane / 16);
  const uint32_t b_off = W::lane_offset(warp_n, lane), s_off = W::scale_offset(warp_n, lane);
  const unsigned kb = args.k_bytes;
  const int tiles = ((args.m + T::kBM - 1) / T::kBM) * ((args.n + T::kBN - 1) / T::kBN);

  F fetch;
  auto fetch_first = [&] {
#pragma unroll
    for (int i = 0; i < kStages - 1; ++i) {
      if (i * T::kBK < kb) {
#pragma unroll
        for (int c = 0; c < F::kCount; ++c) fetch.copy(c, shared0 + i * S::kBytes, kb - i * T::kBK);
        fetch.advance();
      }
      copy_commit();
    }
  };

  int tile = blockIdx.x, m0, n0;
  if (tile >= tiles) return;
  if (T::kSplit && threadIdx.x == 0) barrier_init(barrier, T::kThreads / 32);
  tile_origin<T>(args, tile, m0, n0);
  fetch.set_tile(args, m0, n0);
  fetch_first();
  unsigned phase = 0;
#ifdef INKLING_TUNE
  long long clk_main = 0, clk_end = 0, clk_start = clock64(), ns_start; asm volatile("mov.u64 %0, %globaltimer;" : "=l"(ns_start));
#endif

  while (true) {
    Acc acc[kMI][2 * kNU][4] = {};
    uint32_t a[2][kMI][4];  // of this step and of the next
    W w;
#ifdef INKLING_TUNE
    const long long clk0 = clock64();
#endif

    copy_wait<kStages - 2>();
    __syncthreads();
    EndShared<kKind, T>::fetch(args, shared_end, m0, n0);  // belongs to the next group committed
#pragma unroll
    for (int i = 0; i < kMI; ++i) load_matrix(a[0][i], shared0 + a_off + i * 16 * T::kBK);
    w.load(0, shared0 + b_off, shared0 + s_off, 0, 0);
    w.unpack(0);
#pragma unroll
    for (int at = 1; at < kAhead; ++at) w.load(at, shared0 + b_off, shared0 + s_off, at % kNU, at / kNU);
    if constexpr (T::kWhole) {
#pragma unroll
      for (int at = 1; at < kNU; ++at) w.unpack(at);
    }

    // From group kFirst of a slice on the next slice is read and the previous one overwritten.
    constexpr int kFirst = kAll - kAhead > (kSteps - 1) * kNU ? (kSteps - 1) * kNU : kAll - kAhead;
    if constexpr (T::kSplit) {
      copy_wait<kStages - 3>();
      __syncwarp();
      if (lane == 0) barrier_arrive(barrier);
    }
    uint32_t stage = shared0, fetch_stage = shared0 + (kStages - 1) * S::kBytes;
    unsigned left = kb;  // bytes of k from this slice on
    do {
      const uint32_t next_stage = stage + S::kBytes == shared_end ? shared0 : stage + S::kBytes;
      const bool more = left > (kStages - 1) * T::kBK;
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
#pragma unroll
        for (int u = 0; u < kNU; ++u) {
          const int at = s * kNU + u;
          if (at == kFirst) {
            if constexpr (T::kSplit) {
              barrier_wait(barrier, phase);
            } else {
              copy_wait<kStages - 3>();
              __syncthreads();
            }
          }
          if constexpr (T::kBatch) {
            if (at == kFirst) {
#pragma unroll
              for (int c = 0; c < F::kCount; ++c) fetch.copy(c, fetch_stage, left - (kStages - 1) * T::kBK, more);
            }
          }
          auto load_w = [&](int of) {
            const int to = (of + kAhead) % kAll;
            const uint32_t from = of + kAhead < kAll ? stage : next_stage;
            w.load(of + kAhead, from + b_off, from + s_off, to % kNU, to / kNU);
          };
          if constexpr (T::kWhole && W::kCodes) {
            if (2 * u < kNU) load_w(s * kNU + 2 * u);
            if (2 * u + 1 < kNU) load_w(s * kNU + 2 * u + 1);
          } else if constexpr (!T::kRing) {
            load_w(at);
          }
          constexpr int kPlaces = T::kRing && kNU > 1 ? (kNU + 1) / 2 : kNU;  // where fragments of x are loaded
#pragma unroll
          for (int i = min(u * kMI / kPlaces, kMI); i < min((u + 1) * kMI / kPlaces, kMI); ++i) {
            const uint32_t base = (s + 1 < kSteps ? stage : next_stage) + i * 16 * T::kBK;
            load_matrix(a[(s + 1) % 2][i], base + step_address<T::kBK>(a_off, (s + 1) % kSteps));
          }
#pragma unroll
          for (int j = 0; j < 2; ++j) {
#pragma unroll
            for (int i = 0; i < kMI; ++i)
              multiply_add<kKind>(acc[i][2 * u + j], a[s % 2][i], w.b[at % W::kB][2 * j], w.b[at % W::kB][2 * j + 1]);
          }
          if constexpr (T::kWhole && W::kCodes) {
            // Codes loaded in this step, for the next.
            if (u > 0) w.unpack(at - 1 + kNU);
            if (u == kNU - 1) w.unpack(at + kNU);
          } else {
            w.unpack(at + 1);
          }
          if constexpr (T::kRing && !(T::kWhole && W::kCodes)) load_w(at);
        }
      }
      if constexpr (!T::kBatch) {
#pragma unroll
        for (int c = 0; c < F::kCount; ++c) fetch.copy(c, fetch_stage, left - (kStages - 1) * T::kBK, more);
      }
      copy_commit();
      fetch.advance();
      stage = next_stage;
      fetch_stage = fetch_stage + S::kBytes == shared_end ? shared0 : fetch_stage + S::kBytes;
      left -= min(left, static_cast<unsigned>(T::kBK));
      if constexpr (T::kSplit) {
        phase ^= 1;
        copy_wait<kStages - 3>();
        __syncwarp();
        if (lane == 0) barrier_arrive(barrier);
      }
    } while (left > 0);
    if constexpr (T::kSplit) {
      barrier_wait(barrier, phase);
      phase ^= 1;
    }
    copy_wait<0>();
    __syncthreads();  // all have read the slices; the end's operands are there
#ifdef INKLING_TUNE
    const long long clk1 = clock64(); clk_main += clk1 - clk0;
#endif

    const int m_done = m0, n_done = n0;
    tile += gridDim.x;
    if (tile < tiles) {
      tile_origin<T>(args, tile, m0, n0);
      fetch.set_tile(args, m0, n0);
      fetch_first();
    }
    if (args.end.residual != nullptr) {
      finish<kKind, T, true>(args, acc, shared + kStages * S::kBytes, m_done, n_done);
    } else {
      finish<kKind, T, false>(args, acc, shared + kStages * S::kBytes, m_done, n_done);
    }
#ifdef INKLING_TUNE
    clk_end += clock64() - clk1;
    if (tile >= tiles && threadIdx.x == 0 && args.tune) { long long ns; asm volatile("mov.u64 %0, %globaltimer;" : "=l"(ns)); long long* t = args.tune + blockIdx.x * 4; t[0] = clk_main; t[1] = clk_end; t[2] = clock64() - clk_start; t[3] = ns - ns_start; }
#endif
    if (tile >= tiles) return;
  }
}

}  // namespace inkling::cuda::gemm
