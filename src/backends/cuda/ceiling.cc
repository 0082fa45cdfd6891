#include "backends/cuda/ceiling.h"

#include <algorithm>

#include "backends/cuda/context.h"
#include "backends/cuda/cublaslt.h"
#include "backends/cuda/cuda_model.h"
#include "backends/cuda/kernels/ceiling.h"
#include "backends/cuda/kernels/rows.h"
#include "backends/cuda/kernels/unpack.h"
#include "base/error.h"

namespace inkling {

using cuda::check;
using cuda::Elem;

namespace {

// A product this large is bound by the tensor cores alone.
constexpr int64_t kSide = 8192;

// Operations a second of cublasLt's kSide^3 product; 0 where it has none.
double library_rate(CudaContext& context, Elem type) {
  const cudaStream_t stream = context.lane();
  const int64_t elements = kSide * kSide;
  const auto x = context.arena().allocate(elements * cuda::size_of(type));
  const auto w = context.arena().allocate(elements * cuda::size_of(type));
  const auto y = context.arena().allocate(elements * 2), scales = context.arena().allocate(2 * kSide * 4);
  auto* scale = reinterpret_cast<float*>(scales->data());
  for (int side = 0; side < 2; ++side) {
    std::byte* to = side == 0 ? x->data() : w->data();
    if (type == Elem::bf16) {
      cuda::random_rows(1 + side, 1.f, elements, to, Elem::bf16, stream);
      continue;
    }
    cuda::random_rows(1 + side, 1.f, elements, y->data(), Elem::bf16, stream);
    cuda::convert_rows(y->data(), Elem::bf16, kSide, kSide, kSide, cuda::Act::none, {to, type, scale + side * kSide},
                       stream);
  }
  CublasLt library;
  CublasLt::Call call;
  call.m = call.n = call.k = kSide;
  call.type = type;
  call.x = x->data();
  call.w = w->data();
  if (type == Elem::e4m3) {
    call.x_scale = scale;
    call.w_scale = scale + kSide;
  }
  call.y = y->data();
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "ceiling");
  check(cudaEventCreate(&end), "ceiling");
  double best = 0;
  for (int i = -2; i < 10; ++i) {
    check(cudaEventRecord(begin, stream), "ceiling");
    if (!library.run(call, context.library_workspace(0), CudaContext::kLibraryWorkspace, stream)) break;
    check(cudaEventRecord(end, stream), "ceiling");
    check(cudaEventSynchronize(end), "ceiling");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin, end), "ceiling");
    if (i >= 0) best = std::max(best, 2e3 * static_cast<double>(kSide * kSide * kSide) / milliseconds);
  }
  check(cudaStreamSynchronize(stream), "ceiling");
  check(cudaEventDestroy(begin), "ceiling");
  check(cudaEventDestroy(end), "ceiling");
  return best;
}

}  // namespace

Ceilings measure_cuda_ceilings(CudaContext& context, const CudaModel& model) {
  const cudaStream_t stream = context.lane();
  Ceilings c;
  {
    const auto scratch = context.arena().allocate(cuda::mma_scratch_bytes());
    c.of(NumberFormat::bf16) = {cuda::mma_ceiling(cuda::gemm::Kind::bf16, scratch->data(), stream), "mma.sync alone"};
    c.of(NumberFormat::int8) = {cuda::mma_ceiling(cuda::gemm::Kind::w8a8, scratch->data(), stream), "mma.sync alone"};
  }
  if (model.uses_cublas(CudaForm::bf16)) {
    const std::string how = fmt::format("cublasLt, {}^3", kSide);
    if (const double rate = library_rate(context, Elem::bf16); rate > c.of(NumberFormat::bf16).per_second)
      c.of(NumberFormat::bf16) = {rate, how};
    c.of(NumberFormat::fp8) = {library_rate(context, Elem::e4m3), how};
  }
  const int64_t room = context.arena().capacity() - context.arena().stats().current;
  const int64_t bytes = std::clamp<int64_t>(room / 4, 1 << 20, int64_t{256} << 20) / 4096 * 4096;
  const auto from = context.arena().allocate(bytes), to = context.arena().allocate(bytes);
  check(cudaMemsetAsync(from->data(), 1, bytes, stream), "ceiling");
  c.copy = {cuda::copy_ceiling(to->data(), from->data(), bytes, stream),
            fmt::format("cudaMemcpy of {} MiB", bytes >> 20)};
  return c;
}

}  // namespace inkling
