#include "server/draw_request.h"

#include "base/error.h"
#include "server/cache/sha256.h"

namespace inkling::server {

namespace {

// Every field that travels; the second argument decides between writing and reading.
template <typename Visit>
void visit_fields(auto& r, const Visit& visit) {
  visit("prompt", r.prompt);
  visit("profile", r.profile);
  visit("style", r.style);
  visit("model", r.model);
  visit("geometry", r.geometry);
  visit("output_format", r.output_format);
  visit("width", r.width);
  visit("height", r.height);
  visit("steps", r.steps);
  visit("n", r.n);
  visit("quality", r.quality);
  visit("cfg_scale", r.cfg_scale);
  visit("seed", r.seed);
  visit("preview", r.preview);
  visit("label", r.label);
  visit("auto_mask", r.auto_mask);
  visit("check_pictures", r.check_pictures);
  visit("postprocess", r.postprocess);
  visit("latent_path", r.latent_path);
}

}  // namespace

nlohmann::json to_json(const DrawRequest& request) {
  nlohmann::json j;
  visit_fields(request, [&](const char* name, const auto& value) { j[name] = value; });
  if (request.negative_prompt) j["negative_prompt"] = *request.negative_prompt;
  j["images"] = request.images.size();
  j["mask"] = request.mask != nullptr;
  j["mask_transparent"] = request.mask_polarity == MaskPolarity::transparent_edits;
  return j;
}

DrawRequest draw_request_from_json(const nlohmann::json& json, const std::vector<Blob>& blobs, size_t& next_blob) try {
  DrawRequest r;
  visit_fields(r, [&](const char* name, auto& value) { value = json.at(name); });
  if (json.contains("negative_prompt")) r.negative_prompt = json["negative_prompt"].get<std::string>();
  const auto take = [&] {
    if (next_blob >= blobs.size()) throw RuntimeError("worker link: a wish lacks its pictures");
    return blobs[next_blob++];
  };
  for (size_t i = json.at("images").get<size_t>(); i > 0; --i) r.images.push_back(take());
  if (json.at("mask").get<bool>()) r.mask = take();
  if (json.at("mask_transparent").get<bool>()) r.mask_polarity = MaskPolarity::transparent_edits;
  return r;
} catch (const nlohmann::json::exception& e) {
  throw RuntimeError("worker link: a wish cannot be read: {}", e.what());
}

void append_blobs(const DrawRequest& request, std::vector<Blob>& blobs) {
  blobs.insert(blobs.end(), request.images.begin(), request.images.end());
  if (request.mask != nullptr) blobs.push_back(request.mask);
}

nlohmann::json canonical(const DrawRequest& request, const std::string& owner) {
  nlohmann::json j = to_json(request);
  j.erase("preview");
  j["images"] = nlohmann::json::array();
  for (const Blob& image : request.images) j["images"].push_back(sha256_hex(*image));
  j["mask"] = request.mask == nullptr ? "" : sha256_hex(*request.mask);
  if (request.edit()) j["owner"] = owner;
  return j;
}

}  // namespace inkling::server
