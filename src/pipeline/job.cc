#include "pipeline/job.h"

#include <cmath>

#include "base/error.h"
#include "diffusion/latents.h"
#include "pipeline/picture.h"

namespace inkling {

namespace {

using Part = Parts::Part;

// Steps whose modulation stays on the device for the whole run.
constexpr int kStepsOnDevice = 8;

// One run: its parts, what the phases hand on, and where it reports.
class Run {
 public:
  Run(Ops& ops, Parts& parts, const Job& job, const Callbacks& callbacks, const PhaseFn& phase)
      : ops_(ops), parts_(parts), job_(job), callbacks_(callbacks), phase_(phase) {}

  std::vector<Tensor> operator()() {
    encode_prompts();
    encode_references();
    make_modulation();
    std::vector<Tensor> latents;
    for (size_t i = 0; i < job_.noise.size(); ++i) latents.push_back(denoise(static_cast<int>(i)));
    parts_.done(Part::dit);
    steps_.clear();
    prompts_ = {};
    references_ = Tensor();
    return decode(latents);
  }

 private:
  void begin(const char* name) {
    if (phase_) phase_(name);
    check_cancelled();
  }
  void check_cancelled() const {
    if (callbacks_.cancel != nullptr) callbacks_.cancel->throw_if_cancelled();
  }
  void report(const char* phase, int step, int total) const {
    if (callbacks_.progress) callbacks_.progress({phase, step, total});
  }

  // -> hidden states of the prompt itself, [L, text_dim]
  Tensor encode_prompt(TextEncoder& encoder, const EncodedPrompt& prompt, const std::vector<Tensor>& features,
                       bool traced) {
    const auto tokens = static_cast<int64_t>(prompt.ids.size());
    TextInputs in;
    in.ids = host_tensor(Shape{tokens}, std::span<const int32_t>(prompt.ids));
    in.prompts = Segments::single(tokens);
    std::vector<PictureInText> pictures;
    for (size_t i = 0; i < features.size(); ++i) {
      const VisionInput& v = job_.vision[i];
      pictures.push_back({prompt.image_starts[i], v.height / 2, v.width / 2});
      in.pictures.push_back({prompt.image_starts[i], features[i]});
    }
    in.positions = mrope_positions(tokens, pictures);
    const Tensor hidden = traced ? encoder.forward(ops_, in) : untraced([&] { return encoder.forward(ops_, in); });
    return hidden.slice_rows(prompt.drop, tokens);
  }

  // The reference's traces hold the positive pass only.
  template <typename F>
  Tensor untraced(const F& f) {
    Ops::TraceHook hook = ops_.exchange_trace({});
    Tensor result = f();
    ops_.exchange_trace(std::move(hook));
    return result;
  }

  void encode_prompts() {
    const int total = 1 + static_cast<int>(job_.vision.size()) + (job_.negative ? 1 : 0);
    int step = 0;
    std::vector<Tensor> features;
    if (!job_.vision.empty()) begin("see pictures");
    for (const VisionInput& v : job_.vision) {
      features.push_back(parts_.vision().forward(ops_, v, static_cast<int64_t>(features.size())));
      report("encode prompt", ++step, total);
      check_cancelled();
    }
    if (!features.empty()) parts_.done(Part::vision);
    begin("encode prompt");
    report("encode prompt", step, total);
    TextEncoder& encoder = parts_.text_encoder();
    prompts_.push_back(encode_prompt(encoder, job_.positive, features, true));
    ops_.trace("prompt_embeds", prompts_.back());
    report("encode prompt", ++step, total);
    check_cancelled();
    if (job_.negative) {
      prompts_.push_back(encode_prompt(encoder, *job_.negative, features, false));
      ops_.trace("negative_prompt_embeds", prompts_.back());
      report("encode prompt", ++step, total);
    }
    parts_.done(Part::text_encoder);
  }

  void encode_references() {
    pictures_ = {PictureShape{1, job_.height / kPixelsPerToken, job_.width / kPixelsPerToken}};
    if (job_.references.empty()) return;
    begin("encode image");
    const int total = static_cast<int>(job_.references.size());
    std::vector<Tensor> parts;
    for (int i = 0; i < total; ++i) {
      report("encode image", i, total);
      const Tensor image = ops_.upload(job_.references[i]);
      const Tensor latents = parts_.vae_encoder().encode(ops_, image, job_.tiling, i);
      parts.push_back(ops_.upload(pack_latents(ops_.download(latents))));
      ops_.trace("image_latents." + std::to_string(i), parts.back());
      pictures_.push_back({1, latents.dim(0) / 2, latents.dim(1) / 2});
      check_cancelled();
    }
    report("encode image", total, total);
    references_ = parts.size() == 1 ? parts[0] : ops_.concat_rows(parts);
    parts_.done(Part::vae_encoder);
  }

  void make_modulation() {
    begin("modulation");
    std::vector<float> timesteps;
    for (int k = 0; k < job_.schedule.steps(); ++k) timesteps.push_back(job_.schedule.timestep(k));
    if (const auto* known = parts_.known_modulation(timesteps)) {
      steps_ = *known;
      return;
    }
    // 8.8 MB a step for the 20 B model: a long schedule waits in host memory.
    TensorMove place;
    if (job_.schedule.steps() > kStepsOnDevice) place = [this](const Tensor& t) { return ops_.download(t); };
    steps_ = parts_.modulation().forward(ops_, timesteps, place);
    parts_.done(Part::modulation);
    parts_.keep_modulation(timesteps, steps_);
  }

  StepModulation step(int k) {
    if (job_.schedule.steps() <= kStepsOnDevice) return steps_[k];
    return steps_[k].transferred([this](const Tensor& t) { return ops_.upload(t); });
  }

  DitContext context(const Tensor& prompt) {
    DitInputs in;
    in.pictures = pictures_;
    in.text = prompt;
    in.text_segments = Segments::single(prompt.rows());
    in.references = references_;
    return parts_.dit().prepare(ops_, in);
  }

  // One picture of the batch -> packed latents [N, 64]
  Tensor denoise(int index) {
    begin("denoise");
    Dit& dit = parts_.dit();
    const int steps = job_.schedule.steps(), total = steps * static_cast<int>(job_.noise.size());
    const DitContext positive = context(prompts_[0]);
    const std::optional<DitContext> negative = prompts_.size() > 1 ? std::optional(context(prompts_[1])) : std::nullopt;
    Tensor x = ops_.upload(job_.noise[index]);
    ops_.trace("noise", x);
    report("denoise", index * steps, total);
    for (int k = 0; k < steps; ++k) {
      const StepModulation modulation = step(k);
      const auto forward = [&](const DitContext& c) { return dit.forward(ops_, c, x, modulation); };
      // Module traces are those of the first positive pass.
      Tensor v = k == 0 ? forward(positive) : untraced([&] { return forward(positive); });
      if (negative) v = ops_.guide(v, untraced([&] { return forward(*negative); }), job_.cfg_scale);
      ops_.trace("noise_pred." + std::to_string(k), v);
      x = ops_.axpby(1.f, x, job_.schedule.delta(k), v);
      ops_.trace("latents." + std::to_string(k), x);
      check_finite(x, k);
      report("denoise", index * steps + k + 1, total);
      check_cancelled();
      if (callbacks_.preview) preview(x, v, k, index * steps + k + 1);
    }
    return x;
  }

  void check_finite(const Tensor& latents, int step) {
    const Tensor host = ops_.download(latents);
    for (float value : host.span<float>())
      if (!std::isfinite(value))
        throw NumericError(
            "step {}: the latents hold a value that is not finite; the model file may be damaged or the precision too "
            "low "
            "(try --precision f32)",
            step + 1);
  }

  void preview(const Tensor& x, const Tensor& v, int k, int number) {
    // What the remaining steps would give if the velocity stayed as it is.
    const Tensor predicted = ops_.axpby(1.f, x, -job_.schedule.sigmas[k + 1], v);
    callbacks_.preview(number, to_image(decode_one(predicted, false)));
  }

  Tensor decode_one(const Tensor& latents, bool traced) {
    const Tensor map = ops_.upload(
        unpack_latents(ops_.download(latents), job_.height / kPixelsPerToken, job_.width / kPixelsPerToken));
    const auto decode = [&] { return parts_.vae_decoder().decode(ops_, map, job_.tiling); };
    return ops_.download(traced ? decode() : untraced(decode));
  }

  std::vector<Tensor> decode(const std::vector<Tensor>& latents) {
    begin("decode");
    std::vector<Tensor> pictures;
    const int total = static_cast<int>(latents.size());
    for (const Tensor& l : latents) {
      report("decode", static_cast<int>(pictures.size()), total);
      pictures.push_back(decode_one(l, true));
      check_cancelled();
    }
    report("decode", total, total);
    parts_.done(Part::vae_decoder);
    return pictures;
  }

  Ops& ops_;
  Parts& parts_;
  const Job& job_;
  const Callbacks& callbacks_;
  const PhaseFn& phase_;
  std::vector<Tensor> prompts_;         // positive, negative: [L, text_dim]
  std::vector<PictureShape> pictures_;  // noise, references
  Tensor references_;                   // [R, 64]
  std::vector<StepModulation> steps_;
};

}  // namespace

void OwnedParts::done(Part part) {
  switch (part) {
    case Part::text_encoder: text_encoder_.reset(); break;
    case Part::vision: vision_.reset(); break;
    case Part::modulation: modulation_.reset(); break;
    case Part::dit: dit_.reset(); break;
    case Part::vae_encoder: vae_encoder_.reset(); break;
    case Part::vae_decoder: vae_decoder_.reset(); break;
  }
}

std::vector<Tensor> run_job(Ops& ops, Parts& parts, const Job& job, const Callbacks& callbacks, const PhaseFn& phase) {
  return Run(ops, parts, job, callbacks, phase)();
}

}  // namespace inkling
