#include "server/api/wish_fields.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "editing/postprocess.h"
#include "server/api/json_input.h"

namespace inkling::server {

namespace {

using Kind = WishField::Kind;
constexpr double kMaxSeed = 9007199254740992.0;  // 2^53: every JSON reader keeps it

constexpr auto kFields = std::to_array<WishField>({
    {"prompt", Kind::text, 1, 0, "", "what to draw, or the edit instruction; Chinese or English"},
    {"negative_prompt", Kind::text, 0, 0, "", "what to avoid; used when cfg_scale > 1"},
    {"profile", Kind::choice, 0, 0, "kids|editor|open", "which service: safety, style words and labels follow"},
    {"style", Kind::choice, 0, 0, "none|kids_cute_v2", "style words added to the prompt"},
    {"width", Kind::integer, 16, 4096, "", "pixels, a multiple of 16"},
    {"height", Kind::integer, 16, 4096, "", "pixels, a multiple of 16"},
    {"steps", Kind::integer, 1, 100, "", "denoising steps; absent: the model's own"},
    {"cfg_scale", Kind::number, 0, 30, "", "guidance; 1 is off; absent: the model's own"},
    {"seed", Kind::integer, -kMaxSeed, kMaxSeed, "", "the same seed gives the same bytes; absent: any"},
    {"n", Kind::integer, 1, 4, "", "pictures to draw, with seeds seed, seed + 1, ..."},
    {"images", Kind::pictures, 1, 3, "", "pictures to edit: data: URLs or base64", false},
    {"mask", Kind::picture, 0, 0, "", "size of the first picture; white may change"},
    {"auto_mask", Kind::flag, 0, 0, "", "without a mask: make one from what the instruction names"},
    {"geometry", Kind::choice, 0, 0, "keep|reference", "keep: the result has the picture's size"},
    {"model", Kind::text, 1, 0, "", "a model of /v1/models, or auto"},
    {"deadline_s", Kind::number, 1, 3600, "", "refused or stopped in line when it cannot be kept"},
    {"preview", Kind::flag, 0, 0, "", "send previews with the events"},
    {"output_format", Kind::choice, 0, 0, "png|jpeg|webp", "of the result"},
    {"quality", Kind::integer, 1, 100, "", "of jpeg and webp"},
    {"postprocess", Kind::object, 0, 0, "", "size preset, white balance, colours, filters; docs/editing.md"},
    {"label", Kind::flag, 0, 0, "", "a visible mark that says the picture is made by AI"},
});

[[noreturn]] void wrong(const WishField& f, const std::string& expected) {
  throw ArgumentError("{}: expected {}", f.name, expected);
}

bool is_choice(std::string_view choices, std::string_view value) {
  for (size_t at = 0; at <= choices.size();) {
    const size_t end = std::min(choices.find('|', at), choices.size());
    if (choices.substr(at, end - at) == value) return true;
    at = end + 1;
  }
  return false;
}

std::string range_text(const WishField& f) {
  return f.max >= kMaxSeed ? "between -2^53 and 2^53" : fmt::format("between {:g} and {:g}", f.min, f.max);
}

void check_value(const WishField& f, const nlohmann::json& v, const WishLimits& limits) {
  switch (f.kind) {
    case Kind::text:
      if (!v.is_string()) wrong(f, "a string");
      break;
    case Kind::integer:
      // 2^63 and 1e300 arrive as unsigned or float.
      if (!v.is_number_integer()) wrong(f, "a whole number " + range_text(f));
      if (v.get<double>() < f.min || v.get<double>() > f.max) wrong(f, "a whole number " + range_text(f));
      break;
    case Kind::number:
      if (!v.is_number() || !(v.get<double>() >= f.min && v.get<double>() <= f.max))
        wrong(f, "a number " + range_text(f));
      break;
    case Kind::flag:
      if (!v.is_boolean()) wrong(f, "true or false");
      break;
    case Kind::choice:
      if (!v.is_string() || !is_choice(f.choices, v.get_ref<const std::string&>()))
        wrong(f, fmt::format("one of {}", f.choices));
      break;
    case Kind::picture:
      if (!v.is_string()) wrong(f, "a data: URL or base64 string");
      break;
    case Kind::pictures:
      if (!v.is_array() || v.empty() || v.size() > static_cast<size_t>(limits.max_images))
        wrong(f, fmt::format("1 to {} pictures", limits.max_images));
      for (const auto& item : v)
        if (!item.is_string()) wrong(f, "data: URLs or base64 strings");
      break;
    case Kind::object:
      if (!v.is_object()) wrong(f, "an object");
  }
}

const WishField* find_field(std::string_view name) {
  const auto found = std::ranges::find(kFields, name, &WishField::name);
  return found == kFields.end() ? nullptr : &*found;
}

}  // namespace

std::span<const WishField> wish_fields() { return kFields; }

DrawRequest parse_wish(const nlohmann::json& body, const WishLimits& limits, bool in_session) {
  if (!body.is_object()) throw ArgumentError("the body must be a JSON object");
  for (const auto& [name, value] : body.items()) {
    const WishField* field = find_field(name);
    if (field == nullptr || (in_session && !field->session))
      throw ArgumentError("{}: is not a field of this request; see /openapi.json", name.substr(0, 64));
    check_value(*field, value, limits);
  }
  if (!body.contains("prompt")) throw ArgumentError("prompt: is missing");
  const auto get = [&](const char* name, auto fallback) { return body.value(name, fallback); };
  DrawRequest w;
  w.prompt = get("prompt", std::string());
  if (body.contains("negative_prompt")) w.negative_prompt = get("negative_prompt", std::string());
  w.profile = get("profile", std::string());
  w.style = get("style", std::string());
  w.model = get("model", std::string("auto"));
  w.geometry = get("geometry", w.geometry);
  w.output_format = get("output_format", w.output_format);
  w.width = get("width", 0);
  w.height = get("height", 0);
  w.steps = get("steps", 0);
  w.n = get("n", 1);
  w.quality = get("quality", w.quality);
  w.cfg_scale = get("cfg_scale", -1.0);
  w.seed_given = body.contains("seed");
  w.seed = get("seed", int64_t{0});
  w.preview = get("preview", false);
  w.auto_mask = get("auto_mask", false);
  w.label = get("label", false);
  w.label_given = body.contains("label");
  w.deadline_s = get("deadline_s", 0.0);
  if (body.contains("postprocess")) w.postprocess = body["postprocess"];
  if (body.contains("images"))
    for (size_t i = 0; i < body["images"].size(); ++i)
      w.images.push_back(decode_picture_text(fmt::format("images[{}]", i),
                                             body["images"][i].get_ref<const std::string&>(), limits.image_bytes));
  if (body.contains("mask"))
    w.mask = decode_picture_text("mask", body["mask"].get_ref<const std::string&>(), limits.image_bytes);
  if (!in_session) check_wish(w, limits);
  return w;
}

void check_wish(const DrawRequest& w, const WishLimits& limits) {
  check_prompt("prompt", w.prompt, limits.prompt_characters);
  if (w.negative_prompt && !w.negative_prompt->empty())
    check_prompt("negative_prompt", *w.negative_prompt, limits.prompt_characters);
  if ((w.width == 0) != (w.height == 0))
    throw ArgumentError("{}: give width and height or neither", w.width == 0 ? "width" : "height");
  const auto check_side = [&](const char* name, int side) {
    if (side != 0 && (side < limits.min_side || side > limits.max_side || side % 16 != 0))
      throw ArgumentError("{}: got {}, expected a multiple of 16 between {} and {}", name, side, limits.min_side,
                          limits.max_side);
  };
  check_side("width", w.width);
  check_side("height", w.height);
  if (int64_t{w.width} * w.height > limits.max_pixels)
    throw ArgumentError("width: {}x{} is {} pixels, at most {} are drawn", w.width, w.height,
                        int64_t{w.width} * w.height, limits.max_pixels);
  if (w.n > limits.max_n) throw ArgumentError("n: got {}, at most {} pictures are drawn", w.n, limits.max_n);
  if (w.images.size() > static_cast<size_t>(limits.max_images))
    throw ArgumentError("images: got {} pictures, at most {} are taken", w.images.size(), limits.max_images);
  if (w.mask != nullptr && !w.edit()) throw ArgumentError("mask: needs a picture in images");
  if (w.mask != nullptr && (w.width != 0 || w.geometry == "reference"))
    throw ArgumentError("mask: keeps the picture's own geometry; leave out width, height and geometry");
  if (!w.postprocess.is_null()) {
    try {
      parse_postprocess(w.postprocess);
    } catch (const ArgumentError& e) {
      throw ArgumentError("postprocess: {}", e.what());
    }
  }
}

nlohmann::json wish_schema(const WishLimits& limits) {
  nlohmann::json properties;
  for (const WishField& f : kFields) {
    nlohmann::json p{{"description", f.help}};
    switch (f.kind) {
      case Kind::text: p.update(nlohmann::json{{"type", "string"}}); break;
      case Kind::integer: p.update(nlohmann::json{{"type", "integer"}, {"minimum", f.min}, {"maximum", f.max}}); break;
      case Kind::number: p.update(nlohmann::json{{"type", "number"}, {"minimum", f.min}, {"maximum", f.max}}); break;
      case Kind::flag: p.update(nlohmann::json{{"type", "boolean"}}); break;
      case Kind::picture: p.update(nlohmann::json{{"type", "string"}}); break;
      case Kind::pictures:
        p.update(nlohmann::json{
            {"type", "array"}, {"items", {{"type", "string"}}}, {"minItems", 1}, {"maxItems", limits.max_images}});
        break;
      case Kind::object: p.update(nlohmann::json{{"type", "object"}}); break;
      case Kind::choice: {
        p.update(nlohmann::json{{"type", "string"}, {"enum", nlohmann::json::array()}});
        for (size_t at = 0; at < f.choices.size();) {
          const size_t end = std::min(f.choices.find('|', at), f.choices.size());
          p["enum"].push_back(f.choices.substr(at, end - at));
          at = end + 1;
        }
      }
    }
    properties[std::string(f.name)] = p;
  }
  properties["prompt"].update(nlohmann::json{{"minLength", 1}, {"maxLength", limits.prompt_characters}});
  return {{"type", "object"}, {"required", {"prompt"}}, {"additionalProperties", false}, {"properties", properties}};
}

}  // namespace inkling::server
