#include "backends/cpu/dnnl_cache.h"

#include "base/threads.h"

namespace inkling {

namespace {

using Tag = dnnl::memory::format_tag;
using Type = dnnl::memory::data_type;

constexpr int64_t kAlignment = 64;
constexpr size_t kCapacity = 2048;  // primitives; prompts of many lengths would fill the memory otherwise

dnnl::primitive_attr attributes(int activation) {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (activation == kNoActivation) return attr;
  dnnl::post_ops ops;
  switch (static_cast<Activation>(activation)) {
    case Activation::gelu_tanh: ops.append_eltwise(1.f, dnnl::algorithm::eltwise_gelu_tanh, 0.f, 0.f); break;
    case Activation::gelu_erf: ops.append_eltwise(1.f, dnnl::algorithm::eltwise_gelu_erf, 0.f, 0.f); break;
    case Activation::silu: ops.append_eltwise(1.f, dnnl::algorithm::eltwise_swish, 1.f, 0.f); break;
    case Activation::quick_gelu: ops.append_eltwise(1.f, dnnl::algorithm::eltwise_swish, 1.702f, 0.f); break;
  }
  attr.set_post_ops(ops);
  return attr;
}

template <typename Descriptor>
std::shared_ptr<const Primitive> primitive_of(dnnl::primitive primitive, const Descriptor& d) {
  auto result = std::make_shared<Primitive>();
  result->primitive = std::move(primitive);
  result->src = d.src_desc();
  result->weights = d.weights_desc();
  result->dst = d.dst_desc();
  result->stored = result->weights;
  result->scratch = d.scratchpad_desc();
  result->scratch_bytes = static_cast<int64_t>(result->scratch.get_size());
  return result;
}

dnnl::convolution_forward::desc convolution_desc(const ConvolutionKey& c, const dnnl::memory::desc& weights) {
  const int64_t height = (c.height + c.top + c.bottom - c.kh) / c.stride + 1;
  const int64_t width = (c.width + c.left + c.right - c.kw) / c.stride + 1;
  const dnnl::memory::desc src({1, c.in, c.height, c.width}, Type::f32, Tag::nhwc);
  const dnnl::memory::desc dst({1, c.out, height, width}, Type::f32, Tag::nhwc);
  const dnnl::memory::dims strides{c.stride, c.stride}, begin{c.top, c.left}, end{c.bottom, c.right};
  const auto kind = dnnl::prop_kind::forward_inference;
  const auto algorithm = dnnl::algorithm::convolution_direct;
  if (!c.bias) return {kind, algorithm, src, weights, dst, strides, begin, end};
  const dnnl::memory::desc bias({c.out}, Type::f32, Tag::x);
  return {kind, algorithm, src, weights, bias, dst, strides, begin, end};
}

}  // namespace

DnnlCache::DnnlCache() : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {}

size_t DnnlCache::KeyHash::operator()(const Key& key) const {
  uint64_t h = 1469598103934665603u;
  for (int64_t v : key) h = (h ^ static_cast<uint64_t>(v)) * 1099511628211u;
  return h ^ (h >> 29);
}

template <typename Make>
std::shared_ptr<const Primitive> DnnlCache::find(const Key& key, Make make) {
  std::lock_guard lock(mutex_);
  if (auto it = primitives_.find(key); it != primitives_.end()) return it->second;
  if (primitives_.size() >= kCapacity) {
    primitives_.erase(order_.front());
    order_.pop_front();
  }
  std::shared_ptr<const Primitive> made = make();
  primitives_.emplace(key, made);
  order_.push_back(key);
  return made;
}

// The number of threads is part of the key: scratchpads and the division of work depend on it.
std::shared_ptr<const Primitive> DnnlCache::matmul(const MatmulKey& key) {
  const Key words{0, thread_count(), key.m, key.k, key.n, key.ldy, key.bf16, key.bias, key.activation};
  return find(words, [&] {
    const Type type = key.bf16 ? Type::bf16 : Type::f32;
    const dnnl::memory::desc src({key.m, key.k}, type, Tag::ab), weights({key.k, key.n}, type, Tag::ba);
    const dnnl::memory::desc dst({key.m, key.n}, Type::f32, dnnl::memory::dims{key.ldy, 1});
    const dnnl::memory::desc bias =
        key.bias ? dnnl::memory::desc({1, key.n}, Type::f32, Tag::ab) : dnnl::memory::desc();
    const dnnl::matmul::primitive_desc d(dnnl::matmul::desc(src, weights, bias, dst), attributes(key.activation),
                                         engine_);
    auto made = primitive_of(dnnl::matmul(d), d);
    const_cast<Primitive&>(*made).bias = bias;
    return made;
  });
}

std::shared_ptr<const Primitive> DnnlCache::convolution(const ConvolutionKey& key) {
  const dnnl::memory::desc weights = convolution_weights(key.out, key.in, key.kh, key.kw);
  const Key words{1,      thread_count(), key.height, key.width, key.in,     key.out,   key.kh,
                  key.kw, key.stride,     key.top,    key.left,  key.bottom, key.right, key.bias};
  return find(words, [&] {
    const auto described = [&](const dnnl::memory::desc& layout) {
      return dnnl::convolution_forward::primitive_desc(convolution_desc(key, layout), attributes(kNoActivation),
                                                       engine_);
    };
    auto d = described(weights);
    // Maps of a few pixels have fast code for other layouts alone; the reference code is up to a thousand times slower.
    if (std::string_view(d.impl_info_str()).starts_with("ref"))
      d = described(dnnl::memory::desc({key.out, key.in, key.kh, key.kw}, Type::f32, Tag::any));
    auto made = primitive_of(dnnl::convolution_forward(d), d);
    auto& p = const_cast<Primitive&>(*made);
    if (key.bias) p.bias = d.bias_desc();
    p.stored = weights;
    if (p.weights != p.stored) {
      p.reorder_at = (p.scratch_bytes + kAlignment - 1) / kAlignment * kAlignment;
      p.scratch_bytes = p.reorder_at + static_cast<int64_t>(p.weights.get_size());
    }
    return made;
  });
}

// oneDNN is asked for the layout that it prefers at a typical size.
dnnl::memory::desc DnnlCache::convolution_weights(int64_t out, int64_t in, int64_t kh, int64_t kw) {
  const Key words{2, 0, out, in, kh, kw};
  return find(words,
              [&] {
                const ConvolutionKey typical{64, 64, in, out, kh, kw, 1, kh / 2, kw / 2, kh / 2, kw / 2, true};
                const dnnl::memory::desc any({out, in, kh, kw}, Type::f32, Tag::any);
                const dnnl::convolution_forward::primitive_desc d(convolution_desc(typical, any),
                                                                  attributes(kNoActivation), engine_);
                auto made = std::make_shared<Primitive>();
                made->weights = d.weights_desc();
                return std::shared_ptr<const Primitive>(made);
              })
      ->weights;
}

void DnnlCache::execute(const Primitive& p, const void* src, const void* weights, const float* bias, float* dst,
                        void* scratch) {
  const auto bind = [this](const dnnl::memory::desc& desc, const void* data) {
    return dnnl::memory(desc, engine_, const_cast<void*>(data));
  };
  if (p.weights != p.stored) {
    std::byte* reordered = static_cast<std::byte*>(scratch) + p.reorder_at;
    dnnl::memory from = bind(p.stored, weights), to = bind(p.weights, reordered);
    dnnl::reorder(from, to).execute(stream_, from, to);
    weights = reordered;
  }
  std::unordered_map<int, dnnl::memory> arguments{{DNNL_ARG_SRC, bind(p.src, src)},
                                                  {DNNL_ARG_WEIGHTS, bind(p.weights, weights)},
                                                  {DNNL_ARG_DST, bind(p.dst, dst)},
                                                  {DNNL_ARG_SCRATCHPAD, bind(p.scratch, scratch)}};
  if (bias != nullptr) arguments.emplace(DNNL_ARG_BIAS, bind(p.bias, bias));
  p.primitive.execute(stream_, arguments);
}

void DnnlCache::reorder_convolution_weights(const float* plain, const dnnl::memory::desc& desc, std::byte* packed,
                                            const Shape& shape) {
  const dnnl::memory::desc from({shape[0], shape[1], shape[2], shape[3]}, Type::f32, Tag::oihw);
  dnnl::memory source(from, engine_, const_cast<float*>(plain)), target(desc, engine_, packed);
  dnnl::reorder(source, target).execute(stream_, source, target);
}

}  // namespace inkling
