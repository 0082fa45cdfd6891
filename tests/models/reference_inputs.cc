#include "models/reference_inputs.h"

#include <cmath>
#include <fstream>

#include "formats/resample.h"

namespace inkling::testing {

Tensor pack(const Tensor& map) {
  const int64_t h = map.dim(0), w = map.dim(1), c = map.dim(2);
  Tensor tokens = host_tensor(Shape{h * w / 4, 4 * c});
  for (int64_t y = 0; y < h; ++y)
    for (int64_t x = 0; x < w; ++x)
      for (int64_t k = 0; k < c; ++k)
        tokens.data<float>()[((y / 2) * (w / 2) + x / 2) * 4 * c + k * 4 + y % 2 * 2 + x % 2] =
            map.data<float>()[(y * w + x) * c + k];
  return tokens;
}

Tensor unpack(const Tensor& tokens, int64_t h, int64_t w) {
  const int64_t c = tokens.channels() / 4;
  Tensor map = host_tensor(Shape{h, w, c});
  for (int64_t y = 0; y < h; ++y)
    for (int64_t x = 0; x < w; ++x)
      for (int64_t k = 0; k < c; ++k)
        map.data<float>()[(y * w + x) * c + k] =
            tokens.data<float>()[((y / 2) * (w / 2) + x / 2) * 4 * c + k * 4 + y % 2 * 2 + x % 2];
  return map;
}

Image reference_picture(const Golden& g, int64_t i, double area) {
  const Image image = read_image(g.root / g.description["images"][i].get<std::string>());
  const double ratio = static_cast<double>(image.width) / image.height, width = std::sqrt(area * ratio);
  const auto side = [](double length) { return static_cast<int>(std::nearbyint(length / 32)) * 32; };
  return resample(image, side(width), side(width / ratio), ResampleFilter::lanczos);
}

Image vision_picture(const Golden& g, int64_t i, const ProcessorConfig& p) {
  constexpr double kUnit = 28;
  const Image image = reference_picture(g, i, g.description["vl_area"].get<double>());
  double h = std::nearbyint(image.height / kUnit) * kUnit, w = std::nearbyint(image.width / kUnit) * kUnit;
  const double pixels = static_cast<double>(image.height) * image.width;
  if (h * w < static_cast<double>(p.min_pixels)) {
    const double beta = std::sqrt(static_cast<double>(p.min_pixels) / pixels);
    h = std::ceil(image.height * beta / kUnit) * kUnit;
    w = std::ceil(image.width * beta / kUnit) * kUnit;
  }
  return resample(image, static_cast<int>(w), static_cast<int>(h), ResampleFilter::bicubic);
}

Tensor bytes_of(const Image& image) {
  return host_tensor(Shape{image.height, image.width, image.channels}, std::span<const uint8_t>(image.pixels));
}

PictureShape reference_shape(const Golden& g, int64_t i) {
  const Image image = reference_picture(g, i, g.description["vae_area"].get<double>());
  return {1, image.height / 16, image.width / 16};
}

std::vector<float> timesteps_of(const std::filesystem::path& scheduler, int64_t steps, int64_t tokens) {
  std::ifstream in(scheduler);
  const nlohmann::json c = nlohmann::json::parse(in);
  const double base = c.at("base_image_seq_len").get<double>(), base_shift = c.at("base_shift").get<double>();
  const double slope =
      (c.at("max_shift").get<double>() - base_shift) / (c.at("max_image_seq_len").get<double>() - base);
  const double mu = static_cast<double>(tokens) * slope + (base_shift - slope * base);
  const double terminal = c.at("shift_terminal").is_null() ? 0 : c.at("shift_terminal").get<double>();
  const auto e = static_cast<float>(std::exp(mu));
  std::vector<float> sigmas;
  for (int64_t i = 0; i < steps; ++i) {
    const auto n = static_cast<double>(steps);
    const auto s = static_cast<float>(1.0 + static_cast<double>(i) * ((1.0 / n - 1.0) / std::max(n - 1.0, 1.0)));
    sigmas.push_back(e / (e + (1.f / s - 1.f)));
  }
  const float factor = terminal > 0 ? (1.f - sigmas.back()) / static_cast<float>(1.0 - terminal) : 1.f;
  for (float& s : sigmas) s = 1000.f * (terminal > 0 ? 1.f - (1.f - s) / factor : s);
  return sigmas;
}

}  // namespace inkling::testing
