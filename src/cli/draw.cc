// inkling generate, inkling edit: one request from flags to files.

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/threads.h"
#include "cli/commands.h"
#include "cli/progress_bar.h"
#include "pipeline/engine.h"

namespace inkling::cli {

namespace fs = std::filesystem;

namespace {

// "out-%d.png" -> "out-3.png"; without %d, pictures after the first get "-1", "-2" before the extension.
fs::path output_path(const std::string& pattern, size_t index) {
  if (const size_t at = pattern.find("%d"); at != std::string::npos)
    return pattern.substr(0, at) + std::to_string(index) + pattern.substr(at + 2);
  fs::path path(pattern);
  if (index > 0) path.replace_filename(fmt::format("{}-{}{}", path.stem().string(), index, path.extension().string()));
  return path;
}

// Found out before minutes are spent drawing.
void check_output_folder(const fs::path& path) {
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  if (!fs::is_directory(folder)) throw ArgumentError("output: the folder {} does not exist", folder.string());
  const std::string extension = path.extension().string();
  if (extension != ".png" && extension != ".jpg" && extension != ".jpeg" && extension != ".webp")
    throw ArgumentError("output: '{}' ends in '{}', expected .png, .jpg or .webp", path.string(), extension);
}

nlohmann::ordered_json result_json(const Result& result, const std::vector<fs::path>& files, const std::string& model) {
  nlohmann::ordered_json j;
  for (size_t i = 0; i < files.size(); ++i)
    j["images"].push_back({{"file", files[i].string()}, {"seed", result.seeds[i]}});
  j["prompt"] = result.prompt;
  j["width"] = result.width;
  j["height"] = result.height;
  j["steps"] = result.steps;
  j["cfg_scale"] = result.cfg_scale;
  j["model"] = model;
  j["seconds"] = result.seconds;
  j["device"] = result.device;
  j["precision"] = result.precision;
  j["activation_peak_bytes"] = result.activation_peak_bytes;
  if (result.device_bytes > 0) j["device_bytes"] = result.device_bytes;
  j["notes"] = result.notes;
  return j;
}

int draw(const CommandLine& line, bool edit) {
  const OptionValues& o = line.options;
  if (const auto threads = o.integer("threads").value_or(0); threads > 0) set_thread_count(static_cast<int>(threads));
  const Request request = make_request(o, edit);
  check_output_folder(output_path(o.text("output"), 0));

  Engine engine(make_engine_options(o));
  ProgressBar bar;
  Callbacks callbacks;
  callbacks.progress = [&](const Progress& p) { bar.report(p); };
  callbacks.cancel = line.cancel;
  callbacks.preview_size = PreviewSize::full;
  if (o.given("preview")) {
    const fs::path folder = o.text("preview");
    fs::create_directories(folder);
    callbacks.preview = [folder](int step, const Image& image) {
      write_image(folder / fmt::format("step-{:03}.png", step), image);
    };
  }
  const Result result = engine.run(request, callbacks);

  std::vector<fs::path> files;
  for (size_t i = 0; i < result.images.size(); ++i) {
    files.push_back(output_path(o.text("output"), i));
    write_image(files.back(), result.images[i], picture_metadata(request, result, i, engine.model_name()));
  }
  for (const std::string& note : result.notes) fmt::print(stderr, "note: {}\n", note);
  if (o.flag("json")) fmt::print("{}\n", result_json(result, files, engine.model_name()).dump());
  return 0;
}

}  // namespace

int run_generate(const CommandLine& line) { return draw(line, false); }
int run_edit(const CommandLine& line) { return draw(line, true); }

}  // namespace inkling::cli
