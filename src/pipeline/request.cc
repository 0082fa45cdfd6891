#include "pipeline/request.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/utf8.h"
#include "pipeline/options.h"

namespace inkling {

namespace {

constexpr size_t kMaxPromptBytes = 64 * 1024;

std::string checked_text(const OptionValues& options, std::string_view name) {
  std::string text = options.text(name);
  if (text.size() > kMaxPromptBytes)
    throw ArgumentError("{}: {} bytes, at most {} are accepted", find_option(name).json_name(), text.size(),
                        kMaxPromptBytes);
  if (!is_utf8(text)) throw ArgumentError("{}: is not valid UTF-8", find_option(name).json_name());
  return text;
}

void check_multiple_of_16(const char* field, int value) {
  if (value % 16 != 0)
    throw ArgumentError("{}: got {}, expected a multiple of 16 such as {} or {}", field, value, value / 16 * 16,
                        (value / 16 + 1) * 16);
}

void read_edit_inputs(const OptionValues& options, Request& r) {
  const std::vector<std::string> paths = options.list("image");
  if (paths.empty()) throw ArgumentError("image: an edit needs a picture: pass one with -i FILE");
  if (paths.size() > 3) throw ArgumentError("image: got {} pictures, at most 3 are supported", paths.size());
  for (const std::string& p : paths) r.images.push_back(read_image(p));
  r.geometry = options.text("geometry") == "reference" ? Geometry::reference : Geometry::keep;
  if (!options.given("mask")) return;
  r.mask = read_mask(options.text("mask"));
  const Image& first = r.images.front();
  if (r.mask->width != first.width || r.mask->height != first.height)
    throw ArgumentError("mask: is {}x{}, the first picture is {}x{}; they must have the same size", r.mask->width,
                        r.mask->height, first.width, first.height);
}

}  // namespace

Request make_request(const OptionValues& options, bool edit) {
  Request r;
  r.prompt = checked_text(options, "prompt");
  if (r.prompt.find_first_not_of(" \t\r\n") == std::string::npos)
    throw ArgumentError("prompt: is empty; say what to {} with -p TEXT", edit ? "change" : "draw");
  if (options.given("negative-prompt")) r.negative_prompt = checked_text(options, "negative-prompt");
  r.style = options.text("style");
  if (edit) read_edit_inputs(options, r);
  r.width = static_cast<int>(options.integer("width").value_or(0));
  r.height = static_cast<int>(options.integer("height").value_or(0));
  if (r.mask && (r.width > 0 || r.geometry == Geometry::reference))
    throw ArgumentError("mask: keeps the picture's own geometry; leave out width, height and geometry reference");
  if ((r.width == 0) != (r.height == 0) && edit) throw ArgumentError("width and height: an edit takes both or neither");
  check_multiple_of_16("width", r.width);
  check_multiple_of_16("height", r.height);
  r.steps = static_cast<int>(options.integer("steps").value_or(0));
  r.cfg_scale = static_cast<float>(options.real("cfg-scale").value_or(-1));
  r.seed = options.integer("seed").value_or(0);
  r.rng = options.text("rng") == "cuda" ? RngKind::cuda : RngKind::cpu;
  const std::string schedule = options.text("schedule");
  r.schedule = schedule == "lightning" ? ScheduleKind::lightning
               : schedule == "base"    ? ScheduleKind::base
                                       : ScheduleKind::automatic;
  r.batch = static_cast<int>(options.integer("batch").value_or(1));
  if (options.flag("vae-tiling")) r.vae_tiling = Tiling{};
  return r;
}

std::map<std::string, std::string> picture_metadata(const Request& request, const Result& result, size_t index,
                                                    const std::string& model_name) {
  nlohmann::ordered_json j;
  j["prompt"] = request.prompt;
  j["negative_prompt"] =
      request.negative_prompt ? nlohmann::ordered_json(*request.negative_prompt) : nlohmann::ordered_json(nullptr);
  j["style"] = request.style;
  j["task"] = request.images.empty() ? "generate" : "edit";
  j["width"] = result.width;
  j["height"] = result.height;
  j["steps"] = result.steps;
  j["cfg_scale"] = result.cfg_scale;
  j["seed"] = result.seeds[index];
  j["rng"] = request.rng == RngKind::cpu ? "cpu" : "cuda";
  j["model"] = model_name;
  std::string line = result.prompt;
  if (request.negative_prompt) line += "\nNegative prompt: " + *request.negative_prompt;
  line += fmt::format("\nSteps: {}, Sampler: Euler, CFG scale: {:g}, Seed: {}, Size: {}x{}, Model: {}", result.steps,
                      result.cfg_scale, result.seeds[index], result.width, result.height, model_name);
  return {{"parameters", line}, {"inkling", j.dump()}, {"Software", "inkling"}};
}

}  // namespace inkling
