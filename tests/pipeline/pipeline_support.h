// Requests and engines on the committed random models, for the tests of this folder.
#pragma once

#include <string>

#include "pipeline/engine.h"

namespace inkling::testing {

inline EngineOptions small_model(const char* name, PrecisionChoice precision = PrecisionChoice::f32) {
  EngineOptions o;
  o.model = std::string(INKLING_SOURCE_DIR) + "/tests/parity/data/checkpoints/" + name;
  o.precision = precision;
  return o;
}

inline Image pattern(int width, int height, int factor = 37) {
  Image image = Image::blank(width, height, 3);
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(i * factor % 251);
  return image;
}

inline Request generate_request(const std::string& prompt = "a cute panda", int64_t seed = 5, float cfg_scale = 1) {
  Request r;
  r.prompt = prompt;
  r.width = 64;
  r.height = 48;
  r.steps = 3;
  r.cfg_scale = cfg_scale;
  r.seed = seed;
  return r;
}

inline Request edit_request(const std::string& prompt = "make it blue", int64_t seed = 5, float cfg_scale = 1,
                            int factor = 37) {
  Request r = generate_request(prompt, seed, cfg_scale);
  r.width = r.height = 0;
  r.images = {pattern(77, 53, factor)};
  r.vl_area = r.vae_area = 96 * 96;
  return r;
}

}  // namespace inkling::testing
