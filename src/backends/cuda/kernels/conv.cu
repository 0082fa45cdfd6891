#include "backends/cuda/kernels/conv.h"
#include "backends/cuda/kernels/conv_launch.cuh"

namespace inkling::cuda {

namespace {

using namespace conv;

__global__ void pack_kernel(const float* weight, ConvShape shape, Problem p, uint8_t* packed) {
  const int64_t index = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  const int64_t of_phase = static_cast<int64_t>(p.steps) * p.output16 * 16 * kSlice;
  if (index >= of_phase * p.phases * p.phases) return;
  const int input = index % kSlice, output = index / kSlice % (p.output16 * 16);
  const int phase = index / of_phase, step = index % of_phase / (static_cast<int64_t>(kSlice) * p.output16 * 16);
  const Location at = locate(p, step, input);
  float sum = 0;
  if (at.tap < p.taps_h * p.taps_w && at.channel < p.cin && output < p.cout) {
    // The taps of the doubled map that fall on this source pixel; without doubling, one.
    const int a = phase / p.phases, b = phase % p.phases, kernel = shape.kernel;
    const auto lands = [&](int origin, int k, int tap) {
      const int offset = shape.upsample ? (k + origin) >> 1 : k;
      return offset == tap;
    };
    // In the doubled map tap k of phase a reads 2 i + a - pad + k; its half, less the origin, is the tap of the small
    // map.
    const int from_y = a - static_cast<int>(shape.pad_top) - 2 * p.origin_y[a];
    const int from_x = b - static_cast<int>(shape.pad_left) - 2 * p.origin_x[b];
    for (int ky = 0; ky < kernel; ++ky)
      for (int kx = 0; kx < kernel; ++kx)
        if (lands(from_y, ky, at.tap / p.taps_w) && lands(from_x, kx, at.tap % p.taps_w))
          sum += weight[((static_cast<int64_t>(output) * p.cin + at.channel) * kernel + ky) * kernel + kx];
  }
  const int64_t to = packed_offset(p, static_cast<int64_t>(phase) * p.steps + step, output, input);
  *reinterpret_cast<__nv_bfloat16*>(packed + to) = __float2bfloat16(sum);
}

// 48 KB: two blocks share a multiprocessor of any card.
using Wide = Tile<2, 2, 4, 6, 3, 2>;
// A warp of 64 pixels by 96 outputs reads the least shared memory per product; needs two blocks' 78 KB on one
// multiprocessor (sm_80, 90).
using Large = Tile<4, 1, 4, 12, 4, 2>;
using Gather = Tile<2, 2, 4, 6, 3, 3>;
using Narrow = Tile<4, 1, 4, 2, 4, 2>;
using Medium = Tile<4, 1, 2, 6, 4, 2>;

}  // namespace

int64_t conv_packed_bytes(const ConvShape& shape) {
  const Problem p = make_problem(shape);
  return static_cast<int64_t>(p.phases) * p.phases * p.steps * p.output16 * kWeightBlock;
}

void pack_conv(const float* weight, const ConvShape& shape, void* packed, cudaStream_t stream) {
  const Problem p = make_problem(shape);
  const int64_t elements = conv_packed_bytes(shape) / 2;
  pack_kernel<<<static_cast<unsigned>((elements + 255) / 256), 256, 0, stream>>>(weight, shape, p,
                                                                                 static_cast<uint8_t*>(packed));
  check_launch("pack_conv");
}

void conv2d(const ConvShape& shape, const void* x, Elem x_type, const void* packed, const float* bias,
            const void* residual, void* y, Elem y_type, cudaStream_t stream) {
  Problem p = make_problem(shape);
  check_maps(x, x_type, packed, residual, y, y_type);
  p.x = x;
  p.packed = static_cast<const uint8_t*>(packed);
  p.bias = bias;
  p.residual = residual;
  p.y = y;
  p.x_f32 = x_type == Elem::f32;
  p.y_f32 = y_type == Elem::f32;
  const bool vector = !p.x_f32 && p.cin % 8 == 0;
  if (!vector) return launch<Gather>(gather_kernel<Gather, false>, p, Gather::kGatherShared, stream);
  if (p.flat || p.stride != 1 || shape.kernel == 1)
    return launch<Gather>(gather_kernel<Gather, true>, p, Gather::kGatherShared, stream);
  if (p.cout <= 16) return launch<Narrow>(halo_kernel<Narrow>, p, Narrow::kHaloShared, stream);
  if (p.cout <= 48) return launch<Medium>(halo_kernel<Medium>, p, Medium::kHaloShared, stream);
  // Large where there are blocks for most places that multiprocessors have for them, two each.
  const bool roomy = device().sm == 80 || device().sm == 90;
  if (roomy && blocks<Large>(p) >= device().multiprocessors * 3 / 2)
    return launch<Large>(halo_kernel<Large>, p, Large::kHaloShared, stream);
  launch<Wide>(halo_kernel<Wide>, p, Wide::kHaloShared, stream);
}

}  // namespace inkling::cuda
