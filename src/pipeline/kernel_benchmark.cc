#include "pipeline/kernel_benchmark.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <set>

#include "backends/plan/plan_ops.h"
#include "base/error.h"
#include "base/threads.h"
#include "diffusion/latents.h"
#include "models/rope.h"
#include "pipeline/benchmark.h"
#include "pipeline/presets.h"
#include "pipeline/random_weights.h"

namespace inkling {

namespace {

constexpr float kEps = 1e-6f;
// Calls that one measurement takes together, so that a clock's step and a launch do not matter.
constexpr double kLeastMeasured = 1e-3;
constexpr int kMostCalls = 50;
// Of all measurements of a row.
constexpr double kRowSeconds = 1.0;

// What is measured: results of one call on any Ops.
using Call = std::function<std::vector<Tensor>(Ops& ops)>;

Weight matrix(const std::string& name, int64_t out, int64_t in) {
  Weight w;
  w.name = name;
  w.shape = Shape{out, in};
  w.has_bias = true;
  return w;
}

int64_t bytes_of(const std::vector<Tensor>& tensors) {
  int64_t bytes = 0;
  for (const Tensor& t : tensors) bytes += t.defined() ? t.bytes() : 0;
  return bytes;
}

// The weights of a block of the transformer, one stream's.
struct BlockWeights {
  Weight q, k, v, out, mlp_in, mlp_out;
  BlockWeights(const DitConfig& c, Ops& ops, bool on_device, LowBit kind)
      : q(matrix("q", c.dim(), c.dim())),
        k(matrix("k", c.dim(), c.dim())),
        v(matrix("v", c.dim(), c.dim())),
        out(matrix("out", c.dim(), c.dim())),
        mlp_in(matrix("mlp_in", c.mlp_dim, c.dim())),
        mlp_out(matrix("mlp_out", c.dim(), c.mlp_dim)) {
    uint64_t seed = 1;
    for (Weight* w : {&q, &k, &v, &out, &mlp_in, &mlp_out}) randomize(*w, ops, on_device, ++seed, kind);
  }
};

class KernelBenchmark {
 public:
  KernelBenchmark(const PlanRequest& request, int repeats, const std::function<void(const KernelTable&)>& grown)
      : request_(request),
        config_(preset(request.model.model.string())),
        repeats_(repeats),
        grown_(grown),
        image_rows_(request.width / kPixelsPerToken * (request.height / kPixelsPerToken)) {}

  KernelTable operator()() {
    if (!request_.model.device.more.empty())
      throw ArgumentError("device: got several, expected one: kernels are measured on one device");
    for (const PrecisionChoice p : {PrecisionChoice::f32, PrecisionChoice::bf16, PrecisionChoice::fp8,
                                    PrecisionChoice::w8a8, PrecisionChoice::w4a8, PrecisionChoice::stored})
      if (request_.model.precision == PrecisionChoice::automatic || request_.model.precision == p) measure_with(p);
    return std::move(table_);
  }

 private:
  void measure_with(PrecisionChoice precision) {
    backend_.reset();
    const bool stored = precision == PrecisionChoice::stored;
    try {
      backend_ = open_backend(request_.model.device, precision);
    } catch (const ArgumentError&) {
      if (request_.model.precision != PrecisionChoice::automatic) throw;
      return;  // the device does not have it
    }
    precision_ = stored ? "nf4" : std::string(name(precision));
    if (table_.device.empty()) {
      table_.device = backend_->name();
      table_.ceilings = backend_->measure_ceilings();
      if (grown_) grown_(table_);
    }
    on_device_ = backend_->fill_missing_weights();
    guarded("transformer", [&] { transformer_rows(stored ? LowBit::nf4 : LowBit::none); });
    if (!stored) guarded("vae", [&] { vae_rows(); });
  }

  // Rows whose operands do not fit are left out, and said to be.
  template <typename F>
  void guarded(const std::string& what, const F& f) {
    try {
      f();
    } catch (const MemoryError& error) {
      KernelRow row;
      row.kernel = what;
      row.precision = precision_;
      row.note = error.what();
      add(row);
    }
  }

  void add(const KernelRow& row) {
    table_.rows.push_back(row);
    if (grown_) grown_(table_);
  }

  Tensor rows(int64_t count, int64_t channels) {
    return backend_->ops().upload(random_rows({count, channels}, ++seed_));
  }

  // `operands`: what the call reads beside weights. A call that was measured in another precision, and is the same in
  // this one, is left out.
  void measure(const std::string& kernel, const std::string& shape, const std::vector<Tensor>& operands,
               const Call& call) {
    PlanOps plan(backend_->model(), backend_->plan_memory());
    plan.begin_phase(kernel);
    call(plan);
    const PlanPhase& work = plan.phases().back();
    KernelRow row{.kernel = kernel, .shape = shape, .precision = precision_, .formats = {}, .note = {}};
    row.operations = static_cast<double>(work.flops);
    bool known = true;
    for (size_t f = 0; f < kNumberFormats; ++f) {
      if (work.flops_in[f] == 0) continue;
      row.formats += (row.formats.empty() ? "" : " + ") + std::string(name(static_cast<NumberFormat>(f)));
      const double most = table_.ceilings.products[f].per_second;
      known = known && most > 0;
      if (known) row.least_seconds += static_cast<double>(work.flops_in[f]) / most;
    }
    if (!known) row.least_seconds = 0;
    const bool of_precision = work.weight_bytes > 0 && kernel.find("convolution") == std::string::npos;
    if (!measured_.insert(kernel + shape + row.formats + (of_precision ? precision_ : "")).second) return;

    Ops& ops = backend_->ops();
    try {
      const int64_t results = bytes_of(call(ops));  // warm-up: code is made, memory is found
      row.bytes = bytes_of(operands) + results + work.weight_bytes;
      row.inner_bytes = 2 * (work.written_bytes - results);
      const Times times = times_of(ops, call);
      row.seconds = median(times.all);
      row.busy_seconds = median(times.busy);
    } catch (const MemoryError& error) {
      row.note = error.what();
    }
    add(row);
  }

  struct Times {
    std::vector<double> all, busy;
  };

  Times times_of(Ops& ops, const Call& call) const {
    double busy = 0;
    const auto timed = [&](int calls) {
      const std::clock_t busy_begin = std::clock();  // of all threads of the process
      const auto begin = ops.mark();
      for (int i = 0; i < calls; ++i) call(ops);
      const double seconds = ops.mark()->seconds_since(*begin) / calls;
      busy = static_cast<double>(std::clock() - busy_begin) / CLOCKS_PER_SEC / thread_count() / calls;
      if (backend_->on_gpu()) busy = seconds;
      return seconds;
    };
    const double once = std::max(1e-9, timed(1));
    const int calls = static_cast<int>(std::clamp(std::ceil(kLeastMeasured / once), 1.0, double{kMostCalls}));
    const int rounds = static_cast<int>(std::clamp(kRowSeconds / (once * calls), 1.0, static_cast<double>(repeats_)));
    Times times;
    for (int i = 0; i < rounds; ++i) {
      times.all.push_back(timed(calls));
      times.busy.push_back(busy);
    }
    return times;
  }

  // --- the transformer's -------------------------------------------------------------------------------------------
  Rope rope(int64_t count) {
    const PictureShape line{1, 1, count};
    return upload_rope(backend_->ops(), dit_image_rope({&line, 1}, {config_.dit.rope_axes, false}),
                       Rope::Style::interleaved);
  }

  void transformer_rows(LowBit kind) {
    const DitConfig& c = config_.dit;
    Ops& ops = backend_->ops();
    const BlockWeights w(c, ops, on_device_, kind);
    std::set<int64_t> counts{request_.prompt_tokens, image_rows_};
    if (image_rows_ / 4 > request_.prompt_tokens) counts.insert(image_rows_ / 4);
    for (const int64_t count : counts) stream_rows(w, count, kind == LowBit::none);
    if (kind == LowBit::none) block_rows(w);
  }

  // One stream's, call by call.
  void stream_rows(const BlockWeights& w, int64_t m, bool all) {
    const DitConfig& c = config_.dit;
    Ops& ops = backend_->ops();
    const int64_t dim = c.dim();
    const auto size = [m](int64_t in, int64_t out) { return fmt::format("{} x {} > {}", m, in, out); };
    const RowGroups groups = RowGroups::single(m);
    const Tensor x = rows(m, dim), scale = rows(1, dim), shift = rows(1, dim), gate = rows(1, dim),
                 gamma = ops.upload(random_rows({c.head_dim}, ++seed_));
    const Rope turn = rope(m);
    const Tensor u = ops.modulated_norm(x, scale, shift, groups, kEps);
    const QKV qkv = ops.qkv(u, w.q, w.k, w.v, gamma, gamma, kEps, turn, c.heads, c.heads);

    measure("q, k, v, norm, rotation", size(dim, 3 * dim), {u, gamma, gamma, turn.cos, turn.sin}, [&](Ops& o) {
      QKV y = o.qkv(u, w.q, w.k, w.v, gamma, gamma, kEps, turn, c.heads, c.heads);
      return std::vector<Tensor>{y.q, y.k, y.v};
    });
    measure("out, gate, residual", size(dim, dim), {qkv.v, x, gate},
            [&](Ops& o) { return std::vector<Tensor>{o.linear_gated_add(qkv.v, w.out, x, gate, groups)}; });
    measure("fc1, gelu", size(dim, c.mlp_dim), {u},
            [&](Ops& o) { return std::vector<Tensor>{o.linear_act(u, w.mlp_in, Activation::gelu_tanh)}; });
    const Tensor h = ops.linear_act(u, w.mlp_in, Activation::gelu_tanh);
    measure("fc2, gate, residual", size(c.mlp_dim, dim), {h, x, gate},
            [&](Ops& o) { return std::vector<Tensor>{o.linear_gated_add(h, w.mlp_out, x, gate, groups)}; });
    if (!all) return;
    const std::string map = fmt::format("{} x {}", m, dim);
    measure("norm, modulation", map, {x, scale, shift},
            [&](Ops& o) { return std::vector<Tensor>{o.modulated_norm(x, scale, shift, groups, kEps)}; });
    measure("head norm, rotation", map, {qkv.q, gamma, turn.cos, turn.sin},
            [&](Ops& o) { return std::vector<Tensor>{o.head_norm_rope(qkv.q, gamma, kEps, turn, c.heads)}; });
    measure("gate, residual", map, {x, qkv.v, gate},
            [&](Ops& o) { return std::vector<Tensor>{o.gated_add(x, qkv.v, gate, groups)}; });
    measure("copy", map, {x}, [&](Ops& o) { return std::vector<Tensor>{o.concat_rows({x})}; });
  }

  // A block's three operations as the transformer calls them, both streams at once (with the same weights).
  void block_rows(const BlockWeights& w) {
    const DitConfig& c = config_.dit;
    Ops& ops = backend_->ops();
    const int64_t dim = c.dim(), texts = request_.prompt_tokens, images = image_rows_;
    const std::string size = fmt::format("{} + {} x {}", texts, images, dim);
    const RowGroups text_groups = RowGroups::single(texts), image_groups = RowGroups::single(images);
    const Segments text_segments = Segments::single(texts), image_segments = Segments::single(images);
    const Tensor text = rows(texts, dim), image = rows(images, dim), scale = rows(1, dim), shift = rows(1, dim),
                 gate = rows(1, dim), gamma = ops.upload(random_rows({c.head_dim}, ++seed_));
    const auto stream = [&](const Tensor& x, const RowGroups& groups, const Rope& turn) {
      return StreamProjection{x, scale, shift, &groups, &w.q, &w.k, &w.v, gamma, gamma, turn};
    };
    const StreamProjection text_in = stream(text, text_groups, rope(texts)),
                           image_in = stream(image, image_groups, rope(images));
    measure(
        "block: norm, q, k, v, rotation", size,
        {text, image, scale, shift, gamma, text_in.rope.cos, text_in.rope.sin, image_in.rope.cos, image_in.rope.sin},
        [&](Ops& o) {
          const auto [t, i] = o.joint_qkv(text_in, image_in, kEps, c.heads);
          return std::vector<Tensor>{t.q, t.k, t.v, i.q, i.k, i.v};
        });
    const auto [t, i] = ops.joint_qkv(text_in, image_in, kEps, c.heads);
    const float factor = 1.f / std::sqrt(static_cast<float>(c.head_dim));
    measure("block: joint attention", fmt::format("{} x {} heads of {}", texts + images, c.heads, c.head_dim),
            {t.q, t.k, t.v, i.q, i.k, i.v}, [&, &tt = t, &ii = i](Ops& o) {
              const auto y = o.joint_attention(tt, text_segments, ii, image_segments, c.heads, factor);
              return std::vector<Tensor>{y.first, y.second};
            });
    const auto finish = [&](const Tensor& x, const Tensor& attention, const RowGroups& groups) {
      return StreamFinish{x, attention, gate, scale, shift, gate, &groups, &w.out, &w.mlp_in, &w.mlp_out};
    };
    const auto attention = ops.joint_attention(t, text_segments, i, image_segments, c.heads, factor);
    measure("block: out, norm, mlp", size, {text, image, attention.first, attention.second, gate, scale, shift},
            [&](Ops& o) {
              const auto y = o.joint_finish(finish(text, attention.first, text_groups),
                                            finish(image, attention.second, image_groups), kEps);
              return std::vector<Tensor>{y.first, y.second};
            });
  }

  // --- the VAE's ---------------------------------------------------------------------------------------------------
  Weight convolution(int64_t out, int64_t in, bool doubled) {
    Weight w;
    w.name = "convolution";
    w.shape = Shape{out, in, 3, 3};
    w.has_bias = true;
    w.doubled_input = doubled;
    randomize(w, backend_->ops(), on_device_, ++seed_);
    return w;
  }

  // Of the decoder, level by level from the smallest map.
  void vae_rows() {
    const VaeConfig& c = config_.vae;
    for (int64_t level = c.levels() - 1; level >= 0; --level)
      guarded("vae", [&] { vae_level(level, c.base_dim * c.dim_mult[static_cast<size_t>(level)]); });
  }

  void vae_level(int64_t level, int64_t channels) {
    Ops& ops = backend_->ops();
    const int64_t height = request_.height >> level, width = request_.width >> level;
    const Weight w = convolution(channels, channels, false);
    // What a convolution reads is what another has written.
    const Tensor x = ops.conv2d(ops.upload(random_rows({height, width, channels}, ++seed_)), w, ConvSpec::same3x3());
    const std::string map = fmt::format("{} x {} x {}", height, width, channels);
    measure("convolution 3x3, residual", fmt::format("{} > {}", map, channels), {x, x},
            [&](Ops& o) { return std::vector<Tensor>{o.conv2d_add(x, w, ConvSpec::same3x3(), x)}; });
    const Tensor gamma = ops.upload(random_rows({channels}, ++seed_));
    measure("channel norm, silu", map, {x, gamma},
            [&](Ops& o) { return std::vector<Tensor>{o.channel_norm_silu(x, gamma)}; });
    if (level + 1 == std::ssize(config_.vae.dim_mult)) {
      const int64_t pixels = height * width;
      const Tensor flat = x.reshape({pixels, channels});
      const AttentionSpec spec{1, 1, 1.f / std::sqrt(static_cast<float>(channels)), false, Segments::single(pixels)};
      measure("attention of pixels", fmt::format("{} x 1 head of {}", pixels, channels), {flat, flat, flat},
              [&](Ops& o) { return std::vector<Tensor>{o.attention(flat, flat, flat, spec)}; });
    }
    if (level == 0) return;
    const Weight halves = convolution(channels / 2, channels, true);
    measure("doubling, convolution 3x3", fmt::format("{} > {}", map, channels / 2), {x},
            [&](Ops& o) { return std::vector<Tensor>{o.upsample_conv2d(x, halves, ConvSpec::same3x3())}; });
    measure("doubling", map, {x}, [&](Ops& o) { return std::vector<Tensor>{o.upsample2x(x)}; });
  }

  const PlanRequest& request_;
  const ModelConfig config_;
  const int repeats_;
  const std::function<void(const KernelTable&)>& grown_;
  const int64_t image_rows_;
  KernelTable table_;
  std::unique_ptr<Backend> backend_;
  std::string precision_;
  bool on_device_ = false;
  uint64_t seed_ = 0;
  std::set<std::string> measured_;
};

}  // namespace

KernelTable run_kernel_benchmark(const PlanRequest& request, int repeats,
                                 const std::function<void(const KernelTable&)>& grown) {
  return KernelBenchmark(request, repeats, grown)();
}

}  // namespace inkling
