// Norms over the columns of a row.
#include "backends/cuda/kernels/rows_error.h"
#include "backends/cuda/kernels/rows_kernel.cuh"

namespace inkling::cuda {

void layer_norm(const void* x, Elem type, int64_t m, int64_t d, float eps, const float* scale, const float* shift,
                const RowTable& groups, const RowsOut& out, cudaStream_t stream) {
  if ((scale == nullptr) != (shift == nullptr))
    reject("layer_norm", "got one of scale and shift, expected both or none");
  RowArguments a;
  a.x = x, a.x_stride = d, a.d = static_cast<int>(d), a.type = type, a.eps = eps;
  a.scale = scale, a.shift = shift, a.groups = groups, a.out = out;
  launch_rows<RowOp::layer_norm>("layer_norm", a, m, stream);
}

void rms_norm(const void* x, Elem type, int64_t m, int64_t d, const float* gamma, float eps, const RowsOut& out,
              cudaStream_t stream) {
  RowArguments a;
  a.x = x, a.x_stride = d, a.d = static_cast<int>(d), a.type = type, a.eps = eps, a.scale = gamma, a.out = out;
  launch_rows<RowOp::rms_norm>("rms_norm", a, m, stream);
}

}  // namespace inkling::cuda
