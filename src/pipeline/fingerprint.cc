#include "pipeline/fingerprint.h"

#include <fstream>
#include <set>
#include <vector>

#include "pipeline/content_hash.h"

namespace inkling {

namespace fs = std::filesystem;

namespace {

// The headers of the files that are in use fit, and whole configurations.
constexpr size_t kHeaderBytes = size_t{256} << 10;

void add_stamp(ContentHash& hash, const fs::path& file) {
  std::error_code error;
  hash.add(file.filename().string());
  hash.add(static_cast<int64_t>(fs::file_size(file, error)));
  hash.add(static_cast<int64_t>(fs::last_write_time(file, error).time_since_epoch().count()));
}

void add_header(ContentHash& hash, const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::vector<char> start(kHeaderBytes);
  in.read(start.data(), static_cast<std::streamsize>(start.size()));
  hash.add(std::string_view(start.data(), static_cast<size_t>(std::max<std::streamsize>(0, in.gcount()))));
}

// A file, with an index the shards beside it; or all files of a folder (the tokenizer's).
std::set<fs::path> files_at(const fs::path& path) {
  std::set<fs::path> files;
  const bool index = path.string().ends_with(".index.json");
  if (!index && !fs::is_directory(path)) return path.empty() ? files : std::set{path};
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(index ? path.parent_path() : path, error))
    if (entry.is_regular_file(error)) files.insert(entry.path());
  return files;
}

}  // namespace

std::string encoder_fingerprint(const ModelFiles& files) {
  ContentHash hash;
  for (const fs::path& part : {files.text_encoder, files.vision, files.text_config})
    for (const fs::path& file : files_at(part)) add_stamp(hash, file);
  return hash.hex();
}

std::string engine_fingerprint(const ModelFiles& files, const EngineOptions& options, bool on_gpu) {
  ContentHash hash;
  for (const fs::path& part :
       {files.dit, files.text_encoder, files.vision, files.vae, files.dit_config, files.text_config, files.vae_config,
        files.processor_config, files.scheduler_config, files.tokenizer}) {
    hash.add("part");
    for (const fs::path& file : files_at(part)) {
      add_stamp(hash, file);
      add_header(hash, file);
    }
  }
  hash.add(static_cast<int64_t>(files.kind));
  for (const int64_t v : {files.defaults.width, files.defaults.height, files.defaults.steps,
                          files.defaults.vae_reference_area, files.defaults.vision_reference_area})
    hash.add(v);
  hash.add(fmt::format("{}", files.defaults.cfg_scale.value_or(-1.f)));
  for (const LoraFile& lora : options.loras) {
    add_stamp(hash, lora.path);
    add_header(hash, lora.path);
    hash.add(fmt::format("{} {}", lora.scale, options.lora_alpha_as_diffusers));
  }
  hash.add(name(options.precision));
  hash.add(on_gpu ? "gpu" : "cpu");
  // Another build may compute otherwise.
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (!error) add_stamp(hash, program);
  return hash.hex();
}

}  // namespace inkling
