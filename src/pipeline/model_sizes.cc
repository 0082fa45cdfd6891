#include "pipeline/model_sizes.h"

#include <cmath>

#include "base/error.h"
#include "diffusion/latents.h"
#include "models/loader.h"
#include "pipeline/edit_sizes.h"

namespace inkling {

namespace {

int pick(int64_t asked, int64_t of_model, int64_t otherwise) {
  return static_cast<int>(asked > 0 ? asked : of_model > 0 ? of_model : otherwise);
}

EncodedPrompt planned_prompt(int64_t template_tokens, int64_t tokens, std::span<const EditSizes::Picture> pictures) {
  EncodedPrompt p;
  p.drop = template_tokens;
  int64_t length = template_tokens;
  for (const EditSizes::Picture& picture : pictures) {
    p.image_starts.push_back(length + 6);  // "Picture 1: <|vision_start|>"
    length += 7 + picture.vision.pixels() / (28 * 28);
  }
  p.ids.assign(static_cast<size_t>(length + tokens), 0);
  return p;
}

EditSizes sizes_of_edit(const PlanRequest& r, const ModelSizes& m) {
  if (r.references > 1 && m.kind == PipelineKind::edit)
    throw ArgumentError("references: this model takes one picture, got {}", r.references);
  const int width = pick(r.width, m.defaults.width, 1024), height = pick(r.height, m.defaults.height, 1024);
  EditQuestion question;
  if (r.width > 0 || r.height > 0) {
    question.width = width;
    question.height = height;
  }
  // Pictures of which nothing is said have the output's size.
  const PictureSize given = r.picture.width > 0 ? r.picture : PictureSize{width, height};
  const std::vector<PictureSize> pictures(static_cast<size_t>(r.references), given);
  return edit_sizes(pictures, question, m.kind, m.defaults, m.config.processor);
}

}  // namespace

ModelSizes model_sizes(const EngineOptions& o) {
  ModelSizes m;
  m.name = o.model.string();
  for (const LoraFile& l : o.loras) {
    const int steps = lightning_steps(l.path);
    if (steps > 0) m.defaults.steps = std::max<int64_t>(m.defaults.steps, steps);
  }
  const bool lightning = m.defaults.steps > 0;
  const int64_t few = m.defaults.steps;
  if (is_preset(m.name)) {
    m.config = preset(m.name);
    // References of the architecture that ships are small.
    if (m.name == "tiny") {
      const ModelDefaults own = find_model(shipped_model()).defaults;
      m.defaults.vae_reference_area = own.vae_reference_area;
      m.defaults.vision_reference_area = own.vision_reference_area;
    }
  } else {
    const SeparateFiles parts = separate_files(o);
    m.files = combine(parts);
    m.kind = m.files->kind;
    m.defaults = m.files->defaults;
    m.name = parts.base.string();
    m.config.dit = dit_config(*m.files, Checkpoint::open(m.files->dit, Component::dit));
    m.config.text = text_config(*m.files, Checkpoint::open(m.files->text_encoder, Component::text_encoder));
    if (!m.files->vision.empty())
      m.config.vision = vision_config(*m.files, Checkpoint::open(m.files->vision, Component::vision));
    m.config.vae = vae_config(*m.files, Checkpoint::open(m.files->vae, Component::vae));
    m.config.processor = processor_config(*m.files);
  }
  if (!o.loras.empty()) m.loras.emplace(m.config.dit);
  for (const LoraFile& l : o.loras)
    m.loras->add(l.path, l.scale, o.lora_alpha_as_diffusers ? LoraAlpha::diffusers : LoraAlpha::always);
  if (lightning) {
    m.defaults.steps = few;
    m.defaults.cfg_scale = 1.f;
  }
  return m;
}

Job shaped_job(const PlanRequest& r, const ModelSizes& m) {
  Job job;
  EditSizes edit;
  if (r.references > 0) {
    edit = sizes_of_edit(r, m);
    job.width = static_cast<int>(edit.output.width);
    job.height = static_cast<int>(edit.output.height);
  } else {
    job.width = pick(r.width, m.defaults.width, 1024);
    job.height = pick(r.height, m.defaults.height, 1024);
  }
  const int64_t tokens = job.width / kPixelsPerToken * (job.height / kPixelsPerToken);
  const int64_t drop = r.references > 0 ? 64 : 34;  // of the template
  job.cfg_scale = r.cfg_scale >= 0 ? r.cfg_scale : m.defaults.cfg_scale.value_or(4.f);
  job.positive = planned_prompt(drop, r.prompt_tokens, edit.pictures);
  if (job.cfg_scale > 1) job.negative = planned_prompt(drop, r.negative_tokens, edit.pictures);
  const VisionConfig& v = m.config.vision;
  for (const EditSizes::Picture& p : edit.pictures) {
    const int64_t rows = p.vision.height / v.patch, columns = p.vision.width / v.patch;
    job.vision.push_back({host_tensor(Shape{rows * columns, v.patch_values()}), rows, columns});
    job.references.push_back(host_tensor(Shape{p.reference.height, p.reference.width, 3}));
  }
  job.schedule = make_schedule({}, pick(r.steps, m.defaults.steps, r.references > 0 ? 40 : 50), tokens);
  for (int i = 0; i < r.batch; ++i) job.noise.push_back(host_tensor(Shape{tokens, 4 * m.config.vae.latent_channels}));
  if (r.vae_tiling) job.tiling = Tiling{};
  return job;
}

}  // namespace inkling
