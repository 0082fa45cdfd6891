// Checks of a matrix product and the choice of its tile shape.
#include "backends/cuda/kernels/gemm.h"

#include <algorithm>
#include <cmath>

#include "backends/cuda/kernels/gemm_args.h"
#include "base/error.h"

namespace inkling::cuda {

namespace {

using gemm::Args;
using gemm::Kind;
using gemm::TileShape;

// What the blocks that run at a time take for 64 bytes of k, for each kind: times on an H100 of an earlier version of
// the main loop; those of 64x128 and all `ends` (beginning and ending a tile) are estimates. Other devices differ in
// scale.
struct Candidate {
  TileShape shape;
  int rows, columns;
  int blocks;              // on one multiprocessor
  double microseconds[3];  // w8a8, w4a8, bf16
  double ends;
};
constexpr Candidate kLarge[] = {{TileShape::t128x256, 128, 256, 1, {0.62, 0.68, 0.71}, 3.5},
                                {TileShape::t128x192, 128, 192, 1, {0.54, 0.64, 0.57}, 2.6},
                                {TileShape::t64x256, 64, 256, 2, {0.67, 0.80, 0.79}, 3.5},
                                {TileShape::t64x128, 64, 128, 1, {0.36, 0.36, 0.36}, 1.8}};
// Few rows: reading W is what takes the time, so many blocks with much in flight.
constexpr Candidate kFewRows = {TileShape::t16x32, 16, 32, 2, {}, 0.},
                    kSomeRows = {TileShape::t32x64, 32, 64, 2, {}, 0.};

const Candidate& choose(Kind kind, const Args& args) {
  if (args.m <= 16) return kFewRows;
  if (args.m <= 64) return kSomeRows;
  const Candidate* best = nullptr;
  double least = 0;
  for (const Candidate& c : kLarge) {
    const int64_t tiles = int64_t{(args.m + c.rows - 1) / c.rows} * ((args.n + c.columns - 1) / c.columns);
    const int64_t at_once = int64_t{device().multiprocessors} * c.blocks;
    const int64_t waves = (tiles + at_once - 1) / at_once;
    const double time =
        static_cast<double>(waves) * (args.k_bytes / 64. * c.microseconds[static_cast<int>(kind)] + c.ends);
    if (best == nullptr || time < least) {
      best = &c;
      least = time;
    }
  }
  return *best;
}

Args make_args(const char* op, int64_t m, int64_t n, int64_t k, int64_t n_multiple, int64_t k_multiple, int64_t k_bytes,
               const GemmEnd& end) {
  if (m < 1 || n < 1 || k < 1 || n % n_multiple != 0 || k % k_multiple != 0 || m > INT32_MAX / 2 || n > INT32_MAX / 2 ||
      k_bytes > (1 << 22))
    throw RuntimeError("{}: got {} rows, W of {} x {}, expected multiples of {} x {}", op, m, n, k, n_multiple,
                       k_multiple);
  if (end.type != Elem::bf16 && end.type != Elem::f32) throw RuntimeError("{}: the result is bf16 or f32", op);
  Args args{};
  args.m = static_cast<int>(m);
  args.n = static_cast<int>(n);
  args.k_bytes = static_cast<uint32_t>(k_bytes);
  args.end = end;
  if (end.y_stride == 0) args.end.y_stride = n;
  if (args.end.y_stride < n || args.end.y_stride % 8 != 0)
    throw RuntimeError("{}: got rows of y {} apart, expected a multiple of 8 from {} on", op, end.y_stride, n);
  return args;
}

// Rows of tiles that are walked together, so that the blocks that run at a time share as much of x and W as they can.
TileShape place(Kind kind, Args& args) {
  const Candidate& c = choose(kind, args);
  const double at_once = static_cast<double>(device().multiprocessors) * c.blocks;
  args.group_m = std::max(1, static_cast<int>(std::lround(std::sqrt(at_once * c.columns / c.rows))));
  return c.shape;
}

}  // namespace

void gemm_w8a8(int64_t m, int64_t n, int64_t k, const QuantizedRows& x, const PackedW8& w, const GemmEnd& end,
               cudaStream_t stream) {
  Args args = make_args("gemm_w8a8", m, n, k, 16, 64, k, end);
  args.x = x.q;
  args.x_scale = x.scale;
  args.w = w.q;
  args.w_scale = w.scale;
  gemm::launch_w8a8(place(Kind::w8a8, args), args, stream);
}

void gemm_w4a8(int64_t m, int64_t n, int64_t k, const QuantizedRows& x, const PackedW4& w, const GemmEnd& end,
               cudaStream_t stream) {
  Args args = make_args("gemm_w4a8", m, n, k, 16, 64, k, end);
  args.x = x.q;
  args.x_scale = x.scale;
  args.x_sum = x.sum;
  args.w = w.q;
  args.group_scale = w.group_scale;
  args.w_scale = w.scale;
  gemm::launch_w4a8(place(Kind::w4a8, args), args, stream);
}

void gemm_bf16(int64_t m, int64_t n, int64_t k, const void* x, const void* w, const GemmEnd& end, cudaStream_t stream) {
  Args args = make_args("gemm_bf16", m, n, k, 8, 8, 2 * k, end);
  args.x = x;
  args.w = w;
  gemm::launch_bf16(place(Kind::bf16, args), args, stream);
}

}  // namespace inkling::cuda
