// One wish as the service handles it, whatever API it came through: checked, complete, with uploads still encoded (only
// a worker decodes pictures). Travels to a worker as JSON and blobs.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "server/worker/frame.h"

namespace inkling::server {

enum class MaskPolarity : uint8_t {
  white_edits,        // ours, as A1111 and vLLM-Omni
  transparent_edits,  // OpenAI: alpha 0 may change
};

struct DrawRequest {
  std::string prompt;
  std::optional<std::string> negative_prompt;
  std::string profile = "open", style = "none", model = "auto";
  std::string geometry = "keep", output_format = "png";
  int width = 0, height = 0, steps = 0;  // 0: the model's default
  int n = 1, quality = 92;
  double cfg_scale = -1;  // < 0: the model's default
  int64_t seed = 0;
  bool seed_given = false, preview = false, label = false, label_given = false, auto_mask = false;
  // Look at uploads, previews and results. The look was made for drawings and takes a beige backdrop for skin, so it
  // guards the children's profile and server alone; photographs of a shop are judged by their words.
  bool check_pictures = false;
  double deadline_s = 0;       // 0: the server's default
  nlohmann::json postprocess;  // null: none
  std::vector<Blob> images;    // encoded; 1-3: an edit
  Blob mask;
  MaskPolarity mask_polarity = MaskPolarity::white_edits;
  std::string latent_path;  // of the pool: only decode
  std::string instruction;  // of a session's edit, as the user gave it; `prompt` may join earlier ones to it
  bool rerun = false;       // the chain of edits was too long: drawn again from the original

  bool edit() const { return !images.empty(); }
};

// The fields without the pictures; the number of images and whether there is a mask are among them.
nlohmann::json to_json(const DrawRequest& request);
// Takes `first_blob` and following as images, then the mask. Throws RuntimeError for what no server sends.
DrawRequest draw_request_from_json(const nlohmann::json& json, const std::vector<Blob>& blobs, size_t& next_blob);
void append_blobs(const DrawRequest& request, std::vector<Blob>& blobs);

// What makes two wishes the same picture: every field that can change a byte, uploads by their hash. `owner` stands in
// it when there are uploads, so that one client's pictures never answer another's wish.
nlohmann::json canonical(const DrawRequest& request, const std::string& owner);

}  // namespace inkling::server
