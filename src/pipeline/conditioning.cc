#include "pipeline/conditioning.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/rng.h"
#include "diffusion/latents.h"
#include "formats/resample.h"
#include "pipeline/edit_sizes.h"
#include "pipeline/picture.h"
#include "pipeline/style.h"

namespace inkling {

namespace {

constexpr int kLightningSteps = 8;
constexpr size_t kMaxInstructionTokens = 1024;

PictureSize size_of(const Image& image) { return {image.width, image.height}; }

Image resized(const Image& image, PictureSize size, ResampleFilter filter) {
  if (size_of(image) == size) return image;
  return resample(image, static_cast<int>(size.width), static_cast<int>(size.height), filter);
}

float cfg_scale_of(const Request& request, const ModelTraits& model) {
  const float preset = model.distilled_steps > 0 ? 1.f : model.defaults.cfg_scale.value_or(4.f);
  return std::max(1.f, request.cfg_scale >= 0 ? request.cfg_scale : preset);
}

bool uses_lightning(const Request& request, const ModelTraits& model) {
  return request.schedule == ScheduleKind::lightning ||
         (request.schedule == ScheduleKind::automatic && model.distilled_steps > 0);
}

int steps_of(const Request& request, const ModelTraits& model) {
  const int own = model.defaults.steps > 0 ? static_cast<int>(model.defaults.steps) : request.images.empty() ? 50 : 40;
  const int few = model.distilled_steps > 0 ? model.distilled_steps : kLightningSteps;
  return request.steps > 0 ? request.steps : uses_lightning(request, model) ? few : own;
}

PictureSize drawn_size(const Request& request, const ModelTraits& model) {
  const auto pick = [](int asked, int64_t preset) { return asked > 0 ? asked : preset > 0 ? preset : 1024; };
  return {pick(request.width, model.defaults.width), pick(request.height, model.defaults.height)};
}

class Preparation {
 public:
  Preparation(const Request& request, const ModelTraits& model, const Tokenizer& tokenizer)
      : request_(request), model_(model), tokenizer_(tokenizer) {}

  PreparedRequest operator()() {
    check_task();
    if (request_.images.empty()) {
      generate_size();
    } else {
      prepare_pictures();
    }
    prepare_prompts();
    prepare_schedule();
    draw_noise_of_batch();
    if (request_.latents) take_latents();
    return std::move(result_);
  }

 private:
  bool edits() const { return !request_.images.empty(); }
  Job& job() { return result_.job; }
  void check_task() const {
    if (model_.kind == PipelineKind::layered)
      throw ArgumentError("model: layered generation is not offered by this command");
    if (edits() && model_.kind == PipelineKind::generate)
      throw ArgumentError("model: this model draws from text only; to edit a picture, use a Qwen-Image-Edit model");
    if (model_.kind == PipelineKind::edit && request_.images.size() > 1)
      throw ArgumentError("image: this model takes one picture, got {}", request_.images.size());
  }

  void generate_size() {
    const PictureSize size = drawn_size(request_, model_);
    job().width = static_cast<int>(size.width);
    job().height = static_cast<int>(size.height);
  }

  // --- pictures of an edit ---------------------------------------------------------------------------------------
  void prepare_pictures() {
    std::vector<PictureSize> given;
    for (const Image& image : request_.images) {
      if (image.width < 16 || image.height < 16)
        throw ArgumentError("image: {}x{} is too small; both sides need at least 16 pixels", image.width, image.height);
      given.push_back(size_of(image));
    }
    const EditSizes sizes =
        edit_sizes(given, {request_.geometry, request_.width, request_.height, request_.vae_area, request_.vl_area},
                   model_.kind, model_.defaults, model_.processor);
    for (size_t i = 0; i < given.size(); ++i) {
      add_vision_input(request_.images[i], sizes.pictures[i]);
      if (sizes.keeps_pixels && i == 0)
        add_own_size_reference(request_.images[i], sizes.pictures[i].scaled);
      else
        add_reference(resized(request_.images[i], sizes.pictures[i].reference, ResampleFilter::lanczos));
    }
    job().width = static_cast<int>(sizes.output.width);
    job().height = static_cast<int>(sizes.output.height);
  }

  // The reference on the input's own pixel grid, so that nothing shifts: padded, never scaled, unless it is too large.
  void add_own_size_reference(const Image& image, PictureSize size) {
    const Image own = resized(image, size, ResampleFilter::lanczos);
    if (size != size_of(image))
      result_.notes.push_back(
          fmt::format("the picture is larger than the model works on: edited at {}x{}, then enlarged to {}x{}",
                      own.width, own.height, image.width, image.height));
    result_.crop_width = own.width;
    result_.crop_height = own.height;
    add_reference(pad_to_multiple(own, static_cast<int>(kPixelsPerToken)));
  }

  void add_reference(const Image& image) { job().references.push_back(to_tensor(image)); }

  // What the vision tower sees: Lanczos to its area, then bicubic to whole merge units.
  void add_vision_input(const Image& image, const EditSizes::Picture& sizes) {
    const Image seen =
        resized(resized(image, sizes.first, ResampleFilter::lanczos), sizes.vision, ResampleFilter::bicubic);
    job().vision.push_back(make_patches(seen, VisionConfig{}, model_.processor));
  }

  // --- text ---------------------------------------------------------------------------------------------------------
  void prepare_prompts() {
    result_.prompt = apply_style(request_.prompt, request_.style);
    bool truncated = false;
    job().positive = encode(result_.prompt, &truncated);
    if (truncated) result_.notes.push_back("the prompt is longer than 512 tokens and was cut");
    job().cfg_scale = cfg_scale_of(request_, model_);
    // " " is the negative prompt that the model's authors recommend; the reference pipeline switches guidance off
    // without one.
    if (job().cfg_scale > 1.f) {
      job().negative = encode(request_.negative_prompt.value_or(" "), nullptr);
    } else if (request_.negative_prompt) {
      result_.notes.push_back("the negative prompt has no effect: guidance is off (--cfg-scale 1)");
    }
  }

  EncodedPrompt encode(const std::string& text, bool* truncated) const {
    if (!edits()) return encode_generate_prompt(tokenizer_, text, {}, truncated);
    // The reference pipeline does not cut an instruction; without a bound it could take hours.
    if (const size_t count = tokenizer_.encode_plain(text).size(); count > kMaxInstructionTokens)
      throw ArgumentError("prompt: {} tokens, at most {} are accepted in an edit", count, kMaxInstructionTokens);
    std::vector<int64_t> tokens;
    for (const VisionInput& v : job_vision()) tokens.push_back(v.height * v.width / 4);
    return encode_edit_prompt(tokenizer_, text, tokens, model_.kind == PipelineKind::edit_plus);
  }
  const std::vector<VisionInput>& job_vision() const { return result_.job.vision; }

  // --- schedule and noise
  // ---------------------------------------------------------------------------------------------
  void prepare_schedule() {
    job().schedule = make_schedule(uses_lightning(request_, model_) ? FlowMatchConfig::lightning() : model_.scheduler,
                                   steps_of(request_, model_), tokens());
    job().tiling = request_.vae_tiling;
  }

  int64_t tokens() const {
    const Job& j = result_.job;
    return j.width / kPixelsPerToken * (j.height / kPixelsPerToken);
  }

  void draw_noise_of_batch() {
    for (int i = 0; i < request_.batch; ++i) {
      const int64_t seed = request_.seed + i;
      result_.seeds.push_back(seed);
      std::unique_ptr<NormalGenerator> generator;
      if (request_.rng == RngKind::cpu)
        generator = std::make_unique<TorchCpuGenerator>(static_cast<uint64_t>(seed));
      else
        generator = std::make_unique<PhiloxGenerator>(static_cast<uint64_t>(seed));
      job().noise.push_back(draw_noise(*generator, job().height, job().width, model_.latent_channels));
    }
  }

  void take_latents() {
    const Shape expected{tokens(), 4 * model_.latent_channels};
    if (static_cast<int>(request_.latents->size()) != request_.batch)
      throw ArgumentError("latents: got {} pictures, expected {}", request_.latents->size(), request_.batch);
    for (const Tensor& t : *request_.latents) {
      if (!t.defined() || t.shape() != expected || t.dtype() != DType::f32)
        throw ArgumentError("latents: got shape {}, expected {} of f32 for {}x{} pixels",
                            t.defined() ? t.shape().str() : "none", expected.str(), job().width, job().height);
      if (!std::ranges::all_of(t.span<float>(), [](float v) { return std::isfinite(v); }))
        throw ArgumentError("latents: hold a value that is not finite");
    }
    job().latents = *request_.latents;
  }

  const Request& request_;
  const ModelTraits& model_;
  const Tokenizer& tokenizer_;
  PreparedRequest result_;
};

}  // namespace

PreparedRequest prepare_request(const Request& request, const ModelTraits& model, const Tokenizer& tokenizer) {
  return Preparation(request, model, tokenizer)();
}

std::string batch_key(const Request& r, const ModelTraits& model) {
  if (r.latents) return {};
  std::string key = fmt::format("{} steps{}, guidance {}", steps_of(r, model),
                                uses_lightning(r, model) ? " of lightning" : "", cfg_scale_of(r, model));
  if (r.images.empty()) {
    const PictureSize size = drawn_size(r, model);
    key += fmt::format(", {}x{}", size.width, size.height);
  } else {
    key += fmt::format(", {}x{} {} {} {}", r.width, r.height, r.geometry == Geometry::keep ? "keep" : "reference",
                       r.vae_area, r.vl_area);
    for (const Image& image : r.images) key += fmt::format(" of {}x{}", image.width, image.height);
  }
  if (r.vae_tiling) key += fmt::format(", tiles {}/{}", r.vae_tiling->tile, r.vae_tiling->stride);
  return key;
}

Image finish_picture(const Request& request, const PreparedRequest& prepared, Image decoded) {
  if (prepared.crop_width > 0) {
    decoded = crop(decoded, prepared.crop_width, prepared.crop_height);
    decoded = resized(decoded, size_of(request.images.front()), ResampleFilter::lanczos);
  }
  if (!request.mask) return decoded;
  const Image& original = request.images.front();
  return composite(original, resized(decoded, size_of(original), ResampleFilter::lanczos), *request.mask);
}

}  // namespace inkling
