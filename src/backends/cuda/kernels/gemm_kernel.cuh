// The one matrix-product kernel: y = x W^T for every Kind and tile shape.
//
// A CTA makes a kBM x kBN tile of y after another (persistent). Rows of x (and of bf16 weights) lie in shared memory
// with their 16-byte chunks swizzled, so that ldmatrix has no bank conflicts; packed weights lie there in fragment
// order (pack.h) and are read straight. kStages slices of kBK bytes of k are in flight; while the tensor cores work on
// one step of 32 bytes, the fragments of the next come out of shared memory. The first slices of the next tile are
// fetched while the end of this one (gemm_end.cuh) is computed from registers.
//
// What limits it on Hopper: mma.sync takes 6 clocks of a scheduler and every instruction of the arithmetic pipes 1.1
// to 1.5 more, while loads from shared memory cost nothing. So the loop over slices is unrolled by
// the number of stages: addresses are then constants beside a few registers that stay.
//
// Columns: W's rows are taken in groups of 16, ordered so that the two n8 fragments of a group give a thread four
// neighbouring columns of y: column c of fragment j is row 4 (c / 2) + 2 j + c % 2 of the group.
#pragma once

#include "backends/cuda/kernels/gemm_end.cuh"
#include "backends/cuda/kernels/gemm_mma.cuh"

namespace inkling::cuda::gemm {

// kBK: bytes of k a slice, 64, 128 or 256. kMinBlocks: CTAs an SM that registers must allow.
template <int kBM_, int kBN_, int kWarpsM_, int kWarpsN_, int kBK_, int kStages_, int kMinBlocks_>
struct Tile {
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

// Places of a lane's chunk in the steps of a slice: in step s of slice 0, its place in step 0 with two (three) bits of
// the chunk's number changed.
template <int kBK>
struct StepAddress {
  static constexpr int kFlips = kBK == 64 ? 2 : 4;
  uint32_t flipped[kFlips];
  __device__ __forceinline__ StepAddress(uint32_t base, uint32_t place) {
#pragma unroll
    for (int i = 0; i < kFlips; ++i) flipped[i] = base + (place ^ (i * 32));
  }
  __device__ __forceinline__ uint32_t at(int s) const { return flipped[s % kFlips] + s / kFlips * 128; }
};

// Fetches slices of x and W: where the chunks come from that this thread copies.
template <Kind kKind, class T>
struct Fetch {
  using S = Stage<kKind, T>;
  static constexpr unsigned kT = T::kThreads;
  static constexpr unsigned kRowChunks = T::kBK / 16;
  static constexpr unsigned kChunksA = S::kA / 16, kChunksB = S::kB / 16, kChunksS = S::kS / 16;
  static constexpr int kNA = (kChunksA + kT - 1) / kT, kNB = (kChunksB + kT - 1) / kT, kNS = (kChunksS + kT - 1) / kT;
  // A slice may reach beyond k: only with long slices or with k a multiple of 16 bytes alone.
  static constexpr bool kTail = T::kBK > 64 || kKind == Kind::bf16;
  static constexpr bool kRows = kKind == Kind::bf16;                   // W as rows, not packed
  static constexpr unsigned kGroupChunks = S::kAtom / 16 * T::kSteps;  // of 16 packed rows
  static constexpr unsigned kBytesB = kRows ? 1 : S::kAtom / 32;       // bytes of W in a group a byte of k
  static_assert(kT % kRowChunks == 0);

  const char *x[kNA], *w[kNB], *s[kNS > 0 ? kNS : 1];

  __device__ __forceinline__ void set_tile(const Args& args, int m0, int n0) {
    const unsigned tid = threadIdx.x;
    const int64_t kb = args.k_bytes;
#pragma unroll
    for (int i = 0; i < kNA; ++i) {
      const unsigned q = tid + i * kT;
      x[i] = static_cast<const char*>(args.x) + min(m0 + static_cast<int>(q / kRowChunks), args.m - 1) * kb +
             q % kRowChunks * 16;
    }
#pragma unroll
    for (int i = 0; i < kNB; ++i) {
      const unsigned q = tid + i * kT;
      w[i] = static_cast<const char*>(args.w) +
             (kRows ? min(n0 + static_cast<int>(q / kRowChunks), args.n - 1) * kb + q % kRowChunks * 16
                    : min(n0 / 16 + static_cast<int>(q / kGroupChunks), args.n / 16 - 1) * kb * kBytesB +
                          q % kGroupChunks * 16);
    }
#pragma unroll
    for (int i = 0; i < kNS; ++i) {
      const unsigned q = tid + i * kT;
      s[i] = reinterpret_cast<const char*>(args.group_scale) +
             min(n0 / 16 + static_cast<int>(q / (T::kSteps / 2)), args.n / 16 - 1) * (kb / 4) + q % (T::kSteps / 2) * 16;
    }
  }
  __device__ __forceinline__ void advance(int slices) {
#pragma unroll
    for (int i = 0; i < kNA; ++i) x[i] += slices * T::kBK;
#pragma unroll
    for (int i = 0; i < kNB; ++i) w[i] += slices * T::kBK * static_cast<int>(kBytesB);
#pragma unroll
    for (int i = 0; i < kNS; ++i) s[i] += slices * T::kBK / 4;
  }

  // The slice `ahead` slices further on. left: bytes of k from its begin on; nothing is copied if there are none.
  __device__ __forceinline__ void copy(int ahead, uint32_t stage, int left) const {
    const unsigned tid = threadIdx.x;
    const bool more = left > 0;
#pragma unroll
    for (int i = 0; i < kNA; ++i) {
      const bool valid = !kTail || static_cast<int>(tid % kRowChunks * 16) < left;
      copy_async<16>(stage + place(tid / kRowChunks, i * (kT / kRowChunks)), x[i] + ahead * T::kBK,
                     more && (kChunksA % kT == 0 || tid + i * kT < kChunksA), valid);
    }
#pragma unroll
    for (int i = 0; i < kNB; ++i) {
      const unsigned q = tid + i * kT;
      uint32_t to = q * 16;
      unsigned k = q % kGroupChunks / (S::kAtom / 16) * 32;
      if constexpr (kRows) {
        to = place(fragment_row(tid / kRowChunks), i * (kT / kRowChunks), tid / kRowChunks);
        k = tid % kRowChunks * 16;
      }
      const bool valid = !kTail || static_cast<int>(k) < left;
      copy_async<16>(stage + S::kA + to, w[i] + ahead * T::kBK * static_cast<int>(kBytesB),
                     more && (kChunksB % kT == 0 || q < kChunksB), valid);
    }
#pragma unroll
    for (int i = 0; i < kNS; ++i) {
      const unsigned q = tid + i * kT;
      const bool valid = !kTail || static_cast<int>(q % (T::kSteps / 2) * 64) < left;
      copy_async<16>(stage + S::kA + S::kB + q * 16, s[i] + ahead * T::kBK / 4,
                     more && (kChunksS % kT == 0 || q < kChunksS), valid);
    }
  }

 private:
  // Where row r of W within the tile lies, in fragment order.
  __device__ __forceinline__ static unsigned fragment_row(unsigned r) {
    return (r & ~15u) | ((r >> 1 & 1) << 3) | ((r >> 2 & 3) << 1) | (r & 1);
  }
  // Place of the thread's chunk `rows` rows below row r; `rows` is a constant.
  __device__ __forceinline__ static uint32_t place(unsigned r, unsigned rows) {
    const unsigned c = threadIdx.x % kRowChunks;
    if constexpr (kT / kRowChunks % 8 == 0) {
      return swizzle<T::kBK>(r, c) + rows * T::kBK;  // the same swizzle 8 rows further
    } else {
      return swizzle<T::kBK>(r + rows, c);
    }
  }
  __device__ __forceinline__ static uint32_t place(unsigned fragment, unsigned rows, unsigned r) {
    const unsigned c = threadIdx.x % kRowChunks;
    if constexpr (kT / kRowChunks % 16 == 0) {
      return swizzle<T::kBK>(fragment, c) + rows * T::kBK;
    } else {
      return swizzle<T::kBK>(fragment_row(r + rows), c);
    }
  }
};

// The fragments of a warp, and where they come from.
//
// Within a step either columns or rows are the outer loop of the products. The fragments of the outer operand are
// replaced by those of the next step as soon as they have been used; the inner operand has two sets. 4-bit weights are
// the inner operand: unpacked a step ahead.
template <Kind kKind, class T>
struct Fragments {
  using S = Stage<kKind, T>;
  static constexpr bool kCodes = kKind == Kind::w4a8;
  static constexpr bool kRowsOuter = kCodes;
  static constexpr int kMI = T::kMI, kNU = T::kNU;
  uint32_t a[kRowsOuter ? 1 : 2][kMI][4];
  uint32_t b[kRowsOuter ? 2 : 1][kNU][4];  // two n8 fragments each
  uint32_t codes[kNU][2], scale[kNU][2], offset[kNU][2];
  StepAddress<T::kBK> a_at, b_at;
  uint32_t packed_at, scale_at;

  __device__ __forceinline__ Fragments(uint32_t shared0, int warp_m, int warp_n, int lane)
      : a_at(shared0, swizzle<T::kBK>(warp_m * T::kWM + lane % 16, lane / 16)),
        b_at(shared0 + S::kA, swizzle<T::kBK>(warp_n * T::kWN + (lane & 7) + (lane >> 4) * 8, lane >> 3 & 1)),
        packed_at(shared0 + S::kA + warp_n * kNU * T::kSteps * S::kAtom + lane * (S::kAtom / 32)),
        scale_at(shared0 + S::kA + S::kB + warp_n * kNU * (T::kSteps / 2) * 16 + lane / 4 * 2) {}

  // Step s of the slice in stage number `stage`.
  __device__ __forceinline__ void load_a(int i, int stage, int s) {
    load_matrix(a[kRowsOuter ? 0 : s % 2][i], a_at.at(s) + stage * S::kBytes + i * 16 * T::kBK);
  }
  __device__ __forceinline__ void load_b(int u, int stage, int s) {
    if constexpr (kKind == Kind::bf16) {
      load_matrix(b[kRowsOuter ? s % 2 : 0][u], b_at.at(s) + stage * S::kBytes + u * 16 * T::kBK);
    } else if constexpr (kCodes) {
      load_shared(codes[u], packed_at + stage * S::kBytes + (u * T::kSteps + s) * S::kAtom);
      if (s % 2 == 0) {
        const uint32_t from = scale_at + stage * S::kBytes + (u * (T::kSteps / 2) + s / 2) * 16;
        scale[u][0] = load_shared_u8(from);
        scale[u][1] = load_shared_u8(from + 1);
      }
    } else {
      load_shared(b[kRowsOuter ? s % 2 : 0][u], packed_at + stage * S::kBytes + (u * T::kSteps + s) * S::kAtom);
    }
  }
  __device__ __forceinline__ void unpack(int u, int s) {
    if constexpr (kCodes) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        if (s % 2 == 0) offset[u][j] = 0x80808080u - scale[u][j] * 0x08080808u;
        uint32_t(&to)[4] = b[kRowsOuter ? s % 2 : 0][u];
        unpack_codes(codes[u][j], scale[u][j], offset[u][j], to[2 * j], to[2 * j + 1]);
      }
    }
  }
  template <typename Acc>
  __device__ __forceinline__ void multiply(Acc (&acc)[kMI][2 * kNU][4], int i, int u, int j, int s) {
    const uint32_t(&from)[4] = b[kRowsOuter ? s % 2 : 0][u];
    multiply_add<kKind>(acc[i][2 * u + j], a[kRowsOuter ? 0 : s % 2][i], from[2 * j], from[2 * j + 1]);
  }

  // The products of step s, and the fragments of the next one, which lies in stage next_stage.
  template <typename Acc>
  __device__ __forceinline__ void step(Acc (&acc)[kMI][2 * kNU][4], int s, int next_stage) {
    const int next = (s + 1) % T::kSteps;
    if constexpr (kRowsOuter) {
#pragma unroll
      for (int u = 0; u < kNU; ++u) load_b(u, next_stage, next);
#pragma unroll
      for (int i = 0; i < kMI; ++i) {
#pragma unroll
        for (int u = 0; u < kNU; ++u) {
          multiply(acc, i, u, 0, s);
          multiply(acc, i, u, 1, s);
        }
        load_a(i, next_stage, next);
        constexpr int kLate = kMI / 2;  // the codes have come by then
        if (i >= kLate) {
#pragma unroll
          for (int u = (i - kLate) * kNU / (kMI - kLate); u < (i + 1 - kLate) * kNU / (kMI - kLate); ++u) unpack(u, next);
        }
      }
    } else {
      constexpr int kPlaces = (kNU + 1) / 2;  // fragments of x are loaded in the first half of the step
#pragma unroll
      for (int u = 0; u < kNU; ++u) {
#pragma unroll
        for (int i = min(u * kMI / kPlaces, kMI); i < min((u + 1) * kMI / kPlaces, kMI); ++i) load_a(i, next_stage, next);
#pragma unroll
        for (int j = 0; j < 2; ++j) {
#pragma unroll
          for (int i = 0; i < kMI; ++i) multiply(acc, i, u, j, s);
        }
        load_b(u, next_stage, next);
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
  using End = EndShared<kKind, T>;
  using Acc = typename Product<kKind>::Acc;
  constexpr int kStages = T::kStages;

  extern __shared__ __align__(128) char shared[];
  const uint32_t shared0 = shared_address(shared), shared_end = shared0 + kStages * S::kBytes;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int k_bytes = args.k_bytes;
  const int tiles = ((args.m + T::kBM - 1) / T::kBM) * ((args.n + T::kBN - 1) / T::kBN);

  Fetch<kKind, T> fetch;
  auto fetch_first = [&] {
#pragma unroll
    for (int i = 0; i < kStages - 1; ++i) {
      fetch.copy(i, shared0 + i * S::kBytes, k_bytes - i * T::kBK);
      copy_commit();
    }
    fetch.advance(kStages - 1);
  };

  int tile = blockIdx.x, m0, n0;
  if (tile >= tiles) return;
  tile_origin<T>(args, tile, m0, n0);
  fetch.set_tile(args, m0, n0);
  fetch_first();
  Fragments<kKind, T> fragments(shared0, warp % T::kWarpsM, warp / T::kWarpsM, lane);

  while (true) {
    Acc acc[T::kMI][2 * T::kNU][4] = {};
    copy_wait<kStages - 2>();
    __syncthreads();
    End::fetch(args, shared_end, m0, n0);  // belongs to the next group committed
    int* next_tile = reinterpret_cast<int*>(shared + kStages * S::kBytes + End::kNextTile);
    if (threadIdx.x == T::kThreads - 1) tile_origin<T>(args, tile + gridDim.x, next_tile[0], next_tile[1]);
#pragma unroll
    for (int i = 0; i < T::kMI; ++i) fragments.load_a(i, 0, 0);
#pragma unroll
    for (int u = 0; u < T::kNU; ++u) {
      fragments.load_b(u, 0, 0);
      fragments.unpack(u, 0);
    }

    int left = k_bytes;  // bytes of k from this slice on
    while (true) {
#pragma unroll
      for (int stage = 0; stage < kStages; ++stage) {
        const int next_stage = (stage + 1) % kStages;
#pragma unroll
        for (int s = 0; s + 1 < T::kSteps; ++s) fragments.step(acc, s, stage);
        // The next slice must be there, and the previous one, which is overwritten now, have been read by all.
        copy_wait<kStages - 3>();
        __syncthreads();
        fragments.step(acc, T::kSteps - 1, next_stage);
        fetch.copy(stage, shared0 + (stage + kStages - 1) % kStages * S::kBytes, left - (kStages - 1) * T::kBK);
        copy_commit();
            left -= T::kBK;
        if (left <= 0) break;
      }
      if (left <= 0) break;
      fetch.advance(kStages);
    }
    copy_wait<0>();
    __syncthreads();  // all have read the slices; the end's operands are there

    const int m_done = m0, n_done = n0;
    tile += gridDim.x;
    if (tile < tiles) {
      m0 = next_tile[0];
      n0 = next_tile[1];
      fetch.set_tile(args, m0, n0);
      fetch_first();
    }
    if (args.end.residual != nullptr) {
      finish<kKind, T, true>(args, acc, shared + kStages * S::kBytes, m_done, n_done);
    } else {
      finish<kKind, T, false>(args, acc, shared + kStages * S::kBytes, m_done, n_done);
    }
    if (tile >= tiles) return;
  }
}

}  // namespace inkling::cuda::gemm
