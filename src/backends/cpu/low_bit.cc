#include "backends/cpu/low_bit.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "backends/cpu/dnnl_cache.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/prepared_weight.h"
#include "base/threads.h"
#include "formats/int_quant.h"

namespace inkling {

namespace {

using kernels::kDepth;
using kernels::kPanel;

constexpr int64_t kRows = 384;  // of activations per task: their sums stay in L2; a multiple of every kernel's block
constexpr int64_t kFewRows = 96;
constexpr int64_t kTile = 64;  // columns of the smallest chunk
static_assert(kPanel == kInt4Group);

int64_t aligned(int64_t bytes) {
  constexpr int64_t a = CountingAllocator::kAlignment;
  return (bytes + a - 1) / a * a;
}

// Calls body(i, thread's scratch) for every i < count, by whichever thread is free.
template <typename Body>
void for_each_task(int64_t count, std::byte* scratch, int64_t scratch_bytes, Body body) {
  const int64_t threads = std::min<int64_t>(thread_count(), count);
  std::atomic<int64_t> next{0};
  parallel_for(threads, 1, [&](int64_t first, int64_t last) {
    for (int64_t t = first; t < last; ++t)
      for (int64_t i = next++; i < count; i = next++) body(i, scratch + t * scratch_bytes);
  });
}

uint32_t word_at(const void* p) {
  uint32_t value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

// One row to its lane of a panel. int8: quads of weights + 128.
void pack_row_i8(const int8_t* q, int64_t k, std::byte* lane) {
  for (int64_t i = 0; i < k; i += 4, lane += 4 * kPanel) {
    const uint32_t quad = word_at(q + i) ^ 0x80808080u;
    std::memcpy(lane, &quad, sizeof(quad));
  }
}

// int4: eight codes c0 c1 ... c7, from the lowest nibble up, become c0 c4 c1 c5 c2 c6 c3 c7.
void pack_row_i4(const uint8_t* codes, int64_t k, std::byte* lane) {
  for (int64_t i = 0; i < k; i += 8, lane += 4 * kPanel) {
    uint32_t v = word_at(codes + i / 2);
    uint32_t swapped = (v ^ (v >> 8)) & 0x0000ff00u;
    v ^= swapped ^ (swapped << 8);
    swapped = (v ^ (v >> 4)) & 0x00f000f0u;
    v ^= swapped ^ (swapped << 4);
    std::memcpy(lane, &v, sizeof(v));
  }
}

// Where the parts of output `row` lie.
struct Lane {
  std::byte* codes;
  uint8_t* group_scale;  // kPanel apart; those of a panel take k bytes, as a group is as long as a panel is wide
  float* scale;
  Lane(const IntegerMatrix& m, std::byte* packed, int64_t row)
      : codes(packed + row / kPanel * m.panel_bytes + row % kPanel * 4),
        group_scale(reinterpret_cast<uint8_t*>(packed + m.groups_at) + row / kPanel * m.k + row % kPanel),
        scale(reinterpret_cast<float*>(packed + m.scale_at) + row) {}
};

void pack_i4(const uint8_t* codes, const uint8_t* group_scale, float scale, int64_t k, const Lane& lane) {
  pack_row_i4(codes, k, lane.codes);
  for (int64_t g = 0; g < k / kInt4Group; ++g) lane.group_scale[g * kPanel] = group_scale[g];
  *lane.scale = scale;
}

void pack_zero(const IntegerMatrix& m, const Lane& lane) {
  const uint32_t zero = m.four_bit ? 0x88888888u : 0x80808080u;
  for (int64_t i = 0; i < m.panel_bytes; i += 4 * kPanel) std::memcpy(lane.codes + i, &zero, sizeof(zero));
  if (m.four_bit)
    for (int64_t g = 0; g < m.k / kInt4Group; ++g) lane.group_scale[g * kPanel] = 1;
  *lane.scale = 0.f;
}

}  // namespace

IntegerMatrix::IntegerMatrix(bool four_bit, int64_t n, int64_t k)
    : four_bit(four_bit), n(n), k(k), panels((n + kPanel - 1) / kPanel) {
  panel_bytes = kPanel * k / (four_bit ? 2 : 1);
  groups_at = panels * panel_bytes;
  scale_at = groups_at + (four_bit ? panels * kPanel * (k / kInt4Group) : 0);
  bytes = scale_at + panels * kPanel * 4;
}

// 2^16 products of at most 127 * 255 are below 2^31.
bool integers_can_multiply(int64_t k) { return k > 0 && k % kInt4Group == 0 && k <= 65536; }

RoundedRows::RoundedRows(int64_t rows, int64_t k, int64_t chunk) : rows(rows), k(k), chunk(chunk) {
  scale_at = aligned(rows * k);
  sum_at = scale_at + aligned(rows * 4);
  bytes = sum_at + aligned(rows * 4);
}

int64_t pack_scratch_bytes(int64_t k) { return aligned(k * 4) + aligned(k) + aligned(k / kInt4Group); }
int64_t round_scratch_bytes(int64_t k) { return aligned(k * 4) + aligned(k); }
int64_t multiply_scratch_bytes(int64_t rows, const IntegerMatrix& w) {
  return std::min(rows, kRows) * kPanel * 4 + (w.four_bit ? kDepth * kPanel : 0);
}

void pack_rounded(const StoredRows& source, int64_t rotation, const IntegerMatrix& m, std::byte* packed,
                  std::byte* scratch) {
  for_each_task(m.panels, scratch, pack_scratch_bytes(m.k), [&](int64_t panel, std::byte* own) {
    float* row = reinterpret_cast<float*>(own);
    auto* codes = reinterpret_cast<uint8_t*>(own + aligned(m.k * 4));
    auto* group_scale = codes + aligned(m.k);
    for (int64_t r = panel * kPanel; r < (panel + 1) * kPanel; ++r) {
      const Lane lane(m, packed, r);
      if (r >= m.n) {
        pack_zero(m, lane);
        continue;
      }
      source.read(r, row);
      rotate_row(row, m.k, rotation);
      if (m.four_bit) {
        const float scale = quantize_row_i4(row, m.k, codes, group_scale);
        pack_i4(codes, group_scale, scale, m.k, lane);
      } else {
        auto* q = reinterpret_cast<int8_t*>(codes);
        *lane.scale = quantize_row_i8(row, m.k, q);
        pack_row_i8(q, m.k, lane.codes);
      }
    }
  });
}

void pack_stored(const Tensor& codes, const LowBitParts& parts, const IntegerMatrix& m, std::byte* packed) {
  const auto* scale = reinterpret_cast<const float*>(parts.scale.raw());
  for_each_task(m.panels, nullptr, 0, [&](int64_t panel, std::byte*) {
    for (int64_t r = panel * kPanel; r < (panel + 1) * kPanel; ++r) {
      const Lane lane(m, packed, r);
      if (r >= m.n) {
        pack_zero(m, lane);
      } else if (m.four_bit) {
        pack_i4(reinterpret_cast<const uint8_t*>(codes.raw()) + r * m.k / 2,
                reinterpret_cast<const uint8_t*>(parts.group_scale.raw()) + r * (m.k / kInt4Group), scale[r], m.k,
                lane);
      } else {
        pack_row_i8(reinterpret_cast<const int8_t*>(codes.raw()) + r * m.k, m.k, lane.codes);
        *lane.scale = scale[r];
      }
    }
  });
}

void round_rows(const float* x, int64_t rotation, const RoundedRows& layout, std::byte* rounded, std::byte* scratch) {
  const int64_t rows = layout.rows, k = layout.k;
  const int64_t threads = std::min<int64_t>(thread_count(), rows);
  auto* scales = reinterpret_cast<float*>(rounded + layout.scale_at);
  auto* sums = reinterpret_cast<int32_t*>(rounded + layout.sum_at);
  parallel_for(threads, 1, [&](int64_t first, int64_t last) {
    for (int64_t t = first; t < last; ++t) {
      float* row = reinterpret_cast<float*>(scratch + t * round_scratch_bytes(k));
      auto* q = reinterpret_cast<int8_t*>(row) + aligned(k * 4);
      for (int64_t r = rows * t / threads; r < rows * (t + 1) / threads; ++r) {
        std::memcpy(row, x + r * k, static_cast<size_t>(k) * sizeof(float));
        rotate_row(row, k, rotation);
        scales[r] = quantize_row_i8(row, k, q);
        int32_t sum = 0;
        for (int64_t i = 0; i < k; ++i) sum += q[i];
        sums[r] = sum;
        if (layout.chunk == kTile) {
          for (int64_t c = 0; c < k; c += kTile) std::memcpy(rounded + c * rows + r * kTile, q + c, kTile);
          continue;
        }
        for (int64_t c = 0; c < k; c += layout.chunk) {
          const int64_t width = std::min(layout.chunk, k - c);
          std::memcpy(rounded + c * rows + r * width, q + c, static_cast<size_t>(width));
        }
      }
    }
  });
}

void multiply_integers(kernels::Int8Isa isa, const RoundedRows& x, const std::byte* rounded, const IntegerMatrix& m,
                       const std::byte* packed, const float* bias, int activation, float* y, std::byte* scratch) {
  const kernels::Int8Kernels& kernel = kernels::int8_kernels(isa);
  const auto* x_scale = reinterpret_cast<const float*>(rounded + x.scale_at);
  const auto* x_sum = reinterpret_cast<const int32_t*>(rounded + x.sum_at);
  const auto* scale = reinterpret_cast<const float*>(packed + m.scale_at);
  const auto* groups = reinterpret_cast<const uint8_t*>(packed + m.groups_at);
  // Tasks are a panel and a run of rows; short runs only where there are too few panels for the threads.
  int64_t runs = (x.rows + kRows - 1) / kRows;
  while (runs * m.panels < 4 * thread_count() && x.rows / (runs + 1) >= kFewRows) ++runs;
  for_each_task(m.panels * runs, scratch, multiply_scratch_bytes(x.rows, m), [&](int64_t task, std::byte* own) {
    const int64_t panel = task / runs, first = task % runs * x.rows / runs, last = (task % runs + 1) * x.rows / runs;
    auto* sums = reinterpret_cast<int32_t*>(own);
    auto* unpacked = reinterpret_cast<uint8_t*>(own + std::min(x.rows, kRows) * kPanel * 4);
    const auto* codes = reinterpret_cast<const uint8_t*>(packed + panel * m.panel_bytes);
    const int64_t column_bytes = m.panel_bytes / m.k;
    for (int64_t k = 0; k < m.k; k += kDepth) {
      const int64_t depth = std::min(kDepth, m.k - k), width = std::min(x.chunk, depth);
      const uint8_t *stored = codes + k * column_bytes, *w = stored;
      if (m.four_bit) {
        kernel.unpack(stored, groups + panel * m.k + k, depth, unpacked);
        w = unpacked;
      }
      // What the panel holds next is brought in meanwhile.
      const kernels::Ahead ahead{stored + depth * column_bytes,
                                 std::clamp<int64_t>(m.k - k - depth, 0, kDepth) * column_bytes / 64};
      const auto* from = reinterpret_cast<const int8_t*>(rounded + k * x.rows + first * width);
      kernel.multiply(from, x.chunk == kDepth ? width : x.rows * x.chunk, last - first, w, depth, k == 0, sums, ahead);
    }
    const int64_t begin = panel * kPanel, n = std::min(kPanel, m.n - begin), rows = last - first;
    auto* finished = reinterpret_cast<float*>(own);
    for (int64_t r = 0; r < rows; ++r)
      kernel.finish(sums + r * kPanel, kernel.offset * x_sum[first + r], x_scale[first + r], scale + begin,
                    bias == nullptr ? nullptr : bias + begin, n, finished + r * kPanel);
    if (activation != kNoActivation)
      kernels::activate(static_cast<Activation>(activation), finished, finished, rows * kPanel);
    kernel.store(finished, rows, n, y + first * m.n + begin, m.n);
  });
}

}  // namespace inkling
