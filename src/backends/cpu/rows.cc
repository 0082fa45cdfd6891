// Operations that move rows without computing.
#include <cstring>

#include "backends/cpu/cpu_ops.h"
#include "backends/cpu/operands.h"
#include "backends/cpu/prepared_weight.h"
#include "base/threads.h"
#include "formats/block_quant.h"
#include "ops/checks.h"

namespace inkling {

Tensor CpuOps::embedding(const Tensor& ids, const Weight& w) {
  Tensor y = allocate(checks::embedding(ids, w));
  // A table that was never prepared is read as it was loaded.
  const auto* ready = dynamic_cast<const CpuWeight*>(w.prepared.get());
  const Tensor& table = ready != nullptr ? ready->data : w.value;
  const DType type = ready != nullptr ? ready->type : w.value.dtype();
  if (!table.defined() || table.raw() == nullptr)
    throw RuntimeError("embedding: got weight '{}' without a value, expected a loaded one", w.name);
  const int64_t columns = w.shape[1], stride = row_bytes(type, columns);
  const int32_t* index = ids.data<int32_t>();
  float* out = floats(y);
  parallel_for(y.dim(0), row_grain(columns), [&](int64_t b, int64_t e) {
    for (int64_t r = b; r < e; ++r) convert_to_f32(type, table.raw() + index[r] * stride, out + r * columns, columns);
  });
  return y;
}

Tensor CpuOps::concat_rows(const std::vector<Tensor>& parts) {
  Tensor y = allocate(checks::concat_rows(parts), parts.empty() ? DType::f32 : parts[0].dtype());
  std::byte* out = y.raw();
  for (const Tensor& part : parts) {
    if (part.bytes() > 0) std::memcpy(out, part.raw(), static_cast<size_t>(part.bytes()));
    out += part.bytes();
  }
  return y;
}

Tensor CpuOps::slice_channels(const Tensor& x, int64_t begin, int64_t end) {
  Tensor y = allocate(checks::slice_channels(x, begin, end), x.dtype());
  const int64_t size = row_bytes(x.dtype(), 1);
  const std::byte* in = x.raw() + begin * size;
  std::byte* out = y.raw();
  const int64_t from = x.channels() * size, to = (end - begin) * size;
  parallel_for(x.rows(), row_grain(end - begin), [&](int64_t b, int64_t e) {
    for (int64_t r = b; r < e; ++r) std::memcpy(out + r * to, in + r * from, static_cast<size_t>(to));
  });
  return y;
}

Tensor CpuOps::gather_rows(const Tensor& x, const Tensor& index) {
  Tensor y = allocate(checks::gather_rows(x, index), x.dtype());
  const int64_t stride = row_bytes(x.dtype(), x.channels());
  const int32_t* from = index.data<int32_t>();
  const std::byte* in = x.raw();
  std::byte* out = y.raw();
  parallel_for(y.rows(), row_grain(x.channels()), [&](int64_t b, int64_t e) {
    for (int64_t r = b; r < e; ++r) std::memcpy(out + r * stride, in + from[r] * stride, static_cast<size_t>(stride));
  });
  return y;
}

Tensor CpuOps::upsample2x(const Tensor& x) {
  Tensor y = allocate(checks::upsample2x(x));
  const int64_t width = x.dim(1), channels = x.dim(2);
  const float* in = floats("upsample2x", x);
  float* out = floats(y);
  const auto bytes = static_cast<size_t>(channels) * sizeof(float);
  parallel_for(x.dim(0), row_grain(4 * width * channels), [&](int64_t b, int64_t e) {
    for (int64_t h = b; h < e; ++h) {
      const float* from = in + h * width * channels;
      float* to = out + 4 * h * width * channels;
      for (int64_t c = 0; c < width; ++c) {
        std::memcpy(to + 2 * c * channels, from + c * channels, bytes);
        std::memcpy(to + (2 * c + 1) * channels, from + c * channels, bytes);
      }
      std::memcpy(to + 2 * width * channels, to, 2 * static_cast<size_t>(width) * bytes);
    }
  });
  return y;
}

}  // namespace inkling
