// Rows converted, activated, rotated, rounded.
#include "backends/cuda/kernels/rows_kernel.cuh"

namespace inkling::cuda {

void convert_rows(const void* x, Elem type, int64_t x_stride, int64_t m, int64_t d, Act act, const RowsOut& out,
                  cudaStream_t stream) {
  RowArguments a;
  a.x = x, a.x_stride = x_stride, a.d = static_cast<int>(d), a.type = type, a.act = act, a.out = out;
  launch_rows<RowOp::convert>("convert_rows", a, m, stream);
}

}  // namespace inkling::cuda
