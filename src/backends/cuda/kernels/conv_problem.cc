#include "backends/cuda/kernels/conv_problem.h"

#include <algorithm>

#include "base/error.h"

namespace inkling::cuda::conv {

Problem make_problem(const ConvShape& s) {
  constexpr int64_t kMaxSide = 1 << 20, kMaxPixels = 1 << 30, kMaxChannels = 1 << 16;
  const bool sizes = std::min({s.h, s.w, s.cin, s.cout, s.out_h(), s.out_w()}) >= 1 &&
                     std::max({s.in_h(), s.in_w(), s.out_h(), s.out_w()}) <= kMaxSide &&
                     std::max(s.h * s.w, s.out_h() * s.out_w()) <= kMaxPixels &&
                     std::max(s.cin, s.cout) <= kMaxChannels;
  const bool pads = std::min({s.pad_top, s.pad_left, s.pad_bottom, s.pad_right}) >= 0;
  const bool kinds = (s.kernel == 1 || s.kernel == 3) && (s.stride == 1 || (s.stride == 2 && !s.upsample));
  if (!sizes || !pads || !kinds)
    throw RuntimeError(
        "conv2d: map [{}, {}, {}], {} outputs, kernel {}, stride {}{}: expected kernel 1 or 3, stride 1 or (not "
        "doubled) 2",
        s.h, s.w, s.cin, s.cout, s.kernel, s.stride, s.upsample ? ", doubled" : "");
  Problem p;
  p.h = static_cast<int>(s.h);
  p.w = static_cast<int>(s.w);
  p.cin = static_cast<int>(s.cin);
  p.cout = static_cast<int>(s.cout);
  p.out_h = static_cast<int>(s.out_h());
  p.out_w = static_cast<int>(s.out_w());
  p.stride = static_cast<int>(s.stride);
  p.phases = s.upsample ? 2 : 1;
  p.taps_h = p.taps_w = s.kernel == 1 ? 1 : s.upsample ? 2 : 3;
  const auto origin = [&](int64_t pad, int phase) { return static_cast<int>(s.upsample ? (phase - pad) >> 1 : -pad); };
  for (int phase = 0; phase < 2; ++phase) {
    p.origin_y[phase] = origin(s.pad_top, phase);
    p.origin_x[phase] = origin(s.pad_left, phase);
  }
  const int taps = p.taps_h * p.taps_w;
  p.flat = p.cin < 24;  // a slice for each tap would be mostly padding
  p.steps = p.flat ? (taps * p.cin + kSlice - 1) / kSlice : (p.cin + kSlice - 1) / kSlice * taps;
  p.output16 = (p.cout + 15) / 16;
  return p;
}

void check_maps(const void* x, Elem x_type, const void* packed, const void* residual, const void* y, Elem y_type) {
  for (const Elem type : {x_type, y_type})
    if (type != Elem::bf16 && type != Elem::f32)
      throw RuntimeError("conv2d: elements of {} bytes, expected bf16 or f32 maps", size_of(type));
  for (const void* pointer : {x, packed, residual, y})
    if (reinterpret_cast<uintptr_t>(pointer) % 16 != 0)
      throw RuntimeError("conv2d: pointer {}, expected an alignment to 16 bytes", pointer);
}

}  // namespace inkling::cuda::conv
