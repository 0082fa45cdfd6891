#include "models/registry.h"

#include <algorithm>
#include <cctype>
#include <vector>

#include "base/error.h"
#include "models/json.h"

namespace inkling {

namespace fs = std::filesystem;

namespace {

struct PipelineClass {
  const char* name;
  PipelineKind kind;
};
// One line per model class.
constexpr PipelineClass kPipelineClasses[] = {
    {"QwenImagePipeline", PipelineKind::generate},        {"QwenImageImg2ImgPipeline", PipelineKind::generate},
    {"QwenImageInpaintPipeline", PipelineKind::generate}, {"QwenImageEditPipeline", PipelineKind::edit},
    {"QwenImageEditInpaintPipeline", PipelineKind::edit}, {"QwenImageEditPlusPipeline", PipelineKind::edit_plus},
    {"QwenImageLayeredPipeline", PipelineKind::layered},
};

bool ends_with(const fs::path& path, std::string_view suffix) { return path.filename().string().ends_with(suffix); }

fs::path if_exists(const fs::path& path) { return fs::exists(path) ? path : fs::path(); }

// A part that the user named: a file, or a folder of the diffusers layout.
struct Part {
  fs::path file, config;
};
Part part_at(const fs::path& path) {
  if (!fs::is_directory(path)) return {path, {}};
  return {tensor_file_in(path), if_exists(path / "config.json")};
}

fs::path tokenizer_in(const fs::path& root) {
  for (const char* folder : {"tokenizer", "processor"})
    for (const char* file : {"tokenizer.json", "vocab.json"})
      if (fs::exists(root / folder / file)) return root / folder;
  throw ModelError("{}: holds no tokenizer (tokenizer/tokenizer.json or tokenizer/vocab.json)", root.string());
}

ModelDefaults read_defaults(const fs::path& file) {
  ModelDefaults d;
  if (!fs::exists(file)) return d;
  const nlohmann::json document = read_json_object(file);
  const JsonFields top(document, file.string());
  const JsonFields f = top.child_or_self("defaults");
  f.read("width", d.width, 16, 1 << 16);
  f.read("height", d.height, 16, 1 << 16);
  f.read("steps", d.steps, 1, 1000);
  if (f.has("cfg_scale")) f.read("cfg_scale", d.cfg_scale.emplace(), 0.f, 100.f);
  top.read("vae_reference_area", d.vae_reference_area, 1024, int64_t{1} << 30);
  top.read("vision_reference_area", d.vision_reference_area, 784, int64_t{1} << 30);
  return d;
}

ModelFiles find_diffusers_model(const fs::path& root) {
  const fs::path index_file = root / "model_index.json";
  const nlohmann::json index = read_json_object(index_file);
  std::string pipeline = "missing";
  JsonFields(index, index_file.string()).read("_class_name", pipeline);
  const auto known = std::ranges::find_if(kPipelineClasses, [&](const PipelineClass& c) { return c.name == pipeline; });
  if (known == std::end(kPipelineClasses)) {
    const bool v21 = pipeline == "QwenImage21Pipeline";
    throw ModelError("{}: _class_name is {}, expected a Qwen-Image pipeline{}", index_file.string(), pipeline,
                     v21 ? " of the 1.x family (2.1 is a different model)" : "");
  }
  ModelFiles files;
  files.kind = known->kind;
  files.source = root;
  files.dit = tensor_file_in(root / "transformer");
  files.dit_config = root / "transformer" / "config.json";
  files.text_encoder = tensor_file_in(root / "text_encoder");
  files.text_config = root / "text_encoder" / "config.json";
  files.vision = files.text_encoder;
  files.vae = tensor_file_in(root / "vae");
  files.vae_config = root / "vae" / "config.json";
  files.scheduler_config = if_exists(root / "scheduler" / "scheduler_config.json");
  files.processor_config = if_exists(root / "processor" / "preprocessor_config.json");
  if (files.processor_config.empty()) files.processor_config = if_exists(root / "processor" / "processor_config.json");
  files.tokenizer = tokenizer_in(root);
  files.defaults = read_defaults(root / "inkling.json");
  return files;
}

bool name_has(const fs::path& path, std::string_view part) {
  std::string name = path.filename().string();
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
  return name.find(part) != std::string::npos;
}

// What a lone transformer is for. Its tensors tell Layered and, where marked, 2511; the rest is in its name.
PipelineKind kind_of(const Checkpoint& dit, const fs::path& file) {
  if (dit.has_marker("time_text_embed.addition_t_embedding.weight")) return PipelineKind::layered;
  if (dit.has_marker("__index_timestep_zero__")) return PipelineKind::edit_plus;
  if (!name_has(file, "edit")) return PipelineKind::generate;
  return name_has(file, "2509") || name_has(file, "2511") ? PipelineKind::edit_plus : PipelineKind::edit;
}

bool holds_vision(const fs::path& path) {
  if (!fs::exists(path)) return false;  // said when it is opened
  const std::unique_ptr<TensorFile> file = open_tensor_file(path);
  std::vector<std::string> names;
  for (const TensorEntry& e : file->entries()) names.push_back(e.name);
  return static_cast<bool>(find_name_map(Component::vision, names));
}

ModelFiles find_single_file(const fs::path& path) {
  const std::shared_ptr<const TensorFile> file(open_tensor_file(path));
  std::vector<std::string> names;
  for (const TensorEntry& e : file->entries()) names.push_back(e.name);
  ModelFiles files;
  files.source = path;
  files.kind = kind_of(Checkpoint(file, Component::dit), path);
  files.dit = path;
  if (find_name_map(Component::text_encoder, names)) files.text_encoder = path;
  if (find_name_map(Component::vision, names)) files.vision = path;
  if (find_name_map(Component::vae, names)) files.vae = path;
  files.dit_config = if_exists(path.parent_path() / "config.json");
  return files;
}

}  // namespace

fs::path tensor_file_in(const fs::path& folder) {
  if (!fs::is_directory(folder)) throw ModelError("{}: is missing", folder.string());
  for (const char* name : {"diffusion_pytorch_model.safetensors.index.json", "model.safetensors.index.json",
                           "diffusion_pytorch_model.safetensors", "model.safetensors"})
    if (fs::exists(folder / name)) return folder / name;
  std::vector<fs::path> found;
  bool pickle = false;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (ends_with(entry.path(), ".safetensors") || ends_with(entry.path(), ".gguf")) found.push_back(entry.path());
    pickle =
        pickle || ends_with(entry.path(), ".bin") || ends_with(entry.path(), ".pt") || ends_with(entry.path(), ".ckpt");
  }
  if (found.size() == 1) return found[0];
  if (found.size() > 1)
    throw ModelError("{}: holds {} tensor files and no index; keep one, or name it on the command line",
                     folder.string(), found.size());
  throw ModelError("{}: holds no .safetensors or .gguf file{}", folder.string(),
                   pickle ? "; pickle files (.bin, .pt) are not read because loading them can run code" : "");
}

std::string_view name(PipelineKind kind) {
  switch (kind) {
    case PipelineKind::generate: return "generate";
    case PipelineKind::edit: return "edit";
    case PipelineKind::edit_plus: return "edit-plus";
    case PipelineKind::layered: return "layered";
  }
  return "";
}

ModelFiles find_model(const fs::path& path) {
  if (!fs::exists(path)) throw ModelError("{}: does not exist", path.string());
  if (!fs::is_directory(path)) return find_single_file(path);
  if (!fs::exists(path / "model_index.json"))
    throw ModelError("{}: is not a diffusers folder (no model_index.json); name a single file or its parts instead",
                     path.string());
  return find_diffusers_model(path);
}

ModelFiles combine(const SeparateFiles& parts) {
  ModelFiles files;
  if (!parts.base.empty()) files = find_model(parts.base);
  if (!parts.dit.empty()) {
    const Part part = part_at(parts.dit);
    const ModelFiles single = find_single_file(part.file);
    if (parts.base.empty()) files = single;
    // A name with "edit" in it does not say which edition: it never takes numbered pictures away from a 2509 base.
    const bool less = single.kind == PipelineKind::edit && files.kind == PipelineKind::edit_plus;
    if (!parts.base.empty() && single.kind != PipelineKind::generate && !less) files.kind = single.kind;
    files.dit = part.file;
    if (!part.config.empty()) files.dit_config = part.config;
  }
  if (!parts.text_encoder.empty()) {
    const Part part = part_at(parts.text_encoder);
    files.text_encoder = part.file;
    if (!part.config.empty()) files.text_config = part.config;
    files.vision = !ends_with(part.file, ".gguf") || holds_vision(part.file)
                       ? part.file
                       : fs::path();  // llama.cpp keeps it in a file of its own
  }
  if (!parts.mmproj.empty()) files.vision = parts.mmproj;
  if (!parts.vae.empty()) {
    const Part part = part_at(parts.vae);
    files.vae = part.file;
    if (!part.config.empty()) files.vae_config = part.config;
  }
  if (!parts.tokenizer.empty()) files.tokenizer = parts.tokenizer;
  if (parts.kind) files.kind = *parts.kind;
  if (parts.zero_cond_t) files.zero_cond_t = parts.zero_cond_t;
  require_complete(files);
  return files;
}

void require_complete(const ModelFiles& files) {
  std::string missing;
  const auto need = [&](const fs::path& path, const char* what, const char* option) {
    if (path.empty()) missing += fmt::format("{}{} ({})", missing.empty() ? "" : ", ", what, option);
  };
  need(files.dit, "transformer", "--dit");
  need(files.text_encoder, "text encoder", "--text-encoder");
  if (files.kind == PipelineKind::edit || files.kind == PipelineKind::edit_plus)
    need(files.vision, "vision tower", "--mmproj");
  need(files.vae, "VAE", "--vae");
  need(files.tokenizer, "tokenizer", "--tokenizer");
  if (!missing.empty()) throw ModelError("{}: no {}", files.source.empty() ? "model" : files.source.string(), missing);
}

DitConfig dit_config(const ModelFiles& files, const Checkpoint& dit) {
  DitConfig config = files.dit_config.empty() ? infer_dit_config(dit) : read_dit_config(files.dit_config);
  apply_markers(config, dit);
  if (name_has(files.dit, "2511")) config.zero_cond_t = true;  // GGUF and plain single files do not carry it
  if (files.zero_cond_t) config.zero_cond_t = *files.zero_cond_t;
  return config;
}

TextConfig text_config(const ModelFiles& files, const Checkpoint& text_encoder) {
  return files.text_config.empty() ? infer_text_config(text_encoder) : read_text_config(files.text_config);
}

VisionConfig vision_config(const ModelFiles& files, const Checkpoint& vision) {
  return files.text_config.empty() ? infer_vision_config(vision) : read_vision_config(files.text_config);
}

VaeConfig vae_config(const ModelFiles& files, const Checkpoint& vae) {
  return files.vae_config.empty() ? infer_vae_config(vae) : read_vae_config(files.vae_config);
}

ProcessorConfig processor_config(const ModelFiles& files) {
  return files.processor_config.empty() ? ProcessorConfig() : read_processor_config(files.processor_config);
}

}  // namespace inkling
