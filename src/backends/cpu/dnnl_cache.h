// oneDNN primitives by shape: creating one costs up to a millisecond (code is generated), finding one
// a fraction of a microsecond. Scratchpads are the caller's, so that the allocator counts them.
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>

#include "ops/ops.h"

namespace inkling {

constexpr int kNoActivation = -1;

// y[m, n] = act(x[m, k] w[n, k]^T + bias); rows of y are ldy floats apart.
struct MatmulKey {
  int64_t m, k, n, ldy;
  bool bf16;  // type of x and w
  bool bias;
  int activation;  // an Activation, or kNoActivation
  bool operator==(const MatmulKey&) const = default;
};

struct ConvolutionKey {
  int64_t height, width, in, out, kh, kw;
  int64_t stride, top, left, bottom, right;
  bool bias;
  bool operator==(const ConvolutionKey&) const = default;
};

struct Primitive {
  dnnl::primitive primitive;
  dnnl::memory::desc src, weights, bias, dst, scratch;
  int64_t scratch_bytes = 0;
  // Weights as they lie in memory. Where that is another layout than `weights`, they are brought into it before each
  // run, at this place of the scratch memory.
  dnnl::memory::desc stored;
  int64_t reorder_at = 0;
};

class DnnlCache {
 public:
  DnnlCache();

  std::shared_ptr<const Primitive> matmul(const MatmulKey& key);
  std::shared_ptr<const Primitive> convolution(const ConvolutionKey& key);
  // Layout of prepared weights [out, in, kh, kw], the same for every size of map.
  dnnl::memory::desc convolution_weights(int64_t out, int64_t in, int64_t kh, int64_t kw);
  void execute(const Primitive& p, const void* src, const void* weights, const float* bias, float* dst, void* scratch);
  void reorder_convolution_weights(const float* plain, const dnnl::memory::desc& desc, std::byte* packed,
                                   const Shape& shape);

 private:
  using Key = std::array<int64_t, 14>;
  struct KeyHash {
    size_t operator()(const Key& key) const;
  };
  template <typename Make>
  std::shared_ptr<const Primitive> find(const Key& key, Make make);

  dnnl::engine engine_;
  dnnl::stream stream_;
  std::mutex mutex_;
  std::unordered_map<Key, std::shared_ptr<const Primitive>, KeyHash> primitives_;
  std::list<Key> order_;  // oldest first
};

}  // namespace inkling
