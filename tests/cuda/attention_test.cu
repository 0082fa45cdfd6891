// Every attention kernel against a plain one with float64 sums, which is itself checked on the host. Results start as
// NaN; columns between rows and rows outside of the sequences must stay as they were.
#include <cuda_bf16.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backends/cuda/kernels/attention_kernels.h"

namespace inkling::cuda {
namespace {

using bf16 = __nv_bfloat16;
using Heads = std::pair<int, int>;

template <class T>
class Buffer {
 public:
  explicit Buffer(size_t count) : count_(count) {
    check(cudaMalloc(&data_, std::max<size_t>(1, count) * sizeof(T)), "test");
  }
  explicit Buffer(const std::vector<T>& host) : Buffer(host.size()) {
    check(cudaMemcpy(data_, host.data(), bytes(), cudaMemcpyHostToDevice), "test");
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { cudaFree(data_); }
  T* data() const { return data_; }
  size_t bytes() const { return count_ * sizeof(T); }
  void fill(int byte) { check(cudaMemset(data_, byte, bytes()), "test"); }
  std::vector<T> host() const {
    std::vector<T> h(count_);
    check(cudaMemcpy(h.data(), data_, bytes(), cudaMemcpyDeviceToHost), "test");
    return h;
  }

 private:
  T* data_ = nullptr;
  size_t count_;
};

__device__ float normal(uint64_t seed) {
  uint64_t x = seed * 0x9e3779b97f4a7c15ull + 0x632be59bd9b4e019ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  x ^= x >> 31;
  const float u = (static_cast<float>(x >> 40) + 0.5f) * 0x1p-24f, v = static_cast<float>(x & 0xffffff) * 0x1p-24f;
  return sqrtf(-2.f * logf(u)) * cosf(6.2831853f * v);
}

// How inputs differ from standard normal numbers.
struct Input {
  float size = 1.f, offset = 0.f, channel = 1.f;  // channel: factor of channel 3
  bool same_rows = false;
  float bias = 0.f;  // added to channel 3
};

__global__ void fill(bf16* x, int64_t rows, int columns, int64_t stride, int head_dim, Input input, uint64_t seed) {
  const int64_t i = blockIdx.x * int64_t{256} + threadIdx.x;
  if (i >= rows * columns) return;
  const int64_t row = i / columns, column = i % columns;
  float v = normal(seed + (input.same_rows ? 0 : row * 100003) + column) * input.size + input.offset;
  if (column % head_dim == 3) v = v * input.channel + input.bias;
  x[row * stride + column] = __float2bfloat16(v);
}

// One block a query row and head; float64 sums. y: f32 [rows of part 0, then of part 1, heads * head_dim].
__global__ void reference(AttentionShape shape, AttentionPart first, AttentionPart second, int64_t rows_0, float* y) {
  extern __shared__ double scores[];
  const int head = blockIdx.y, kv_head = head * shape.kv_heads / shape.heads, d = shape.head_dim;
  const int64_t global = blockIdx.x;
  const int part = global >= rows_0;
  const int64_t row = global - (part ? rows_0 : 0);
  const int32_t* offsets = shape.offsets + part * (shape.sequences + 1);
  int s = 0;
  while (s < shape.sequences && row >= offsets[s + 1]) ++s;
  const int32_t *a = shape.offsets, *b = a + shape.sequences + 1;
  const int n0 = a[s + 1] - a[s], n = n0 + b[s + 1] - b[s];
  const AttentionPart& query_part = part ? second : first;
  const bf16* q = static_cast<const bf16*>(query_part.q) + row * query_part.q_stride + head * d;
  const int limit = shape.causal ? static_cast<int>(row - a[s]) + 1 : n;
  const auto row_of = [&](const void* p0, const void* p1, int key) {
    const bf16* base = static_cast<const bf16*>(key < n0 ? p0 : p1);
    const int64_t r = key < n0 ? (a[s] + key) * first.kv_stride : (b[s] + key - n0) * second.kv_stride;
    return base + r + kv_head * d;
  };
  __shared__ double shared_max, shared_sum;
  for (int key = threadIdx.x; key < limit; key += blockDim.x) {
    const bf16* k = row_of(first.k, second.k, key);
    double dot = 0;
    for (int c = 0; c < d; ++c) dot += static_cast<double>(__bfloat162float(q[c])) * __bfloat162float(k[c]);
    scores[key] = dot * shape.scale;
  }
  __syncthreads();
  if (threadIdx.x < 32) {
    double most = -INFINITY, sum = 0;
    for (int key = threadIdx.x; key < limit; key += 32) most = fmax(most, scores[key]);
    for (int i = 16; i; i /= 2) most = fmax(most, __shfl_xor_sync(0xffffffffu, most, i));
    for (int key = threadIdx.x; key < limit; key += 32) sum += exp(scores[key] - most);
    for (int i = 16; i; i /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, i);
    if (threadIdx.x == 0) shared_max = most, shared_sum = sum;
  }
  __syncthreads();
  for (int key = threadIdx.x; key < limit; key += blockDim.x) scores[key] = exp(scores[key] - shared_max) / shared_sum;
  __syncthreads();
  for (int c = threadIdx.x; c < d; c += blockDim.x) {
    double sum = 0;
    for (int key = 0; key < limit; ++key) sum += scores[key] * __bfloat162float(row_of(first.v, second.v, key)[c]);
    y[(global * shape.heads + head) * d + c] = static_cast<float>(sum);
  }
}

struct Case {
  std::string name;
  int head_dim;
  Heads heads;
  std::vector<int> first, second;  // lengths of the parts
  bool causal = false;
  Input q = {}, k = {}, v = {};
  bool packed = false;  // q, k and v are columns of one matrix
};

struct Errors {
  double relative, cosine, worst;  // |y - r| / |r|; worst: largest difference by the largest |r|
  bool finite, outside_kept;
};

class Problem {
 public:
  explicit Problem(const Case& c) : case_(c) {
    const int sequences = static_cast<int>(c.first.size());
    for (const auto* lengths : {&c.first, &c.second}) {
      offsets_.push_back(0);
      for (int s = 0; s < sequences; ++s) offsets_.push_back(offsets_.back() + (lengths->empty() ? 0 : (*lengths)[s]));
    }
    device_offsets_ = std::make_unique<Buffer<int32_t>>(offsets_);
    shape.heads = c.heads.first, shape.kv_heads = c.heads.second, shape.head_dim = c.head_dim;
    shape.scale = 1.f / std::sqrt(static_cast<float>(c.head_dim));
    shape.causal = c.causal;
    shape.sequences = sequences;
    shape.offsets = device_offsets_->data();
    shape.host_offsets = offsets_.data();
    const int columns = shape.heads * c.head_dim, kv_columns = shape.kv_heads * c.head_dim;
    for (int p = 0; p < 2; ++p) {
      const int64_t rows = shape.total_rows(p);
      AttentionPart& part = parts[p];
      if (c.packed) {
        part.q_stride = part.kv_stride = columns + 2 * kv_columns + 8 * (p + 1);
        bf16* base = make(rows * part.q_stride);
        part.q = base, part.k = base + columns, part.v = base + columns + kv_columns;
      } else {
        part.q_stride = columns + 8 * p, part.kv_stride = kv_columns + 16 * p;
        part.q = make(rows * part.q_stride);
        part.k = make(rows * part.kv_stride), part.v = make(rows * part.kv_stride);
      }
      part.y_stride = columns + 24;
      part.y = make(rows * part.y_stride);
      fill_rows(part.q, rows, columns, part.q_stride, c.q, 1 + p);
      fill_rows(part.k, rows, kv_columns, part.kv_stride, c.k, 11 + p);
      fill_rows(part.v, rows, kv_columns, part.kv_stride, c.v, 21 + p);
    }
  }

  int64_t rows() const { return shape.total_rows(0) + shape.total_rows(1); }
  int64_t columns() const { return int64_t{shape.heads} * shape.head_dim; }

  std::vector<float> expected() const {
    Buffer<float> y(rows() * columns());
    int64_t most = 0;
    for (int s = 0; s < shape.sequences; ++s) most = std::max(most, shape.length(s));
    const int bytes = static_cast<int>(most * 8);
    check(cudaFuncSetAttribute(reference, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), "test");
    reference<<<dim3(rows(), shape.heads), 128, bytes>>>(shape, parts[0], parts[1], shape.total_rows(0), y.data());
    check_launch("reference");
    return y.host();
  }

  using Run = std::function<void(const AttentionShape&, const AttentionPart&, const AttentionPart&)>;
  // The result as bf16 bits, [rows, y_stride] of part 0, then of part 1.
  std::vector<uint16_t> run(const Run& kernel) {
    std::vector<uint16_t> result;
    for (int p = 0; p < 2; ++p)
      if (shape.total_rows(p)) check(cudaMemset(parts[p].y, 0xff, y_bytes(p)), "test");
    kernel(shape, parts[0], parts[1]);
    check(cudaDeviceSynchronize(), "test");
    for (int p = 0; p < 2; ++p) {
      std::vector<uint16_t> y(y_bytes(p) / 2);
      if (!y.empty()) check(cudaMemcpy(y.data(), parts[p].y, y_bytes(p), cudaMemcpyDeviceToHost), "test");
      result.insert(result.end(), y.begin(), y.end());
    }
    return result;
  }

  Errors compare(const std::vector<uint16_t>& y, const std::vector<float>& r) const {
    Errors e{0, 0, 0, true, true};
    const int64_t stride = parts[0].y_stride;
    double difference = 0, yy = 0, rr = 0, yr = 0, largest = 0;
    for (int64_t row = 0; row < rows(); ++row)
      for (int64_t c = 0; c < stride; ++c) {
        const uint16_t bits = y[row * stride + c];
        if (c >= columns()) {
          e.outside_kept &= bits == 0xffff;
          continue;
        }
        const uint32_t wide = static_cast<uint32_t>(bits) << 16;
        float value;
        std::memcpy(&value, &wide, 4);
        e.finite &= std::isfinite(value);
        const double a = value, b = r[row * columns() + c];
        difference += (a - b) * (a - b), yy += a * a, rr += b * b, yr += a * b;
        e.worst = std::max(e.worst, std::abs(a - b));
        largest = std::max(largest, std::abs(b));
      }
    e.relative = std::sqrt(difference / rr), e.cosine = yr / std::sqrt(yy * rr), e.worst /= largest;
    return e;
  }

  AttentionShape shape;
  AttentionPart parts[2];

 private:
  bf16* make(int64_t elements) {
    memory_.push_back(std::make_unique<Buffer<bf16>>(elements));
    memory_.back()->fill(0x7f);  // large finite numbers between the columns that are used
    return memory_.back()->data();
  }
  void fill_rows(const void* x, int64_t rows, int columns, int64_t stride, const Input& input, uint64_t seed) {
    if (rows == 0) return;
    const int64_t blocks = (rows * columns + 255) / 256;
    fill<<<static_cast<unsigned>(blocks), 256>>>(const_cast<bf16*>(static_cast<const bf16*>(x)), rows, columns, stride,
                                                 case_.head_dim, input, seed << 40);
    check_launch("fill");
  }
  size_t y_bytes(int p) const { return shape.total_rows(p) * parts[p].y_stride * 2; }

  Case case_;
  std::vector<int32_t> offsets_;
  std::unique_ptr<Buffer<int32_t>> device_offsets_;
  std::vector<std::unique_ptr<Buffer<bf16>>> memory_;
};

bool no_device() {
  int count = 0;
  return cudaGetDeviceCount(&count) != cudaSuccess || count == 0;
}

Problem::Run kernel(AttentionKernel k) {
  return [k](const AttentionShape& s, const AttentionPart& a, const AttentionPart& b) {
    Buffer<uint8_t> workspace(attention_workspace(k, s));
    workspace.fill(0xff);
    attention(k, s, a, b, workspace.data(), nullptr);
    check(cudaDeviceSynchronize(), "test");
  };
}
Problem::Run int8(attn::Values values) {
  return [values](const AttentionShape& s, const AttentionPart& a, const AttentionPart& b) {
    Buffer<uint8_t> workspace(attn::int8_workspace(s, values));
    workspace.fill(0xff);
    attn::int8(s, a, b, values, workspace.data(), nullptr);
    check(cudaDeviceSynchronize(), "test");
  };
}

Problem::Run flash_of_small_device() {
  return [](const AttentionShape& s, const AttentionPart& a, const AttentionPart& b) {
    attn::flash(s, a, b, true, nullptr);
  };
}

Errors run_case(const Case& c, const char* kernel_name, const Problem::Run& run) {
  Problem p(c);
  const Errors e = p.compare(p.run(run), p.expected());
  std::printf("%-6s %-34s d %3d  relative %.2e  1-cosine %.2e  worst %.2e\n", kernel_name, c.name.c_str(), c.head_dim,
              e.relative, 1 - e.cosine, e.worst);
  EXPECT_TRUE(e.finite) << c.name;
  EXPECT_TRUE(e.outside_kept) << c.name;
  return e;
}

// Lengths around the tiles' sizes, both parts short or long, empty parts, grouped heads, many sequences.
std::vector<Case> shapes(int d) {
  return {
      {"one row", d, {1, 1}, {1}, {}},
      {"17", d, {2, 1}, {17}, {}},
      {"64", d, {2, 2}, {64}, {}},
      {"129 of 6 over 2 heads", d, {6, 2}, {129}, {}},
      {"text 13, image 200", d, {4, 2}, {13}, {200}},
      {"text 64, image 256, packed", d, {3, 3}, {64}, {256}, false, {}, {}, {}, true},
      {"three sequences of two parts", d, {2, 1}, {70, 0, 5}, {33, 129, 0}},
      {"200 windows of 64", d, {2, 2}, std::vector<int>(200, 64), {}},
      {"uneven windows", d, {2, 2}, {64, 48, 16, 64, 1, 0, 100, 63, 65}, {}},
      {"causal 200 of 4 over 1 heads", d, {4, 1}, {200}, {}, true},
      {"causal 1, 63, 64, 65, 300", d, {2, 2}, {1, 63, 64, 65, 300}, {}, true},
      {"sharp", d, {2, 2}, {100}, {300}, false, {3.f}, {3.f}},
  };
}

TEST(Attention, ReferenceIsExact) {
  if (no_device()) GTEST_SKIP();
  const Case c{"reference", 32, {4, 2}, {5, 9}, {7, 0}};
  Problem p(c);
  const std::vector<float> y = p.expected();
  // The same on the host, part by part.
  std::vector<float> q[2], k[2], v[2];
  for (int i = 0; i < 2; ++i) {
    const int64_t rows = p.shape.total_rows(i);
    const auto read = [&](const void* from, int64_t stride, int columns, std::vector<float>& to) {
      std::vector<bf16> h(rows * stride);
      check(cudaMemcpy(h.data(), from, h.size() * 2, cudaMemcpyDeviceToHost), "test");
      for (int64_t r = 0; r < rows; ++r)
        for (int x = 0; x < columns; ++x) to.push_back(__bfloat162float(h[r * stride + x]));
    };
    read(p.parts[i].q, p.parts[i].q_stride, 128, q[i]);
    read(p.parts[i].k, p.parts[i].kv_stride, 64, k[i]);
    read(p.parts[i].v, p.parts[i].kv_stride, 64, v[i]);
  }
  const int32_t *a = p.shape.host_offsets, *b = a + 3;
  for (int s = 0; s < 2; ++s) {
    std::vector<std::pair<int, int>> rows;  // part, row
    for (int r = a[s]; r < a[s + 1]; ++r) rows.emplace_back(0, r);
    for (int r = b[s]; r < b[s + 1]; ++r) rows.emplace_back(1, r);
    for (const auto& [part, row] : rows)
      for (int head = 0; head < 4; ++head) {
        std::vector<double> weight;
        double sum = 0, out[32] = {};
        for (const auto& [kp, kr] : rows) {
          double dot = 0;
          for (int x = 0; x < 32; ++x)
            dot += static_cast<double>(q[part][row * 128 + head * 32 + x]) * k[kp][kr * 64 + head / 2 * 32 + x];
          weight.push_back(std::exp(dot * p.shape.scale));
          sum += weight.back();
        }
        for (size_t i = 0; i < rows.size(); ++i)
          for (int x = 0; x < 32; ++x)
            out[x] += weight[i] / sum * v[rows[i].first][rows[i].second * 64 + head / 2 * 32 + x];
        const int64_t at = (row + (part ? p.shape.total_rows(0) : 0)) * 128 + head * 32;
        for (int x = 0; x < 32; ++x) ASSERT_NEAR(y[at + x], out[x], 1e-6);
      }
  }
}

TEST(Attention, Flash) {
  if (no_device()) GTEST_SKIP();
  for (const int d : {32, 64, 80, 96, 128, 384})
    for (const Case& c : shapes(d)) {
      const Errors e = run_case(c, "flash", kernel(AttentionKernel::flash));
      EXPECT_LT(e.relative, 4e-3) << c.name << " " << d;
      EXPECT_LT(e.worst, 8e-3) << c.name << " " << d;
    }
  for (const Case& c : shapes(128)) EXPECT_LT(run_case(c, "small", flash_of_small_device()).relative, 4e-3) << c.name;
  const std::vector<Case> hard = {
      {"vae 4096", 384, {1, 1}, {4096}, {}},
      {"long", 128, {2, 2}, {250}, {4096}},
      {"huge values", 128, {2, 2}, {40}, {300}, false, {}, {}, {1e4f}},
      {"keys off by 100", 128, {2, 2}, {40}, {300}, false, {}, {1.f, 100.f}},
      {"logits of 1e3", 128, {2, 2}, {40}, {300}, false, {30.f}, {30.f}},
      {"the same rows", 128, {2, 2}, {40}, {300}, false, {1, 0, 1, true}, {1, 0, 1, true}},
  };
  for (const Case& c : hard) {
    const Errors e = run_case(c, "flash", kernel(AttentionKernel::flash));
    EXPECT_LT(e.relative, 5e-3) << c.name;
  }
}

TEST(Attention, Int8) {
  if (no_device()) GTEST_SKIP();
  for (const attn::Values values : {attn::Values::bf16, attn::Values::f16}) {
    const char* name = values == attn::Values::f16 ? "int8 h" : "int8 b";
    for (const int d : {64, 128}) {
      for (const Case& c : shapes(d)) {
        const Errors e = run_case(c, name, int8(values));
        // Sharp: logits of standard deviation 9, of which int8 loses about 1 %.
        EXPECT_GT(e.cosine, c.name == "sharp" ? 0.99 : 0.9995) << c.name;
      }
      const std::vector<Case> hard = {
          {"long", d, {2, 2}, {250}, {4096}},
          {"huge values", d, {2, 2}, {40}, {300}, false, {}, {}, {1e4f}},
          {"one huge value channel", d, {2, 2}, {40}, {300}, false, {}, {}, {1.f, 0.f, 1e4f}},
          {"keys off by 100", d, {2, 2}, {40}, {300}, false, {}, {1.f, 100.f}},
          {"a key channel off by 100", d, {2, 2}, {40}, {300}, false, {}, {1.f, 0.f, 1.f, false, 100.f}},
          {"a wild key channel", d, {2, 2}, {40}, {300}, false, {}, {1.f, 0.f, 10.f}},
          {"the same keys", d, {2, 2}, {40}, {300}, false, {}, {1, 0, 1, true}},
          {"zero values", d, {2, 2}, {40}, {300}, false, {}, {}, {1e-38f}},
          {"values of 1e30", d, {2, 2}, {40}, {300}, false, {}, {}, {1e30f}},
      };
      for (const Case& c : hard) {
        const Errors e = run_case(c, name, int8(values));
        if (c.name == "zero values") continue;  // finite is enough
        // One channel ten times as large as the others takes their bits.
        EXPECT_GT(e.cosine, c.name == "a wild key channel" ? 0.99 : 0.9995) << c.name;
      }
      // Weights are 0 or 1 here and a few rows pick another key; a mean of values cannot leave their range.
      const Case c{"logits of 1e3", d, {2, 2}, {40}, {300}, false, {30.f}, {30.f}, {0.f, 7.f}};
      EXPECT_LT(run_case(c, name, int8(values)).worst, 8e-3);
    }
  }
}

TEST(Attention, Int8KeepsNaN) {
  if (no_device()) GTEST_SKIP();
  for (const attn::Values values : {attn::Values::bf16, attn::Values::f16})
    for (int broken = 0; broken < 3; ++broken) {
      Problem p({"nan", 128, {1, 1}, {40}, {100}});
      const void* at[] = {p.parts[1].q, p.parts[1].k, p.parts[1].v};
      check(cudaMemset(const_cast<void*>(at[broken]), 0xff, 2), "test");
      const std::vector<uint16_t> y = p.run(int8(values));
      EXPECT_EQ(y[40 * p.parts[0].y_stride] & 0x7fff, 0x7fff) << broken;
    }
}

TEST(Attention, Cudnn) {
  if (no_device()) GTEST_SKIP();
  int ran = 0;
  for (const Case& c : std::vector<Case>{{"one part", 128, {4, 4}, {1000}, {}},
                                         {"grouped heads", 128, {8, 2}, {300}, {}},
                                         {"causal", 128, {8, 2}, {300}, {}, true},
                                         {"two parts", 128, {4, 4}, {63}, {1000}},
                                         {"two parts, packed", 128, {4, 4}, {63}, {1000}, false, {}, {}, {}, true},
                                         {"three sequences", 128, {2, 2}, {70, 0, 5}, {33, 129, 0}},
                                         {"24 heads", 128, {24, 24}, {64}, {1024}}}) {
    if (!attention_available(AttentionKernel::cudnn, Problem(c).shape)) continue;
    ++ran;
    const Errors e = run_case(c, "cudnn", kernel(AttentionKernel::cudnn));
    EXPECT_LT(e.relative, 5e-3) << c.name;
  }
  if (!ran) GTEST_SKIP() << "no cuDNN in this build or not for this device";
}

// A sequence's result is the same bits on every run, alone or beside others.
TEST(Attention, Deterministic) {
  if (no_device()) GTEST_SKIP();
  for (const auto& run : {kernel(AttentionKernel::flash), flash_of_small_device(), int8(attn::Values::bf16),
                          int8(attn::Values::f16)}) {
    Problem p({"batch", 128, {3, 3}, {64, 100, 30}, {300, 700, 64}});
    const std::vector<uint16_t> first = p.run(run);
    EXPECT_EQ(first, p.run(run));
    // The middle sequence by itself.
    const std::vector<int32_t> offsets = {64, 164, 300, 1000};
    Buffer<int32_t> device_offsets(offsets);
    AttentionShape alone = p.shape;
    alone.sequences = 1, alone.offsets = device_offsets.data(), alone.host_offsets = offsets.data();
    const std::vector<uint16_t> second = p.run([&](const auto&, const auto& a, const auto& b) { run(alone, a, b); });
    const int64_t stride = p.parts[0].y_stride;
    const auto same = [&](int64_t begin, int64_t end) {
      return std::equal(first.begin() + begin * stride, first.begin() + end * stride, second.begin() + begin * stride);
    };
    EXPECT_TRUE(same(64, 164));
    EXPECT_TRUE(same(194 + 300, 194 + 1000));
  }
}

TEST(Attention, RejectsWrongShapes) {
  if (no_device()) GTEST_SKIP();
  Problem p({"wrong", 128, {4, 4}, {10}, {}});
  const auto rejects = [&](auto change) {
    AttentionShape s = p.shape;
    change(s);
    EXPECT_ANY_THROW(attention(AttentionKernel::flash, s, p.parts[0], p.parts[1], nullptr, nullptr));
  };
  rejects([](AttentionShape& s) { s.head_dim = 48; });
  rejects([](AttentionShape& s) { s.kv_heads = 3; });
  rejects([](AttentionShape& s) { s.scale = 0.f; });
  Problem two({"wrong", 128, {4, 4}, {10}, {10}});
  two.shape.causal = true;
  EXPECT_ANY_THROW(attention(AttentionKernel::flash, two.shape, two.parts[0], two.parts[1], nullptr, nullptr));
}

}  // namespace
}  // namespace inkling::cuda
