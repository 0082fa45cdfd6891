#include "compress/quantize/calibrate.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

#include "backends/cpu/cpu_ops.h"
#include "base/error.h"
#include "base/threads.h"
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

Tensor copy_of(const Tensor& t) { return host_tensor(t.shape(), t.span<float>()); }

// One drawn picture.
struct Sample {
  Tensor text;                  // [L, text_dim]
  std::vector<Tensor> latents;  // before every step, [N, 64]
};

std::vector<Sample> draw(const std::filesystem::path& model, const CalibrationOptions& options) {
  EngineOptions engine_options;
  engine_options.model = model;
  engine_options.precision = PrecisionChoice::f32;
  engine_options.keep_loaded = true;
  Engine engine(engine_options);
  std::vector<Sample> samples;
  for (const CalibrationPrompt& prompt : options.prompts) {
    Sample sample;
    engine.set_trace([&](std::string_view name, const Tensor& value) {
      if (name == "prompt_embeds") sample.text = copy_of(value);
      if (name == "noise" || name.starts_with("latents.")) sample.latents.push_back(copy_of(value));
    });
    Request request;
    request.prompt = prompt.text;
    request.seed = prompt.seed;
    Callbacks callbacks;
    callbacks.cancel = options.cancel;
    engine.run(request, callbacks);
    sample.latents.pop_back();  // after the last step
    samples.push_back(std::move(sample));
  }
  return samples;
}

// Matrices of one name are given the same x.
std::string input_of(std::string name) {
  for (const char* part : {"to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj"}) {
    const std::string end = std::string(".attn.") + part;
    if (name.ends_with(end)) return name.substr(0, name.size() - end.size()) + (part[0] == 't' ? ".img" : ".txt");
  }
  return name;
}

// Tells what goes into the linear layers.
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

// Sums over the inputs of a matrix on both runs, rotated.
class Moments {
 public:
  Moments(CpuOps& ops, int64_t columns, bool cross)
      : k_(columns), rotation_(default_rotation(columns)), ops_(ops), second_(square()), cross_(cross ? square() : std::vector<double>()),
        mean_(static_cast<size_t>(columns)), mean_original_(mean_.size()), rows_(static_cast<size_t>(2 * kRows * k_)) {}

  void add(const Tensor& original, const Tensor& now, double weight) {
    const float root = static_cast<float>(std::sqrt(weight));
    const float *from_x = std::as_const(now).data<float>(), *from_o = std::as_const(original).data<float>();
    for (int64_t r = 0; r < now.rows(); ++r) {
      float *x = rows_.data() + held_ * k_, *d = rows_.data() + (kRows + held_) * k_;
      std::copy_n(from_x + r * k_, k_, x);
      std::copy_n(from_o + r * k_, k_, d);
      rotate_row(x, k_, rotation_);
      rotate_row(d, k_, rotation_);
      for (int64_t c = 0; c < k_; ++c) {
        mean_[c] += weight * x[c];
        mean_original_[c] += weight * d[c];
        d[c] = root * (d[c] - x[c]);
        x[c] *= root;
      }
      weight_ += weight;
      if (++held_ == kRows) flush();
    }
  }

  // Ends the sums. With `centred` the means are taken out.
  void finish(bool centred) {
    if (held_ > 0) {
      std::fill(rows_.begin() + held_ * k_, rows_.begin() + kRows * k_, 0.f);
      std::fill(rows_.begin() + (kRows + held_) * k_, rows_.end(), 0.f);
      flush();
    }
    for (int64_t c = 0; c < k_; ++c) mean_[c] /= weight_, mean_original_[c] /= weight_;
    for (int64_t i = 0; i < k_; ++i)
      for (int64_t j = 0; j < k_; ++j) {
        second_[i * k_ + j] /= weight_;
        if (centred) second_[i * k_ + j] -= mean_[i] * mean_[j];
        if (cross_.empty()) continue;
        cross_[i * k_ + j] /= weight_;
        if (centred) cross_[i * k_ + j] -= (mean_original_[i] - mean_[i]) * mean_[j];
      }
  }
  int64_t columns() const { return k_; }
  int64_t rotation() const { return rotation_; }
  const std::vector<double>& second() const { return second_; }
  const std::vector<double>& cross() const { return cross_; }  // [original - now, now]
  const std::vector<double>& mean() const { return mean_; }
  const std::vector<double>& mean_original() const { return mean_original_; }

 private:
  static constexpr int64_t kRows = 1024;
  std::vector<double> square() const { return std::vector<double>(static_cast<size_t>(k_ * k_)); }
  static void transpose(const float* rows, int64_t k, float* to) {
    constexpr int64_t kSide = 32;
    parallel_for((k + kSide - 1) / kSide, 1, [&](int64_t from, int64_t end) {
      for (int64_t c0 = from * kSide; c0 < std::min(k, end * kSide); c0 += kSide)
        for (int64_t r0 = 0; r0 < kRows; r0 += kSide)
          for (int64_t c = c0; c < std::min(k, c0 + kSide); ++c)
            for (int64_t r = r0; r < r0 + kSide; ++r) to[c * kRows + r] = rows[r * k + c];
    });
  }
  void flush() {
    Tensor x = host_tensor(Shape{k_, kRows}), d = host_tensor(Shape{k_, kRows});
    transpose(rows_.data(), k_, x.data<float>());
    Weight w;
    w.name = "moments";
    w.shape = Shape{k_, kRows};
    w.value = x;
    ops_.prepare(w);
    const auto add = [&](const Tensor& left, std::vector<double>& to) {
      const Tensor product = ops_.CpuOps::linear(left, w);
      const float* p = product.data<float>();
      for (int64_t i = 0; i < k_ * k_; ++i) to[i] += p[i];
    };
    add(x, second_);
    if (!cross_.empty()) {
      transpose(rows_.data() + kRows * k_, k_, d.data<float>());
      add(d, cross_);
    }
    held_ = 0;
  }

  const int64_t k_, rotation_;
  CpuOps& ops_;
  std::vector<double> second_, cross_, mean_, mean_original_;
  double weight_ = 0;
  std::vector<float> rows_;  // inputs of the second run, then what they lack of those of the first
  int64_t held_ = 0;
};

// 0: what attention projects, 1: its output, 2 and 3: the MLP.
int stage_of(const std::string& name) {
  if (name.ends_with("to_out.0") || name.ends_with("to_add_out")) return 1;
  if (name.ends_with("net.0.proj")) return 2;
  if (name.ends_with("net.2")) return 3;
  return 0;
}

class Calibration {
 public:
  Calibration(const std::filesystem::path& model, const CalibrationOptions& options)
      : options_(options),
        files_(find_model(model)),
        checkpoint_(Checkpoint::open(files_.dit, Component::dit)),
        config_(dit_config(files_, checkpoint_)),
        samples_(draw(model, options)) {
    enter();
  }

  void run(const std::function<void(CalibratedMatrix)>& sink) {
    for (int64_t b = 0; b < config_.layers; ++b) {
      if (options_.progress) options_.progress({"calibrate", static_cast<int>(b), static_cast<int>(config_.layers)});
      run_block(b, sink);
    }
  }

 private:
  struct State {
    DitContext* context;
    StepModulation* modulation;
    DitState original, now;
    double weight;
  };

  void enter() {
    std::ifstream file(files_.scheduler_config);
    const FlowMatchConfig flow = FlowMatchConfig::parse(std::string(std::istreambuf_iterator<char>(file), {}));
    const int steps = static_cast<int>(samples_.at(0).latents.size());
    const int64_t tokens = samples_[0].latents[0].rows(), side = std::lround(std::sqrt(static_cast<double>(tokens)));
    static const double weighted = getenv("WEIGHT") ? atof(getenv("WEIGHT")) : 0;
    const Schedule schedule = make_schedule(flow, steps, tokens);
    std::vector<float> timesteps;
    for (int k = 0; k < steps; ++k) timesteps.push_back(schedule.timestep(k));
    {
      DitModulation modulation(config_);
      load_parameters(modulation, checkpoint_, ops_);
      modulation_ = modulation.forward(ops_, timesteps);
    }
    Dit first(config_, {0, 1});
    load_parameters(first, checkpoint_, ops_);
    contexts_.reserve(samples_.size());
    for (const Sample& sample : samples_) {
      DitInputs inputs;
      inputs.pictures = {PictureShape{1, side, side}};
      inputs.text = sample.text;
      inputs.text_segments = Segments::single(sample.text.rows());
      contexts_.push_back(first.prepare(ops_, inputs));
      static const int every = getenv("EVERY") ? atoi(getenv("EVERY")) : 1;
      for (int k = 0; k < steps; ++k) {
        if (k % every != static_cast<int>(contexts_.size()) % every) continue;
        State s{&contexts_.back(), &modulation_[k], first.enter(ops_, contexts_.back(), sample.latents[k]), {}, weighted > 0 ? std::pow(std::fabs(8 * schedule.delta(k)), weighted) : 1};
        s.now = s.original;
        states_.push_back(std::move(s));
      }
    }
  }

  std::unique_ptr<Dit> load(int64_t block) {
    auto dit = std::make_unique<Dit>(config_, BlockRange{block, block + 1});
    load_parameters(*dit, checkpoint_, ops_);
    return dit;
  }

  void run_block(int64_t b, const std::function<void(CalibratedMatrix)>& sink) {
    const auto original = load(b), now = load(b);
    std::map<std::string, Weight*> weights;
    now->for_each_parameter([&](const Parameter& p) {
      if (p.kind == Parameter::Kind::linear && !p.weight->sensitive) weights[p.weight->name] = p.weight;
    });
    const int last_stage = 3;
    for (int stage = 0; stage <= last_stage; ++stage) {
      if (stage % (4 / options_.stages) != 0) continue;
      const int until = stage + 4 / options_.stages;
      std::map<std::string, std::unique_ptr<Moments>> moments;
      const auto wanted = [&](const std::string& name) {
        return weights.contains(name) && stage_of(name) >= stage && stage_of(name) < until;
      };
      for (State& s : states_) {
        if (options_.cancel != nullptr) options_.cancel->throw_if_cancelled();
        std::map<std::string, Tensor> inputs;
        ops_.watch = [&](const Weight& w, const Tensor& x) {
          if (wanted(w.name)) inputs.emplace(input_of(w.name), x);
        };
        DitState unused = s.original;
        if (options_.follow_error) original->run_blocks(ops_, *s.context, unused, *s.modulation);
        std::set<std::string> seen;
        ops_.watch = [&](const Weight& w, const Tensor& x) {
          if (!wanted(w.name) || !seen.insert(input_of(w.name)).second) return;
          auto& m = moments[input_of(w.name)];
          if (!m) m = std::make_unique<Moments>(ops_, w.in_features(), options_.follow_error);
          auto* const watch = &ops_.watch;
          std::function<void(const Weight&, const Tensor&)> held;
          std::swap(*watch, held);
          m->add(options_.follow_error ? inputs.at(input_of(w.name)) : x, x, s.weight);
          std::swap(*watch, held);
        };
        unused = s.now;
        now->run_blocks(ops_, *s.context, unused, *s.modulation);
        ops_.watch = {};
      }
      for (auto& [input, m] : moments) {
        m->finish(options_.fit_bias);
        const InputFactor factor(m->second(), m->columns(), options_.damping);
        for (const auto& [name, weight] : weights)
          if (wanted(name) && input_of(name) == input) round(name, *weight, *m, factor, sink);
      }
    }
    for (State& s : states_) {
      if (options_.follow_error) original->run_blocks(ops_, *s.context, s.original, *s.modulation);
      now->run_blocks(ops_, *s.context, s.now, *s.modulation);
    }
  }

  void round(const std::string& name, Weight& weight, const Moments& m, const InputFactor& factor,
             const std::function<void(CalibratedMatrix)>& sink) {
    const int64_t n = weight.shape[0], k = m.columns();
    CalibratedMatrix result;
    result.name = name;
    const auto at = options_.forms.find(name);
    const LowBit kind = at != options_.forms.end() ? at->second : LowBit::w4a8;
    Tensor w = host_tensor(weight.shape);
    {
      const Tensor stored = dequantize(checkpoint_.load(*checkpoint_.find(name + ".weight")));
      std::copy_n(std::as_const(stored).data<float>(), n * k, w.data<float>());
    }
    for (int64_t r = 0; r < n; ++r) rotate_row(w.data<float>() + r * k, k, m.rotation());
    Tensor target = copy_of(w);
    if (options_.follow_error) {  // w + w E[(x - x') x'^T] H^-1
      std::vector<double> more(static_cast<size_t>(n * k), 0.);
      parallel_for(n, 1, [&](int64_t from, int64_t to) {
        const double* cross = m.cross().data();
        for (int64_t r = from; r < to; ++r)
          for (int64_t i = 0; i < k; ++i) {
            const double v = std::as_const(w).data<float>()[r * k + i];
            for (int64_t j = 0; j < k; ++j) more[r * k + j] += v * cross[i * k + j];
          }
      });
      factor.solve(more);
      for (int64_t i = 0; i < n * k; ++i) target.data<float>()[i] += static_cast<float>(more[i]);
    }
    const LowBitMatrix nearest = quantize_low_bit(w, kind, 0, name);
    result.matrix = round_with_feedback(target, factor, kind, m.rotation(), name, options_.sweeps);
    LowBitParts unrotated = result.matrix.parts;
    unrotated.rotation = 0;
    const Tensor got = dense_value(weight.shape, result.matrix.value, unrotated);
    Tensor zero = host_tensor(weight.shape);
    std::ranges::fill(zero.span<float>(), 0.f);
    const double power = output_error(w, zero, factor);
    result.nearest = output_error(w, dense_value(weight.shape, nearest.value, nearest.parts), factor) / power;
    result.calibrated = output_error(target, got, factor) / power;
    result.bias = copy_of(weight.bias);
    if (options_.fit_bias)
      for (int64_t r = 0; r < n; ++r) {
        double change = 0;
        for (int64_t c = 0; c < k; ++c)
          change += std::as_const(w).data<float>()[r * k + c] * m.mean_original()[c] -
                    std::as_const(got).data<float>()[r * k + c] * m.mean()[c];
        result.bias.data<float>()[r] += static_cast<float>(change);
      }
    weight.prepared.reset();
    weight.value = result.matrix.value;
    weight.low_bit = result.matrix.parts;
    weight.bias = copy_of(result.bias);
    ops_.prepare(weight);
    sink(std::move(result));
  }

  const CalibrationOptions& options_;
  const ModelFiles files_;
  const Checkpoint checkpoint_;
  const DitConfig config_;
  WatchedOps ops_;
  const std::vector<Sample> samples_;
  std::vector<StepModulation> modulation_;
  std::vector<DitContext> contexts_;
  std::vector<State> states_;
};

}  // namespace

std::vector<CalibrationPrompt> read_calibration_prompts(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file) throw ArgumentError("{}: cannot be read", path.string());
  std::vector<CalibrationPrompt> prompts;
  for (std::string line; std::getline(file, line);) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    if (line.empty()) continue;
    CalibrationPrompt prompt{line, static_cast<int64_t>(prompts.size())};
    if (line.front() == '{') {
      const auto row = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
      const auto text = row.is_object() ? row.find("prompt") : row.end();
      if (!row.is_object() || text == row.end() || !text->is_string())
        throw ArgumentError("{}: line {} is not an object with a text \"prompt\"", path.string(), prompts.size() + 1);
      prompt.text = text->get<std::string>();
      if (const auto seed = row.find("seed"); seed != row.end() && seed->is_number_integer())
        prompt.seed = seed->get<int64_t>();
    }
    prompts.push_back(std::move(prompt));
  }
  if (prompts.empty()) throw ArgumentError("{}: holds no prompt", path.string());
  return prompts;
}

void calibrate_transformer(const std::filesystem::path& model, const CalibrationOptions& options,
                           const std::function<void(CalibratedMatrix)>& sink) {
  if (options.prompts.empty()) throw ArgumentError("calibration: no prompts");
  Calibration(model, options).run(sink);
}

}  // namespace inkling
