#include "compress/quantize/calibrate.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

#include "backends/cpu/cpu_ops.h"
#include "base/error.h"
#include "compress/quantize/calibrate_moments.h"
#include "compress/quantize/error_feedback.h"
#include "diffusion/schedule.h"
#include "formats/block_quant.h"
#include "formats/int_quant.h"
#include "formats/low_bit.h"
#include "models/loader.h"
#include "models/qwen_image/dit.h"
#include "models/registry.h"
#include "pipeline/engine.h"

namespace inkling {

namespace {

constexpr int64_t kPixelsPerToken = 16;
constexpr int64_t kLargestSide = 512;  // of the drawn pictures
constexpr int kStepsPerPrompt = 2;     // whose inputs are looked at, others for every prompt
constexpr size_t kCostSamples = 8;     // prompts, one step of each, that decide what 8 bits are spent on
constexpr double kDamping = 0.01;

// One drawn picture.
struct Sample {
  Tensor text;                  // [L, text_dim]
  std::vector<Tensor> latents;  // before every step, [N, 64]
};

Tensor copy_of(const Tensor& t) { return host_tensor(t.shape(), t.span<float>()); }

// Float32 for what is stored in floats, integers for what is rounded; tells what goes into linear layers.
class WatchedOps : public CpuOps {
 public:
  WatchedOps() : CpuOps(CpuOptions{.precision = Precision::f32, .stored_integers = true}) {}
  std::function<void(const Weight&, const Tensor& x)> watch;

  Tensor linear(const Tensor& x, const Weight& w) override {
    see(w, x);
    return CpuOps::linear(x, w);
  }
  Tensor linear_act(const Tensor& x, const Weight& w, Activation f) override {
    see(w, x);
    return CpuOps::linear_act(x, w, f);
  }
  Tensor linear_gated_add(const Tensor& x, const Weight& w, const Tensor& residual, const Tensor& gate,
                          const RowGroups& groups) override {
    see(w, x);
    return CpuOps::linear_gated_add(x, w, residual, gate, groups);
  }
  QKV qkv(const Tensor& x, const Weight& wq, const Weight& wk, const Weight& wv, const Tensor& gamma_q,
          const Tensor& gamma_k, float eps, const Rope& rope, int64_t heads, int64_t kv_heads) override {
    see(wq, x);
    return CpuOps::qkv(x, wq, wk, wv, gamma_q, gamma_k, eps, rope, heads, kv_heads);
  }

 private:
  void see(const Weight& w, const Tensor& x) {
    if (watch) watch(w, x);
  }
};

bool ends_with_any(const std::string& name, std::initializer_list<const char*> ends) {
  return std::ranges::any_of(ends, [&](const char* end) { return name.ends_with(end); });
}

// The matrices of a block in order of use: what attention projects, its output, the two of the MLP.
constexpr int kStages = 4;
int stage_of(const std::string& name) {
  if (ends_with_any(name, {".to_out.0", ".to_add_out"})) return 1;
  if (name.ends_with(".net.0.proj")) return 2;
  return name.ends_with(".net.2") ? 3 : 0;
}

// Matrices of one name are given the same x.
std::string input_of(const std::string& name) {
  if (stage_of(name) != 0) return name;
  return ends_with_any(name, {".add_q_proj", ".add_k_proj", ".add_v_proj"}) ? "text" : "image";
}

using Weights = std::map<std::string, Weight*>;
Weights matrices_of(const Module& module) {
  Weights result;
  module.for_each_parameter([&](const Parameter& p) {
    if (p.kind == Parameter::Kind::linear && !p.weight->sensitive) result[p.weight->name] = p.weight;
  });
  return result;
}

}  // namespace

class Calibration::Impl {
 public:
  Impl(const std::filesystem::path& model, const CalibrationOptions& options)
      : options_(options),
        files_(find_model(model)),
        checkpoint_(Checkpoint::open(files_.dit, Component::dit)),
        config_(dit_config(files_, checkpoint_)) {
    if (options_.prompts.empty()) throw ArgumentError("calibrate: no prompts");
    if (options_.form != LowBit::w4a8 && options_.form != LowBit::w8a8)
      throw ArgumentError("calibrate: got {}, expected w4a8 or w8a8", name(options_.form));
    total_ = static_cast<int>(options_.prompts.size() + config_.layers * (options_.bits > 0 ? 2 : 1));
    draw(model);
    enter();
    choose_forms();
  }

  const std::map<std::string, LowBit>& forms() const { return forms_; }

  void run(const std::function<void(const CalibratedMatrix&)>& sink) {
    for (int64_t b = 0; b < config_.layers; ++b) {
      run_block(b, sink);
      report();
    }
  }

 private:
  // A picture before a step, on its way through the blocks.
  struct Stream {
    size_t sample;
    int step;
    double weight;       // what the step adds of the velocity
    DitState unrounded;  // with the weights as they are
    DitState state;      // with those rounded so far
  };

  void report() {
    if (options_.cancel != nullptr) options_.cancel->throw_if_cancelled();
    if (options_.progress) options_.progress({"calibrate", ++done_, total_});
  }

  void draw(const std::filesystem::path& model) {
    EngineOptions engine_options;
    engine_options.model = model;
    engine_options.keep_loaded = true;
    Engine engine(engine_options);
    const auto side = [](int64_t wanted) {
      return std::min(wanted > 0 ? wanted : kLargestSide, kLargestSide) / kPixelsPerToken;
    };
    width_ = side(files_.defaults.width), height_ = side(files_.defaults.height);
    for (const CalibrationPrompt& prompt : options_.prompts) {
      Sample sample;
      engine.set_trace([&](std::string_view what, const Tensor& value) {
        if (what == "prompt_embeds") sample.text = copy_of(value);
        if (what == "noise" || what.starts_with("latents.")) sample.latents.push_back(copy_of(value));
      });
      Request request;
      request.prompt = prompt.text;
      request.seed = prompt.seed;
      request.width = static_cast<int>(width_ * kPixelsPerToken);
      request.height = static_cast<int>(height_ * kPixelsPerToken);
      Callbacks callbacks;
      callbacks.cancel = options_.cancel;
      engine.run(request, callbacks);
      sample.latents.pop_back();  // after the last step
      samples_.push_back(std::move(sample));
      report();
    }
  }

  // The streams before the first block.
  void enter() {
    std::ifstream file(files_.scheduler_config);
    const FlowMatchConfig flow = FlowMatchConfig::parse(std::string(std::istreambuf_iterator<char>(file), {}));
    const int steps = static_cast<int>(samples_[0].latents.size());
    const Schedule schedule = make_schedule(flow, steps, width_ * height_);
    std::vector<float> timesteps;
    for (int k = 0; k < steps; ++k) timesteps.push_back(schedule.timestep(k));
    {
      DitModulation modulation(config_);
      load_parameters(modulation, checkpoint_, ops_);
      modulation_ = modulation.forward(ops_, timesteps);
    }
    const auto first = load(0);
    const int every = std::max(1, steps / kStepsPerPrompt);
    for (size_t i = 0; i < samples_.size(); ++i) {
      DitInputs inputs;
      inputs.pictures = {PictureShape{1, height_, width_}};
      inputs.text = samples_[i].text;
      inputs.text_segments = Segments::single(samples_[i].text.rows());
      contexts_.push_back(first->prepare(ops_, inputs));
      for (int k = static_cast<int>(i) % every; k < steps; k += every) {
        const DitState state = first->enter(ops_, contexts_[i], samples_[i].latents[k]);
        streams_.push_back({i, k, std::fabs(static_cast<double>(schedule.delta(k))), state, state});
      }
      samples_[i] = {};
    }
  }

  // A part of the transformer with one block.
  std::unique_ptr<Dit> load(int64_t block) {
    auto dit = std::make_unique<Dit>(config_, BlockRange{block, block + 1});
    load_parameters(*dit, checkpoint_, ops_);
    return dit;
  }
  void advance(Dit& dit, const Stream& s, DitState& state) {
    dit.run_blocks(ops_, contexts_[s.sample], state, modulation_[s.step]);
  }

  Tensor dense(const std::string& matrix) const {
    const Tensor stored = dequantize(checkpoint_.load(*checkpoint_.find(matrix + ".weight")));
    return stored.dtype() == DType::f32 ? stored : to_f32(stored);
  }

  void set(Weight& weight, LowBitMatrix matrix) {
    weight.prepared.reset();
    weight.value = std::move(matrix.value);
    weight.low_bit = std::move(matrix.parts);
    ops_.prepare(weight);
  }

  // --- what is kept at 8 bits -----------------------------------------------------------------------------------
  void choose_forms() {
    std::vector<MatrixCost> costs;
    for (int64_t b = 0; b < config_.layers; ++b) {
      const Dit dit(config_, {b, b + 1});
      for (const auto& [matrix, weight] : matrices_of(dit)) {
        const Shape& shape = weight->shape;
        const bool four = fits(LowBit::w4a8, shape) && default_rotation(shape[1]) > 0;
        forms_[matrix] = four ? options_.form : LowBit::w8a8;
        if (forms_[matrix] == LowBit::w4a8) costs.push_back({matrix, shape});
      }
    }
    if (options_.bits <= 0 || options_.form != LowBit::w4a8) return;
    measure(costs);
    spend_bits(costs, options_.bits, forms_);
  }

  // How much of the velocity changes when one matrix alone has 4 bits. Every changed stream goes through the blocks
  // beside the unchanged one, so that one block at a time is in memory.
  void measure(std::vector<MatrixCost>& costs) {
    std::vector<const Stream*> chosen;
    for (size_t i = 0; i < kCostSamples; ++i)  // and i more, for all steps to have a turn
      chosen.push_back(&streams_[(i * streams_.size() / kCostSamples + i) % streams_.size()]);
    std::vector<DitState> plain;
    for (const Stream* s : chosen) plain.push_back(s->state);
    struct Changed {
      MatrixCost* cost;
      size_t stream;
      DitState state;
    };
    std::vector<Changed> all;
    const auto leave = [&](Dit& last, const Stream& s, DitState state) {
      return ops_.download(last.leave(ops_, contexts_[s.sample], std::move(state), modulation_[s.step]));
    };
    for (int64_t b = 0; b < config_.layers; ++b) {
      const auto dit = load(b);
      for (Changed& c : all) advance(*dit, *chosen[c.stream], c.state);
      const Weights weights = matrices_of(*dit);
      for (MatrixCost& cost : costs) {
        const auto at = weights.find(cost.name);
        if (at == weights.end()) continue;
        Weight kept = *at->second;
        set(*at->second, quantize_low_bit(dense(cost.name), LowBit::w4a8, default_rotation(cost.shape[1]), cost.name));
        for (size_t i = 0; i < chosen.size(); ++i) {
          all.push_back({&cost, i, plain[i]});
          advance(*dit, *chosen[i], all.back().state);
        }
        *at->second = std::move(kept);
      }
      for (size_t i = 0; i < chosen.size(); ++i) advance(*dit, *chosen[i], plain[i]);
      if (b + 1 == config_.layers) {
        std::vector<Tensor> wanted;
        for (size_t i = 0; i < chosen.size(); ++i) wanted.push_back(leave(*dit, *chosen[i], plain[i]));
        for (Changed& c : all) {
          const Tensor got = leave(*dit, *chosen[c.stream], std::move(c.state));
          const auto x = got.span<float>(), y = std::as_const(wanted[c.stream]).span<float>();
          double sum = 0;
          for (size_t j = 0; j < x.size(); ++j) sum += std::pow(double{x[j]} - y[j], 2);
          c.cost->error += sum * std::pow(chosen[c.stream]->weight, 2);
        }
      }
      report();
    }
  }

  // --- rounding -------------------------------------------------------------------------------------------------
  // What the stage's matrices are given when a stream goes through the block.
  std::map<std::string, Tensor> inputs_of(Dit& dit, const Stream& s, DitState state, const Weights& weights,
                                          int stage) {
    std::map<std::string, Tensor> inputs;
    ops_.watch = [&](const Weight& w, const Tensor& x) {
      if (weights.contains(w.name) && stage_of(w.name) == stage) inputs.emplace(input_of(w.name), x);
    };
    advance(dit, s, state);
    ops_.watch = {};
    return inputs;
  }

  void run_block(int64_t b, const std::function<void(const CalibratedMatrix&)>& sink) {
    const auto unrounded = load(b), dit = load(b);
    const Weights weights = matrices_of(*dit);
    for (int stage = 0; stage < kStages; ++stage) {
      std::map<std::string, InputMoments> moments;
      for (const Stream& s : streams_) {
        if (options_.cancel != nullptr) options_.cancel->throw_if_cancelled();
        const auto wanted = inputs_of(*unrounded, s, s.unrounded, weights, stage);
        for (const auto& [input, x] : inputs_of(*dit, s, s.state, weights, stage))
          moments.try_emplace(input, ops_, x.channels()).first->second.add(x, wanted.at(input), s.weight);
      }
      for (auto& [input, m] : moments) {
        m.finish();
        const InputFactor factor(m.covariance(), m.columns(), kDamping);
        for (const auto& [matrix, weight] : weights)
          if (stage_of(matrix) == stage && input_of(matrix) == input) sink(round(matrix, *weight, m, factor));
      }
    }
    for (Stream& s : streams_) {
      advance(*unrounded, s, s.unrounded);
      advance(*dit, s, s.state);
    }
  }

  CalibratedMatrix round(const std::string& matrix, Weight& weight, const InputMoments& m, const InputFactor& factor) {
    const int64_t n = weight.shape[0], k = m.columns();
    const LowBit form = forms_.at(matrix);
    Tensor w = copy_of(dense(matrix));
    for (int64_t r = 0; r < n; ++r) rotate_row(w.data<float>() + r * k, k, m.rotation());
    const Tensor wanted = fit_to_inputs(w, m.missing(), factor);
    CalibratedMatrix result;
    result.name = matrix;
    result.matrix = round_with_feedback(wanted, factor, form, matrix);
    const Tensor got = dense_value(weight.shape, result.matrix.value, result.matrix.parts);
    const LowBitMatrix nearest = quantize_low_bit(w, form, 0, matrix);
    const double power = output_error(w, Tensor(), factor);
    result.nearest = output_error(w, dense_value(weight.shape, nearest.value, nearest.parts), factor) / power;
    result.calibrated = output_error(wanted, got, factor) / power;
    result.bias = copy_of(weight.bias);
    const float *from = std::as_const(w).data<float>(), *to = got.data<float>();
    float* bias = result.bias.data<float>();
    for (int64_t r = 0; r < n; ++r) {
      double change = 0;
      for (int64_t c = 0; c < k; ++c) change += from[r * k + c] * m.mean_unrounded()[c] - to[r * k + c] * m.mean()[c];
      bias[r] += static_cast<float>(change);
    }
    result.matrix.parts.rotation = m.rotation();
    weight.bias = copy_of(result.bias);
    set(weight, result.matrix);
    return result;
  }

  const CalibrationOptions options_;
  const ModelFiles files_;
  const Checkpoint checkpoint_;
  const DitConfig config_;
  int64_t width_ = 0, height_ = 0;  // of the drawn pictures, in tokens
  int done_ = 0, total_ = 0;
  WatchedOps ops_;
  std::vector<Sample> samples_;
  std::vector<StepModulation> modulation_;
  std::vector<DitContext> contexts_;
  std::vector<Stream> streams_;
  std::map<std::string, LowBit> forms_;
};

Calibration::Calibration(const std::filesystem::path& model, const CalibrationOptions& options)
    : impl_(std::make_unique<Impl>(model, options)) {}
Calibration::~Calibration() = default;
const std::map<std::string, LowBit>& Calibration::forms() const { return impl_->forms(); }
void Calibration::run(const std::function<void(const CalibratedMatrix&)>& sink) { impl_->run(sink); }

void spend_bits(const std::vector<MatrixCost>& matrices, double bits, std::map<std::string, LowBit>& forms) {
  double elements = 0, used = 0;  // bytes
  std::vector<const MatrixCost*> order;
  const auto bytes = [](const MatrixCost& m, LowBit form) {
    return static_cast<double>(matrix_bytes(m.shape, DType::f32, form));
  };
  for (const MatrixCost& m : matrices) {
    elements += static_cast<double>(m.shape.elements());
    used += bytes(m, LowBit::w4a8);
    order.push_back(&m);
  }
  const auto more = [&](const MatrixCost& m) { return bytes(m, LowBit::w8a8) - bytes(m, LowBit::w4a8); };
  std::ranges::stable_sort(
      order, [&](const MatrixCost* a, const MatrixCost* b) { return a->error / more(*a) > b->error / more(*b); });
  for (const MatrixCost* m : order) {
    const bool room = used + more(*m) <= bits / 8 * elements;
    forms[m->name] = room ? LowBit::w8a8 : LowBit::w4a8;
    if (room) used += more(*m);
  }
}

std::vector<CalibrationPrompt> read_calibration_prompts(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file) throw ArgumentError("{}: cannot be read", path.string());
  std::vector<CalibrationPrompt> prompts;
  int64_t number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    line.erase(line.find_last_not_of(" \t\r") + 1);
    if (line.empty()) continue;
    CalibrationPrompt prompt{line, number};
    if (line.front() == '{') {
      const auto row = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (!row.is_object() || !row.contains("prompt") || !row["prompt"].is_string())
        throw ArgumentError("{}: line {} is not an object with a text \"prompt\"", path.string(), number);
      prompt.text = row["prompt"].get<std::string>();
      if (row.contains("seed") && row["seed"].is_number_integer()) prompt.seed = row["seed"].get<int64_t>();
    }
    prompts.push_back(std::move(prompt));
  }
  if (prompts.empty()) throw ArgumentError("{}: holds no prompt", path.string());
  return prompts;
}

}  // namespace inkling
